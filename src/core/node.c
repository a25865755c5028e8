/* node.c - the instance: bus and workers, and the way of a message down to the sockets.
 *
 * The bus alone touches directory and seen ids; each worker alone touches its hub. They meet only
 * in mails, which carry counted references to immutable messages. */
#include "node_internal.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/filter.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct bh_metric bh_core_metrics[BH_CORE_METRIC_COUNT] = {
    [BH_CORE_PUBLISHED] = {"bellhop_core_published_total", NULL,
                           "Messages that entered on this instance and were accepted", BH_COUNTER,
                           0},
    [BH_CORE_DELIVERED] = {"bellhop_core_delivered_total", NULL, "Messages handed to a connection",
                           BH_COUNTER, 0},
    [BH_CORE_DUPLICATES] = {"bellhop_core_duplicates_total", NULL,
                            "Messages dropped because their id had been seen", BH_COUNTER, 0},
    [BH_CORE_EXPIRED] = {"bellhop_core_expired_total", NULL,
                         "Messages dropped because their ttl had passed", BH_COUNTER, 0},
    [BH_CORE_OFFLINE] = {"bellhop_core_offline_total", NULL,
                         "Messages that reached nobody on any instance", BH_COUNTER, 0},
    [BH_CORE_OFFLINE_RETRIED] = {"bellhop_core_offline_retried_total", NULL,
                                 "Further attempts that on_offline asked for", BH_COUNTER, 0},
    [BH_CORE_OFFLINE_DROPPED] = {"bellhop_core_offline_dropped_total", NULL,
                                 "Messages given up after on_offline", BH_COUNTER, 0},
};

void bh_core_metrics_register(void) {
    bh_metrics_register(bh_core_metrics, BH_CORE_METRIC_COUNT);
}

/* --- delivery --- */

struct delivery {
    struct bh_mail mail;
    struct bh_worker *worker;
    struct bh_message *message;
    struct bh_receipt receipt;
    unsigned sockets;
};

static void delivery_free(struct delivery *d) {
    bh_message_unref(d->message);
    bh_free(d);
}

static int post_delivery(struct bh_worker *w, struct bh_message *m, struct bh_receipt receipt,
                         void (*fn)(struct bh_mail *)) {
    struct delivery *d = bh_malloc(sizeof *d);
    *d = (struct delivery){{.fn = fn}, w, bh_message_ref(m), receipt, 0};
    int error = bh_mailbox_post(w->mailbox, &d->mail);
    if (error)
        delivery_free(d);
    return error;
}

struct walk {
    struct bh_message *message;
    unsigned sockets; /* that took it */
};

static bool is_for(const struct bh_subscriber *s, const struct bh_message *m) {
    if (m->except && m->except == s->number)
        return false;
    return !m->filter.n || bh_filter_matches(m->filter, s->identity);
}

static void count_it(struct bh_subscriber *s, void *ud) {
    struct walk *walk = ud;
    walk->sockets += is_for(s, walk->message);
}

static void deliver_to(struct bh_subscriber *s, void *ud) {
    struct walk *walk = ud;
    struct bh_message *m = walk->message;
    struct bh_hooks *hooks = s->worker->hooks;
    if (!is_for(s, m))
        return;
    int error;
    if (!bh_hooks_has(hooks, BH_HOOK_DELIVER)) {
        error = s->vt->deliver(s, m);
    } else {
        struct bh_slice replacement;
        switch (hooks->vt->deliver(hooks, s, m, &replacement)) {
        case BH_DELIVER_SKIP:
            return;
        case BH_DELIVER_REPLACED:
            error = s->vt->send(s, (enum bh_opcode)m->opcode, replacement);
            break;
        default:
            error = s->vt->deliver(s, m);
        }
    }
    walk->sockets += error == 0;
}

static void disconnect_it(struct bh_subscriber *s, void *ud) {
    struct walk *walk = ud;
    struct bh_slice reason = walk->message->payload, code_text;
    uint64_t code = 1000;
    if (bh_slice_split(&reason, ' ', &code_text))
        bh_slice_u64(code_text, 4999, &code);
    walk->sockets++;
    s->vt->close(s, (unsigned)code, reason);
}

/* How many sockets, or BH_EAGAIN inside another delivery. */
static int deliver_now(struct bh_worker *w, struct bh_message *m, bool only_count) {
    struct walk walk = {.message = m};
    if (bh_message_expired(m, bh_loop_now(w->loop))) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_EXPIRED]);
        return 0;
    }
    void (*visit)(struct bh_subscriber *, void *) = only_count ? count_it : deliver_to;
    if (m->kind == BH_MESSAGE_DISCONNECT && !only_count)
        visit = disconnect_it;
    int error = bh_hub_walk(&w->hub, bh_topic_name(&m->topic), visit, &walk);
    if (visit == deliver_to)
        bh_metric_add(&bh_core_metrics[BH_CORE_DELIVERED], walk.sockets);
    return error == BH_EAGAIN ? BH_EAGAIN : (int)walk.sockets;
}

static void on_receipt(struct bh_mail *mail) {
    struct delivery *d = BH_CONTAINER_OF(mail, struct delivery, mail);
    if (!bh_node_stopped(d->worker->node))
        bh_publish_counted(d->receipt.home, d->receipt.op, d->sockets);
    delivery_free(d);
}

static void on_delivery(struct bh_mail *mail) {
    struct delivery *d = BH_CONTAINER_OF(mail, struct delivery, mail);
    if (bh_node_stopped(d->worker->node)) { /* other workers' mailboxes may have gone */
        delivery_free(d);
        return;
    }
    int sockets = deliver_now(d->worker, d->message, d->receipt.only_count);
    d->sockets = sockets > 0 ? (unsigned)sockets : 0;
    d->mail.fn = on_receipt;
    if (!d->receipt.home || bh_mailbox_post(d->receipt.home->mailbox, &d->mail))
        delivery_free(d);
}

static void on_own_delivery(struct bh_mail *mail) {
    BH_CONTAINER_OF(mail, struct delivery, mail)->worker->queued--;
    on_delivery(mail);
}

void bh_worker_deliver(struct bh_worker *w, struct bh_message *m, struct bh_receipt receipt) {
    int sockets = w->queued == 0 ? deliver_now(w, m, receipt.only_count) : BH_EAGAIN;
    if (sockets != BH_EAGAIN) {
        if (receipt.home)
            bh_publish_counted(receipt.home, receipt.op, (unsigned)sockets);
        return;
    }
    if (post_delivery(w, m, receipt, on_own_delivery) == 0)
        w->queued++;
}

unsigned bh_node_dispatch(struct bh_node *n, struct bh_message *m, uint64_t skip,
                          struct bh_receipt receipt) {
    uint64_t workers = bh_directory_workers(&n->directory, bh_topic_name(&m->topic)) & ~skip;
    unsigned count = 0;
    while (workers) {
        unsigned index = (unsigned)__builtin_ctzll(workers);
        workers &= workers - 1;
        if (post_delivery(n->workers[index], m, receipt, on_delivery) == 0)
            count++;
    }
    return count;
}

/* --- the broker's side, on the bus --- */

static void on_message(void *ud, struct bh_message *m) {
    struct bh_node *n = ud;
    bool own = bh_slice_eq(m->origin, bh_slice_cstr(n->origin));
    if (own && !(m->flags & BH_MESSAGE_ECHO))
        return; /* its sockets here had it at once */
    if (m->flags & BH_MESSAGE_DEDUP) {
        struct bh_seen_entry *seen =
            bh_seen_note(&n->seen, bh_topic_name(&m->topic), m->id, bh_loop_now(n->bus_loop));
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
    bh_directory_live(&n->directory, topic);
}

static void on_state(void *ud, unsigned shard, bool up) {
    struct bh_node *n = ud;
    bh_directory_state(&n->directory, shard, up);
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
    bh_directory_init(&n->directory, broker, bus_loop, config->linger_ms);
    bh_seen_init(&n->seen, config->seen_max, config->seen_ms);
    n->sink = (struct bh_broker_sink){on_message, on_subscribed, on_state, n};
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
    n->workers[n->worker_count++] = w;
    return w;
}

int bh_node_start(struct bh_node *n) {
    int error = n->broker->vt->start(n->broker, n->bus_loop, n->bus, &n->sink);
    if (error)
        return error;
    bh_directory_pin(&n->directory, BH_SLICE("all"));
    return bh_node_track_start(n);
}

void bh_node_stop(struct bh_node *n) {
    n->tracker->vt->stop(n->tracker);
    n->broker->vt->stop(n->broker);
    atomic_store(&n->stopped, true);
    for (unsigned i = 0; i < n->worker_count; i++)
        bh_node_track_stop(n->workers[i]);
    bh_directory_stop(&n->directory);
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
        bh_free(w);
    }
    bh_directory_deinit(&n->directory);
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

struct bh_mailbox *bh_node_bus(struct bh_node *n) {
    return n->bus;
}

int bh_node_ready(const struct bh_node *n, const char **why) {
    int error = n->broker->vt->ready(n->broker, why);
    if (!error && n->tracker->vt->ready)
        error = n->tracker->vt->ready(n->tracker, why);
    return error;
}

int64_t bh_node_connection_count(const struct bh_node *n) {
    return atomic_load_explicit(&n->connections, memory_order_relaxed);
}
