/* subscription.h - one channel of a subscriber link: whether it is wanted, and what was sent for
 * it. Private to subscriptions.c, which has the whole picture, and sharded.c. */
#ifndef BELLHOP_BACKEND_REDIS_SUBSCRIPTION_H
#define BELLHOP_BACKEND_REDIS_SUBSCRIPTION_H

#include "bellhop/core/topic.h"
#include "broker/subscriptions.h"

/* Commands that are sent at once, and channels in commands that are not confirmed. */
#define BH_REDIS_SUBSCRIBE_CHUNK  500
#define BH_REDIS_SUBSCRIBE_WINDOW 5000

/* One for each connected user, so it is small. */
struct bh_redis_subscription {
    struct bh_list node;       /* in the queue, or paused */
    uint32_t outstanding : 13; /* at most WINDOW + CHUNK */
    uint32_t len : 11;
    bool wanted : 1, sent : 1, restoring : 1;
    bool leaving : 1; /* not wanted, but kept until it is subscribed elsewhere */
    char channel[];
};

_Static_assert(BH_CHANNEL_MAX < 1 << 11, "the length of a channel fits");
_Static_assert(BH_REDIS_SUBSCRIBE_WINDOW + BH_REDIS_SUBSCRIBE_CHUNK < 1 << 13,
               "the number of confirmations fits");

static inline struct bh_slice bh_redis_subscription_key(const void *value) {
    const struct bh_redis_subscription *e = value;
    return bh_slice(e->channel, e->len);
}

static inline bool bh_redis_subscription_is_live(const struct bh_redis_subscription *e) {
    return e->wanted && e->sent && e->outstanding == 0;
}

static inline bool bh_redis_subscription_is_probe(const struct bh_redis_subscriptions *s,
                                                  struct bh_slice channel) {
    return bh_slice_eq(channel, bh_slice_cstr(s->probe_channel));
}

static inline struct bh_redis_subscription *
bh_redis_subscription_find(const struct bh_redis_subscriptions *s, struct bh_slice channel) {
    return bh_map_get(&s->channels, channel);
}

struct bh_redis_subscription *bh_redis_subscription_want(struct bh_redis_subscriptions *s,
                                                         struct bh_slice channel);
/* May free it. */
void bh_redis_subscription_unwant(struct bh_redis_subscriptions *s,
                                  struct bh_redis_subscription *e);
void bh_redis_subscription_stop_leaving(struct bh_redis_subscriptions *s,
                                        struct bh_redis_subscription *e);
/* Frees it; the connection may be up by that. */
void bh_redis_subscription_discard(struct bh_redis_subscriptions *s,
                                   struct bh_redis_subscription *e);

/* The queue is looked at, at the end of the tick. */
void bh_redis_subscription_wake(struct bh_redis_subscriptions *s);
void bh_redis_subscription_enqueue(struct bh_redis_subscriptions *s,
                                   struct bh_redis_subscription *e);

/* A command was sent for it; it has been answered, in which way ever: true if that was the last
 * answer. */
void bh_redis_subscription_sent(struct bh_redis_subscriptions *s, struct bh_redis_subscription *e,
                                bool subscribe);
bool bh_redis_subscription_answered(struct bh_redis_subscriptions *s,
                                    struct bh_redis_subscription *e);

/* --- what the server says --- */

void bh_redis_subscription_confirmed(struct bh_redis_subscriptions *s, bool subscribed,
                                     struct bh_slice channel);
void bh_redis_subscription_message(struct bh_redis_subscriptions *s, struct bh_slice channel,
                                   struct bh_slice bytes);
/* An error that is not about one channel: drops the link. */
void bh_redis_subscription_rejected(struct bh_redis_subscriptions *s, struct bh_slice answer);

/* Calls on_subscribed. */
void bh_redis_subscription_report(struct bh_redis_subscriptions *s,
                                  const struct bh_redis_subscription *e);

/* --- sharded.c --- */

void bh_redis_sharded_send(struct bh_redis_subscriptions *s, bool subscribe, struct bh_list *list);
void bh_redis_sharded_push(struct bh_redis_subscriptions *s, const struct bh_reply *reply);
/* A PING was sent. */
void bh_redis_sharded_pinged(struct bh_redis_subscriptions *s);
void bh_redis_sharded_init(struct bh_redis_subscriptions *s);
void bh_redis_sharded_start(struct bh_redis_subscriptions *s, struct bh_loop *loop);
/* The link is down, or has stopped: nothing is paused or outstanding any more. */
void bh_redis_sharded_reset(struct bh_redis_subscriptions *s);

#endif
