/* feed.c - one subscriber link, and a second one while the first is in doubt.
 *
 * In the state ONE the active link calls the node's sink itself, so a message costs nothing here.
 * In the other states its sink is `marked`. The other link has a sink of its own, which passes on
 * nothing but messages with an id: what is subscribed there becomes live with the takeover, also
 * what was live on the first one, because messages may have been lost there.
 *
 * That the first link was silent all the time is the count of what it has heard, compared when it
 * matters: before the takeover and at each check. */
#include "broker/feed.h"

#include "bellhop/base/log.h"
#include "link/failover.h"
#include "link/metrics.h"

static struct bh_redis_feed *feed_of(const struct bh_redis_subscriptions *s) {
    return s->ud;
}

static struct bh_redis_subscriptions *other_of(struct bh_redis_feed *f) {
    return &f->links[bh_redis_feed_active(f) == f->links];
}

static bool is_active(const struct bh_redis_subscriptions *s) {
    return s == bh_redis_feed_active(feed_of(s));
}

/* --- the sinks of the links while there are two --- */

static void pass_marked(struct bh_redis_feed *f, struct bh_message *m) {
    if (m->id.n > 0)
        m->flags |= BH_MESSAGE_DEDUP; /* nobody else has it yet */
    f->sink.on_message(f->sink.ud, m);
}

static void on_message(void *ud, struct bh_message *m) {
    pass_marked(ud, m);
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    struct bh_redis_feed *f = ud;
    f->sink.on_subscribed(f->sink.ud, topic);
}

static void on_topic_lost(void *ud, struct bh_slice topic) {
    struct bh_redis_feed *f = ud;
    f->sink.on_lost(f->sink.ud, topic);
}

static void on_state(void *ud, unsigned shard, bool up) {
    struct bh_redis_feed *f = ud;
    f->sink.on_state(f->sink.ud, shard, up);
}

static struct bh_broker_sink marked(struct bh_redis_feed *f) {
    return (struct bh_broker_sink){on_message, on_subscribed, on_topic_lost, on_state, f};
}

static void on_other_message(void *ud, struct bh_message *m) {
    if (m->id.n > 0)
        pass_marked(ud, m);
}

static void on_other_topic(void *ud, struct bh_slice topic) {}

static void on_other_state(void *ud, unsigned shard, bool up) {
    struct bh_redis_feed *f = ud;
    if (f->state != BH_REDIS_FEED_BOTH)
        return;
    if (up)
        f->on_probe_due(f);
    else
        bh_timer_cancel(&f->timer);
}

static struct bh_broker_sink ids_only(struct bh_redis_feed *f) {
    return (struct bh_broker_sink){on_other_message, on_other_topic, on_other_topic, on_other_state,
                                   f};
}

/* --- the other link --- */

static void close_other(struct bh_redis_feed *f) {
    struct bh_redis_subscriptions *other = other_of(f);
    if (!f->open[other - f->links])
        return;
    f->open[other - f->links] = false;
    bh_redis_subscriptions_stop(other);
    bh_redis_subscriptions_deinit(other);
}

static void set_after(struct bh_redis_feed *f) {
    f->state = BH_REDIS_FEED_AFTER;
    bh_timer_set(&f->timer, f->config->command_timeout_ms);
}

/* The active link stays. */
static void give_up_second(struct bh_redis_feed *f) {
    if (f->state != BH_REDIS_FEED_BOTH)
        return;
    close_other(f);
    set_after(f);
}

static void take_over(struct bh_redis_feed *f) {
    struct bh_redis_subscriptions *first = bh_redis_feed_active(f), *second = other_of(f);
    bool was_up = atomic_load(&first->up);
    bh_warn("subscriber link to Redis delivers nothing, replaced",
            bh_kv_str("link", first->link.name), bh_kv_str("by", second->link.name));
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TAKEOVERS]);
    first->sink = ids_only(f);
    second->sink = marked(f);
    atomic_store(&f->active, second);
    bh_redis_subscriptions_report_live(second);
    if (!was_up)
        f->sink.on_state(f->sink.ud, 0, true);
    set_after(f);
    f->on_probing(f);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_feed *f = BH_CONTAINER_OF(t, struct bh_redis_feed, timer);
    struct bh_redis_subscriptions *active = bh_redis_feed_active(f);
    if (f->state == BH_REDIS_FEED_AFTER) {
        close_other(f);
        f->state = BH_REDIS_FEED_ONE;
        active->sink = f->sink;
    } else if (active->heard != f->heard) {
        give_up_second(f);
    } else {
        take_over(f);
    }
}

static void start_link(struct bh_redis_feed *f, struct bh_redis_subscriptions *s,
                       const struct bh_broker_sink *sink) {
    bh_redis_subscriptions_start(s, f->loop, s == f->links ? "bus" : "bus-2", sink,
                                 bh_redis_failover_locator(f->failover, f->loop));
}

/* --- the callbacks of both links --- */

static void on_probe(struct bh_redis_subscriptions *s, struct bh_slice token) {
    struct bh_redis_feed *f = feed_of(s);
    if (is_active(s)) {
        give_up_second(f);
        f->on_probe(f, token);
    } else if (f->state == BH_REDIS_FEED_BOTH && atomic_load(&s->up) &&
               !bh_timer_pending(&f->timer)) {
        bh_timer_set(&f->timer, BH_REDIS_FEED_GRACE_MS);
    }
}

static void on_probing(struct bh_redis_subscriptions *s) {
    if (is_active(s))
        feed_of(s)->on_probing(feed_of(s));
}

static void on_probe_channel(struct bh_redis_subscriptions *s) {
    feed_of(s)->on_probe_due(feed_of(s));
}

static bool on_moved(struct bh_redis_subscriptions *s, struct bh_slice channel,
                     struct bh_slice answer) {
    return feed_of(s)->on_moved(feed_of(s), channel, answer);
}

/* An active link that is down connects again by itself. */
static void on_lost(struct bh_redis_subscriptions *s) {
    struct bh_redis_feed *f = feed_of(s);
    if (is_active(s))
        give_up_second(f);
    else if (f->state == BH_REDIS_FEED_AFTER)
        bh_timer_set(&f->timer, 0); /* it has nothing more to bring */
}

static void init_link(struct bh_redis_feed *f, struct bh_redis_subscriptions *s) {
    bh_redis_subscriptions_init(s, f->config);
    s->ud = f;
    s->on_probe = on_probe;
    s->on_probing = on_probing;
    s->on_probe_channel = on_probe_channel;
    s->on_moved = on_moved;
    s->on_lost = on_lost;
    f->open[s - f->links] = true;
}

/* --- verbs --- */

void bh_redis_feed_doubt(struct bh_redis_feed *f) {
    struct bh_redis_subscriptions *active = bh_redis_feed_active(f), *second = other_of(f);
    struct bh_broker_sink sink = ids_only(f);
    if (f->state == BH_REDIS_FEED_BOTH)
        return;
    bh_warn_limited("no probe from Redis, opening a second subscriber link",
                    bh_kv_str("link", active->link.name));
    bh_timer_cancel(&f->timer);
    close_other(f);
    f->state = BH_REDIS_FEED_BOTH;
    f->heard = active->heard;
    active->sink = marked(f);
    init_link(f, second);
    bh_redis_subscriptions_copy(second, active);
    start_link(f, second, &sink);
}

void bh_redis_feed_check(struct bh_redis_feed *f) {
    struct bh_redis_subscriptions *active = bh_redis_feed_active(f);
    if (active->heard != f->heard)
        give_up_second(f);
    bh_redis_subscriptions_check_liveness(active);
}

bool bh_redis_feed_add(struct bh_redis_feed *f, struct bh_slice topic) {
    if (f->state == BH_REDIS_FEED_BOTH)
        bh_redis_subscriptions_add(other_of(f), topic);
    return bh_redis_subscriptions_add(bh_redis_feed_active(f), topic);
}

bool bh_redis_feed_remove(struct bh_redis_feed *f, struct bh_slice topic) {
    if (f->state == BH_REDIS_FEED_BOTH)
        bh_redis_subscriptions_remove(other_of(f), topic);
    return bh_redis_subscriptions_remove(bh_redis_feed_active(f), topic);
}

bool bh_redis_feed_leave(struct bh_redis_feed *f, struct bh_slice topic) {
    if (f->state == BH_REDIS_FEED_BOTH)
        bh_redis_subscriptions_remove(other_of(f), topic);
    return bh_redis_subscriptions_leave(bh_redis_feed_active(f), topic);
}

void bh_redis_feed_release(struct bh_redis_feed *f, struct bh_slice topic) {
    bh_redis_subscriptions_release(bh_redis_feed_active(f), topic);
}

void bh_redis_feed_set_probe(struct bh_redis_feed *f, const char *tag) {
    if (f->state == BH_REDIS_FEED_BOTH)
        bh_redis_subscriptions_set_probe(other_of(f), tag);
    bh_redis_subscriptions_set_probe(bh_redis_feed_active(f), tag);
}

/* --- life --- */

void bh_redis_feed_init(struct bh_redis_feed *f, const struct bh_redis_config *config,
                        struct bh_redis_failover *failover) {
    f->config = config;
    f->failover = failover;
    atomic_init(&f->active, f->links);
    init_link(f, f->links);
}

void bh_redis_feed_deinit(struct bh_redis_feed *f) {
    bh_redis_subscriptions_deinit(bh_redis_feed_active(f));
}

void bh_redis_feed_start(struct bh_redis_feed *f, struct bh_loop *loop,
                         const struct bh_broker_sink *sink) {
    f->loop = loop;
    f->sink = *sink;
    bh_timer_init(&f->timer, loop, on_timer);
    start_link(f, bh_redis_feed_active(f), sink);
}

void bh_redis_feed_stop(struct bh_redis_feed *f) {
    if (!f->loop)
        return;
    close_other(f);
    bh_timer_cancel(&f->timer);
    f->state = BH_REDIS_FEED_ONE;
    bh_redis_subscriptions_stop(bh_redis_feed_active(f));
}
