/* node_publish.c - the steps of a publish: hook, plan, local sockets, broker, result.
 *
 * Each publish is an operation in the worker's slots until its result is reported. One with an
 * idempotency id goes to the bus first: only the bus knows the seen ids, and it delivers to all
 * local workers itself. If the broker then fails, the id stays "delivered but not published", so
 * that a repetition reaches the other instances and does not reach the local sockets twice.
 *
 * On a topic with history (node_plan.c) it is appended instead of published: the history knows the
 * ids, for all instances and longer, and the echo delivers, so the local sockets are only counted.
 *
 * When the instance stops (node_settle.c), a result that counts on an echo waits for one more
 * report: that the echo has come back. Thread: the worker's, except on_bus_msg_at_bus and what it
 * calls. */
#include "node_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "metrics.h"

#define RECHECK_MS 200

struct op {
    struct bh_op op;
    struct bh_worker *worker;
    struct bh_plan plan;
    const struct bh_history_rule *rule; /* it is appended to this stream; NULL: it is not */
    struct bh_message *message;
    bh_published_cb done;
    void *ud;
    bh_handle handle;

    /* What it waits for, and the counts of its result. */
    unsigned expected, reported; /* workers that deliver it, and those that have reported */
    bool fan_out_known;          /* the bus has reported how many other workers deliver it */
    bool brokered;
    bool registered;               /* its id, at the bus */
    uint8_t strategy;              /* of the plan */
    bool subscribed;               /* this instance is among the broker's receivers */
    int64_t local;                 /* sockets of this instance */
    int64_t receivers;             /* instances that the broker reached */
    struct bh_position position;   /* in the history; epoch 0: none */
    enum bh_publish_status noted;  /* by the bus, for repetitions */
    bool rechecked;                /* the tracker is asked a second time */
    struct bh_timer recheck_timer; /* until then */
    bool held;                     /* until its echo has come back; counted in `expected` */
    struct bh_list parked;         /* in the worker's list before it starts; else not initialized */
    struct bh_publish publish;     /* the last: most of its topic is not used */
};

static void discard(struct bh_op *head) {
    struct op *op = BH_CONTAINER_OF(head, struct op, op);
    bh_timer_cancel(&op->recheck_timer);
    bh_publish_release(&op->publish);
    bh_message_unref(op->message);
    bh_free(op);
}

static void finish(struct op *op, struct bh_publish_result result) {
    bh_slots_remove(&op->worker->ops, op->op.self);
    if (!result.error && !result.duplicate)
        bh_metric_inc(&bh_core_metrics[BH_CORE_PUBLISHED]);
    result.id = bh_slice(op->publish.id, op->publish.id_len);
    result.position = op->position;
    result.strategy = (enum bh_strategy)op->strategy;
    op->done(op->ud, op->handle, &result);
    discard(&op->op);
}

static void fail(struct op *op, int error, const char *why) {
    finish(op, (struct bh_publish_result){.error = error, .why = why});
}

static void maybe_finish(struct op *op);

/* A worker has delivered the message. */
static void on_receipt(struct bh_worker *home, bh_handle handle, unsigned sockets) {
    struct op *op = bh_slots_get(&home->ops, handle);
    if (!op)
        return;
    op->reported++;
    op->local += sockets;
    maybe_finish(op);
}

/* --- mail between worker and bus --- */

enum step {
    FAN_OUT,    /* worker -> bus: the other workers' sockets; answers with FANNED_OUT */
    REGISTER,   /* worker -> bus: an idempotency id; answers with KNOWN or UNKNOWN */
    PUBLISHED,  /* worker -> bus: it is published, with this status; no answer */
    FANNED_OUT, /* bus -> worker, like the next */
    KNOWN,
    UNKNOWN,
};

struct bus_msg {
    struct bh_mail mail;
    enum step step;
    struct bh_worker *worker;
    bh_handle op;
    struct bh_plan plan;
    struct bh_message *message;
    enum bh_publish_status status;
    unsigned expected; /* workers that will report */
    bool subscribed;
};

static void on_bus_msg_at_bus(struct bh_mail *mail);
static void on_bus_msg_at_worker(struct bh_mail *mail);

static void bus_msg_free(struct bus_msg *msg) {
    bh_message_unref(msg->message);
    bh_free(msg);
}

static void post_to_bus(struct op *op, enum step step) {
    struct bus_msg *msg = bh_malloc(sizeof *msg);
    *msg = (struct bus_msg){.mail.fn = on_bus_msg_at_bus,
                            .step = step,
                            .worker = op->worker,
                            .op = op->op.self,
                            .plan = op->plan,
                            .status = op->noted,
                            .message = bh_message_ref(op->message)};
    if (bh_mailbox_post(op->worker->node->bus, &msg->mail)) {
        bus_msg_free(msg);
        if (step != PUBLISHED)
            fail(op, BH_EUNAVAIL, "this instance is shutting down");
    }
}

/* The local sockets are only counted: the broker's echo will deliver to them. */
static bool counts_only(struct bh_plan plan) {
    return plan.echo && !plan.local;
}

static struct bh_receipt receipt_for(struct bh_worker *home, bh_handle op, struct bh_plan plan) {
    return (struct bh_receipt){home, op, counts_only(plan), on_receipt};
}

static void fan_out(struct bh_node *n, struct bus_msg *msg, uint64_t skip) {
    struct bh_receipt receipt = receipt_for(msg->worker, msg->op, msg->plan);
    msg->expected = bh_node_dispatch(n, msg->message, skip, receipt);
}

static void register_id(struct bh_node *n, struct bus_msg *msg) {
    struct bh_message *m = msg->message;
    struct bh_seen_entry *seen =
        bh_seen_note(&n->seen, bh_topic_name(m->topic), m->id, bh_loop_now(n->bus_loop));
    msg->step = seen->published ? KNOWN : UNKNOWN;
    if (msg->plan.local && !seen->delivered) {
        seen->delivered = true;
        fan_out(n, msg, 0);
    } else if (counts_only(msg->plan) && !seen->published) {
        fan_out(n, msg, 0);
    }
    if (!msg->plan.publish)
        seen->published = true;
    if (msg->step == UNKNOWN) /* a guess, until the worker knows */
        seen->status = msg->expected ? BH_PUBLISH_DELIVERED : BH_PUBLISH_OFFLINE;
    msg->status = (enum bh_publish_status)seen->status;
}

static void note_published(struct bh_node *n, const struct bus_msg *msg) {
    struct bh_message *m = msg->message;
    struct bh_seen_entry *seen =
        bh_seen_note(&n->seen, bh_topic_name(m->topic), m->id, bh_loop_now(n->bus_loop));
    seen->published = true;
    seen->status = (uint8_t)msg->status;
}

static void on_bus_msg_at_bus(struct bh_mail *mail) {
    struct bus_msg *msg = BH_CONTAINER_OF(mail, struct bus_msg, mail);
    struct bh_node *n = msg->worker->node;
    struct bh_message *m = msg->message;
    if (bh_node_stopped(n)) {
        bus_msg_free(msg);
        return;
    }
    if (msg->step == PUBLISHED) {
        note_published(n, msg);
        bus_msg_free(msg);
        return;
    }
    msg->subscribed = !n->broker->vt->shared || /* it is the broker's only receiver */
                      bh_interest_map_subscribed(&n->interest, bh_topic_name(m->topic));
    if (msg->step == REGISTER) {
        register_id(n, msg);
    } else {
        msg->step = FANNED_OUT;
        if (msg->plan.local || msg->plan.echo)
            fan_out(n, msg, UINT64_C(1) << msg->worker->index);
    }
    msg->mail.fn = on_bus_msg_at_worker;
    if (bh_mailbox_post(msg->worker->mailbox, &msg->mail))
        bus_msg_free(msg);
}

/* --- the steps on the worker --- */

static int64_t other_instances(const struct op *op) {
    int64_t others = op->receivers - (op->subscribed ? 1 : 0);
    return others > 0 ? others : 0;
}

static enum bh_publish_status status_of(const struct op *op) {
    return op->local > 0             ? BH_PUBLISH_DELIVERED
           : other_instances(op) > 0 ? BH_PUBLISH_PUBLISHED
           : op->position.epoch      ? BH_PUBLISH_STORED
                                     : BH_PUBLISH_OFFLINE;
}

static void note_status(struct op *op) {
    op->noted = status_of(op);
    post_to_bus(op, PUBLISHED);
}

static void report(struct op *op) {
    struct bh_publish_result result = {.local = op->local, .status = status_of(op)};
    result.instances = other_instances(op) + (op->local > 0);
    if (op->registered && op->noted != result.status)
        note_status(op); /* before the answer, so that a repetition after it finds it */
    if (result.status >= BH_PUBLISH_OFFLINE && op->message->kind == BH_MESSAGE_DATA)
        op->worker->node->on_unreached(op->worker, op->message, op->position, op->publish.attempt);
    finish(op, result);
}

/* A channel of a user may linger on an instance that the user has left. When a hook on_offline
 * exists, the tracker decides; because it may not know a user that has just connected, it is asked
 * twice. */
static void ask_tracker(struct op *op);

static void on_recheck(struct bh_timer *t) {
    ask_tracker(BH_CONTAINER_OF(t, struct op, recheck_timer));
}

static void on_lookup(void *ud, bh_handle handle, int error, const struct bh_presence *found,
                      size_t count, int64_t as_of) {
    struct bh_worker *w = ud;
    struct op *op = bh_slots_get(&w->ops, handle);
    if (!op)
        return;
    bool nobody = !error && count == 1 && found->count == 0 && !found->uncertain;
    if (nobody && !op->rechecked) {
        op->rechecked = true;
        bh_timer_set(&op->recheck_timer, RECHECK_MS);
        return;
    }
    if (nobody)
        op->receivers = 0;
    report(op);
}

static void ask_tracker(struct op *op) {
    struct bh_slice user = bh_topic_id(&op->publish.topic);
    bh_node_lookup(op->worker, BH_LOOKUP_ONLINE, &user, 1, on_lookup, op->worker, op->op.self);
}

static bool is_waiting(const struct op *op) {
    return !op->fan_out_known || !op->brokered || op->reported < op->expected;
}

static void maybe_finish(struct op *op) {
    struct bh_worker *w = op->worker;
    const struct bh_topic *topic = &op->publish.topic;
    if (is_waiting(op))
        return;
    if (op->local == 0 && other_instances(op) > 0 && topic->kind == BH_TOPIC_USER &&
        bh_hooks_has(w->hooks, BH_HOOK_OFFLINE)) {
        ask_tracker(op);
        return;
    }
    report(op);
}

static void on_broker(void *ud, bh_handle handle, int error, int64_t receivers, const char *why) {
    struct bh_worker *w = ud;
    struct op *op = bh_slots_get(&w->ops, handle);
    if (!op)
        return;
    if (error) {
        fail(op, error, why);
        return;
    }
    op->brokered = true;
    op->receivers = receivers > 0 ? receivers : 0;
    if (op->registered)
        note_status(op);
    maybe_finish(op);
}

static void on_appended(void *ud, bh_handle handle, int error, const struct bh_appended *appended,
                        const char *why) {
    struct bh_worker *w = ud;
    struct op *op = bh_slots_get(&w->ops, handle);
    if (!op)
        return;
    if (error == BH_ENOMEM)
        bh_metric_inc(&bh_core_metrics[BH_CORE_HISTORY_FULL]);
    if (!error)
        op->position = appended->position;
    if (!error && !appended->known)
        bh_metric_inc(&bh_core_metrics[BH_CORE_STORED]);
    if (!error && appended->known) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_DUPLICATES]);
        finish(op, (struct bh_publish_result){.duplicate = true, .status = BH_PUBLISH_STORED});
        return;
    }
    on_broker(ud, handle, error, error ? -1 : appended->receivers, why);
}

static void append(struct op *op) {
    struct bh_history *history = op->worker->node->history;
    history->vt->append(history, op->worker->index, op->message, op->rule,
                        bh_buf_slice(op->publish.collapse), on_appended, op->worker, op->op.self);
}

static void to_broker(struct op *op) {
    struct bh_broker *broker = op->worker->node->broker;
    if (op->rule) {
        append(op);
        return;
    }
    if (op->plan.publish) {
        broker->vt->publish(broker, op->worker->index, op->message, on_broker, op->worker,
                            op->op.self);
        return;
    }
    op->brokered = true;
    maybe_finish(op);
}

static void on_bus_msg_at_worker(struct bh_mail *mail) {
    struct bus_msg *msg = BH_CONTAINER_OF(mail, struct bus_msg, mail);
    struct op *op = NULL;
    if (!bh_node_stopped(msg->worker->node))
        op = bh_slots_get(&msg->worker->ops, msg->op);
    if (op && msg->step == KNOWN) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_DUPLICATES]);
        finish(op, (struct bh_publish_result){.duplicate = true, .status = msg->status});
    } else if (op) {
        op->fan_out_known = true;
        op->noted = msg->status;
        op->expected += msg->expected;
        op->subscribed = msg->subscribed;
        if (msg->step == UNKNOWN)
            to_broker(op);
        else
            maybe_finish(op);
    }
    bus_msg_free(msg);
}

/* 0, or an error with *why. */
static int check(const struct op *op, const char **why) {
    struct bh_slice data = bh_buf_slice(op->publish.data);
    if (data.n > op->worker->node->config.payload_max) {
        *why = "the payload is larger than delivery.payload_bytes allows";
        return BH_ETOOBIG;
    }
    if (op->publish.opcode == BH_TEXT && !op->publish.utf8_checked && !bh_utf8_valid(data)) {
        *why = "a text payload must be valid UTF-8; publish other bytes as binary "
               "(application/octet-stream)";
        return BH_EUTF8;
    }
    return 0;
}

/* The payload moves from the publish to the message. */
static struct bh_message *make_message(struct op *op, enum bh_message_kind kind) {
    struct bh_publish *p = &op->publish;
    struct bh_node *n = op->worker->node;
    struct bh_message parts = {
        .kind = (uint8_t)kind,
        .opcode = p->opcode,
        .flags = (uint8_t)((op->plan.echo ? BH_MESSAGE_ECHO : 0) |
                           (op->plan.dedup || op->registered ? BH_MESSAGE_DEDUP : 0)),
        .topic = &p->topic,
        .except = p->except,
        .expires_ms = p->ttl_s ? bh_loop_now(op->worker->loop) + p->ttl_s * UINT64_C(1000) : 0,
        .id = bh_slice(p->id, p->id_len),
        .origin = bh_slice_cstr(n->origin),
        .filter = bh_buf_slice(p->filter),
        .payload = bh_buf_slice(p->data),
        .buf = p->data,
    };
    struct bh_message *m = bh_message_new(&parts);
    if (m)
        p->data = NULL;
    return m;
}

/* While the instance stops. True: it starts later. */
static bool avoid_echo(struct op *op) {
    struct bh_settle *settle = &op->worker->settle;
    if (settle->state == BH_SETTLE_WAITING) {
        bh_list_append(&settle->parked, &op->parked);
        return true;
    }
    op->strategy = BH_STRATEGY_LOCAL_FIRST;
    op->plan = bh_strategy_plan(BH_STRATEGY_LOCAL_FIRST, op->worker->node->broker->vt->shared);
    return false;
}

/* Whether somebody has come since it was stored: here, and of a user also elsewhere. */
static void look_again(struct op *op) {
    struct bh_publish *p = &op->publish;
    op->plan = (struct bh_plan){.echo = true};
    op->strategy = BH_STRATEGY_DURABLE;
    op->message = p->stored;
    op->position = p->stored->position;
    p->stored = NULL;
    if (op->worker->node->broker->vt->shared && p->topic.kind == BH_TOPIC_USER)
        op->receivers = 2; /* until the tracker says that there are none */
}

/* False: it has failed. */
static bool plan_history(struct op *op) {
    const char *why;
    if (bh_node_plan_history(op->worker->node, &op->publish, &op->rule, &why)) {
        fail(op, BH_EINVAL, why);
        return false;
    }
    if (op->rule) {
        op->strategy = BH_STRATEGY_DURABLE;
        op->plan = bh_strategy_plan(BH_STRATEGY_DURABLE, true);
    }
    return true;
}

static bool has_history_option(const struct bh_publish *p) {
    return p->history == BH_PUBLISH_HISTORY_ON || p->collapse || p->strategy == BH_STRATEGY_DURABLE;
}

/* Plan and message. False: it has failed, or starts later. */
static bool prepare(struct op *op, enum bh_message_kind kind) {
    struct bh_node *n = op->worker->node;
    struct bh_publish *p = &op->publish;
    op->strategy = p->strategy ? p->strategy : (uint8_t)n->config.strategy;
    op->plan = bh_strategy_plan((enum bh_strategy)op->strategy, n->broker->vt->shared);
    if ((n->history || has_history_option(p)) && kind == BH_MESSAGE_DATA && !plan_history(op))
        return false;
    if (counts_only(op->plan) && op->worker->settle.state != BH_SETTLE_NOT && !op->rule &&
        avoid_echo(op))
        return false;
    if (p->id_len == 0) {
        bh_id_unique(p->id);
        p->id_len = BH_UNIQUE_ID_LEN;
    }
    op->registered = p->id_given && !op->rule;
    op->message = make_message(op, kind);
    if (!op->message) {
        op->strategy = BH_STRATEGY_DEFAULT;
        fail(op, BH_ENOMEM, "no memory for a payload of this size");
        return false;
    }
    return true;
}

static void start(struct op *op, enum bh_message_kind kind) {
    struct bh_node *n = op->worker->node;
    if (op->publish.stored)
        look_again(op);
    else if (!prepare(op, kind))
        return;
    if (op->registered) {
        post_to_bus(op, REGISTER);
        return;
    }
    struct bh_worker *w = op->worker;
    bh_handle self = op->op.self;
    if (op->plan.local || op->plan.echo) {
        op->expected = 1;
        bh_worker_deliver(w, op->message, receipt_for(w, self, op->plan));
    }
    if (n->worker_count > 1 || n->broker->vt->shared)
        post_to_bus(op, FAN_OUT);
    else
        op->fan_out_known = op->subscribed = true;
    if (bh_slots_get(&w->ops, self) == op)
        to_broker(op);
}

static void on_hook_done(void *ud, int error, const char *why) {
    struct op *op = ud;
    if (!error)
        error = check(op, &why);
    if (error)
        fail(op, error, why);
    else
        start(op, BH_MESSAGE_DATA);
}

static struct op *op_new(struct bh_worker *w, bh_published_cb done, void *ud, bh_handle handle) {
    struct op *op = bh_malloc(sizeof *op);
    memset(op, 0, offsetof(struct op, publish.topic.name));
    op->worker = w;
    op->done = done;
    op->ud = ud;
    op->handle = handle;
    op->op = (struct bh_op){bh_slots_add(&w->ops, op), discard};
    bh_timer_init(&op->recheck_timer, w->loop, on_recheck);
    return op;
}

void bh_node_publish(struct bh_worker *w, struct bh_publish *p, bh_published_cb done, void *ud,
                     bh_handle handle) {
    struct op *op = op_new(w, done, ud, handle);
    bh_publish_move(&op->publish, p);
    if (bh_hooks_has(w->hooks, BH_HOOK_PUBLISH) && !p->skip_hook)
        w->hooks->vt->publish(w->hooks, &op->publish, on_hook_done, op);
    else
        on_hook_done(op, 0, NULL);
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
    struct bh_bytes payload = {0};
    bh_bytes_addf(&payload, "%u ", code);
    bh_bytes_add(&payload, reason);
    op->publish.data = bh_buf_copy(bh_bytes_slice(&payload));
    op->publish.opcode = BH_BINARY;
    op->publish.strategy = BH_STRATEGY_LOCAL_FIRST; /* the default may be `local` */
    bh_bytes_free(&payload);
    start(op, BH_MESSAGE_DISCONNECT);
}

/* --- while the instance stops --- */

/* NULL for an operation that is no publish, or has not started. */
static struct op *next_started(const struct bh_worker *w, uint32_t *cursor) {
    struct bh_op *head;
    while ((head = bh_slots_next(&w->ops, cursor))) {
        struct op *op = BH_CONTAINER_OF(head, struct op, op);
        if (head->discard == discard && op->message)
            return op;
    }
    return NULL;
}

void bh_node_hold_echoes(struct bh_worker *w) {
    uint32_t cursor = 0;
    struct op *op;
    while ((op = next_started(w, &cursor))) {
        if (!counts_only(op->plan) || !op->plan.publish || op->rule || !is_waiting(op))
            continue;
        op->held = true;
        op->expected++;
    }
}

bool bh_node_holds_echo(const struct bh_worker *w) {
    uint32_t cursor = 0;
    struct op *op;
    while ((op = next_started(w, &cursor)))
        if (op->held && !op->brokered)
            return true;
    return false;
}

static void release_held(struct op *op, bool proven) {
    op->held = false;
    if (!proven) {
        fail(op, BH_EIO, "this instance stops, and the message has not come back from Redis");
        return;
    }
    op->reported++;
    maybe_finish(op);
}

void bh_node_release_echoes(struct bh_worker *w, bool proven) {
    uint32_t cursor = 0;
    struct bh_list *node;
    struct op *op;
    while ((op = next_started(w, &cursor)))
        if (op->held)
            release_held(op, proven);
    while ((node = bh_list_shift(&w->settle.parked)))
        start(BH_CONTAINER_OF(node, struct op, parked), BH_MESSAGE_DATA);
}

bool bh_node_is_publishing(const struct bh_worker *w) {
    uint32_t cursor = 0;
    struct op *op;
    while ((op = next_started(w, &cursor)))
        if (!op->brokered)
            return true;
    return false;
}
