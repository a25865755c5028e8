/* hooks_conn.c - the ordered hooks of a connection: their arguments, and what their results do.
 *
 * A verb of the port describes the job; lua_conn.c decides when it runs. `prepare` pushes the
 * arguments after the conn; `on_done` acts on the outcome. Failures close or refuse. The connection
 * may have closed meanwhile: then the subscriber is NULL and the result has no effect on it, but a
 * publish is still sent. */
#include "bind/bind_publish.h"
#include "hooks/hooks.h"
#include "lua/args.h"
#include "run/lua_conn.h"
#include "run/task_log.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

#include <math.h>
#include <stdio.h>

static struct bh_slice string_at(lua_State *L, int index) {
    struct bh_slice s = bh_slice(NULL, 0);
    if (lua_type(L, index) == LUA_TSTRING)
        s.p = lua_tolstring(L, index, &s.n);
    return s;
}

static bool is_false(lua_State *L, int index) {
    return lua_isboolean(L, index) && !lua_toboolean(L, index);
}

/* `false, code, reason` */
static void close_with_result(struct bh_task *t, struct bh_subscriber *sub) {
    int first = t->argc + 1;
    lua_Integer code = 1008;
    if (lua_gettop(t->co) > first && !lua_isnil(t->co, first + 1))
        code = lua_isinteger(t->co, first + 1) ? lua_tointeger(t->co, first + 1) : 0;
    if (!bh_close_code_ok(code)) {
        bh_task_log_error(t, "false, code, reason: the close code must be 1000 to 1014 or 3000 to "
                             "4999 (and not 1004, 1005, 1006); 1008 was used");
        code = 1008;
    }
    if (sub)
        sub->vt->close(sub, (unsigned)code, string_at(t->co, first + 2));
}

static void prepare_nothing(struct bh_task *t, const struct bh_job *job) {}
static void ignore_outcome(struct bh_task *t, enum bh_outcome outcome, const char *error) {}

/* --- on_open --- */

static void open_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(t->conn);
    if (outcome == BH_FAILED && sub)
        sub->vt->close(sub, 1011, BH_SLICE("on_open failed"));
    if (outcome == BH_DECIDED && is_false(t->co, t->argc + 1))
        close_with_result(t, sub);
}

static const struct bh_job_ops open_ops = {HOOK_OPEN, prepare_nothing, open_done};

void bh_hook_open(struct bh_hooks *h, struct bh_subscriber *sub) {
    bh_lua_conn_submit((struct bh_script *)h, sub, &(struct bh_job){.ops = &open_ops});
}

/* --- on_message --- */

static void message_prepare(struct bh_task *t, const struct bh_job *job) {
    t->u.opcode = job->opcode;
    lua_pushlstring(t->co, job->data.p, job->data.n);
    lua_pushvalue(t->co, job->opcode == BH_TEXT ? BH_TASK_TEXT : BH_TASK_BINARY);
}

/* Data that is not valid UTF-8 is sent as binary. */
static void reply(struct bh_subscriber *sub, unsigned opcode, struct bh_slice data) {
    if (sub && sub->vt->send(sub, opcode, data) == BH_EUTF8)
        sub->vt->send(sub, BH_BINARY, data);
}

static void publish_for_client(struct bh_task *t, int index) {
    struct bh_publish_request r;
    char why[BH_WHY_MAX];
    if (bh_publish_read(t->co, index, &r, why)) {
        bh_task_log_error(t, why);
        return;
    }
    struct bh_script *s = t->script;
    bh_handle outer = s->script_worker->publisher;
    r.p.source = BH_SOURCE_CLIENT;
    r.p.from = t->conn->number;
    s->script_worker->publisher = t->conn->handle;
    if (bh_publish_send(s, &r, why))
        bh_info_limited("publish refused", bh_kv_str("why", why));
    s->script_worker->publisher = outer;
}

static void message_default(struct bh_task *t, struct bh_subscriber *sub) {
    if (!sub || t->script->config->client_messages)
        return;
    bh_task_log_slip(t, BH_SLIP_NO_ANSWER);
    sub->vt->close(sub, 1008, BH_SLICE("messages from clients are not accepted"));
}

static void message_decided(struct bh_task *t, struct bh_subscriber *sub) {
    int first = t->argc + 1;
    switch (lua_type(t->co, first)) {
    case LUA_TSTRING:
        reply(sub, t->u.opcode, string_at(t->co, first));
        return;
    case LUA_TTABLE:
        publish_for_client(t, first);
        return;
    case LUA_TBOOLEAN:
        if (!lua_toboolean(t->co, first))
            close_with_result(t, sub);
        return;
    default:
        bh_task_log_error(t, "on_message must return true, a string (the reply), a table (to be "
                             "published), false with code and reason, or nil");
    }
}

static void message_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(t->conn);
    if (outcome == BH_DECIDED)
        message_decided(t, sub);
    else if (outcome == BH_UNDECIDED)
        message_default(t, sub);
}

static const struct bh_job_ops message_ops = {HOOK_MESSAGE, message_prepare, message_done};

void bh_hook_message(struct bh_hooks *h, struct bh_subscriber *sub, enum bh_opcode opcode,
                     struct bh_slice data) {
    bh_lua_conn_submit((struct bh_script *)h, sub,
                       &(struct bh_job){.ops = &message_ops, .opcode = opcode, .data = data});
}

/* --- on_subscribe, on_unsubscribe --- */

/* The topic's id, without its name space: scripts name topics as they publish to them. */
static struct bh_slice topic_id(struct bh_slice name) {
    struct bh_slice prefix = BH_SLICE("topic:");
    return bh_slice_starts(name, prefix) ? bh_slice(name.p + prefix.n, name.n - prefix.n) : name;
}

static void subscribe_prepare(struct bh_task *t, const struct bh_job *job) {
    t->u.allowed.done = job->done;
    t->u.allowed.ud = job->ud;
    t->u.allowed.handle = job->handle;
    lua_pushlstring(t->co, job->data.p, job->data.n);
}

static void subscribe_refused(struct bh_task *t, lua_Integer status, struct bh_slice body) {
    t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, false, (int)status, body);
}

static void subscribe_decided(struct bh_task *t) {
    int first = t->argc + 1;
    if (lua_istable(t->co, first) || (lua_isboolean(t->co, first) && lua_toboolean(t->co, first)))
        t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, true, 200, bh_slice(NULL, 0));
    else if (is_false(t->co, first))
        subscribe_refused(t,
                          lua_isinteger(t->co, first + 1) ? lua_tointeger(t->co, first + 1) : 403,
                          string_at(t->co, first + 2));
    else {
        bh_task_log_error(t, "on_subscribe must return true, a table, false with a code, or nil");
        subscribe_refused(t, 503, BH_SLICE("on_subscribe failed"));
    }
}

static void subscribe_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    if (outcome == BH_DECIDED)
        subscribe_decided(t);
    else if (outcome == BH_UNDECIDED)
        t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, true, 0, bh_slice(NULL, 0));
    else if (outcome == BH_FAILED)
        subscribe_refused(t, 503, BH_SLICE("on_subscribe failed"));
    else
        subscribe_refused(t, 0, BH_SLICE("closed"));
}

static const struct bh_job_ops subscribe_ops = {HOOK_SUBSCRIBE, subscribe_prepare, subscribe_done};

void bh_hook_subscribe(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                       bh_allowed_cb done, void *ud, bh_handle handle) {
    bh_lua_conn_submit((struct bh_script *)h, sub,
                       &(struct bh_job){.ops = &subscribe_ops,
                                        .done = done,
                                        .ud = ud,
                                        .handle = handle,
                                        .data = topic_id(topic)});
}

static void topic_and_why_prepare(struct bh_task *t, const struct bh_job *job) {
    lua_pushlstring(t->co, job->data.p, job->data.n);
    lua_pushstring(t->co, job->why);
}

static const struct bh_job_ops unsubscribe_ops = {HOOK_UNSUBSCRIBE, topic_and_why_prepare,
                                                  ignore_outcome};

void bh_hook_unsubscribe(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                         const char *why) {
    bh_lua_conn_submit(
        (struct bh_script *)h, sub,
        &(struct bh_job){.ops = &unsubscribe_ops, .why = why, .data = topic_id(topic)});
}

/* --- on_gap --- */

/* The whole name of the topic, because it may be any: user:42, tenant:7, topic:news, all. */
static const struct bh_job_ops gap_ops = {HOOK_GAP, topic_and_why_prepare, ignore_outcome};

/* Then the hook will run behind this gap anyway, and a hook that takes long gathers no more jobs
 * than there are topics. */
static bool is_gap_queued(const struct bh_subscriber *sub, struct bh_slice topic) {
    const struct bh_lua_conn *c = sub->script;
    for (const struct bh_list *n = c ? c->jobs.next : NULL; n && n != &c->jobs; n = n->next) {
        const struct bh_job *job = BH_CONTAINER_OF(n, struct bh_job, node);
        if (job->ops == &gap_ops && bh_slice_eq(job->data, topic))
            return true;
    }
    return false;
}

void bh_hook_gap(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                 const char *why) {
    if (is_gap_queued(sub, topic))
        return;
    bh_lua_conn_submit((struct bh_script *)h, sub,
                       &(struct bh_job){.ops = &gap_ops, .why = why, .data = topic});
}

/* --- on_expire --- */

static void expire_prepare(struct bh_task *t, const struct bh_job *job) {
    t->u.expiry.done = job->expired;
    t->u.expiry.ud = job->ud;
    t->u.expiry.handle = job->handle;
}

/* 0: it has expired */
static int64_t expire_decided(struct bh_task *t) {
    int first = t->argc + 1;
    lua_Number at = lua_tonumber(t->co, first);
    char time[BH_TIME_WHY_MAX], why[2 * BH_TIME_WHY_MAX];
    if (is_false(t->co, first))
        return 0;
    if (bh_time_ok(at, time))
        return (int64_t)ceil(at);
    snprintf(why, sizeof why, "on_expire must return the new expiry, false, or nil; it is %s",
             time);
    bh_task_log_error(t, why);
    return 0;
}

static void expire_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    int64_t expires = outcome == BH_DECIDED ? expire_decided(t) : 0;
    t->u.expiry.done(t->u.expiry.ud, t->u.expiry.handle, expires);
}

static const struct bh_job_ops expire_ops = {HOOK_EXPIRE, expire_prepare, expire_done};

void bh_hook_expire(struct bh_hooks *h, struct bh_subscriber *sub, bh_expiry_cb done, void *ud,
                    bh_handle handle) {
    bh_lua_conn_submit(
        (struct bh_script *)h, sub,
        &(struct bh_job){.ops = &expire_ops, .expired = done, .ud = ud, .handle = handle});
}

/* --- on_close --- */

static void close_prepare(struct bh_task *t, const struct bh_job *job) {
    lua_createtable(t->co, 0, 2);
    lua_pushinteger(t->co, job->code);
    lua_setfield(t->co, -2, "code");
    lua_pushlstring(t->co, job->data.p, job->data.n);
    lua_setfield(t->co, -2, "reason");
}

static const struct bh_job_ops close_ops = {HOOK_CLOSE, close_prepare, ignore_outcome};

void bh_hook_close(struct bh_hooks *h, struct bh_subscriber *sub, unsigned code,
                   struct bh_slice reason) {
    bh_lua_conn_closed((struct bh_script *)h, sub,
                       &(struct bh_job){.ops = &close_ops, .code = code, .data = reason});
}
