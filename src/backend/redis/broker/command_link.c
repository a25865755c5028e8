/* command_link.c - the link of one worker, and a second one while the first does not answer.
 *
 * A takeover waits a moment after the second link is up: a Redis that was only busy answers both at
 * once, and the first one is read before. */
#include "broker/command_link.h"

#include "bellhop/base/log.h"
#include "link/failover.h"
#include "link/metrics.h"

#include <stdio.h>

#define GRACE_MS 50

static struct bh_redis_command_link *owner_of(struct bh_redis_link *link) {
    return BH_CONTAINER_OF(link, struct bh_redis_command_link_one, link)->owner;
}

static struct bh_redis_link *other_of(struct bh_redis_command_link *c) {
    return &c->links[bh_redis_command_link_active(c) == &c->links[0].link].link;
}

static uint64_t heard_ms(const struct bh_redis_link *link) {
    return atomic_load_explicit(&link->heard_ms, memory_order_relaxed);
}

static void close_other(struct bh_redis_command_link *c) {
    bh_timer_cancel(&c->timer);
    bh_redis_link_stop(other_of(c));
    c->state = BH_REDIS_COMMANDS_ONE;
}

static void take_over(struct bh_redis_command_link *c) {
    struct bh_redis_link *first = bh_redis_command_link_active(c), *second = other_of(c);
    bh_warn_limited("command link to Redis does not answer, replaced",
                    bh_kv_str("link", first->name), bh_kv_str("by", second->name));
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TAKEOVERS]);
    atomic_store(&c->active, second);
    c->state = BH_REDIS_COMMANDS_AFTER;
    bh_timer_set(&c->timer, c->config->command_timeout_ms);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_command_link *c = BH_CONTAINER_OF(t, struct bh_redis_command_link, timer);
    if (c->state == BH_REDIS_COMMANDS_BOTH &&
        heard_ms(bh_redis_command_link_active(c)) == c->heard_ms)
        take_over(c);
    else
        close_other(c);
}

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_command_link *c = owner_of(link);
    if (link != bh_redis_command_link_active(c))
        bh_timer_set(&c->timer, GRACE_MS);
    else
        c->on_up(c);
}

/* An active link that is down connects again by itself; a first one that was replaced need not. */
static void on_down(struct bh_redis_link *link) {
    struct bh_redis_command_link *c = owner_of(link);
    bool active = link == bh_redis_command_link_active(c);
    if (active ? c->state == BH_REDIS_COMMANDS_BOTH : c->state == BH_REDIS_COMMANDS_AFTER)
        close_other(c);
    else if (!active)
        bh_timer_cancel(&c->timer);
    if (active)
        c->on_down(c);
}

static void on_check(struct bh_redis_link *link) {
    struct bh_redis_command_link *c = owner_of(link);
    if (link == bh_redis_command_link_active(c))
        c->on_check(c);
}

static const struct bh_redis_link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_down, .on_check = on_check};

static void start_link(struct bh_redis_command_link *c, struct bh_redis_link *link) {
    char name[sizeof c->name + sizeof "-2"];
    snprintf(name, sizeof name, link == &c->links[0].link ? "%s" : "%s-2", c->name);
    bh_redis_link_start(link, c->loop, c->config, name, &callbacks,
                        bh_redis_failover_locator(c->failover, c->loop));
}

void bh_redis_command_link_doubt(struct bh_redis_command_link *c) {
    struct bh_redis_link *active = bh_redis_command_link_active(c);
    if (c->state == BH_REDIS_COMMANDS_BOTH || !bh_redis_link_is_ready(active))
        return;
    close_other(c);
    c->state = BH_REDIS_COMMANDS_BOTH;
    c->heard_ms = heard_ms(active);
    bh_redis_link_ping(active);
    start_link(c, other_of(c));
}

void bh_redis_command_link_init(struct bh_redis_command_link *c,
                                const struct bh_redis_config *config,
                                struct bh_redis_failover *failover, const char *name) {
    c->config = config;
    c->failover = failover;
    snprintf(c->name, sizeof c->name, "%s", name);
    c->links[0].owner = c->links[1].owner = c;
    atomic_init(&c->active, &c->links[0].link);
}

void bh_redis_command_link_start(struct bh_redis_command_link *c, struct bh_loop *loop) {
    c->loop = loop;
    bh_timer_init(&c->timer, loop, on_timer);
    start_link(c, bh_redis_command_link_active(c));
}

void bh_redis_command_link_stop(struct bh_redis_command_link *c) {
    if (!c->loop)
        return;
    close_other(c);
    bh_redis_link_stop(bh_redis_command_link_active(c));
}
