/* hub.h - which of a worker's subscribers hold a topic, and delivery to them.
 *
 * Two-way index: topic -> array of subscribers, subscriber -> array of links. An entry goes when
 * its last subscriber does. Delivery may unsubscribe and close whatever it likes: removal during a
 * delivery leaves a hole that is closed afterwards, additions are not visited. A delivery that
 * starts inside another one is refused with BH_EAGAIN and queued by the caller, so
 * that scripts cannot recurse and every subscriber sees one order.
 * Thread: the worker's. */
#ifndef BELLHOP_CORE_HUB_H
#define BELLHOP_CORE_HUB_H

#include "bellhop/base/map.h"
#include "bellhop/core/subscriber.h"

struct bh_hub_topic {
    union {
        struct bh_subscriber *one;
        struct bh_subscriber **many;
    };
    uint32_t count; /* live subscribers */
    uint32_t used;  /* slots in use, holes included */
    uint32_t cap;   /* 1: `one` is the array */
    uint8_t len;
    char name[];
};

struct bh_hub {
    struct bh_map topics;
    struct bh_hub_topic *delivering; /* the topic being walked, or NULL */
    bool holes;                      /* left in it */
};

void bh_hub_init(struct bh_hub *hub);
void bh_hub_deinit(struct bh_hub *hub); /* must be empty of subscribers */

/* Joins; *first tells whether the topic is new on this worker. The topic, or NULL when the
 * subscriber is in it already. The caller minds BH_SUBSCRIBER_TOPICS_MAX. */
struct bh_hub_topic *bh_hub_join(struct bh_hub *hub, struct bh_subscriber *s, struct bh_slice topic,
                                 bool *first);
/* Leaves; *last tells whether the topic has gone from this worker. 0 or BH_ENOTFOUND. */
int bh_hub_leave(struct bh_hub *hub, struct bh_subscriber *s, struct bh_slice topic, bool *last);
/* The same with the topic of the subscriber's last link, of which there must be one. */
void bh_hub_leave_last(struct bh_hub *hub, struct bh_subscriber *s, bool *last);
struct bh_hub_topic *bh_hub_find(const struct bh_hub *hub, struct bh_slice topic);

/* Calls fn for each subscriber of the topic at the time of the call. Returns how many, or BH_EAGAIN
 * when a walk is under way (the caller queues it). */
int bh_hub_foreach(struct bh_hub *hub, struct bh_slice topic,
                   void (*fn)(struct bh_subscriber *s, void *ud), void *ud);

static inline struct bh_slice bh_hub_topic_name(const struct bh_hub_topic *t) {
    return bh_slice(t->name, t->len);
}

#endif
