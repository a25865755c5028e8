/* append.c - appends: when they are sent, what comes back, and the second attempt.
 *
 * An append waits as a publish does (broker.h). It is written from its parts straight into the
 * link, so it keeps a reference to its message until the end. When the link is lost before the
 * reply, it is sent once more: its id makes Redis answer with the first position if the first
 * attempt was executed.
 *
 * With min_replicas an append that Redis has confirmed is not complete: a WAIT on the same link
 * follows. WAIT holds up what comes after it on the link, so there is only one at a time on each,
 * for all that was confirmed there since the last one, and a short one while replicas are known to
 * be missing. A master that becomes a replica meanwhile does not answer it: the append is sent
 * again. When its slot has moved away, the replicas of the old master are those that count.
 */
#include "history/append.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "broker/broker.h"
#include "broker/route.h"
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
    struct bh_list wait; /* in `confirmed` or `waiting` of its link */
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
           BH_RESP_BULK_MAX(m->id.n) + BH_REDIS_RULE_MAX + BH_REDIS_PUBLISH_MAX +
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
    p = bh_redis_write_publish(p, call->calls->functions);
    return bh_resp_bulk(p, bh_slice(a->collapse, a->collapse_len));
}

static void fail_unsent(struct append *a, int error, const char *why) {
    finish(a, a->maybe_done ? BH_EIO : error, why);
}

static void send_now(const struct bh_redis_outgoing *out) {
    struct append *a = out->ud;
    const char *why = bh_redis_function_ask(&a->call, bh_redis_appends_link(a->appends));
    if (why)
        fail_unsent(a, BH_EUNAVAIL, why);
    else
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_APPENDS]);
}

static void on_unsent(void *ud, bh_handle handle, int error, int64_t receivers, const char *why) {
    fail_unsent(ud, error, why);
}

static void submit(struct append *a) {
    bh_redis_broker_append(a->appends->node, a->appends->worker,
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

struct replicas {
    struct bh_redis_appends *appends;
    struct bh_redis_link *link;
    struct bh_list node;               /* in the appends' */
    struct bh_list confirmed, waiting; /* for a WAIT; for its reply */
    bool too_few; /* replicas, when Redis last answered: do not wait long for them again */
};

static bool is_idle(const struct replicas *r) {
    return bh_list_empty(&r->confirmed) && bh_list_empty(&r->waiting);
}

static void set_link(struct replicas *r, struct bh_redis_link *link) {
    r->link = link;
    r->too_few = false;
}

static struct replicas *replicas_new(struct bh_redis_appends *s, struct bh_redis_link *link) {
    struct replicas *r = bh_malloc(sizeof *r);
    r->appends = s;
    set_link(r, link);
    bh_list_init(&r->node);
    bh_list_init(&r->confirmed);
    bh_list_init(&r->waiting);
    bh_list_append(&s->replicas, &r->node);
    return r;
}

/* There are as many as links that were used at once. */
static struct replicas *replicas_of(struct bh_redis_appends *s, struct bh_redis_link *link) {
    struct replicas *idle = NULL;
    for (struct bh_list *node = s->replicas.next; node != &s->replicas; node = node->next) {
        struct replicas *r = BH_CONTAINER_OF(node, struct replicas, node);
        if (r->link == link)
            return r;
        if (is_idle(r) && !r->too_few)
            idle = r;
    }
    if (!idle)
        return replicas_new(s, link);
    set_link(idle, link);
    return idle;
}

static void on_waited(const struct bh_redis_completion *c, int error, const struct bh_reply *reply);

static void send_wait(struct replicas *r) {
    const char *why;
    struct append *a;
    if (!bh_list_empty(&r->waiting) || bh_list_empty(&r->confirmed))
        return;
    while ((a = shift(&r->confirmed)))
        bh_list_append(&r->waiting, &a->wait);
    uint64_t half = r->link->config->command_timeout_ms / 2;
    uint64_t most = r->too_few ? WAIT_SHORT_MS : WAIT_MS;
    char *p =
        bh_redis_link_begin(r->link, sizeof "*3\r\n$4\r\nWAIT\r\n" + 2 * BH_REDIS_NUMBER_MAX, &why);
    if (!p) {
        while ((a = shift(&r->waiting)))
            on_lost(a, BH_EIO);
        return;
    }
    p = bh_resp_bytes(p, BH_SLICE("*3\r\n$4\r\nWAIT\r\n"));
    p = bh_redis_write_number(p, r->appends->min_replicas);
    p = bh_redis_write_number(p, half > 0 && half < most ? half : most);
    bh_redis_link_commit(r->link, p, &(struct bh_redis_completion){.fire = on_waited, .ud = r});
}

/* A replica, or one that has become it while it waited: the new master has to be asked. */
static bool is_no_master(const struct bh_reply *reply) {
    return reply->type == BH_REPLY_ERROR &&
           (bh_slice_starts(reply->str, BH_SLICE("UNBLOCKED")) ||
            bh_slice_starts(reply->str, BH_SLICE("ERR WAIT cannot be used with replica")));
}

/* 0, or an error with *why. */
static int check_replicas(struct replicas *r, const struct bh_reply *reply, const char **why) {
    if (reply->type == BH_REPLY_ERROR) {
        bh_redis_functions_error(r->appends->calls->functions, reply->str, why);
        return BH_EIO;
    }
    r->too_few =
        reply->type != BH_REPLY_INTEGER || reply->integer < (int64_t)r->appends->min_replicas;
    *why = too_few;
    return r->too_few ? BH_EIO : 0;
}

static void on_waited(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    struct replicas *r = c->ud;
    struct bh_list batch;
    struct append *a;
    const char *why = NULL;
    if (!error && is_no_master(reply))
        error = BH_EIO;
    int result = error ? 0 : check_replicas(r, reply, &why);
    bh_list_init(&batch);
    while ((a = shift(&r->waiting)))
        bh_list_append(&batch, &a->wait);
    while ((a = shift(&batch))) {
        if (result)
            bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_UNREPLICATED]);
        if (error)
            on_lost(a, error);
        else
            finish(a, result, result ? why : NULL);
    }
    send_wait(r);
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
    struct replicas *r = replicas_of(s, a->call.link);
    a->maybe_done = true;
    bh_list_append(&r->confirmed, &a->wait);
    send_wait(r);
}

/* --- the reply --- */

static void on_done(struct bh_redis_function_call *call, int error, const struct bh_reply *reply) {
    struct append *a = of(call);
    const char *why;
    if (call->why) {
        fail_unsent(a, error, call->why);
    } else if (error) {
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
    bh_list_init(&s->replicas);
}

struct bh_redis_link *bh_redis_appends_link(const struct bh_redis_appends *s) {
    return s->calls->broker ? NULL : bh_redis_node_link(s->node, s->worker);
}

void bh_redis_appends_deinit(struct bh_redis_appends *s) {
    struct bh_list *node;
    while ((node = bh_list_shift(&s->replicas)))
        bh_free(BH_CONTAINER_OF(node, struct replicas, node));
}
