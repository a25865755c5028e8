/* node_deliver.c - a message on its way down: bus -> workers -> their subscribers.
 *
 * A worker delivers at once, unless it is inside another delivery or earlier messages wait in its
 * mailbox; then the message waits behind them, so that every subscriber sees one order. Workers and
 * bus exchange counted references to immutable messages by mail. A receipt travels with the message
 * and goes back to the worker that published it with the number of sockets reached. Thread: the
 * worker's, except bh_node_dispatch (bus). */
#include "node_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "bellhop/core/filter.h"
#include "metrics.h"
#include "recoveries.h"

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

struct pass {
    struct bh_message *message;
    unsigned sockets;       /* that accepted it */
    struct bh_place *place; /* of its stream, on this worker; NULL: none */
    void (*visit)(struct bh_subscriber *s, void *ud);
};

static bool is_for(const struct bh_subscriber *s, const struct bh_message *m) {
    if (m->except && m->except == s->number)
        return false;
    return !m->filter.n || bh_filter_matches(m->filter, s->identity);
}

static void count_socket(struct bh_subscriber *s, void *ud) {
    struct pass *pass = ud;
    pass->sockets += is_for(s, pass->message);
}

/* on_deliver gives this subscriber something else. One that resumes gets it with the topic and the
 * position of the message. Not inlined, so that the path of others stays short. */
static __attribute__((noinline)) int
deliver_other(struct bh_subscriber *s, const struct bh_message *m, struct bh_slice payload) {
    if (!s->vt->recovered)
        return s->vt->send(s, (enum bh_opcode)m->opcode, payload);
    if (m->opcode == BH_TEXT && !bh_utf8_valid(payload))
        return BH_EUTF8;
    struct bh_message parts = {.opcode = m->opcode,
                               .flags = m->flags,
                               .topic = m->topic,
                               .position = m->position,
                               .stored_ms = m->stored_ms,
                               .expires_ms = m->expires_ms,
                               .payload = payload};
    struct bh_message *other = bh_message_new(&parts);
    int error = other ? s->vt->deliver(s, other) : BH_ENOMEM;
    bh_message_unref(other);
    return error;
}

static void deliver_to(struct bh_subscriber *s, void *ud) {
    struct pass *pass = ud;
    struct bh_message *m = pass->message;
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
            error = deliver_other(s, m, replacement);
            break;
        default:
            error = s->vt->deliver(s, m);
        }
    }
    pass->sockets += error == 0;
}

static void disconnect(struct bh_subscriber *s, void *ud) {
    struct pass *pass = ud;
    struct bh_slice reason = pass->message->payload, code_text;
    uint64_t code = 1000;
    if (bh_slice_split(&reason, ' ', &code_text))
        bh_slice_u64(code_text, 4999, &code);
    pass->sockets++;
    s->vt->close(s, (unsigned)code, reason);
}

/* --- streams --- */

static void tell_gap(struct bh_subscriber *s, void *ud) {
    const struct bh_message *m = ((struct pass *)ud)->message;
    for (unsigned i = 0; i < BH_GAP_REASONS; i++)
        if (bh_slice_eq(m->payload, bh_slice_cstr(bh_gap_reasons[i])))
            bh_subscriber_tell_gap(s, bh_topic_name(m->topic), bh_gap_reasons[i]);
}

static void tell_rewound(struct bh_subscriber *s, void *ud) {
    bh_subscriber_tell_rewound(s, bh_topic_name(((struct pass *)ud)->message->topic));
}

/* Unless it has to wait until s is given what it missed. */
static void visit_recovered(struct bh_subscriber *s, void *ud) {
    struct pass *pass = ud;
    if (!bh_recovery_takes(s, pass->place, pass->message))
        pass->visit(s, ud);
}

/* NULL: it only moves the position. */
static void (*stream_visitor(const struct bh_message *m,
                             const struct bh_worker *w))(struct bh_subscriber *, void *) {
    if (m->kind == BH_MESSAGE_GAP)
        return tell_gap;
    if (m->kind == BH_MESSAGE_REWOUND)
        return tell_rewound;
    if (m->kind != BH_MESSAGE_DATA)
        return NULL;
    if (!bh_message_expired(m, bh_loop_now(w->loop)))
        return deliver_to;
    bh_metric_inc(&bh_core_metrics[BH_CORE_EXPIRED]);
    return NULL;
}

/* A message with a position, or a note of the bus about the stream. */
static int deliver_stream(struct bh_worker *w, struct bh_message *m) {
    struct pass pass = {.message = m, .place = bh_place_find(w, bh_topic_name(m->topic))};
    if (pass.place)
        bh_place_move(w, pass.place, m->position);
    pass.visit = stream_visitor(m, w);
    if (!pass.visit)
        return 0;
    bool slow = pass.place && pass.place->recovering;
    int error = bh_hub_foreach(&w->hub, bh_topic_name(m->topic),
                               slow ? visit_recovered : pass.visit, &pass);
    bh_metric_add(&bh_core_metrics[BH_CORE_DELIVERED], pass.sockets);
    return error == BH_EAGAIN ? BH_EAGAIN : (int)pass.sockets;
}

void bh_worker_deliver_stream_to(struct bh_subscriber *s, struct bh_message *m) {
    struct pass pass = {.message = m};
    void (*visit)(struct bh_subscriber *, void *) = stream_visitor(m, s->worker);
    if (visit)
        visit(s, &pass);
    bh_metric_add(&bh_core_metrics[BH_CORE_DELIVERED], pass.sockets);
}

/* --- any message --- */

/* The number of sockets, or BH_EAGAIN inside another delivery. */
static int deliver_now(struct bh_worker *w, struct bh_message *m, bool only_count) {
    struct pass pass = {.message = m};
    if (m->position.epoch && !only_count)
        return deliver_stream(w, m);
    if (bh_message_expired(m, bh_loop_now(w->loop))) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_EXPIRED]);
        return 0;
    }
    void (*visit)(struct bh_subscriber *, void *) = only_count ? count_socket : deliver_to;
    if (m->kind == BH_MESSAGE_DISCONNECT && !only_count)
        visit = disconnect;
    int error = bh_hub_foreach(&w->hub, bh_topic_name(m->topic), visit, &pass);
    if (visit == deliver_to)
        bh_metric_add(&bh_core_metrics[BH_CORE_DELIVERED], pass.sockets);
    return error == BH_EAGAIN ? BH_EAGAIN : (int)pass.sockets;
}

static void on_receipt(struct bh_mail *mail) {
    struct delivery *d = BH_CONTAINER_OF(mail, struct delivery, mail);
    if (!bh_node_stopped(d->worker->node))
        d->receipt.done(d->receipt.home, d->receipt.op, d->sockets);
    delivery_free(d);
}

static void on_delivery(struct bh_mail *mail) {
    struct delivery *d = BH_CONTAINER_OF(mail, struct delivery, mail);
    if (bh_node_stopped(d->worker->node)) { /* other workers' mailboxes may be freed */
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
            receipt.done(receipt.home, receipt.op, (unsigned)sockets);
        return;
    }
    if (post_delivery(w, m, receipt, on_own_delivery) == 0)
        w->queued++;
}

unsigned bh_node_dispatch(struct bh_node *n, struct bh_message *m, uint64_t skip,
                          struct bh_receipt receipt) {
    uint64_t workers = bh_interest_map_workers(&n->interest, bh_topic_name(m->topic)) & ~skip;
    unsigned count = 0;
    while (workers) {
        unsigned index = (unsigned)__builtin_ctzll(workers);
        workers &= workers - 1;
        if (post_delivery(n->workers[index], m, receipt, on_delivery) == 0)
            count++;
    }
    return count;
}
