/* probe.c - a message from this instance to itself, on the same path as all messages.
 *
 * A connection that is up proves nothing about the messages that pass through it. So at an interval
 * a random token is published over a second link, on a channel of this instance, and must arrive at
 * the subscriber link. Readiness is the age of the last arrival, which any thread compares with the
 * clock: it turns red by itself, also if the bus thread hangs.
 *
 * A probe is missing after a second. Readiness is red then, and links that were silent all the
 * while are in doubt. If Redis has not confirmed the PUBLISH, the probe's own link is opened again:
 * it holds nothing that could be lost. If the subscriber link was silent, the feed opens a second
 * one beside it. Should that not help, the subscriber link is dropped after a few probes that Redis
 * has confirmed. A subscriber link that was not silent is only late. */
#include "broker/probe.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "broker/outgoing.h"
#include "link/errors.h"
#include "link/metrics.h"
#include "link/resp.h"

#define LOST_IN_SILENCE_MAX 3
#define LOST_MAX            15
#define SLACK_MS            1000

static bool is_moved(const struct bh_redis_probe *p, const struct bh_reply *reply) {
    return p->config->sharded && reply->type == BH_REPLY_ERROR &&
           bh_slice_starts(reply->str, BH_SLICE("MOVED "));
}

static void on_answered(const struct bh_redis_completion *c, int error,
                        const struct bh_reply *reply) {
    struct bh_redis_probe *p = c->ud;
    if (c->handle != p->number)
        return;
    p->unanswered = false;
    p->accepted = !error && reply->type == BH_REPLY_INTEGER;
    if (!p->accepted)
        bh_timer_cancel(&p->deadline);
    if (error)
        return;
    if (is_moved(p, reply)) {
        p->on_moved(p, reply->str);
        return;
    }
    bool rejected = reply->type == BH_REPLY_ERROR;
    const struct bh_redis_error *e = bh_redis_classify_error(reply->str);
    atomic_store(&p->rejection, rejected ? e->why : NULL);
    if (rejected)
        BH_LOG_LIMITED(BH_LOG_ERROR, "probe rejected by Redis", bh_kv_slice("answer", reply->str),
                       bh_kv_str("hint", e->hint));
}

static void forget(struct bh_redis_probe *p) {
    p->number++;
    p->unanswered = p->accepted = false;
    p->token[0] = '\0';
    bh_timer_cancel(&p->deadline);
}

static void send_probe(struct bh_redis_probe *p) {
    struct bh_slice head = bh_redis_publish_head(p->config);
    const struct bh_redis_subscriptions *subscriber = bh_redis_feed_active(p->feed);
    struct bh_slice channel = bh_slice_cstr(subscriber->probe_channel);
    size_t bound = head.n + BH_RESP_BULK_MAX(channel.n) + BH_RESP_BULK_MAX(BH_UNIQUE_ID_LEN);
    const char *why;
    char *out = bh_redis_link_begin(&p->link, bound, &why);
    if (!out)
        return;
    bh_id_unique(p->token);
    p->unanswered = true;
    p->heard = subscriber->heard;
    out = bh_resp_bulk(bh_resp_bytes(out, head), channel);
    out = bh_resp_bulk(out, bh_slice_cstr(p->token));
    struct bh_redis_completion c = {.fire = on_answered, .ud = p, .handle = p->number};
    bh_redis_link_commit(&p->link, out, &c);
    bh_timer_set(&p->deadline, BH_REDIS_PROBE_MISSING_MS);
}

/* In a cluster the channel may have lost its place on a link that is up. */
static bool is_listening(const struct bh_redis_probe *p) {
    const struct bh_redis_subscriptions *active = bh_redis_feed_active(p->feed);
    return p->config->sharded ? bh_redis_subscriptions_is_probed(active)
                              : bh_redis_link_is_ready(&active->link);
}

void bh_redis_probe_again(struct bh_redis_probe *p) {
    forget(p);
    if (bh_redis_link_is_ready(&p->link) && is_listening(p))
        send_probe(p);
}

void bh_redis_probe_moved(struct bh_redis_probe *p) {
    if (p->link.state != BH_REDIS_IDLE)
        forget(p);
}

static void count_lost(struct bh_redis_probe *p, bool silent) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PROBES_LOST]);
    if (++p->lost < (silent ? LOST_IN_SILENCE_MAX : LOST_MAX))
        return;
    p->lost = 0;
    bh_redis_link_drop(&bh_redis_feed_active(p->feed)->link, BH_ETIMEDOUT,
                       "published messages do not come back from Redis");
}

/* The token stays, in case the probe is only late. */
static void on_missing(struct bh_timer *t) {
    struct bh_redis_probe *p = BH_CONTAINER_OF(t, struct bh_redis_probe, deadline);
    bool lost = !p->config->sharded || is_listening(p);
    bool silent = lost && bh_redis_feed_active(p->feed)->heard == p->heard;
    if (p->unanswered || silent)
        atomic_store(&p->missing, true);
    if (silent)
        bh_redis_feed_doubt(p->feed);
    if (!p->unanswered) {
        if (lost)
            count_lost(p, silent);
        return;
    }
    atomic_store(&p->unanswered_ms, bh_clock_ms());
    bh_redis_link_drop(&p->link, BH_ETIMEDOUT, "timeout: no answer from Redis to a probe");
}

static void probe(struct bh_redis_probe *p) {
    bh_timer_set(&p->timer, p->config->probe_ms);
    bh_redis_feed_check(p->feed);
    if (!bh_timer_pending(&p->deadline))
        bh_redis_probe_again(p);
}

static void on_timer(struct bh_timer *t) {
    probe(BH_CONTAINER_OF(t, struct bh_redis_probe, timer));
}

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_probe *p = BH_CONTAINER_OF(link, struct bh_redis_probe, link);
    atomic_store(&p->up, true);
    if (!p->config->sharded)
        bh_redis_hello_ask(&p->hello, link, NULL);
    probe(p);
}

static void on_down(struct bh_redis_link *link) {
    struct bh_redis_probe *p = BH_CONTAINER_OF(link, struct bh_redis_probe, link);
    atomic_store(&p->up, false);
}

static const struct bh_redis_link_callbacks link_callbacks = {.on_up = on_up, .on_down = on_down};

void bh_redis_probe_init(struct bh_redis_probe *p, const struct bh_redis_config *config,
                         struct bh_redis_feed *feed) {
    p->config = config;
    p->feed = feed;
}

void bh_redis_probe_start(struct bh_redis_probe *p, struct bh_loop *loop,
                          struct bh_redis_locator *locator) {
    bh_timer_init(&p->timer, loop, on_timer);
    bh_timer_init(&p->deadline, loop, on_missing);
    bh_timer_set(&p->timer, p->config->probe_ms);
    bh_redis_link_start(&p->link, loop, p->config, "probe", &link_callbacks, locator);
}

void bh_redis_probe_stop(struct bh_redis_probe *p) {
    if (p->link.state == BH_REDIS_IDLE)
        return;
    bh_timer_cancel(&p->timer);
    bh_timer_cancel(&p->deadline);
    bh_redis_link_stop(&p->link);
    atomic_store(&p->up, false);
}

void bh_redis_probe_arrived(struct bh_redis_probe *p, struct bh_slice token) {
    if (!*p->token || !bh_slice_eq(token, bh_slice_cstr(p->token)))
        return; /* late, or from another process with the same instance id */
    p->token[0] = '\0';
    p->lost = 0;
    bh_timer_cancel(&p->deadline);
    atomic_store(&p->missing, false);
    atomic_store(&p->proven_ms, bh_clock_ms());
}

void bh_redis_probe_restart(struct bh_redis_probe *p) {
    atomic_store(&p->proven_ms, 0);
    p->lost = 0;
    forget(p);
    probe(p);
}

int bh_redis_probe_recent(const struct bh_redis_probe *p, const char **why) {
    uint64_t proven_ms = atomic_load(&p->proven_ms), now_ms = bh_clock_ms();
    const char *rejection = atomic_load(&p->rejection);
    *why = NULL;
    if (!proven_ms)
        *why = rejection ? rejection : "no probe has come back from Redis yet";
    else if (now_ms > proven_ms && now_ms - proven_ms > 2 * p->config->probe_ms + SLACK_MS)
        *why = rejection ? rejection : "probes do not come back from Redis";
    return *why ? BH_EUNAVAIL : 0;
}

int bh_redis_probe_ready(const struct bh_redis_probe *p, const char **why) {
    const char *reason = atomic_load(&p->link.down_reason);
    *why = NULL;
    if (!atomic_load(&p->up))
        *why = reason ? reason : "the probe's link to Redis is down";
    else if (bh_redis_probe_recent(p, why) == 0 && atomic_load(&p->missing))
        *why = "a probe has not come back from Redis";
    return *why ? BH_EUNAVAIL : 0;
}
