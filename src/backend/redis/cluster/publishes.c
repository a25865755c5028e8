/* publishes.c - the publishes and appends of the workers of a cluster.
 *
 * A message goes to the master of the slot of its channel. It waits in the queue of its group of
 * slots while nothing may be published to that master (as with one Redis: while the bus does not
 * know that what is published there arrives), and behind others that wait. A publish keeps its
 * message until it is answered, because it may have to be sent again elsewhere. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "broker/broker.h"
#include "broker/outgoing.h"
#include "cluster/cluster.h"

static struct bh_redis_cluster_side *side_of(const struct bh_broker *b, unsigned worker) {
    return bh_redis_cluster_of(b)->sides[worker];
}

static struct bh_slice prefix_of(const struct bh_redis_cluster_side *side) {
    return bh_slice_cstr(side->cluster->config.channel_prefix);
}

static unsigned slot_of(const struct bh_redis_cluster_side *side, const struct bh_message *m) {
    char channel[BH_CHANNEL_MAX + 1];
    return bh_redis_slot(
        bh_slice(channel, bh_topic_to_channel(m->topic, prefix_of(side), channel)));
}

/* --- a publish --- */

struct publish {
    struct bh_redis_routed routed;
    struct bh_redis_cluster_side *side;
    struct bh_message *message; /* a reference */
    bh_broker_published_cb done;
    void *ud;
    bh_handle handle;
};

static void free_publish(struct publish *p) {
    bh_message_unref(p->message);
    bh_free(p);
}

static void on_published(const struct bh_redis_completion *c, int error,
                         const struct bh_reply *reply) {
    struct publish *p = c->ud;
    int64_t receivers;
    const char *why;
    if (!error && reply->type == BH_REPLY_ERROR &&
        bh_redis_routes_again(&p->side->routes, &p->routed, reply))
        return;
    error = bh_redis_published(error, reply, &receivers, &why);
    p->done(p->ud, p->handle, error, receivers, why);
    free_publish(p);
}

static struct publish *publish_of(struct bh_redis_routed *r) {
    return BH_CONTAINER_OF(r, struct publish, routed);
}

static const char *send_publish(struct bh_redis_routed *r, struct bh_redis_link *link) {
    struct publish *p = publish_of(r);
    const char *why;
    char *end = bh_redis_publish_begin(link, prefix_of(p->side), p->message, &why);
    if (!end)
        return why;
    bh_redis_link_commit(link, end, &(struct bh_redis_completion){.fire = on_published, .ud = p});
    return NULL;
}

static void fail_publish(struct bh_redis_routed *r, int error, const char *why) {
    struct publish *p = publish_of(r);
    bh_redis_reject(p->done, p->ud, p->handle, why);
    free_publish(p);
}

static const struct bh_redis_routed_vt routed_vt = {.send = send_publish, .fail = fail_publish};

/* Now, whatever it is, as far as the routes can. */
static void send_out(struct bh_redis_cluster_side *side, const struct bh_redis_outgoing *out,
                     unsigned slot) {
    if (out->append) {
        out->append(out);
        return;
    }
    struct publish *p = bh_malloc(sizeof *p);
    *p = (struct publish){
        .routed = {.vt = &routed_vt, .bytes = (uint32_t)out->message->payload.n},
        .side = side,
        .message = bh_message_ref(out->message),
        .done = out->done,
        .ud = out->ud,
        .handle = out->handle,
    };
    bh_redis_routes_send(&side->routes, &p->routed, slot);
}

/* --- now or later --- */

/* NULL, or why nothing is published to that slot now. */
static const char *blocked_by(struct bh_redis_cluster_side *side, unsigned slot) {
    if (bh_redis_routes_link(&side->routes, slot))
        return bh_redis_node_blocked(bh_redis_routes_master(&side->routes, slot)->broker,
                                     side->routes.side);
    return bh_redis_routes_nobody(&side->routes);
}

static struct bh_redis_publish_queue *queue_of(struct bh_redis_cluster_side *side, unsigned slot) {
    return &side->queues[bh_redis_group(slot)].queue;
}

/* As with one Redis: without a queue, only appends that are sent again wait in it. */
static bool is_next(const struct bh_redis_cluster_side *side,
                    const struct bh_redis_publish_queue *q) {
    return q->count == 0 || side->cluster->config.publish_queue == 0;
}

/* The limits are the worker's, whatever the number of queues. */
static bool has_room(const struct bh_redis_cluster_side *side,
                     const struct bh_redis_outgoing *out) {
    size_t count = 0, bytes = out->message->payload.n;
    for (unsigned i = 0; i < BH_REDIS_GROUPS; i++) {
        count += side->queues[i].queue.count;
        bytes += side->queues[i].queue.bytes;
    }
    return (out->again || count < side->cluster->config.publish_queue) &&
           bytes <= BH_REDIS_PUBLISH_QUEUE_BYTES_MAX;
}

static void submit(struct bh_redis_cluster_side *side, const struct bh_redis_outgoing *out) {
    unsigned slot = slot_of(side, out->message);
    struct bh_redis_publish_queue *q = queue_of(side, slot);
    const char *blocked = blocked_by(side, slot);
    if (!blocked && ((out->append && out->again) || is_next(side, q)))
        send_out(side, out, slot);
    else if (!has_room(side, out) || !bh_redis_publish_queue_add(q, out))
        bh_redis_reject(out->done, out->ud, out->handle, blocked ? blocked : bh_redis_queue_full);
}

void bh_redis_cluster_publish(struct bh_broker *b, unsigned worker, struct bh_message *m,
                              bh_broker_published_cb done, void *ud, bh_handle handle) {
    submit(side_of(b, worker),
           &(struct bh_redis_outgoing){.message = m, .done = done, .ud = ud, .handle = handle});
}

void bh_redis_cluster_append(struct bh_broker *b, unsigned worker,
                             const struct bh_redis_outgoing *out) {
    submit(side_of(b, worker), out);
}

/* --- the queues --- */

static struct bh_redis_cluster_side *side_of_queue(struct bh_redis_publish_queue *q) {
    return BH_CONTAINER_OF(q, struct bh_redis_cluster_queue, queue)->side;
}

/* The first one decides for all of its group. As with one Redis, a probe must have come back. */
static bool can_send(struct bh_redis_publish_queue *q) {
    struct bh_redis_cluster_side *side = side_of_queue(q);
    unsigned slot = slot_of(side, bh_redis_publish_queue_next(q)->message);
    const char *why;
    if (blocked_by(side, slot) ||
        atomic_load(&side->cluster->settling) & UINT32_C(1) << bh_redis_group(slot))
        return false;
    struct bh_broker *node = bh_redis_routes_master(&side->routes, slot)->broker;
    return node->vt->ready(node, &why) == 0;
}

static void send_queued(struct bh_redis_publish_queue *q, const struct bh_redis_outgoing *out) {
    send_out(side_of_queue(q), out, slot_of(side_of_queue(q), out->message));
}

/* --- life --- */

void bh_redis_cluster_side_init(struct bh_redis_cluster_side *side,
                                struct bh_redis_cluster *cluster, unsigned side_number) {
    side->cluster = cluster;
    bh_redis_routes_init(&side->routes, &cluster->shared, &cluster->topology, &cluster->config,
                         side_number);
    for (unsigned i = 0; i < BH_REDIS_GROUPS; i++) {
        side->queues[i].side = side;
        side->queues[i].queue.can_send = can_send;
        side->queues[i].queue.send = send_queued;
    }
}

void bh_redis_cluster_side_deinit(struct bh_redis_cluster_side *side) {
    bh_redis_routes_deinit(&side->routes);
}

int bh_redis_cluster_worker_start(struct bh_broker *b, unsigned worker, struct bh_loop *loop) {
    struct bh_redis_cluster *cluster = bh_redis_cluster_of(b);
    if (worker >= cluster->worker_count)
        return BH_EINVAL;
    struct bh_redis_cluster_side *side = cluster->sides[worker];
    bh_redis_routes_start(&side->routes, loop);
    for (unsigned i = 0; i < BH_REDIS_GROUPS; i++)
        bh_redis_publish_queue_start(&side->queues[i].queue, loop, &cluster->config);
    return 0;
}

void bh_redis_cluster_worker_stop(struct bh_broker *b, unsigned worker) {
    struct bh_redis_cluster_side *side = side_of(b, worker);
    for (unsigned i = 0; i < BH_REDIS_GROUPS; i++)
        bh_redis_publish_queue_stop(&side->queues[i].queue);
    bh_redis_routes_stop(&side->routes);
}
