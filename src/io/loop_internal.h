/* loop_internal.h - the struct behind a loop, for the modules of io. Thread: the loop's. Private to
 * src/io. */
#ifndef BELLHOP_SRC_IO_LOOP_INTERNAL_H
#define BELLHOP_SRC_IO_LOOP_INTERNAL_H

#include "bellhop/io/loop.h"
#include "bellhop/io/timer.h"
#include "wheel.h"

#include <event2/event_struct.h>

struct bh_resolver;

#define BH_LOOP_TLS_BUFFER   (48 * 1024)
#define BH_LOOP_WRITE_BUFFER (16 * 1024)

struct bh_stream;

/* long_steps.c */
struct bh_long_steps {
    struct bh_list line;      /* struct bh_turn */
    struct bh_stream *holder; /* has begun one, or may; else NULL */
    struct bh_stream *last;   /* had the last one; only compared */
    bool others;              /* have had a step since then */
    unsigned char judging;    /* ticks until it is known who had to wait for it */
    uint64_t cpu_us;          /* the thread's CPU time when it began */
    uint64_t tick_end_us;     /* of the tick in which the last one ended */
    uint64_t free_ms;         /* when it is waited off; 0: nobody had to wait for it */
    struct bh_timer timer;
};

struct bh_loop {
    struct event_base *base;
    struct event wake_timer;
    uint64_t wake_ms; /* the time of wake_timer, or BH_WHEEL_NEVER */
    struct bh_list phases[2];
    struct bh_list mail;     /* mailboxes with mail */
    struct bh_list runnable; /* work that was put off */
    bool in_tick;            /* callbacks and phases are running */
    bool stopped;
    bool in_turn;  /* runnable work is being served */
    bool crowded;  /* some of it had to wait for another tick */
    bool draining; /* bh_loop_free: nothing is put off any more */
    uint64_t now_ms;
    uint64_t tick_began_us;
    uint64_t clock_us; /* the last reading of this tick */
    uint64_t share_began_us;
    uint64_t share_cpu_us;  /* the thread's CPU time then, if it is of interest */
    struct bh_list debtors; /* struct bh_turn; debts.c */
    uint64_t debts_end_us;  /* when the debts so far are waited off */
    struct bh_timer debt_timer;
    struct bh_long_steps long_steps;
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

/* Others wait, in this tick or in the list, so costly events should be put off. */
bool bh_loop_is_late(const struct bh_loop *loop);

/* The loop that this thread is ticking, or NULL. */
struct bh_loop *bh_loop_current(void);

#endif
