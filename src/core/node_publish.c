/* node_publish.c - the way of a publish in: hook, plan, local sockets, broker, answer.
 *
 * Each publish under way is an operation in the worker's slots. One with an idempotency id goes by
 * the bus first: only the bus knows what has been seen, and it serves all local workers itself. If
 * the broker then fails, the id stays "delivered but not published", so that a repetition reaches
 * the other instances without serving the local sockets twice. */
#include "node_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"

struct op {
    struct bh_op op;
    struct bh_worker *worker;
    struct bh_publish publish;
    struct bh_plan plan;
    struct bh_message *message;
    bh_published_cb done;
    void *ud;
    bh_handle handle;
};

static void discard(struct bh_op *head) {
    struct op *op = BH_CONTAINER_OF(head, struct op, op);
    bh_buf_unref(op->publish.data);
    bh_message_unref(op->message);
    bh_free(op);
}

static void finish(struct op *op, struct bh_publish_result result) {
    bh_slots_remove(&op->worker->ops, op->op.self);
    if (!result.error && !result.duplicate)
        bh_metric_inc(&bh_core_metrics[BH_CORE_PUBLISHED]);
    result.id = bh_slice(op->publish.id, op->publish.id_len);
    op->done(op->ud, op->handle, &result);
    discard(&op->op);
}

static void fail(struct op *op, int error, const char *why) {
    finish(op, (struct bh_publish_result){.error = error, .why = why, .receivers = -1});
}

/* --- mail between worker and bus --- */

enum step {
    FAN_OUT,   /* worker -> bus: the other workers' sockets */
    REGISTER,  /* worker -> bus: an id that was given; answers with KNOWN or UNKNOWN */
    PUBLISHED, /* worker -> bus: the broker has it */
    KNOWN,     /* bus -> worker */
    UNKNOWN,   /* bus -> worker */
};

struct note {
    struct bh_mail mail;
    enum step step;
    struct bh_worker *worker;
    bh_handle op;
    struct bh_plan plan;
    struct bh_message *message;
};

static void on_note_at_bus(struct bh_mail *mail);
static void on_note_at_worker(struct bh_mail *mail);

static void note_free(struct note *note) {
    bh_message_unref(note->message);
    bh_free(note);
}

static void tell_bus(struct op *op, enum step step) {
    struct note *note = bh_malloc(sizeof *note);
    *note = (struct note){{.fn = on_note_at_bus},     step, op->worker, op->op.self, op->plan,
                          bh_message_ref(op->message)};
    if (bh_mailbox_post(op->worker->node->bus, &note->mail)) {
        note_free(note);
        if (step == REGISTER)
            fail(op, BH_EUNAVAIL, "this instance is shutting down");
    }
}

static void register_id(struct bh_node *n, struct note *note) {
    struct bh_message *m = note->message;
    struct bh_seen_entry *seen =
        bh_seen_note(&n->seen, bh_topic_name(&m->topic), m->id, bh_loop_now(n->bus_loop));
    note->step = seen->published ? KNOWN : UNKNOWN;
    if (note->plan.local && !seen->delivered) {
        seen->delivered = true;
        bh_node_dispatch(n, m, 0);
    }
    if (!note->plan.publish)
        seen->published = true;
    note->mail.fn = on_note_at_worker;
    if (bh_mailbox_post(note->worker->mailbox, &note->mail))
        note_free(note);
}

static void on_note_at_bus(struct bh_mail *mail) {
    struct note *note = BH_CONTAINER_OF(mail, struct note, mail);
    struct bh_node *n = note->worker->node;
    struct bh_message *m = note->message;
    if (bh_node_stopped(n)) {
        note_free(note);
        return;
    }
    if (note->step == REGISTER) {
        register_id(n, note);
        return;
    }
    if (note->step == FAN_OUT)
        bh_node_dispatch(n, m, UINT64_C(1) << note->worker->index);
    else
        bh_seen_note(&n->seen, bh_topic_name(&m->topic), m->id, bh_loop_now(n->bus_loop))
            ->published = true;
    note_free(note);
}

/* --- the steps on the worker --- */

static void on_broker(void *ud, bh_handle handle, int error, int64_t receivers, const char *why) {
    struct bh_worker *w = ud;
    struct op *op = bh_slots_get(&w->ops, handle);
    if (!op)
        return;
    if (!error && op->publish.id_given)
        tell_bus(op, PUBLISHED);
    finish(op, (struct bh_publish_result){.error = error, .why = why, .receivers = receivers});
}

static void to_broker(struct op *op) {
    struct bh_broker *broker = op->worker->node->broker;
    if (op->plan.publish)
        broker->vt->publish(broker, op->worker->index, op->message, on_broker, op->worker,
                            op->op.self);
    else
        finish(op, (struct bh_publish_result){.receivers = -1});
}

static void on_note_at_worker(struct bh_mail *mail) {
    struct note *note = BH_CONTAINER_OF(mail, struct note, mail);
    struct op *op = NULL;
    if (!bh_node_stopped(note->worker->node))
        op = bh_slots_get(&note->worker->ops, note->op);
    if (op && note->step == KNOWN) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_DUPLICATES]);
        finish(op, (struct bh_publish_result){.duplicate = true, .receivers = -1});
    } else if (op) {
        to_broker(op);
    }
    note_free(note);
}

/* 0, or why it cannot be published. */
static int check(const struct op *op, const char **why) {
    struct bh_slice data = bh_buf_slice(op->publish.data);
    if (data.n > op->worker->node->config.payload_max) {
        *why = "the payload is larger than delivery.payload_bytes allows";
        return BH_ETOOBIG;
    }
    if (op->publish.opcode == BH_TEXT && !bh_utf8_valid(data)) {
        *why = "a text payload must be valid UTF-8; publish other bytes as binary "
               "(application/octet-stream)";
        return BH_EUTF8;
    }
    return 0;
}

static struct bh_message *make_message(const struct op *op, enum bh_message_kind kind) {
    const struct bh_publish *p = &op->publish;
    struct bh_node *n = op->worker->node;
    struct bh_message parts = {
        .kind = (uint8_t)kind,
        .opcode = p->opcode,
        .flags = (uint8_t)((op->plan.echo ? BH_MESSAGE_ECHO : 0) |
                           (op->plan.dedup || p->id_given ? BH_MESSAGE_DEDUP : 0)),
        .topic = p->topic,
        .except = p->except,
        .expires_ms = p->ttl_s ? bh_loop_now(op->worker->loop) + p->ttl_s * UINT64_C(1000) : 0,
        .id = bh_slice(p->id, p->id_len),
        .origin = bh_slice_cstr(n->origin),
        .payload = bh_buf_slice(p->data),
    };
    return bh_message_new(&parts);
}

static void carry_out(struct op *op, enum bh_message_kind kind) {
    struct bh_node *n = op->worker->node;
    enum bh_strategy strategy = (enum bh_strategy)op->publish.strategy;
    op->plan = bh_strategy_plan(strategy ? strategy : n->config.strategy, n->broker->vt->shared);
    if (op->publish.id_len == 0) {
        bh_id_unique(op->publish.id);
        op->publish.id_len = BH_UNIQUE_ID_LEN;
    }
    op->message = make_message(op, kind);
    if (!op->message) {
        fail(op, BH_ENOMEM, "no memory for a payload of this size");
        return;
    }
    if (op->publish.id_given) {
        tell_bus(op, REGISTER);
        return;
    }
    if (op->plan.local) {
        bh_worker_deliver(op->worker, op->message);
        if (n->worker_count > 1)
            tell_bus(op, FAN_OUT);
    }
    to_broker(op);
}

static void on_consent(void *ud, int error, const char *why) {
    struct op *op = ud;
    if (!error)
        error = check(op, &why);
    if (error)
        fail(op, error, why);
    else
        carry_out(op, BH_MESSAGE_DATA);
}

static struct op *op_new(struct bh_worker *w, bh_published_cb done, void *ud, bh_handle handle) {
    struct op *op = bh_calloc(1, sizeof *op);
    op->worker = w;
    op->done = done;
    op->ud = ud;
    op->handle = handle;
    op->op = (struct bh_op){bh_slots_add(&w->ops, op), discard};
    return op;
}

void bh_node_publish(struct bh_worker *w, struct bh_publish *p, bh_published_cb done, void *ud,
                     bh_handle handle) {
    struct op *op = op_new(w, done, ud, handle);
    op->publish = *p;
    if (bh_hooks_has(w->hooks, BH_HOOK_PUBLISH) && !p->skip_hook)
        w->hooks->vt->publish(w->hooks, &op->publish, on_consent, op);
    else
        on_consent(op, 0, NULL);
}

void bh_node_disconnect(struct bh_worker *w, struct bh_slice user, unsigned code,
                        struct bh_slice reason, bh_published_cb done, void *ud, bh_handle handle) {
    struct op *op = op_new(w, done, ud, handle);
    const char *why = NULL;
    int error = bh_topic_make(BH_TOPIC_USER, user, &op->publish.topic, &why);
    if (error) {
        fail(op, error, why);
        return;
    }
    struct bh_bytes order = {0};
    bh_bytes_addf(&order, "%u ", code);
    bh_bytes_add(&order, reason);
    op->publish.data = bh_buf_copy(bh_bytes_slice(&order));
    op->publish.opcode = BH_BINARY;
    op->publish.strategy = BH_STRATEGY_LOCAL_FIRST; /* the default may be one that stays here */
    bh_bytes_free(&order);
    carry_out(op, BH_MESSAGE_DISCONNECT);
}
