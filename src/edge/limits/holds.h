/* holds.h - what each connection of a worker makes the process hold, and which ones are closed when
 * it is too much.
 *
 * A connection has a hold while it keeps something for its peer beyond a turn: an unfinished
 * message or body, received bytes that wait, unsent bytes that the kernel does not take. It says
 * how much; the hold charges it to the budget (base/budget.h) and, from 4 KiB on, to its owner: the
 * user, or else the address. Owners are counted for the whole process, because the kernel spreads
 * the connections of one client over all workers.
 *
 * When the budget is exceeded, each worker closes connections of the owner that holds most, those
 * with the oldest unfinished message first, until it is not exceeded any more.
 *
 * An unfinished message has a deadline that moves with its progress: BH_HOLD_RATE bytes move it by
 * a second, at most to the whole timeout from now. Thread: the worker's. */
#ifndef BELLHOP_EDGE_HOLDS_H
#define BELLHOP_EDGE_HOLDS_H

#include "bellhop/base/budget.h"
#include "bellhop/io/cidr.h"
#include "bellhop/io/timer.h"

#define BH_HOLD_RATE 10240 /* bytes per second */

struct bh_hold;

/* Callbacks may end this hold and others. */
struct bh_hold_ops {
    enum bh_budget_kind kind; /* of what is unfinished */
    bool charges_queue;       /* false: buffers charge themselves (bh_buf_count) */
    /* The budget is exceeded: close the connection and free what it holds, now. */
    void (*on_excess)(struct bh_hold *h);
    /* The deadline has passed: as above. NULL, also the next one: bh_hold_wait is not used. */
    void (*on_stalled)(struct bh_hold *h);
    uint64_t (*progress)(const struct bh_hold *h); /* how much of the message has come */
};

struct bh_hold {
    struct bh_holds *holds;
    const struct bh_hold_ops *ops;
    uint64_t owner;
    struct bh_list node;
    struct bh_list chosen; /* to be closed */
    struct bh_timer deadline;
    size_t unfinished, held, queued;
    uint64_t began_ms; /* the unfinished message */
    uint64_t due_ms;   /* its deadline; the timer may fire earlier */
    uint64_t progress; /* for which the deadline has been moved */
    uint32_t owned;    /* KiB that are charged to the owner */
    bool may_close;
    bool waits;  /* for more of the message */
    bool paused; /* the peer is not read */
};

/* One worker's. */
struct bh_holds {
    struct bh_loop *loop;
    uint64_t message_ms; /* 0: no limit */
    struct bh_list list; /* struct bh_hold */
    struct bh_timer sweep;
    struct bh_defer relief;
};

void bh_holds_init(struct bh_holds *s, struct bh_loop *loop, uint64_t message_ms);
void bh_holds_deinit(struct bh_holds *s);

/* user.n == 0: the address. */
uint64_t bh_hold_owner(struct bh_slice user, const struct bh_ip *ip);
/* The holds must outlive it. */
void bh_hold_init(struct bh_hold *h, struct bh_holds *s, const struct bh_hold_ops *ops,
                  uint64_t owner);
/* What it holds from now on, in bytes. may_close false: it is not counted for its owner, because
 * closing the connection would not help. */
void bh_hold_set(struct bh_hold *h, size_t unfinished, size_t held, size_t queued, bool may_close);
/* What is unfinished has begun; _wait does that, too. */
void bh_hold_begin(struct bh_hold *h);
/* A message has begun, or may have made progress: starts or moves the deadline. */
void bh_hold_wait(struct bh_hold *h);
/* It is complete, or no bytes of the peer are missing: no deadline. */
void bh_hold_wait_no_more(struct bh_hold *h);
/* The connection is not read: no deadline, and a new one when it is read again. */
void bh_hold_set_paused(struct bh_hold *h, bool paused);
static inline void bh_hold_pause(struct bh_hold *h, bool paused) {
    if (h->paused != paused)
        bh_hold_set_paused(h, paused);
}
/* Holds nothing any more; _init to use it again. Harmless a second time. */
void bh_hold_end(struct bh_hold *h);

#endif
