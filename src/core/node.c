/* node.c - the instance: its parts, their start and stop, and what the broker brings.
 *
 * Only the bus touches the interest map and the seen ids; only its worker touches a hub. They
 * exchange mails. */
#include "node_internal.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "metrics.h"
#include "recoveries.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the broker's side, on the bus --- */

/* True: m is part of a stream, and has been taken care of. */
static bool is_streams_affair(struct bh_node *n, struct bh_message *m) {
    if (m->position.epoch || m->kind == BH_MESSAGE_PURGE)
        return bh_streams_message(&n->streams, m) || m->kind > BH_MESSAGE_DISCONNECT;
    if (m->flags & BH_MESSAGE_RAW)
        bh_streams_raw(&n->streams, m);
    return false;
}

static void on_message(void *ud, struct bh_message *m) {
    struct bh_node *n = ud;
    if (n->history && is_streams_affair(n, m))
        return;
    bool own = bh_slice_eq(m->origin, bh_slice_cstr(n->origin));
    if (own && !(m->flags & BH_MESSAGE_ECHO))
        return; /* delivered to the local sockets at once */
    if (m->flags & BH_MESSAGE_DEDUP) {
        struct bh_seen_entry *seen =
            bh_seen_note(&n->seen, bh_topic_name(m->topic), m->id, bh_loop_now(n->bus_loop));
        if (!seen->published && seen->status == BH_PUBLISH_OFFLINE)
            seen->status = BH_PUBLISH_PUBLISHED; /* until its own publisher knows */
        seen->published = true;
        if (seen->delivered) {
            bh_metric_inc(&bh_core_metrics[BH_CORE_DUPLICATES]);
            return;
        }
        seen->delivered = true;
    }
    bh_node_dispatch(n, m, 0, (struct bh_receipt){0});
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    struct bh_node *n = ud;
    if (!n->history || !bh_streams_live(&n->streams, topic))
        bh_interest_map_live(&n->interest, topic);
}

static void on_lost(void *ud, struct bh_slice topic) {
    struct bh_node *n = ud;
    bh_interest_map_lost(&n->interest, topic);
    if (n->history)
        bh_streams_lost(&n->streams, topic);
}

static void on_state(void *ud, unsigned shard, bool up) {
    struct bh_node *n = ud;
    bh_interest_map_state(&n->interest, shard, up);
    if (!up)
        bh_streams_shard_down(&n->streams, shard);
}

/* --- life --- */

struct bh_node *bh_node_new(const struct bh_node_config *config, struct bh_broker *broker,
                            struct bh_tracker *tracker, struct bh_loop *bus_loop,
                            struct bh_mailbox *bus_mailbox) {
    assert(config->instance.n <= BH_ID_MAX && config->seen_max > 0);
    struct bh_node *n = bh_calloc(1, sizeof *n);
    n->config = *config;
    memcpy(n->instance, config->instance.p, config->instance.n);
    n->config.instance = bh_slice_cstr(n->instance);
    bh_id_unique(n->origin);
    n->broker = broker;
    n->tracker = tracker;
    n->bus_loop = bus_loop;
    n->bus = bus_mailbox;
    n->on_unreached = bh_node_offline;
    bh_interest_map_init(&n->interest, broker, bus_loop, config->linger_ms);
    bh_seen_init(&n->seen, config->seen_max, config->seen_ms);
    bh_streams_init(&n->streams, n);
    n->sink = (struct bh_broker_sink){on_message, on_subscribed, on_lost, on_state, n};
    return n;
}

struct bh_worker *bh_node_add_worker(struct bh_node *n, struct bh_loop *loop,
                                     struct bh_mailbox *mailbox) {
    assert(n->worker_count < BH_WORKERS_MAX);
    struct bh_worker *w = bh_calloc(1, sizeof *w);
    *w = (struct bh_worker){.node = n, .index = n->worker_count, .loop = loop, .mailbox = mailbox};
    bh_hub_init(&w->hub);
    bh_slots_init(&w->subscribers);
    bh_slots_init(&w->ops);
    bh_node_track_init(w);
    bh_node_settle_init(w);
    bh_recoveries_init(w, bh_recoveries_on_flush);
    n->workers[n->worker_count++] = w;
    return w;
}

int bh_node_start(struct bh_node *n) {
    int error = n->broker->vt->start(n->broker, n->bus_loop, n->bus, &n->sink);
    if (!error && n->history)
        error = n->history->vt->start(n->history, n->bus_loop);
    if (error)
        return error;
    bh_interest_map_pin(&n->interest, BH_SLICE("all"));
    return bh_node_track_start(n);
}

void bh_node_stop(struct bh_node *n) {
    n->tracker->vt->stop(n->tracker);
    bh_streams_stop(&n->streams);
    if (n->history)
        n->history->vt->stop(n->history);
    n->broker->vt->stop(n->broker);
    atomic_store(&n->stopped, true);
    for (unsigned i = 0; i < n->worker_count; i++) {
        bh_node_track_stop(n->workers[i]);
        bh_node_settle_stop(n->workers[i]);
        bh_recoveries_stop(n->workers[i]);
    }
    bh_interest_map_stop(&n->interest);
}

void bh_node_free(struct bh_node *n) {
    for (unsigned i = 0; i < n->worker_count; i++) {
        struct bh_worker *w = n->workers[i];
        uint32_t cursor = 0;
        struct bh_op *op;
        while ((op = bh_slots_next(&w->ops, &cursor)))
            op->discard(op);
        bh_slots_deinit(&w->ops);
        bh_slots_deinit(&w->subscribers);
        bh_hub_deinit(&w->hub);
        bh_recoveries_deinit(w);
        bh_free(w);
    }
    bh_interest_map_deinit(&n->interest);
    bh_streams_deinit(&n->streams);
    bh_seen_deinit(&n->seen);
    bh_free(n);
}

struct bh_slice bh_node_instance(const struct bh_node *n) {
    return bh_slice_cstr(n->instance);
}

unsigned bh_node_worker_count(const struct bh_node *n) {
    return n->worker_count;
}

struct bh_worker *bh_node_worker(struct bh_node *n, unsigned index) {
    return n->workers[index];
}

struct bh_broker *bh_node_broker(struct bh_node *n) {
    return n->broker;
}

void bh_node_set_history(struct bh_node *n, struct bh_history *history) {
    n->history = history;
    n->interest.observer =
        (struct bh_interest_observer){bh_streams_added, bh_streams_gone, &n->streams};
}

struct bh_history *bh_node_history(struct bh_node *n) {
    return n->history;
}

struct bh_mailbox *bh_node_bus(struct bh_node *n) {
    return n->bus;
}

int bh_node_ready(const struct bh_node *n, const char **why) {
    if (bh_node_is_stopping(n)) {
        *why = "the instance is shutting down";
        return BH_EUNAVAIL;
    }
    int error = n->broker->vt->ready(n->broker, why);
    if (!error && n->tracker->vt->ready)
        error = n->tracker->vt->ready(n->tracker, why);
    if (!error && n->history && n->history->vt->ready)
        error = n->history->vt->ready(n->history, why);
    return error;
}

void bh_node_set_stopping(struct bh_node *n) {
    atomic_store_explicit(&n->stopping, true, memory_order_relaxed);
}

bool bh_node_is_stopping(const struct bh_node *n) {
    return atomic_load_explicit(&n->stopping, memory_order_relaxed);
}

int64_t bh_node_connection_count(const struct bh_node *n) {
    return atomic_load_explicit(&n->connections, memory_order_relaxed);
}
