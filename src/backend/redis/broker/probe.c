/* probe.c - a message from this instance to itself, on the same path as all messages.
 *
 * A connection that is up proves nothing about the messages that pass through it. So at an interval
 * a random token is published over a second link, on a channel of this instance, and must arrive at
 * the subscriber link. Readiness is the age of the last arrival, which any thread compares with the
 * clock: it turns red by itself, also if the bus thread hangs.
 *
 * When a probe is missing and Redis has not confirmed its PUBLISH, the probe's own link is at
 * fault, and its command timeout handles that. If Redis has confirmed it, the subscriber link is at
 * fault: after a few in a row it is dropped and reconnects. */
#include "broker/probe.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "link/errors.h"
#include "link/metrics.h"
#include "link/resp.h"

#define LOST_IN_SILENCE_MAX 3
#define LOST_MAX            15
#define SLACK_MS            1000

static void on_answered(const struct bh_redis_completion *c, int error,
                        const struct bh_reply *reply) {
    struct bh_redis_probe *p = c->ud;
    if (c->handle != p->number)
        return;
    p->unanswered = false;
    p->accepted = !error && reply->type == BH_REPLY_INTEGER;
    if (error)
        return;
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
}

static void send_probe(struct bh_redis_probe *p) {
    static const struct bh_slice head = BH_SLICE("*3\r\n$7\r\nPUBLISH\r\n");
    struct bh_slice channel = bh_slice_cstr(p->subscriptions->probe_channel);
    size_t bound = head.n + BH_RESP_BULK_MAX(channel.n) + BH_RESP_BULK_MAX(BH_UNIQUE_ID_LEN);
    const char *why;
    char *out = bh_redis_link_begin(&p->link, bound, &why);
    if (!out)
        return;
    bh_id_unique(p->token);
    p->unanswered = true;
    p->heard = p->subscriptions->heard;
    out = bh_resp_bulk(bh_resp_bytes(out, head), channel);
    out = bh_resp_bulk(out, bh_slice_cstr(p->token));
    struct bh_redis_completion c = {.fire = on_answered, .ud = p, .handle = p->number};
    bh_redis_link_commit(&p->link, out, &c);
}

static void count_lost(struct bh_redis_probe *p) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PROBES_LOST]);
    bool silent = p->subscriptions->heard == p->heard;
    if (++p->lost < (silent ? LOST_IN_SILENCE_MAX : LOST_MAX))
        return;
    p->lost = 0;
    bh_redis_link_drop(&p->subscriptions->link, BH_ETIMEDOUT,
                       "published messages do not come back from Redis");
}

static void probe(struct bh_redis_probe *p) {
    bh_timer_set(&p->timer, p->link.config->probe_ms);
    bh_redis_subscriptions_check_liveness(p->subscriptions);
    if (p->unanswered)
        return; /* its command timeout runs */
    if (p->accepted && *p->token)
        count_lost(p);
    forget(p);
    if (bh_redis_link_is_ready(&p->link) && bh_redis_link_is_ready(&p->subscriptions->link))
        send_probe(p);
}

static void on_timer(struct bh_timer *t) {
    probe(BH_CONTAINER_OF(t, struct bh_redis_probe, timer));
}

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_probe *p = BH_CONTAINER_OF(link, struct bh_redis_probe, link);
    atomic_store(&p->up, true);
    probe(p);
}

static void on_down(struct bh_redis_link *link) {
    struct bh_redis_probe *p = BH_CONTAINER_OF(link, struct bh_redis_probe, link);
    atomic_store(&p->up, false);
}

static const struct bh_redis_link_callbacks link_callbacks = {.on_up = on_up, .on_down = on_down};

void bh_redis_probe_start(struct bh_redis_probe *p, struct bh_loop *loop,
                          const struct bh_redis_config *config,
                          struct bh_redis_subscriptions *subscriptions,
                          struct bh_redis_locator *locator) {
    p->subscriptions = subscriptions;
    bh_timer_init(&p->timer, loop, on_timer);
    bh_timer_set(&p->timer, config->probe_ms);
    bh_redis_link_start(&p->link, loop, config, "probe", &link_callbacks, locator);
}

void bh_redis_probe_stop(struct bh_redis_probe *p) {
    if (p->link.state == BH_REDIS_IDLE)
        return;
    bh_timer_cancel(&p->timer);
    bh_redis_link_stop(&p->link);
    atomic_store(&p->up, false);
}

void bh_redis_probe_arrived(struct bh_redis_probe *p, struct bh_slice token) {
    if (!*p->token || !bh_slice_eq(token, bh_slice_cstr(p->token)))
        return; /* late, or from another process with the same instance id */
    p->token[0] = '\0';
    p->lost = 0;
    atomic_store(&p->proven_ms, bh_clock_ms());
}

void bh_redis_probe_restart(struct bh_redis_probe *p) {
    atomic_store(&p->proven_ms, 0);
    p->lost = 0;
    forget(p);
    probe(p);
}

int bh_redis_probe_ready(const struct bh_redis_probe *p, const char **why) {
    uint64_t proven_ms = atomic_load(&p->proven_ms), now_ms = bh_clock_ms();
    const char *reason = atomic_load(&p->link.down_reason), *rejection = atomic_load(&p->rejection);
    *why = NULL;
    if (!atomic_load(&p->up))
        *why = reason ? reason : "the probe's link to Redis is down";
    else if (!proven_ms)
        *why = rejection ? rejection : "no probe has come back from Redis yet";
    else if (now_ms > proven_ms && now_ms - proven_ms > 2 * p->link.config->probe_ms + SLACK_MS)
        *why = rejection ? rejection : "probes do not come back from Redis";
    return *why ? BH_EUNAVAIL : 0;
}
