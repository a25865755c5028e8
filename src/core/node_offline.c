/* node_offline.c - a message that reached no socket: the hook on_offline, and retries.
 *
 * The publisher has been answered by then. A retry is a publish of its own with the same id, which
 * does not run on_publish again; one of a message in a history only looks whether somebody has
 * come, because it is appended already, and then calls the hook again. The retries of one message,
 * and the messages that wait for one, are limited; the rest is dropped and counted. Thread: the
 * worker's. */
#include "node_internal.h"

#include "bellhop/base/mem.h"
#include "metrics.h"

#define ATTEMPTS_MAX 10
#define RETRIES_MAX  10000

struct retry {
    struct bh_op op;
    struct bh_worker *worker;
    struct bh_message *message;
    struct bh_timer timer;
    unsigned attempt;
};

static void discard(struct bh_op *op) {
    struct retry *r = BH_CONTAINER_OF(op, struct retry, op);
    bh_message_unref(r->message);
    bh_free(r);
}

static void end(struct retry *r) {
    bh_timer_cancel(&r->timer);
    bh_slots_remove(&r->worker->ops, r->op.self);
    r->worker->retries--;
    discard(&r->op);
}

static void give_up(struct retry *r) {
    bh_metric_inc(&bh_core_metrics[BH_CORE_OFFLINE_DROPPED]);
    end(r);
}

static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *result) {}

static void on_due(struct bh_timer *t) {
    struct retry *r = BH_CONTAINER_OF(t, struct retry, timer);
    const struct bh_message *m = r->message;
    struct bh_worker *w = r->worker;
    uint64_t now = bh_loop_now(w->loop);
    if (bh_message_expired(m, now)) {
        give_up(r);
        return;
    }
    struct bh_publish p;
    bh_publish_init(&p, BH_SOURCE_SCRIPT);
    bh_topic_copy(&p.topic, m->topic);
    if (m->position.epoch)
        p.stored = bh_message_ref(r->message);
    else
        p.data = bh_buf_copy(m->payload);
    p.filter = m->filter.n ? bh_buf_copy(m->filter) : NULL;
    p.opcode = m->opcode;
    p.skip_hook = true;
    p.except = m->except;
    p.attempt = r->attempt;
    p.id_len = (uint8_t)m->id.n;
    if (m->expires_ms)
        p.ttl_s = (uint32_t)((m->expires_ms - now + 999) / 1000);
    memcpy(p.id, m->id.p, m->id.n);
    bh_metric_inc(&bh_core_metrics[BH_CORE_OFFLINE_RETRIED]);
    end(r);
    bh_node_publish(w, &p, on_published, NULL, 0);
}

static void on_decided(void *ud, bh_handle handle, enum bh_offline what, uint64_t retry_ms) {
    struct bh_worker *w = ud;
    struct retry *r = bh_slots_get(&w->ops, handle);
    if (!r)
        return;
    if (what == BH_OFFLINE_HANDLED)
        end(r);
    else if (what == BH_OFFLINE_RETRY && r->attempt < ATTEMPTS_MAX)
        bh_timer_set(&r->timer, retry_ms);
    else
        give_up(r);
}

/* A reference to m, or to one with its position in the history. */
static struct bh_message *with_position(struct bh_message *m, struct bh_position stored) {
    struct bh_message *copy = NULL;
    if (stored.epoch && !m->position.epoch)
        copy = bh_message_with_position(m, stored, 0);
    return copy ? copy : bh_message_ref(m);
}

void bh_node_offline(struct bh_worker *w, struct bh_message *m, struct bh_position stored,
                     unsigned attempt) {
    bh_metric_inc(&bh_core_metrics[BH_CORE_OFFLINE]);
    if (!bh_hooks_has(w->hooks, BH_HOOK_OFFLINE) || m->topic->kind == BH_TOPIC_ALL)
        return;
    if (w->retries >= RETRIES_MAX) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_OFFLINE_DROPPED]);
        return;
    }
    struct retry *r = bh_calloc(1, sizeof *r);
    r->worker = w;
    r->message = with_position(m, stored);
    r->attempt = attempt + 1;
    r->op = (struct bh_op){bh_slots_add(&w->ops, r), discard};
    bh_timer_init(&r->timer, w->loop, on_due);
    w->retries++;
    struct bh_message *shown = bh_message_ref(r->message); /* the retry may end in the call */
    w->hooks->vt->offline(w->hooks, shown, r->attempt, on_decided, w, r->op.self);
    bh_message_unref(shown);
}
