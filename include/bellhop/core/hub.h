/* hub.h - the subscribers of each topic on one worker.
 *
 * Two-way index: topic -> array of subscribers, subscriber -> array of links. A topic is removed
 * with its last subscriber. During bh_hub_foreach any subscriber may leave or join: a removal
 * leaves a hole that is closed afterwards, additions are not visited. A loop inside another one is
 * refused with BH_EAGAIN and queued by the caller, so that scripts cannot recurse and every
 * subscriber sees the same order. Thread: the worker's. */
#ifndef BELLHOP_CORE_HUB_H
#define BELLHOP_CORE_HUB_H

#include "bellhop/base/map.h"
#include "bellhop/core/subscriber.h"

/* One for each connected user, so it is small. */
struct bh_hub_topic {
    union {
        struct bh_subscriber *one;
        struct bh_subscriber **many;
    };
    uint32_t count; /* live subscribers */
    uint32_t used;  /* slots in use, holes included */
    uint16_t len;
    uint8_t cap_log2; /* of the slots; 0: `one` is the array */
    char name[];
};

struct bh_hub {
    struct bh_map topics;
    struct bh_hub_topic *delivering; /* the topic of the current loop, or NULL */
    bool holes;                      /* in that topic */
};

void bh_hub_init(struct bh_hub *hub);
void bh_hub_deinit(struct bh_hub *hub); /* must be empty of subscribers */

/* Joins; *first: the topic is new on this worker. Returns the topic, or NULL when the subscriber is
 * in it already. The caller checks BH_SUBSCRIBER_TOPICS_MAX. */
struct bh_hub_topic *bh_hub_join(struct bh_hub *hub, struct bh_subscriber *s, struct bh_slice topic,
                                 bool *first);
/* Leaves; *last: it was the last one on this worker. 0 or BH_ENOTFOUND. */
int bh_hub_leave(struct bh_hub *hub, struct bh_subscriber *s, struct bh_slice topic, bool *last);
/* The same for the topic of the subscriber's last link; it must have one. */
void bh_hub_leave_last(struct bh_hub *hub, struct bh_subscriber *s, bool *last);
struct bh_hub_topic *bh_hub_find(const struct bh_hub *hub, struct bh_slice topic);

/* Calls fn for each subscriber that the topic has at the time of the call. Returns how many, or
 * BH_EAGAIN inside another call (the caller queues it). */
int bh_hub_foreach(struct bh_hub *hub, struct bh_slice topic,
                   void (*fn)(struct bh_subscriber *s, void *ud), void *ud);

static inline uint32_t bh_hub_topic_capacity(const struct bh_hub_topic *t) {
    return UINT32_C(1) << t->cap_log2;
}

static inline struct bh_slice bh_hub_topic_name(const struct bh_hub_topic *t) {
    return bh_slice(t->name, t->len);
}

#endif
