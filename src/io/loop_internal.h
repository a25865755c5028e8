/* loop_internal.h - the struct behind a loop, for the modules of io. Thread: the loop's. Private to
 * src/io. */
#ifndef BELLHOP_SRC_IO_LOOP_INTERNAL_H
#define BELLHOP_SRC_IO_LOOP_INTERNAL_H

#include "bellhop/io/loop.h"
#include "wheel.h"

#include <event2/event_struct.h>

struct bh_resolver;

#define BH_LOOP_TLS_BUFFER   (48 * 1024)
#define BH_LOOP_WRITE_BUFFER (16 * 1024)

struct bh_loop {
    struct event_base *base;
    struct event wake_timer;
    uint64_t wake_ms; /* the time of wake_timer, or BH_WHEEL_NEVER */
    struct bh_list phases[2];
    struct bh_list runnable; /* mailboxes with mail */
    bool in_tick;            /* callbacks and phases are running */
    bool stopped;
    unsigned callbacks; /* of this tick */
    uint64_t now_ms;
    uint64_t tick_began_us;
    uint64_t tls_budget_us;       /* for the TLS handshakes of one tick */
    uint64_t tls_spent_us;        /* of it, in this tick */
    unsigned char *tls_buffer;    /* BH_LOOP_TLS_BUFFER bytes of ciphertext; NULL until needed */
    struct bh_resolver *resolver; /* NULL until the first bh_resolve */
    void (*free_resolver)(struct bh_resolver *);
    struct bh_wheel wheel;
    unsigned char read_buffer[BH_LOOP_READ_BUFFER];
    unsigned char write_buffer[BH_LOOP_WRITE_BUFFER];
};

/* Every event callback of io calls this first: it begins the tick and reads its clock. libevent 2.1
 * has no hook for it. */
void bh_loop_enter(struct bh_loop *loop);

/* The loop that this thread is ticking, or NULL. */
struct bh_loop *bh_loop_current(void);

#endif
