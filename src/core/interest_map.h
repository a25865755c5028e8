/* interest_map.h - which workers hold a topic, and what the broker is asked to subscribe.
 *
 * When the first worker adds a topic, it is subscribed at the broker; when the last one removes it,
 * it is unsubscribed after a linger, so that a short disconnect costs Redis nothing. A ticket waits
 * until its topics are live. While a shard of the broker is down, none of its topics can become
 * live, so tickets do not wait for them. Thread: the bus. */
#ifndef BELLHOP_SRC_CORE_INTEREST_MAP_H
#define BELLHOP_SRC_CORE_INTEREST_MAP_H

#include "bellhop/base/map.h"
#include "bellhop/core/broker.h"
#include "bellhop/io/timer.h"

/* Hears which topics the broker is asked to subscribe. */
struct bh_interest_observer {
    void (*added)(void *ud, struct bh_slice topic, bool live);
    void (*gone)(void *ud, struct bh_slice topic); /* unsubscribed */
    void *ud;
};

struct bh_interest_map {
    struct bh_map entries;
    struct bh_list lingering; /* entries without interest, oldest first */
    struct bh_timer timer;
    struct bh_broker *broker;
    uint64_t linger_ms;
    uint32_t up;                          /* the broker's shards, one bit each */
    struct bh_interest_observer observer; /* set before the first topic; or none */
};

struct bh_interest_waiter {
    struct bh_interest_waiter *next, **link; /* in its entry's list; link NULL: in none */
    struct bh_interest_ticket *ticket;
};

/* Embedded in the caller's mail. */
struct bh_interest_ticket {
    unsigned pending;
    void (*on_live)(struct bh_interest_ticket *t); /* once; may free the ticket */
    struct bh_interest_waiter *waiters;
    unsigned waiter_count;
};

void bh_interest_map_init(struct bh_interest_map *map, struct bh_broker *broker,
                          struct bh_loop *bus, uint64_t linger_ms);
/* Completes all tickets, cancels the timer, and makes no further call to the broker. */
void bh_interest_map_stop(struct bh_interest_map *map);
void bh_interest_map_deinit(struct bh_interest_map *map); /* stops it first if needed */
/* Keeps the topic subscribed without any worker. */
void bh_interest_map_pin(struct bh_interest_map *map, struct bh_slice topic);
void bh_interest_map_add(struct bh_interest_map *map, unsigned worker, struct bh_slice topic);
void bh_interest_map_remove(struct bh_interest_map *map, unsigned worker, struct bh_slice topic);
/* The set of workers that hold it, one bit each. */
uint64_t bh_interest_map_workers(const struct bh_interest_map *map, struct bh_slice topic);
/* Whether the broker delivers it to this instance: a worker holds it, or it lingers. */
bool bh_interest_map_subscribed(const struct bh_interest_map *map, struct bh_slice topic);
/* Completes the ticket, maybe at once, when all its topics are live, except those whose shard is
 * down. The topics have been added; the caller has set on_live, and waiters with room for count. */
void bh_interest_map_wait(struct bh_interest_map *map, struct bh_interest_ticket *t,
                          const struct bh_slice *topics, unsigned count);
/* From the broker. */
void bh_interest_map_live(struct bh_interest_map *map, struct bh_slice topic);
/* It is not live until it is told again; tickets that wait for it go on waiting. */
void bh_interest_map_lost(struct bh_interest_map *map, struct bh_slice topic);
void bh_interest_map_state(struct bh_interest_map *map, unsigned shard, bool up);

#endif
