/* loop_internal.h - what the modules of io share about a loop: its wheel of timers, its tick, and
 * what it creates on demand. Private to src/io. */
#ifndef BELLHOP_SRC_IO_LOOP_INTERNAL_H
#define BELLHOP_SRC_IO_LOOP_INTERNAL_H

#include "bellhop/io/loop.h"

#include <event2/event_struct.h>

#define BH_WHEEL_SLOTS   8192
#define BH_WHEEL_SLOT_MS 4
#define BH_WHEEL_NEVER   UINT64_MAX

/* Slot s holds the timers with due_ms / SLOT_MS % SLOTS == s; those beyond the horizon stay for
 * further rotations. `occupied` has a bit for each slot that is not empty. */
struct bh_wheel {
    struct bh_list slots[BH_WHEEL_SLOTS];
    uint64_t occupied[BH_WHEEL_SLOTS / 64];
    uint64_t earliest; /* in units of SLOT_MS: no timer is due in a slot before it */
    size_t pending;
};

void bh_wheel_init(struct bh_wheel *w); /* of zeroed memory */
/* Fires all that is due at now_ms. */
void bh_wheel_sweep(struct bh_wheel *w, uint64_t now_ms);
/* When the next sweep is worth while; BH_WHEEL_NEVER without timers. */
uint64_t bh_wheel_next(struct bh_wheel *w);

struct bh_resolver;

#define BH_LOOP_TLS_BUFFER   (48 * 1024)
#define BH_LOOP_WRITE_BUFFER (16 * 1024)

struct bh_loop {
    struct event_base *base;
    struct event wake_timer;
    uint64_t wake_ms; /* what wake_timer is set to, or BH_WHEEL_NEVER */
    struct bh_list phases[2];
    struct bh_list mail; /* boxes to serve */
    bool in_tick;        /* callbacks and phases are running */
    bool stopped;
    unsigned callbacks; /* of this tick */
    uint64_t now_ms;
    uint64_t tick_began_us;
    uint64_t tls_budget_us;       /* for the handshakes of one tick */
    uint64_t tls_spent_us;        /* of it, in this tick */
    unsigned char *tls_buffer;    /* BH_LOOP_TLS_BUFFER bytes of ciphertext; NULL until needed */
    struct bh_resolver *resolver; /* NULL until the first bh_resolve */
    struct bh_wheel wheel;
    unsigned char read_buffer[BH_LOOP_READ_BUFFER];
    unsigned char write_buffer[BH_LOOP_WRITE_BUFFER];
};

/* Each event callback of io calls this first: the waiting is over, the clock of this tick is read.
 * libevent 2.1 has no hook for it. */
void bh_loop_enter(struct bh_loop *loop);

/* The loop that this thread is ticking, or NULL. */
struct bh_loop *bh_loop_current(void);

/* resolve.c: forgets all that is under way; threads that still look up a name clean up alone. */
void bh_resolver_free(struct bh_resolver *resolver);

#endif
