/* waiting.h - the commands of one thread that wait, a queue for each slot that is held. Private to
 * the cluster.
 *
 * A queue gives first what was sent before and came back (`back`), in the order of the replies,
 * then what was routed meanwhile (`fresh`): the order in which they were routed first.
 *
 * Thread: that of the side. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_WAITING_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_WAITING_H

#include "broker/route.h"
#include "cluster/slots.h"

/* One slot. It is there while commands wait or a barrier stands. */
struct bh_redis_held {
    struct bh_list node; /* in the waiting's list */
    uint16_t slot;
    size_t count;
    struct bh_list back, fresh; /* struct bh_redis_routed */
    uint64_t pause_until_ms;    /* not to be sent before */
    unsigned barriers;          /* that stand, */
    uint64_t barriers_until_ms; /* and count until then; */
    uint64_t ignored;           /* those up to that number do not */
    const char *why;            /* they wait, a constant */
};

struct bh_redis_waiting {
    struct bh_redis_held **slots; /* NULL: none is held */
    struct bh_list list;          /* struct bh_redis_held */
    size_t count, bytes;          /* of commands */
    uint64_t barrier;             /* the number of the last one */
};

void bh_redis_waiting_init(struct bh_redis_waiting *w);

static inline struct bh_redis_held *bh_redis_waiting_held(const struct bh_redis_waiting *w,
                                                          unsigned slot) {
    return w->slots ? w->slots[slot] : NULL;
}
/* Held from now on, if it was not. */
struct bh_redis_held *bh_redis_waiting_hold(struct bh_redis_waiting *w, unsigned slot,
                                            const char *why);
/* It waits, or fails: there are too many, or its time is over. */
void bh_redis_waiting_add(struct bh_redis_waiting *w, struct bh_redis_held *held,
                          struct bh_redis_routed *one, bool back, uint64_t now_ms);
/* The next one, which does not wait any more; NULL: there is none. */
struct bh_redis_routed *bh_redis_waiting_take(struct bh_redis_waiting *w,
                                              struct bh_redis_held *held);
/* Fails those whose time is over. */
void bh_redis_waiting_expire(struct bh_redis_waiting *w, struct bh_redis_held *held,
                             uint64_t now_ms);
/* Fails all. */
void bh_redis_waiting_fail(struct bh_redis_waiting *w, const char *why);
/* Ends the hold when nothing waits and no barrier stands: held is freed then. */
void bh_redis_waiting_tidy(struct bh_redis_waiting *w, struct bh_redis_held *held);

/* --- barriers: nothing is sent until what was sent before is answered --- */

/* One more stands before that slot, until it is lifted, or that time is over. */
void bh_redis_waiting_bar(struct bh_redis_held *held, uint64_t until_ms);
/* The barrier of that number (of w->barrier, when it was put there) is lifted. The held slot, when
 * no other one stands; else NULL. */
struct bh_redis_held *bh_redis_waiting_lift(struct bh_redis_waiting *w, unsigned slot,
                                            uint64_t number);
/* Neither a barrier nor a pause keeps it from being sent. */
bool bh_redis_waiting_may_send(const struct bh_redis_waiting *w, struct bh_redis_held *held,
                               uint64_t now_ms);

#endif
