/* directory.h - which workers hold a topic, and what the broker is asked to subscribe.
 *
 * Lives on the bus. Interest goes 0 -> 1: subscribe at the broker; 1 -> 0: unsubscribe after a
 * linger, so that a phone that changes cells costs Redis nothing. A ticket waits until its topics
 * are live; while a shard of the broker is down none of its topics can become live, so nobody waits
 * for those. */
#ifndef BELLHOP_SRC_CORE_DIRECTORY_H
#define BELLHOP_SRC_CORE_DIRECTORY_H

#include "bellhop/base/map.h"
#include "bellhop/core/broker.h"
#include "bellhop/io/timer.h"

struct bh_directory {
    struct bh_map entries;
    struct bh_list lingering; /* entries without interest, oldest first */
    struct bh_timer timer;
    struct bh_broker *broker;
    uint64_t linger_ms;
    uint32_t up; /* the broker's shards, one bit each */
};

struct bh_directory_waiter {
    struct bh_directory_waiter *next, **link; /* in its entry's list; link NULL: in none */
    struct bh_directory_ticket *ticket;
};

/* Embedded in the asker's mail, followed by room for one waiter for each topic. */
struct bh_directory_ticket {
    unsigned pending;
    void (*on_live)(struct bh_directory_ticket *t); /* once; may free the ticket */
    struct bh_directory_waiter *waiters;
    unsigned waiter_count;
};

void bh_directory_init(struct bh_directory *d, struct bh_broker *broker, struct bh_loop *bus,
                       uint64_t linger_ms);
/* Completes what waits, lets go of the loop, and asks nothing of the broker any more. */
void bh_directory_stop(struct bh_directory *d);
void bh_directory_deinit(struct bh_directory *d); /* stops it first, if need be */
/* Keeps the topic subscribed without any worker. */
void bh_directory_pin(struct bh_directory *d, struct bh_slice topic);
void bh_directory_add(struct bh_directory *d, unsigned worker, struct bh_slice topic);
void bh_directory_remove(struct bh_directory *d, unsigned worker, struct bh_slice topic);
/* The set of workers that hold it, one bit each. */
uint64_t bh_directory_workers(const struct bh_directory *d, struct bh_slice topic);
/* Whether the broker brings it here, because somebody holds it or did a moment ago. */
bool bh_directory_subscribed(const struct bh_directory *d, struct bh_slice topic);
/* Completes the ticket when all its topics (which have been added) are live, but for those whose
 * shard is down: maybe now. The caller has set on_live and waiters (room for count). */
void bh_directory_wait(struct bh_directory *d, struct bh_directory_ticket *t,
                       const struct bh_slice *topics, unsigned count);
/* From the broker. */
void bh_directory_live(struct bh_directory *d, struct bh_slice topic);
void bh_directory_state(struct bh_directory *d, unsigned shard, bool up);

#endif
