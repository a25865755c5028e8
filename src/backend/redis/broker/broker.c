/* broker.c - the broker of one Redis and the command port, over the links.
 *
 * One object: on the bus the subscriptions and the probe, for each worker a command link with its
 * publishes and the commands of its scripts. The sides share only the configuration, which does not
 * change, and a few atomics for readiness, so there are no locks.
 *
 * Ready means: Redis has confirmed every channel, a recent probe has come back, and every worker
 * can publish. */
#include "bellhop/backend/redis.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "broker/broker.h"
#include "broker/command_link.h"
#include "broker/feed.h"
#include "broker/fence.h"
#include "broker/outgoing.h"
#include "broker/probe.h"
#include "broker/publish_queue.h"
#include "broker/route.h"
#include "link/commands.h"
#include "link/config.h"
#include "link/failover.h"
#include "link/metrics.h"

#include <stdio.h>

struct worker_side {
    struct bh_redis_command_link link;
    struct broker *broker;
    struct bh_redis_publish_queue queue;
    atomic_bool started;
    struct bh_redis_watch watch;
    struct bh_redis_link *told_up; /* to the watch */
};

struct broker {
    struct bh_redis_routing routing;
    struct bh_redis commands;
    struct bh_redis_config config;
    struct bh_slice prefix; /* of the channels; in config */
    struct bh_redis_feed feed;
    struct bh_redis_probe probe;
    struct bh_redis_fence fence;
    struct bh_redis_failover failover;
    bh_redis_moved_cb on_moved; /* of a master of a cluster */
    void *moved_ud;
    atomic_int workers_down;
    unsigned worker_count;        /* with the side of the bus */
    struct worker_side **workers; /* allocated one by one: each is written by its own thread */
};

static struct broker *of(const struct bh_broker *b) {
    return BH_CONTAINER_OF((struct bh_broker *)b, struct broker, routing.base);
}

/* --- the bus side --- */

static struct bh_redis_probe *probe_of(struct bh_redis_feed *f) {
    return &BH_CONTAINER_OF(f, struct broker, feed)->probe;
}

static void on_probe(struct bh_redis_feed *f, struct bh_slice token) {
    if (!bh_redis_fence_arrived(&BH_CONTAINER_OF(f, struct broker, feed)->fence, token))
        bh_redis_probe_arrived(probe_of(f), token);
}

static void on_probing(struct bh_redis_feed *f) {
    bh_redis_probe_restart(probe_of(f));
}

static void on_probe_due(struct bh_redis_feed *f) {
    bh_redis_probe_again(probe_of(f));
}

static bool on_moved(struct bh_redis_feed *f, struct bh_slice channel, struct bh_slice answer) {
    struct broker *b = BH_CONTAINER_OF(f, struct broker, feed);
    return b->on_moved(b->moved_ud, channel, answer);
}

static void on_probe_moved(struct bh_redis_probe *p, struct bh_slice answer) {
    struct bh_redis_feed *f = &BH_CONTAINER_OF(p, struct broker, probe)->feed;
    on_moved(f, bh_slice_cstr(bh_redis_feed_active(f)->probe_channel), answer);
}

static int start(struct bh_broker *base, struct bh_loop *bus, struct bh_mailbox *mailbox,
                 const struct bh_broker_sink *sink) {
    struct broker *b = of(base);
    bh_redis_probe_start(&b->probe, bus, bh_redis_failover_locator(&b->failover, bus));
    bh_redis_feed_start(&b->feed, bus, sink);
    bh_redis_failover_start(&b->failover, bus);
    return 0;
}

static bool subscribe(struct bh_broker *base, struct bh_slice topic) {
    return bh_redis_feed_add(&of(base)->feed, topic);
}

static void unsubscribe(struct bh_broker *base, struct bh_slice topic) {
    bh_redis_feed_remove(&of(base)->feed, topic);
}

/* Over the link and the channel of the probe. */
static void fence(struct bh_broker *base, void (*done)(void *ud, bool proven), void *ud) {
    struct broker *b = of(base);
    bh_redis_fence_begin(&b->fence, &b->probe.link,
                         bh_slice_cstr(bh_redis_feed_active(&b->feed)->probe_channel), done, ud);
}

static void stop(struct bh_broker *base) {
    struct broker *b = of(base);
    bh_redis_fence_stop(&b->fence);
    bh_redis_failover_stop(&b->failover);
    bh_redis_feed_stop(&b->feed);
    bh_redis_probe_stop(&b->probe);
}

static const char unconfirmed[] = "Redis has not confirmed the subscriptions";

/* Any thread. */
static const char *down_reason(const struct bh_redis_link *link, const char *otherwise) {
    const char *reason = atomic_load(&link->down_reason);
    return reason ? reason : otherwise;
}

/* Any thread: NULL, or why nothing arrives from Redis. */
static const char *unsubscribed(const struct broker *b) {
    const struct bh_redis_subscriptions *active = bh_redis_feed_active(&b->feed);
    return atomic_load(&active->up) ? NULL : down_reason(&active->link, unconfirmed);
}

/* Any thread. What kept Redis from answering a probe may have cut off the links of workers, too. */
static bool was_heard(const struct worker_side *side) {
    const struct bh_redis_link *link = bh_redis_command_link_active(&side->link);
    return atomic_load_explicit(&link->heard_ms, memory_order_relaxed) >=
           atomic_load_explicit(&side->broker->probe.unanswered_ms, memory_order_relaxed);
}

static bool all_workers_heard(const struct broker *b) {
    for (unsigned i = 0; i < b->worker_count; i++)
        if (atomic_load(&b->workers[i]->started) && !was_heard(b->workers[i]))
            return false;
    return true;
}

/* The sides of a master in a cluster are started when they are needed, and count as down when they
 * have failed. */
static bool all_workers_up(const struct broker *b) {
    if (!b->config.sharded)
        return atomic_load(&b->workers_down) == 0;
    for (unsigned i = 0; i < b->worker_count; i++)
        if (atomic_load(&b->workers[i]->started) &&
            atomic_load(&bh_redis_command_link_active(&b->workers[i]->link)->down_reason))
            return false;
    return true;
}

static int ready(const struct bh_broker *base, const char **why) {
    struct broker *b = of(base);
    *why = unsubscribed(b);
    if (*why)
        return BH_EUNAVAIL;
    if (!all_workers_up(b))
        *why = "not every worker is connected to Redis";
    else if (!all_workers_heard(b))
        *why = "not every worker has had an answer from Redis since a probe was missing";
    return *why ? BH_EUNAVAIL : bh_redis_probe_ready(&b->probe, why);
}

/* --- the worker side --- */

static void tell_down(struct worker_side *side) {
    struct bh_redis_link *link = side->told_up;
    side->told_up = NULL;
    if (link)
        side->watch.down(side->watch.ud, link);
}

/* Also of the link that has taken over. */
static void tell_up(struct worker_side *side) {
    struct bh_redis_link *link = bh_redis_command_link_active(&side->link);
    if (!side->watch.up || side->told_up == link)
        return;
    tell_down(side);
    side->told_up = link;
    side->watch.up(side->watch.ud, link);
}

static void on_worker_up(struct bh_redis_command_link *c) {
    struct worker_side *side = BH_CONTAINER_OF(c, struct worker_side, link);
    atomic_fetch_sub(&side->broker->workers_down, 1);
    tell_up(side);
}

static void on_worker_down(struct bh_redis_command_link *c) {
    struct worker_side *side = BH_CONTAINER_OF(c, struct worker_side, link);
    atomic_fetch_add(&side->broker->workers_down, 1);
    tell_down(side);
}

static void on_worker_check(struct bh_redis_command_link *c) {
    struct worker_side *side = BH_CONTAINER_OF(c, struct worker_side, link);
    if (!was_heard(side))
        bh_redis_command_link_doubt(c);
    tell_up(side);
    if (side->told_up)
        side->watch.check(side->watch.ud, side->told_up);
}

static int worker_start(struct bh_broker *base, unsigned worker, struct bh_loop *loop) {
    struct broker *b = of(base);
    if (worker >= b->worker_count)
        return BH_EINVAL;
    bh_redis_publish_queue_start(&b->workers[worker]->queue, loop, &b->config);
    bh_redis_command_link_start(&b->workers[worker]->link, loop);
    atomic_store(&b->workers[worker]->started, true);
    return 0;
}

static void worker_stop(struct bh_broker *base, unsigned worker) {
    struct broker *b = of(base);
    struct worker_side *side = b->workers[worker];
    atomic_store(&side->started, false);
    bh_redis_publish_queue_stop(&side->queue);
    if (bh_redis_link_is_ready(bh_redis_command_link_active(&side->link)))
        atomic_fetch_add(&b->workers_down, 1);
    bh_redis_command_link_stop(&side->link);
    tell_down(side);
}

static void on_published(const struct bh_redis_completion *c, int error,
                         const struct bh_reply *reply) {
    int64_t receivers;
    const char *why;
    error = bh_redis_published(error, reply, &receivers, &why);
    c->cb.published(c->ud, c->handle, error, receivers, why);
}

static void send_publish(struct worker_side *side, struct bh_message *m,
                         bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct bh_redis_link *link = bh_redis_command_link_active(&side->link);
    const char *why;
    char *p = bh_redis_publish_begin(link, side->broker->prefix, m, &why);
    if (!p) {
        bh_redis_reject(done, ud, handle, why);
        return;
    }
    struct bh_redis_completion c = {
        .fire = on_published, .cb.published = done, .ud = ud, .handle = handle};
    bh_redis_link_commit(link, p, &c);
}

/* NULL, or why it is not known that what is published arrives. */
static const char *undelivered(const struct broker *b) {
    const char *why = unsubscribed(b);
    if (!why)
        bh_redis_probe_recent(&b->probe, &why);
    return why;
}

/* The reason, or NULL. While Redis does not deliver to this instance, nothing is published: a
 * caller would wait for an echo that never comes, and other instances are as likely not to receive
 * the message. */
static const char *blocked_by(const struct worker_side *side) {
    const struct bh_redis_link *link = bh_redis_command_link_active(&side->link);
    if (!bh_redis_link_is_ready(link))
        return down_reason(link, "not connected to Redis");
    return undelivered(side->broker);
}

/* The reason why it cannot be sent now, or NULL; with Redis in doubt it asks. */
static const char *check_side(struct worker_side *side) {
    if (!was_heard(side))
        bh_redis_command_link_doubt(&side->link);
    return blocked_by(side);
}

const char *bh_redis_node_blocked(struct bh_broker *node, unsigned side) {
    struct worker_side *s = of(node)->workers[side];
    const struct bh_redis_link *link = bh_redis_command_link_active(&s->link);
    bool coming = !bh_redis_link_is_ready(link) && !atomic_load(&link->down_reason);
    return coming ? undelivered(s->broker) : check_side(s);
}

/* Without a queue, only appends that are sent again wait in it, and nothing waits for them. */
static bool is_next(const struct worker_side *side) {
    return side->queue.count == 0 || side->broker->config.publish_queue == 0;
}

static void wait_in_queue(struct worker_side *side, const struct bh_redis_outgoing *out,
                          const char *blocked) {
    if (!bh_redis_publish_queue_add(&side->queue, out))
        bh_redis_reject(out->done, out->ud, out->handle, blocked ? blocked : bh_redis_queue_full);
}

static void publish(struct bh_broker *base, unsigned worker, struct bh_message *m,
                    bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct worker_side *side = of(base)->workers[worker];
    const char *blocked = check_side(side);
    if (!blocked && is_next(side))
        send_publish(side, m, done, ud, handle);
    else
        wait_in_queue(
            side,
            &(struct bh_redis_outgoing){.message = m, .done = done, .ud = ud, .handle = handle},
            blocked);
}

void bh_redis_node_append(struct bh_broker *node, unsigned worker,
                          const struct bh_redis_outgoing *out) {
    struct worker_side *side = of(node)->workers[worker];
    const char *blocked = check_side(side);
    if (!blocked && (out->again || is_next(side)))
        out->append(out);
    else
        wait_in_queue(side, out, blocked);
}

/* Queued messages are sent only when a probe has come back: by then the other instances have had
 * time to subscribe again. */
static bool can_send(struct bh_redis_publish_queue *q) {
    struct worker_side *side = BH_CONTAINER_OF(q, struct worker_side, queue);
    const char *why;
    return !blocked_by(side) && ready(&side->broker->routing.base, &why) == 0;
}

static void send_queued(struct bh_redis_publish_queue *q, const struct bh_redis_outgoing *out) {
    if (out->append)
        out->append(out);
    else
        send_publish(BH_CONTAINER_OF(q, struct worker_side, queue), out->message, out->done,
                     out->ud, out->handle);
}

static void call(struct bh_redis *r, unsigned worker, size_t argc, const struct bh_slice *argv,
                 bh_reply_cb done, void *ud, bh_handle handle) {
    struct broker *b = BH_CONTAINER_OF(r, struct broker, commands);
    bh_redis_command(bh_redis_command_link_active(&b->workers[worker]->link), argc, argv, done, ud,
                     handle);
}

/* --- life --- */

static void free_broker(struct bh_broker *base) {
    struct broker *b = of(base);
    bh_redis_feed_deinit(&b->feed);
    for (unsigned i = 0; i < b->worker_count; i++)
        bh_free(b->workers[i]);
    bh_free(b->workers);
    bh_redis_failover_deinit(&b->failover);
    bh_redis_config_free_copy(&b->config);
    bh_free(b);
}

static const struct bh_broker_vt broker_vt = {
    .name = "redis",
    .shared = true,
    .start = start,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .fence = fence,
    .stop = stop,
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .publish = publish,
    .ready = ready,
    .free = free_broker,
};

static const struct bh_redis_vt commands_vt = {.call = call};

/* --- for the rest of the backend --- */

static void route(struct bh_broker *base, unsigned worker, struct bh_redis_routed *r,
                  struct bh_slice key) {
    bh_redis_route_to(bh_redis_node_link(base, worker), r);
}

static struct bh_redis_locator *locator(struct bh_broker *base, struct bh_loop *loop,
                                        struct bh_slice key) {
    return bh_redis_node_locator(base, loop);
}

static const struct bh_redis_config *config_of(struct bh_broker *base, struct bh_slice key) {
    return &of(base)->config;
}

static const struct bh_redis_ways ways = {
    .route = route,
    .append = bh_redis_node_append,
    .locator = locator,
    .config = config_of,
    .commands = bh_redis_node_commands,
};

static struct worker_side *new_side(struct broker *b, unsigned number, bool bus) {
    struct worker_side *side = bh_calloc(1, sizeof *side);
    char name[] = "worker-4294967295";
    snprintf(name, sizeof name, bus ? "commands" : "worker-%u", number);
    side->broker = b;
    side->queue.can_send = can_send;
    side->queue.send = send_queued;
    bh_redis_command_link_init(&side->link, &b->config, &b->failover, name);
    side->link.on_up = on_worker_up;
    side->link.on_down = on_worker_down;
    side->link.on_check = on_worker_check;
    return side;
}

struct bh_broker *bh_redis_broker_new(const struct bh_redis_config *config, unsigned workers) {
    struct broker *b = bh_calloc(1, sizeof *b);
    b->routing.base.vt = &broker_vt;
    b->routing.ways = &ways;
    b->commands.vt = &commands_vt;
    bh_redis_config_copy(&b->config, config);
    b->prefix = bh_slice_cstr(b->config.channel_prefix);
    bh_redis_failover_init(&b->failover, &b->config);
    bh_redis_feed_init(&b->feed, &b->config, &b->failover);
    b->feed.on_probe = on_probe;
    b->feed.on_probing = on_probing;
    b->feed.on_probe_due = on_probe_due;
    b->feed.on_moved = on_moved;
    bh_redis_probe_init(&b->probe, &b->config, &b->feed);
    b->probe.on_moved = on_probe_moved;
    b->worker_count = workers + config->sharded;
    atomic_init(&b->workers_down, (int)b->worker_count);
    b->workers = bh_calloc(b->worker_count, sizeof *b->workers);
    for (unsigned i = 0; i < b->worker_count; i++)
        b->workers[i] = new_side(b, i, i == workers);
    return &b->routing.base;
}

struct bh_redis_feed *bh_redis_node_feed(struct bh_broker *node) {
    return &of(node)->feed;
}

void bh_redis_node_on_moved(struct bh_broker *node, bh_redis_moved_cb on_moved_cb, void *ud) {
    of(node)->on_moved = on_moved_cb;
    of(node)->moved_ud = ud;
}

void bh_redis_node_set_probe(struct bh_broker *node, const char *tag) {
    bh_redis_feed_set_probe(&of(node)->feed, tag);
    bh_redis_probe_moved(&of(node)->probe);
}

struct bh_redis *bh_redis_node_commands(struct bh_broker *node) {
    return &of(node)->commands;
}

struct bh_redis_link *bh_redis_node_link(struct bh_broker *node, unsigned worker) {
    struct broker *b = of(node);
    return worker < b->worker_count ? bh_redis_command_link_active(&b->workers[worker]->link)
                                    : NULL;
}

void bh_redis_node_watch(struct bh_broker *node, unsigned side,
                         const struct bh_redis_watch *watch) {
    of(node)->workers[side]->watch = *watch;
}

const struct bh_redis_config *bh_redis_node_config(const struct bh_broker *node) {
    return &of(node)->config;
}

struct bh_redis_locator *bh_redis_node_locator(struct bh_broker *node, struct bh_loop *loop) {
    return bh_redis_failover_locator(&of(node)->failover, loop);
}
