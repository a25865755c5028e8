/* subscriptions.c - subscribes to exactly the channels that are wanted.
 *
 * Each channel has two states: whether it is wanted, and what the last command sent makes of it.
 * While they differ it waits in a queue, and the end of the tick sends the difference: many
 * channels in one SUBSCRIBE or UNSUBSCRIBE. A channel that is wanted, unwanted and wanted again
 * within a tick causes no command; across ticks Redis executes the commands in order, and only the
 * last confirmation counts:
 *
 *     live = wanted and sent and no confirmation outstanding
 *
 * When the link drops, every wanted channel goes back into the queue, and the next connection sends
 * them all with the same code: in chunks, and with a window of unconfirmed ones, so that Redis
 * never buffers a long tail of confirmations (it would close the connection of a slow subscriber).
 * A connection counts as up when the channels that were wanted at its start are confirmed.
 *
 * The probe's channel is an ordinary one that is always wanted, and subscribed first. So a live
 * link is never silent for long; a silent one is sent a PING. A subscriber connection has no queue
 * of pending commands: each message names what it is. */
#include "broker/subscriptions.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "link/errors.h"
#include "link/metrics.h"
#include "link/resp.h"

#include <stdio.h>

#define CHUNK  500
#define WINDOW 5000

/* One for each connected user, so it is small. */
struct subscription {
    struct bh_list node;       /* in the queue */
    uint32_t outstanding : 18; /* at most WINDOW + CHUNK */
    uint32_t len : 11;
    bool wanted : 1, sent : 1, restoring : 1;
    char channel[];
};

_Static_assert(BH_CHANNEL_MAX < 1 << 11, "the length of a channel fits");
_Static_assert(WINDOW + CHUNK < 1 << 18, "the number of confirmations fits");

static struct bh_slice key_of(const void *value) {
    const struct subscription *e = value;
    return bh_slice(e->channel, e->len);
}

static bool is_probe(const struct bh_redis_subscriptions *s, struct bh_slice channel) {
    return bh_slice_eq(channel, bh_slice_cstr(s->probe_channel));
}

static bool is_live(const struct subscription *e) {
    return e->wanted && e->sent && e->outstanding == 0;
}

static void wake(struct bh_redis_subscriptions *s) {
    if (bh_redis_link_is_ready(&s->link))
        bh_defer(s->link.loop, BH_PHASE_FLUSH, &s->flush);
}

static void enqueue(struct bh_redis_subscriptions *s, struct subscription *e) {
    if (bh_list_empty(&e->node))
        bh_list_append(&s->queue, &e->node);
    wake(s);
}

static struct subscription *want(struct bh_redis_subscriptions *s, struct bh_slice channel) {
    struct subscription *e = bh_map_get(&s->channels, channel);
    if (!e) {
        e = bh_malloc(BH_SIZE_WITH(struct subscription, channel, channel.n));
        *e = (struct subscription){.len = channel.n & 2047};
        memcpy(e->channel, channel.p, channel.n);
        bh_list_init(&e->node);
        bh_map_put(&s->channels, e);
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_SUBSCRIPTIONS]);
    }
    e->wanted = true;
    if (!e->sent)
        enqueue(s, e);
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

static void discard(struct bh_redis_subscriptions *s, struct subscription *e) {
    bh_map_remove(&s->channels, key_of(e));
    bh_list_unlink(&e->node);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_SUBSCRIPTIONS], -1);
    bool was_restoring = e->restoring;
    bh_free(e);
    if (was_restoring)
        one_restored(s);
}

/* --- out: the difference between wanted and sent --- */

static void send_chunk(struct bh_redis_subscriptions *s, bool subscribe, struct bh_list *list,
                       size_t count) {
    struct bh_slice verb = subscribe ? BH_SLICE("SUBSCRIBE") : BH_SLICE("UNSUBSCRIBE");
    const char *why;
    size_t bound = BH_RESP_HEAD_MAX + BH_RESP_BULK_MAX(verb.n);
    for (struct bh_list *at = list->next; at != list; at = at->next)
        bound += BH_RESP_BULK_MAX((size_t)BH_CONTAINER_OF(at, struct subscription, node)->len);
    char *p = count ? bh_redis_link_begin(&s->link, bound, &why) : NULL;
    if (!p)
        return; /* nothing to send; the window keeps the queue of the link far from full */
    p = bh_resp_bulk(bh_resp_head(p, '*', count + 1), verb);
    struct bh_list *node;
    while ((node = bh_list_shift(list))) {
        struct subscription *e = BH_CONTAINER_OF(node, struct subscription, node);
        e->sent = subscribe;
        e->outstanding++;
        s->unconfirmed++;
        p = bh_resp_bulk(p, key_of(e));
    }
    bh_redis_link_commit(&s->link, p, NULL);
    s->subscribing = true;
}

static void send_some(struct bh_redis_subscriptions *s) {
    struct bh_list subscribe, unsubscribe, *node;
    size_t subscribes = 0, unsubscribes = 0;
    bh_list_init(&subscribe);
    bh_list_init(&unsubscribe);
    while (subscribes + unsubscribes < CHUNK && (node = bh_list_shift(&s->queue))) {
        struct subscription *e = BH_CONTAINER_OF(node, struct subscription, node);
        if (e->wanted && !e->sent) {
            bh_list_append(&subscribe, node);
            subscribes++;
        } else if (!e->wanted && e->sent) {
            bh_list_append(&unsubscribe, node);
            unsubscribes++;
        } else if (!e->wanted && e->outstanding == 0) {
            discard(s, e);
        }
    }
    send_chunk(s, true, &subscribe, subscribes);
    send_chunk(s, false, &unsubscribe, unsubscribes);
}

static void on_flush(struct bh_defer *d) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(d, struct bh_redis_subscriptions, flush);
    while (bh_redis_link_is_ready(&s->link) && !bh_list_empty(&s->queue) && s->unconfirmed < WINDOW)
        send_some(s);
}

/* --- in --- */

static void report(struct bh_redis_subscriptions *s, const struct subscription *e) {
    struct bh_topic topic;
    if (bh_topic_from_channel(key_of(e), s->prefix, &topic) == 0)
        s->sink.on_subscribed(s->sink.ud, bh_topic_name(&topic));
}

static void on_confirmed(struct bh_redis_subscriptions *s, bool subscribed,
                         struct bh_slice channel) {
    struct subscription *e = bh_map_get(&s->channels, channel);
    if (!e || e->outstanding == 0)
        return;
    e->outstanding--;
    if (s->unconfirmed-- == WINDOW / 2)
        wake(s);
    if (e->outstanding)
        return;
    if (e->sent != subscribed) {
        bh_redis_link_drop(&s->link, BH_EPROTO,
                           "protocol error from Redis: a confirmation out of order");
        return;
    }
    bool live = is_live(e);
    if (is_probe(s, channel))
        s->on_probing(s);
    else if (live)
        report(s, e);
    /* The sink only queues, so e is still valid. */
    if (e->restoring && (live || !e->wanted)) {
        e->restoring = false;
        one_restored(s);
    }
    if (!e->wanted && !e->sent)
        discard(s, e);
}

static void malformed(struct bh_slice channel, const char *why) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_MALFORMED]);
    bh_warn_limited("dropped a message from Redis", bh_kv_slice("channel", channel),
                    bh_kv_str("reason", why));
}

static void on_message(struct bh_redis_subscriptions *s, struct bh_slice channel,
                       struct bh_slice bytes) {
    struct bh_topic topic;
    struct bh_message *m;
    const char *why;
    if (is_probe(s, channel)) {
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

static bool is_bytes(const struct bh_reply *r) {
    return r->type == BH_REPLY_STRING || r->type == BH_REPLY_STATUS;
}

static bool is_pong(const struct bh_reply *r) {
    return r->type == BH_REPLY_ARRAY && r->count == 2 && is_bytes(&r->elements[0]) &&
           bh_slice_eq(r->elements[0].str, BH_SLICE("pong"));
}

static void on_push(struct bh_redis_link *link, const struct bh_reply *reply) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(link, struct bh_redis_subscriptions, link);
    const struct bh_reply *e = reply->elements;
    s->heard++;
    s->pinged_ms = 0;
    if (reply->type == BH_REPLY_ERROR) {
        const struct bh_redis_error *err = bh_redis_classify_error(reply->str);
        if (s->pongs_due && s->unconfirmed == 0 && !err->reconnect) {
            s->pongs_due--; /* Redis is busy, or does not permit PING, but it answers */
            return;
        }
        BH_LOG_LIMITED(
            BH_LOG_ERROR, "subscription rejected by Redis", bh_kv_slice("answer", reply->str),
            bh_kv_str("prefix", s->config->channel_prefix), bh_kv_str("hint", err->hint));
        bh_redis_link_drop(link, BH_EDENIED, err->why);
    } else if (s->pongs_due && is_pong(reply)) {
        s->pongs_due--;
    } else if (reply->type != BH_REPLY_ARRAY || reply->count != 3 || !is_bytes(&e[0]) ||
               !is_bytes(&e[1])) {
        bh_redis_link_drop(link, BH_EPROTO, "protocol error from Redis: not a push message");
    } else if (bh_slice_eq(e[0].str, BH_SLICE("message")) && is_bytes(&e[2])) {
        on_message(s, e[1].str, e[2].str);
    } else if (bh_slice_eq(e[0].str, BH_SLICE("subscribe"))) {
        on_confirmed(s, true, e[1].str);
    } else if (bh_slice_eq(e[0].str, BH_SLICE("unsubscribe"))) {
        on_confirmed(s, false, e[1].str);
    } else {
        bh_redis_link_drop(link, BH_EPROTO, "protocol error from Redis: not a push message");
    }
}

/* --- the link --- */

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(link, struct bh_redis_subscriptions, link);
    struct subscription *e;
    size_t cursor = 0;
    s->restoring = 0;
    s->pinged_ms = s->pongs_due = 0;
    s->subscribing = false;
    while ((e = bh_map_next(&s->channels, &cursor))) {
        e->restoring = e->wanted;
        s->restoring += e->wanted;
    }
    struct subscription *probe = bh_map_get(&s->channels, bh_slice_cstr(s->probe_channel));
    bh_list_unlink(&probe->node);
    bh_list_append(s->queue.next, &probe->node);
    wake(s);
}

static void on_down(struct bh_redis_link *link) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(link, struct bh_redis_subscriptions, link);
    struct subscription *e;
    size_t cursor = 0;
    s->unconfirmed = 0;
    while ((e = bh_map_next(&s->channels, &cursor))) {
        e->sent = e->restoring = false;
        e->outstanding = 0;
        enqueue(s, e); /* also those no longer wanted: the next flush discards them */
    }
    s->on_lost(s);
    if (atomic_exchange(&s->up, false))
        s->sink.on_state(s->sink.ud, 0, false);
}

static void send_ping(struct bh_redis_subscriptions *s) {
    static const struct bh_slice ping = BH_SLICE("*1\r\n$4\r\nPING\r\n");
    const char *why;
    char *p = bh_redis_link_begin(&s->link, ping.n, &why);
    if (!p)
        return;
    bh_redis_link_commit(&s->link, bh_resp_bytes(p, ping), NULL);
    s->pinged_ms = bh_loop_now(s->link.loop);
    s->pongs_due++;
}

void bh_redis_subscriptions_check_liveness(struct bh_redis_subscriptions *s) {
    bool silent = s->heard == s->heard_before;
    s->heard_before = s->heard;
    /* Before the first SUBSCRIBE a PING would be answered in the form of an ordinary connection. */
    if (!bh_redis_link_is_ready(&s->link) || !silent || !s->subscribing)
        return;
    if (!s->pinged_ms)
        send_ping(s);
    else if (bh_loop_now(s->link.loop) - s->pinged_ms >= s->config->command_timeout_ms)
        bh_redis_link_drop(&s->link, BH_ETIMEDOUT,
                           "timeout: no answer from Redis to the subscriber");
}

static const struct bh_redis_link_callbacks link_callbacks = {
    .on_up = on_up, .on_down = on_down, .on_push = on_push};

/* --- life --- */

void bh_redis_subscriptions_init(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_config *config) {
    s->config = config;
    s->prefix = bh_slice_cstr(config->channel_prefix);
    s->unconfirmed = s->restoring = 0;
    bh_map_init(&s->channels, key_of);
    bh_list_init(&s->queue);
    bh_defer_init(&s->flush, on_flush);
    snprintf(s->probe_channel, sizeof s->probe_channel, "bellhop:probe:%s", config->instance);
    want(s, bh_slice_cstr(s->probe_channel));
}

void bh_redis_subscriptions_deinit(struct bh_redis_subscriptions *s) {
    struct subscription *e;
    size_t cursor = 0;
    while ((e = bh_map_next(&s->channels, &cursor)))
        bh_free(e);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_SUBSCRIPTIONS], -(int64_t)s->channels.count);
    bh_map_deinit(&s->channels);
}

void bh_redis_subscriptions_start(struct bh_redis_subscriptions *s, struct bh_loop *loop,
                                  const char *name, const struct bh_broker_sink *sink,
                                  struct bh_redis_locator *locator) {
    s->sink = *sink;
    bh_redis_link_start(&s->link, loop, s->config, name, &link_callbacks, locator);
}

void bh_redis_subscriptions_stop(struct bh_redis_subscriptions *s) {
    bh_redis_link_stop(&s->link);
    bh_defer_cancel(&s->flush);
    atomic_store(&s->up, false);
}

bool bh_redis_subscriptions_add(struct bh_redis_subscriptions *s, struct bh_slice topic) {
    struct bh_topic parsed;
    char channel[BH_CHANNEL_MAX + 1];
    if (bh_topic_parse(topic, &parsed) != 0)
        return false;
    size_t n = bh_topic_to_channel(&parsed, s->prefix, channel);
    return is_live(want(s, bh_slice(channel, n)));
}

void bh_redis_subscriptions_remove(struct bh_redis_subscriptions *s, struct bh_slice topic) {
    struct bh_topic parsed;
    char channel[BH_CHANNEL_MAX + 1];
    if (bh_topic_parse(topic, &parsed) != 0)
        return;
    size_t n = bh_topic_to_channel(&parsed, s->prefix, channel);
    struct subscription *e = bh_map_get(&s->channels, bh_slice(channel, n));
    if (!e || !e->wanted)
        return;
    e->wanted = false;
    /* Not while it counts in `restoring`: discarding it could call the sink from inside this verb.
     */
    if (!e->sent && e->outstanding == 0 && !e->restoring)
        discard(s, e);
    else
        enqueue(s, e);
}

void bh_redis_subscriptions_copy(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_subscriptions *other) {
    const struct subscription *e;
    size_t cursor = 0;
    while ((e = bh_map_next(&other->channels, &cursor)))
        if (e->wanted)
            want(s, key_of(e));
}

void bh_redis_subscriptions_report_live(struct bh_redis_subscriptions *s) {
    const struct subscription *e;
    size_t cursor = 0;
    while ((e = bh_map_next(&s->channels, &cursor)))
        if (is_live(e) && !is_probe(s, key_of(e)))
            report(s, e);
}
