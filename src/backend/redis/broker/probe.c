/* probe.c - a message to ourselves, by the way that all messages go.
 *
 * A connection that is up says nothing about what passes through it. So a random token is published
 * on a second link at an interval, on a channel of this instance, and must arrive at the subscriber
 * link. Readiness is the age of the last arrival, read by any thread against the clock: it goes red
 * by itself, also if the bus thread hangs.
 *
 * Who is to blame for a probe that is missing? If Redis has not confirmed the PUBLISH, the probe's
 * own link, and the command timeout deals with that; the subscriber link is asked itself whether it
 * lives. If it has, the subscriber link is deaf; after
 * a few in a row it is dropped and made anew. */
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
    p->asked = false;
    p->taken = !error && reply->type == BH_REPLY_INTEGER;
    if (error)
        return;
    bool refused = reply->type == BH_REPLY_ERROR;
    const struct bh_redis_error *e = bh_redis_classify_error(reply->str);
    atomic_store(&p->refusal, refused ? e->why : NULL);
    if (refused)
        BH_LOG_LIMITED(BH_LOG_ERROR, "Redis refuses the probe", bh_kv_slice("answer", reply->str),
                       bh_kv_str("hint", e->hint));
}

static void forget(struct bh_redis_probe *p) {
    p->number++;
    p->asked = p->taken = false;
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
    p->asked = true;
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
                       "what Redis takes does not come back");
}

static void probe(struct bh_redis_probe *p) {
    bh_timer_set(&p->timer, p->link.config->probe_ms);
    bh_redis_subscriptions_look(p->subscriptions);
    if (p->asked)
        return; /* its command timeout runs */
    if (p->taken && *p->token)
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
        return; /* late, or of another process with our instance id */
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
    const char *reason = atomic_load(&p->link.down_reason), *refusal = atomic_load(&p->refusal);
    *why = NULL;
    if (!atomic_load(&p->up))
        *why = reason ? reason : "the link to Redis that probes is down";
    else if (!proven_ms)
        *why = refusal ? refusal : "no probe has come back from Redis yet";
    else if (now_ms > proven_ms && now_ms - proven_ms > 2 * p->link.config->probe_ms + SLACK_MS)
        *why = refusal ? refusal : "probes do not come back from Redis";
    return *why ? BH_EUNAVAIL : 0;
}
