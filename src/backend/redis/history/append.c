/* append.c - appends: when they are sent, what comes back, and the second attempt.
 *
 * An append waits as a publish does (broker.h). It is written from its parts straight into the
 * link, so it keeps a reference to its message until the end. When the link is lost before the
 * reply, it is sent once more: its id makes Redis answer with the first position if the first
 * attempt was executed.
 *
 * With min_replicas an append that Redis has confirmed is not complete: a WAIT on the same link
 * follows. WAIT holds up what comes after it on the link, so there is only one at a time, for all
 * that was confirmed since the last one, and a short one while replicas are known to be missing.
 */
#include "history/append.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "broker/broker.h"
#include "link/metrics.h"

#define WAIT_MS       500
#define WAIT_SHORT_MS 10

struct append {
    struct bh_redis_function_call call;
    struct bh_redis_appends *appends;
    struct bh_message *message;
    struct bh_history_rule rule; /* but for its pattern */
    bh_appended_cb done;         /* NULL: it has been called */
    void *ud;
    bh_handle handle;
    struct bh_appended result;
    struct bh_list wait; /* in `confirmed` or `waiting` */
    bool repeated;       /* after a lost link */
    bool maybe_done;     /* an attempt that was lost may have been executed */
    uint8_t collapse_len;
    char collapse[];
};

static struct append *of(const struct bh_redis_function_call *call) {
    return BH_CONTAINER_OF((struct bh_redis_function_call *)call, struct append, call);
}

/* --- the end --- */

static void count_error(int error) {
    int metric = error == BH_EUNAVAIL  ? BH_REDIS_HISTORY_UNAVAILABLE
                 : error == BH_EIO     ? BH_REDIS_HISTORY_LOST
                 : error == BH_ENOMEM  ? BH_REDIS_HISTORY_FULL
                 : error == BH_ETOOBIG ? BH_REDIS_HISTORY_ENDED
                                       : BH_REDIS_HISTORY_REFUSED;
    bh_metric_inc(&bh_redis_metrics[metric]);
}

static void tell(struct append *a, int error, const char *why) {
    bh_appended_cb done = a->done;
    a->done = NULL;
    if (!done)
        return;
    if (error)
        count_error(error);
    done(a->ud, a->handle, error, error ? NULL : &a->result, why);
}

static void finish(struct append *a, int error, const char *why) {
    bh_redis_function_close(&a->call);
    tell(a, error, why);
    bh_message_unref(a->message);
    bh_free(a);
}

static void on_abort(struct bh_redis_function_call *call) {
    tell(of(call), BH_EIO, "this instance is shutting down");
}

/* --- sending --- */

static size_t bound(const struct bh_redis_function_call *call) {
    const struct append *a = of(call);
    const struct bh_message *m = a->message;
    return BH_RESP_BULK_MAX(BH_ENVELOPE_HEAD) +
           BH_RESP_BULK_MAX(bh_envelope_append_rest_len(m) + m->payload.n) +
           BH_RESP_BULK_MAX(m->id.n) + BH_REDIS_RULE_MAX + BH_RESP_BULK_MAX(sizeof "PUBLISH") +
           BH_RESP_BULK_MAX(a->collapse_len);
}

static char *write_args(const struct bh_redis_function_call *call, char *p) {
    const struct append *a = of(call);
    const struct bh_message *m = a->message;
    p = bh_resp_head(p, '$', BH_ENVELOPE_HEAD);
    bh_envelope_append_head(m, bh_loop_now(call->link->loop), p);
    p = bh_resp_end(p + BH_ENVELOPE_HEAD);
    p = bh_resp_head(p, '$', bh_envelope_append_rest_len(m) + m->payload.n);
    p += bh_envelope_append_rest(m, p);
    p = bh_resp_end(bh_resp_bytes(p, m->payload));
    p = bh_resp_bulk(p, m->id);
    p = bh_redis_write_rule(p, &a->rule, call->calls->functions->ids_ms, &a->appends->rule);
    p = bh_resp_bytes(p, BH_SLICE("$7\r\nPUBLISH\r\n"));
    return bh_resp_bulk(p, bh_slice(a->collapse, a->collapse_len));
}

static void send_now(const struct bh_redis_outgoing *out) {
    struct append *a = out->ud;
    const struct bh_redis_appends *s = a->appends;
    const char *why = bh_redis_function_send(&a->call, bh_redis_node_link(s->node, s->worker));
    if (why)
        finish(a, a->maybe_done ? BH_EIO : BH_EUNAVAIL, why);
    else
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_APPENDS]);
}

static void on_unsent(void *ud, bh_handle handle, int error, int64_t receivers, const char *why) {
    struct append *a = ud;
    finish(a, a->maybe_done ? BH_EIO : error, why);
}

static void submit(struct append *a) {
    bh_redis_node_append(a->appends->node, a->appends->worker,
                         &(struct bh_redis_outgoing){.message = a->message,
                                                     .append = send_now,
                                                     .again = a->repeated,
                                                     .done = on_unsent,
                                                     .ud = a});
}

/* --- a lost link --- */

static void on_lost(struct append *a, int error) {
    a->maybe_done = a->maybe_done || error != BH_EUNAVAIL;
    if (!a->repeated && !a->call.calls->stopped) {
        a->repeated = true;
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_REPEATED]);
        submit(a);
    } else if (a->maybe_done) {
        finish(a, BH_EIO, "the link to Redis was lost before the append was confirmed");
    } else {
        finish(a, BH_EUNAVAIL, "the link to Redis was lost before it was sent");
    }
}

static bool parse(const struct bh_reply *r, struct bh_appended *out) {
    if (r->type != BH_REPLY_ARRAY || r->count != 4)
        return false;
    for (size_t i = 0; i < r->count; i++)
        if (r->elements[i].type != BH_REPLY_INTEGER || r->elements[i].integer < 0)
            return false;
    out->position.offset = (uint64_t)r->elements[0].integer;
    out->position.epoch = (uint64_t)r->elements[1].integer;
    out->receivers = r->elements[2].integer;
    out->known = r->elements[3].integer != 0;
    return out->position.offset > 0 && out->position.offset < BH_POSITION_END &&
           out->position.epoch > 0 && out->position.epoch < BH_POSITION_END;
}

/* --- replicas --- */

static const char too_few[] =
    "appended, but on fewer replicas than history.min_replicas: repeat it with the same id";

static struct append *shift(struct bh_list *list) {
    struct bh_list *node = bh_list_shift(list);
    return node ? BH_CONTAINER_OF(node, struct append, wait) : NULL;
}

/* Those that were confirmed on the link of the first one. */
static struct bh_redis_link *take_confirmed(struct bh_redis_appends *s) {
    struct bh_redis_link *link = BH_CONTAINER_OF(s->confirmed.next, struct append, wait)->call.link;
    struct bh_list others;
    struct append *a;
    bh_list_init(&others);
    while ((a = shift(&s->confirmed)))
        bh_list_append(a->call.link == link ? &s->waiting : &others, &a->wait);
    while ((a = shift(&others)))
        bh_list_append(&s->confirmed, &a->wait);
    return link;
}

static void on_waited(const struct bh_redis_completion *c, int error, const struct bh_reply *reply);

static void send_wait(struct bh_redis_appends *s) {
    const char *why;
    if (!bh_list_empty(&s->waiting) || bh_list_empty(&s->confirmed))
        return;
    struct bh_redis_link *link = take_confirmed(s);
    uint64_t half = link->config->command_timeout_ms / 2;
    uint64_t most = s->too_few ? WAIT_SHORT_MS : WAIT_MS;
    char *p =
        bh_redis_link_begin(link, sizeof "*3\r\n$4\r\nWAIT\r\n" + 2 * BH_REDIS_NUMBER_MAX, &why);
    if (!p) {
        for (struct append *a; (a = shift(&s->waiting));)
            on_lost(a, BH_EIO);
        return;
    }
    p = bh_resp_bytes(p, BH_SLICE("*3\r\n$4\r\nWAIT\r\n"));
    p = bh_redis_write_number(p, s->min_replicas);
    p = bh_redis_write_number(p, half > 0 && half < most ? half : most);
    bh_redis_link_commit(link, p, &(struct bh_redis_completion){.fire = on_waited, .ud = s});
}

/* 0, or an error with *why. */
static int check_replicas(struct bh_redis_appends *s, const struct bh_reply *reply,
                          const char **why) {
    if (reply->type == BH_REPLY_ERROR) {
        bh_redis_functions_error(s->calls->functions, reply->str, why);
        return BH_EIO;
    }
    s->too_few = reply->type != BH_REPLY_INTEGER || reply->integer < (int64_t)s->min_replicas;
    *why = too_few;
    return s->too_few ? BH_EIO : 0;
}

static void on_waited(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    struct bh_redis_appends *s = c->ud;
    struct bh_list batch;
    struct append *a;
    const char *why = NULL;
    int result = error ? 0 : check_replicas(s, reply, &why);
    bh_list_init(&batch);
    while ((a = shift(&s->waiting)))
        bh_list_append(&batch, &a->wait);
    while ((a = shift(&batch))) {
        if (result)
            bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_UNREPLICATED]);
        if (error)
            on_lost(a, error);
        else
            finish(a, result, result ? why : NULL);
    }
    send_wait(s);
}

/* What a lost attempt of its own has appended was published then, to nobody knows how many. */
static void note_known(struct append *a) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_KNOWN]);
    if (a->maybe_done) {
        a->result.known = false;
        a->result.receivers = -1;
    }
}

static void on_appended(struct append *a) {
    struct bh_redis_appends *s = a->appends;
    if (a->result.known)
        note_known(a);
    if (s->min_replicas == 0) {
        finish(a, 0, NULL);
        return;
    }
    a->maybe_done = true;
    bh_list_append(&s->confirmed, &a->wait);
    send_wait(s);
}

/* --- the reply --- */

static void on_done(struct bh_redis_function_call *call, int error, const struct bh_reply *reply) {
    struct append *a = of(call);
    const char *why;
    if (error) {
        on_lost(a, error);
    } else if (reply->type == BH_REPLY_ERROR) {
        error = bh_redis_functions_error(call->calls->functions, reply->str, &why);
        finish(a, error, why);
    } else if (!parse(reply, &a->result)) {
        finish(a, BH_EIO, "unexpected answer to an append");
    } else {
        on_appended(a);
    }
}

static const struct bh_redis_function_vt vt = {
    .function = BH_REDIS_FUNCTION_APPEND,
    .args = 6,
    .bound = bound,
    .write = write_args,
    .done = on_done,
    .abort = on_abort,
};

void bh_redis_append(struct bh_redis_appends *s, struct bh_message *m,
                     const struct bh_history_rule *rule, struct bh_slice collapse,
                     bh_appended_cb done, void *ud, bh_handle handle) {
    struct append *a = bh_malloc(sizeof *a + collapse.n);
    *a = (struct append){.appends = s,
                         .message = bh_message_ref(m),
                         .rule = *rule,
                         .done = done,
                         .ud = ud,
                         .handle = handle,
                         .collapse_len = (uint8_t)collapse.n};
    if (collapse.n)
        memcpy(a->collapse, collapse.p, collapse.n);
    bh_list_init(&a->wait);
    bh_redis_function_open(&a->call, s->calls, &vt, a->message->topic);
    submit(a);
}

void bh_redis_appends_init(struct bh_redis_appends *s, struct bh_redis_calls *calls,
                           struct bh_broker *node, unsigned worker,
                           const struct bh_history_config *config) {
    *s = (struct bh_redis_appends){
        .calls = calls, .node = node, .worker = worker, .min_replicas = config->min_replicas};
    bh_list_init(&s->confirmed);
    bh_list_init(&s->waiting);
}
