/* subscription.c - see the header. */
#include "broker/subscription.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "link/errors.h"
#include "link/metrics.h"

void bh_redis_subscription_wake(struct bh_redis_subscriptions *s) {
    if (bh_redis_link_is_ready(&s->link))
        bh_defer(s->link.loop, BH_PHASE_FLUSH, &s->flush);
}

void bh_redis_subscription_enqueue(struct bh_redis_subscriptions *s,
                                   struct bh_redis_subscription *e) {
    if (bh_list_empty(&e->node))
        bh_list_append(&s->queue, &e->node);
    bh_redis_subscription_wake(s);
}

void bh_redis_subscription_stop_leaving(struct bh_redis_subscriptions *s,
                                        struct bh_redis_subscription *e) {
    s->sharded.leaving -= e->leaving;
    e->leaving = false;
}

struct bh_redis_subscription *bh_redis_subscription_want(struct bh_redis_subscriptions *s,
                                                         struct bh_slice channel) {
    struct bh_redis_subscription *e = bh_redis_subscription_find(s, channel);
    if (!e) {
        e = bh_malloc(BH_SIZE_WITH(struct bh_redis_subscription, channel, channel.n));
        *e = (struct bh_redis_subscription){.len = channel.n & 2047};
        memcpy(e->channel, channel.p, channel.n);
        bh_list_init(&e->node);
        bh_map_put(&s->channels, e);
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_SUBSCRIPTIONS]);
    }
    e->wanted = true;
    bh_redis_subscription_stop_leaving(s, e);
    if (!e->sent)
        bh_redis_subscription_enqueue(s, e);
    return e;
}

static void one_restored(struct bh_redis_subscriptions *s) {
    if (--s->restoring > 0)
        return;
    atomic_store(&s->up, true);
    bh_redis_link_settle(&s->link);
    bh_info("subscribed to Redis", bh_kv_int("channels", (int64_t)s->channels.count));
    s->sink.on_state(s->sink.ud, 0, true);
}

void bh_redis_subscription_discard(struct bh_redis_subscriptions *s,
                                   struct bh_redis_subscription *e) {
    bh_map_remove(&s->channels, bh_redis_subscription_key(e));
    bh_list_unlink(&e->node);
    bh_redis_subscription_stop_leaving(s, e);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_SUBSCRIPTIONS], -1);
    bool was_restoring = e->restoring;
    bh_free(e);
    if (was_restoring)
        one_restored(s);
}

void bh_redis_subscription_unwant(struct bh_redis_subscriptions *s,
                                  struct bh_redis_subscription *e) {
    e->wanted = false;
    bh_redis_subscription_stop_leaving(s, e);
    /* Not while it counts in `restoring`: discarding it could call the sink from inside a verb. */
    if (!e->sent && e->outstanding == 0 && !e->restoring)
        bh_redis_subscription_discard(s, e);
    else
        bh_redis_subscription_enqueue(s, e);
}

void bh_redis_subscription_sent(struct bh_redis_subscriptions *s, struct bh_redis_subscription *e,
                                bool subscribe) {
    e->sent = subscribe;
    e->outstanding++;
    s->unconfirmed++;
    s->subscribing = true;
}

void bh_redis_subscription_report(struct bh_redis_subscriptions *s,
                                  const struct bh_redis_subscription *e) {
    struct bh_topic topic;
    if (bh_topic_from_channel(bh_redis_subscription_key(e), s->prefix, &topic) == 0)
        s->sink.on_subscribed(s->sink.ud, bh_topic_name(&topic));
}

/* False: that one waits for a further answer. */
bool bh_redis_subscription_answered(struct bh_redis_subscriptions *s,
                                    struct bh_redis_subscription *e) {
    e->outstanding--;
    if (s->unconfirmed-- == BH_REDIS_SUBSCRIBE_WINDOW / 2)
        bh_redis_subscription_wake(s);
    return e->outstanding == 0;
}

static void on_live(struct bh_redis_subscriptions *s, struct bh_redis_subscription *e) {
    if (!bh_redis_subscription_is_probe(s, bh_redis_subscription_key(e))) {
        bh_redis_subscription_report(s, e);
    } else if (s->probing) {
        s->on_probe_channel(s);
    } else {
        s->probing = true;
        s->on_probing(s);
    }
}

void bh_redis_subscription_confirmed(struct bh_redis_subscriptions *s, bool subscribed,
                                     struct bh_slice channel) {
    struct bh_redis_subscription *e = bh_redis_subscription_find(s, channel);
    if (!e || e->outstanding == 0 || !bh_redis_subscription_answered(s, e))
        return;
    if (e->sent != subscribed) {
        bh_redis_link_drop(&s->link, BH_EPROTO,
                           "protocol error from Redis: a confirmation out of order");
        return;
    }
    bool live = bh_redis_subscription_is_live(e);
    if (live)
        on_live(s, e);
    /* The sink only queues, so e is still valid. */
    if (e->restoring && (live || !e->wanted)) {
        e->restoring = false;
        one_restored(s);
    }
    if (!e->wanted && !e->sent)
        bh_redis_subscription_discard(s, e);
}

static void malformed(struct bh_slice channel, const char *why) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_MALFORMED]);
    bh_warn_limited("dropped a message from Redis", bh_kv_slice("channel", channel),
                    bh_kv_str("reason", why));
}

void bh_redis_subscription_message(struct bh_redis_subscriptions *s, struct bh_slice channel,
                                   struct bh_slice bytes) {
    struct bh_topic topic;
    struct bh_message *m;
    const char *why;
    if (bh_redis_subscription_is_probe(s, channel)) {
        s->on_probe(s, bytes);
        return;
    }
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_MESSAGES]);
    if (bh_topic_from_channel(channel, s->prefix, &topic) != 0) {
        malformed(channel, "not a channel of the configured prefix");
        return;
    }
    if (bh_envelope_open(&topic, bytes, bh_loop_now(s->link.loop), &m, &why) != 0) {
        malformed(channel, why);
        return;
    }
    s->sink.on_message(s->sink.ud, m);
    bh_message_unref(m);
}

void bh_redis_subscription_rejected(struct bh_redis_subscriptions *s, struct bh_slice answer) {
    const struct bh_redis_error *err = bh_redis_classify_error(answer);
    BH_LOG_LIMITED(BH_LOG_ERROR, "subscription rejected by Redis", bh_kv_slice("answer", answer),
                   bh_kv_str("prefix", s->config->channel_prefix), bh_kv_str("hint", err->hint));
    bh_redis_link_drop(&s->link, BH_EDENIED, err->why);
}
