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
 * of pending commands: each message names what it is.
 * In a cluster that is not enough (sharded.c). */
#include "broker/subscriptions.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "broker/subscription.h"
#include "link/errors.h"
#include "link/metrics.h"
#include "link/resp.h"

#include <stdio.h>

/* --- out: the difference between wanted and sent --- */

static void send_chunk(struct bh_redis_subscriptions *s, bool subscribe, struct bh_list *list,
                       size_t count) {
    struct bh_slice verb = subscribe ? BH_SLICE("SUBSCRIBE") : BH_SLICE("UNSUBSCRIBE");
    const char *why;
    size_t bound = BH_RESP_HEAD_MAX + BH_RESP_BULK_MAX(verb.n);
    for (struct bh_list *at = list->next; at != list; at = at->next)
        bound +=
            BH_RESP_BULK_MAX((size_t)BH_CONTAINER_OF(at, struct bh_redis_subscription, node)->len);
    char *p = count ? bh_redis_link_begin(&s->link, bound, &why) : NULL;
    if (!p)
        return; /* nothing to send; the window keeps the queue of the link far from full */
    p = bh_resp_bulk(bh_resp_head(p, '*', count + 1), verb);
    struct bh_list *node;
    while ((node = bh_list_shift(list))) {
        struct bh_redis_subscription *e = BH_CONTAINER_OF(node, struct bh_redis_subscription, node);
        bh_redis_subscription_sent(s, e, subscribe);
        p = bh_resp_bulk(p, bh_redis_subscription_key(e));
    }
    bh_redis_link_commit(&s->link, p, NULL);
}

static void send_some(struct bh_redis_subscriptions *s) {
    struct bh_list lists[2], *node;
    size_t counts[2] = {0, 0};
    bh_list_init(&lists[false]);
    bh_list_init(&lists[true]);
    while (counts[false] + counts[true] < BH_REDIS_SUBSCRIBE_CHUNK &&
           (node = bh_list_shift(&s->queue))) {
        struct bh_redis_subscription *e = BH_CONTAINER_OF(node, struct bh_redis_subscription, node);
        if (e->wanted != e->sent && !e->leaving) {
            bh_list_append(&lists[e->wanted], node);
            counts[e->wanted]++;
        } else if (!e->wanted && !e->sent && e->outstanding == 0) {
            bh_redis_subscription_discard(s, e);
        }
    }
    for (int subscribe = true; subscribe >= false; subscribe--)
        if (s->config->sharded)
            bh_redis_sharded_send(s, subscribe, &lists[subscribe]);
        else
            send_chunk(s, subscribe, &lists[subscribe], counts[subscribe]);
}

static void on_flush(struct bh_defer *d) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(d, struct bh_redis_subscriptions, flush);
    while (bh_redis_link_is_ready(&s->link) && !bh_list_empty(&s->queue) &&
           s->unconfirmed < BH_REDIS_SUBSCRIBE_WINDOW)
        send_some(s);
}

/* --- in --- */

static bool is_bytes(const struct bh_reply *r) {
    return r->type == BH_REPLY_STRING || r->type == BH_REPLY_STATUS;
}

static bool is_pong(const struct bh_reply *r) {
    return r->type == BH_REPLY_ARRAY && r->count == 2 && is_bytes(&r->elements[0]) &&
           bh_slice_eq(r->elements[0].str, BH_SLICE("pong"));
}

static void on_error(struct bh_redis_subscriptions *s, struct bh_slice answer) {
    if (s->pongs_due && s->unconfirmed == 0 && !bh_redis_classify_error(answer)->reconnect)
        s->pongs_due--; /* Redis is busy, or does not permit PING, but it answers */
    else
        bh_redis_subscription_rejected(s, answer);
}

static void on_push(struct bh_redis_link *link, const struct bh_reply *reply) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(link, struct bh_redis_subscriptions, link);
    const struct bh_reply *e = reply->elements;
    s->heard++;
    s->pinged_ms = 0;
    if (s->config->sharded) {
        bh_redis_sharded_push(s, reply);
    } else if (reply->type == BH_REPLY_ERROR) {
        on_error(s, reply->str);
    } else if (s->pongs_due && is_pong(reply)) {
        s->pongs_due--;
    } else if (reply->type != BH_REPLY_ARRAY || reply->count != 3 || !is_bytes(&e[0]) ||
               !is_bytes(&e[1])) {
        bh_redis_link_drop(link, BH_EPROTO, "protocol error from Redis: not a push message");
    } else if (bh_slice_eq(e[0].str, BH_SLICE("message")) && is_bytes(&e[2])) {
        bh_redis_subscription_message(s, e[1].str, e[2].str);
    } else if (bh_slice_eq(e[0].str, BH_SLICE("subscribe"))) {
        bh_redis_subscription_confirmed(s, true, e[1].str);
    } else if (bh_slice_eq(e[0].str, BH_SLICE("unsubscribe"))) {
        bh_redis_subscription_confirmed(s, false, e[1].str);
    } else {
        bh_redis_link_drop(link, BH_EPROTO, "protocol error from Redis: not a push message");
    }
}

/* --- the link --- */

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(link, struct bh_redis_subscriptions, link);
    struct bh_redis_subscription *e;
    size_t cursor = 0;
    s->restoring = 0;
    s->pinged_ms = s->pongs_due = 0;
    s->subscribing = s->probing = false;
    while ((e = bh_map_next(&s->channels, &cursor))) {
        e->restoring = e->wanted;
        s->restoring += e->wanted;
    }
    struct bh_redis_subscription *probe =
        bh_redis_subscription_find(s, bh_slice_cstr(s->probe_channel));
    bh_list_unlink(&probe->node);
    bh_list_append(s->queue.next, &probe->node);
    bh_redis_subscription_wake(s);
}

static void on_down(struct bh_redis_link *link) {
    struct bh_redis_subscriptions *s = BH_CONTAINER_OF(link, struct bh_redis_subscriptions, link);
    struct bh_redis_subscription *e;
    size_t cursor = 0;
    s->unconfirmed = s->restoring = 0;
    bh_redis_sharded_reset(s);
    while ((e = bh_map_next(&s->channels, &cursor))) {
        e->sent = e->restoring = false;
        e->outstanding = 0;
        bh_redis_subscription_stop_leaving(s, e);
        bh_redis_subscription_enqueue(
            s, e); /* also those no longer wanted: the next flush discards them */
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
    if (s->config->sharded)
        bh_redis_sharded_pinged(s);
    else
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
    bh_map_init(&s->channels, bh_redis_subscription_key);
    bh_list_init(&s->queue);
    bh_redis_sharded_init(s);
    bh_defer_init(&s->flush, on_flush);
    snprintf(s->probe_channel, sizeof s->probe_channel, "bellhop:probe:%s", config->instance);
    bh_redis_subscription_want(s, bh_slice_cstr(s->probe_channel));
}

void bh_redis_subscriptions_deinit(struct bh_redis_subscriptions *s) {
    struct bh_redis_subscription *e;
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
    bh_redis_sharded_start(s, loop);
    bh_redis_link_start(&s->link, loop, s->config, name, &link_callbacks, locator);
}

void bh_redis_subscriptions_stop(struct bh_redis_subscriptions *s) {
    bh_redis_link_stop(&s->link);
    bh_defer_cancel(&s->flush);
    bh_redis_sharded_reset(s);
    atomic_store(&s->up, false);
}

/* Its channel, in `buffer`; false: it is invalid. */
static bool to_channel(const struct bh_redis_subscriptions *s, struct bh_slice topic,
                       char buffer[BH_CHANNEL_MAX + 1], struct bh_slice *channel) {
    struct bh_topic parsed;
    if (bh_topic_parse(topic, &parsed) != 0)
        return false;
    *channel = bh_slice(buffer, bh_topic_to_channel(&parsed, s->prefix, buffer));
    return true;
}

bool bh_redis_subscriptions_add(struct bh_redis_subscriptions *s, struct bh_slice topic) {
    char buffer[BH_CHANNEL_MAX + 1];
    struct bh_slice channel;
    return to_channel(s, topic, buffer, &channel) &&
           bh_redis_subscription_is_live(bh_redis_subscription_want(s, channel));
}

static struct bh_redis_subscription *find_topic(const struct bh_redis_subscriptions *s,
                                                struct bh_slice topic) {
    char buffer[BH_CHANNEL_MAX + 1];
    struct bh_slice channel;
    return to_channel(s, topic, buffer, &channel) ? bh_redis_subscription_find(s, channel) : NULL;
}

bool bh_redis_subscriptions_remove(struct bh_redis_subscriptions *s, struct bh_slice topic) {
    struct bh_redis_subscription *e = find_topic(s, topic);
    if (!e || !e->wanted)
        return false;
    bh_redis_subscription_unwant(s, e);
    return true;
}

bool bh_redis_subscriptions_leave(struct bh_redis_subscriptions *s, struct bh_slice topic) {
    struct bh_redis_subscription *e = find_topic(s, topic);
    if (!e || !bh_redis_subscription_is_live(e))
        return bh_redis_subscriptions_remove(s, topic);
    e->wanted = false;
    e->leaving = true;
    s->sharded.leaving++;
    return true;
}

void bh_redis_subscriptions_release(struct bh_redis_subscriptions *s, struct bh_slice topic) {
    struct bh_redis_subscription *e = s->sharded.leaving ? find_topic(s, topic) : NULL;
    if (e && e->leaving)
        bh_redis_subscription_unwant(s, e);
}

bool bh_redis_subscriptions_has_sent(const struct bh_redis_subscriptions *s,
                                     struct bh_slice topic) {
    const struct bh_redis_subscription *e = find_topic(s, topic);
    return e && e->wanted && e->sent;
}

/* A link that is coming up is up only when the new channel is confirmed, too. */
static void move_probe(struct bh_redis_subscriptions *s, const char *channel) {
    struct bh_redis_subscription *old =
        bh_redis_subscription_find(s, bh_slice_cstr(s->probe_channel));
    snprintf(s->probe_channel, sizeof s->probe_channel, "%s", channel);
    struct bh_redis_subscription *e =
        bh_redis_subscription_want(s, bh_slice_cstr(s->probe_channel));
    if (e == old)
        return;
    if (s->restoring && !bh_redis_subscription_is_live(e) && !e->restoring) {
        e->restoring = true;
        s->restoring++;
    }
    bh_redis_subscription_unwant(s, old);
}

void bh_redis_subscriptions_set_probe(struct bh_redis_subscriptions *s, const char *tag) {
    char channel[sizeof s->probe_channel];
    snprintf(channel, sizeof channel, "bellhop:probe:%s:{%s}", s->config->instance, tag);
    move_probe(s, channel);
}

bool bh_redis_subscriptions_is_probed(const struct bh_redis_subscriptions *s) {
    return bh_redis_subscription_is_live(
        bh_redis_subscription_find(s, bh_slice_cstr(s->probe_channel)));
}

void bh_redis_subscriptions_copy(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_subscriptions *other) {
    const struct bh_redis_subscription *e;
    size_t cursor = 0;
    move_probe(s, other->probe_channel);
    while ((e = bh_map_next(&other->channels, &cursor)))
        if (e->wanted)
            bh_redis_subscription_want(s, bh_redis_subscription_key(e));
}

bool bh_redis_subscriptions_next(const struct bh_redis_subscriptions *s, size_t *cursor,
                                 struct bh_slice *channel, bool *live) {
    const struct bh_redis_subscription *e;
    while ((e = bh_map_next(&s->channels, cursor)) &&
           (!e->wanted || bh_redis_subscription_is_probe(s, bh_redis_subscription_key(e))))
        ;
    if (!e)
        return false;
    *channel = bh_redis_subscription_key(e);
    *live = bh_redis_subscription_is_live(e);
    return true;
}

void bh_redis_subscriptions_report_live(struct bh_redis_subscriptions *s) {
    const struct bh_redis_subscription *e;
    size_t cursor = 0;
    while ((e = bh_map_next(&s->channels, &cursor)))
        if (bh_redis_subscription_is_live(e) &&
            !bh_redis_subscription_is_probe(s, bh_redis_subscription_key(e)))
            bh_redis_subscription_report(s, e);
}
