/* hooks_conn.c - the ordered hooks of a connection: what each is given, and what its answer does.
 *
 * `prepare` pushes the arguments after the conn; `end` acts on the outcome. Failures close or
 * refuse; nothing falls through. The connection may have gone meanwhile: then sub is NULL and the
 * answer has no effect, but hooks that publish still do. */
#include "bind/bind_publish.h"
#include "hooks/hooks_private.h"
#include "run/lua_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

void bh_push_opcode(lua_State *L, unsigned opcode) {
    if (opcode == BH_TEXT)
        lua_pushliteral(L, "text");
    else
        lua_pushliteral(L, "binary");
}

static void push_close_info(lua_State *L, const struct bh_job *job) {
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, job->code);
    lua_setfield(L, -2, "code");
    lua_pushlstring(L, job->data.p, job->data.n);
    lua_setfield(L, -2, "reason");
}

void bh_conn_hook_prepare(struct bh_task *t, const struct bh_job *job) {
    lua_State *L = t->co;
    switch (job->hook) {
    case HOOK_MESSAGE:
        t->u.opcode = job->opcode;
        lua_pushlstring(L, job->data.p, job->data.n);
        lua_pushvalue(L, job->opcode == BH_TEXT ? BH_TASK_TEXT : BH_TASK_BINARY);
        return;
    case HOOK_SUBSCRIBE:
        t->u.allowed.done = job->done;
        t->u.allowed.ud = job->ud;
        t->u.allowed.handle = job->handle;
        lua_pushlstring(L, job->data.p, job->data.n);
        return;
    case HOOK_EXPIRE:
        t->u.expiry.done = job->expired;
        t->u.expiry.ud = job->ud;
        t->u.expiry.handle = job->handle;
        return;
    case HOOK_UNSUBSCRIBE:
        lua_pushlstring(L, job->data.p, job->data.n);
        lua_pushstring(L, job->why);
        return;
    case HOOK_CLOSE:
        push_close_info(L, job);
        return;
    default:
        return;
    }
}

/* --- answers --- */

static struct bh_slice string_at(lua_State *L, int index) {
    struct bh_slice s = bh_slice(NULL, 0);
    if (lua_type(L, index) == LUA_TSTRING)
        s.p = lua_tolstring(L, index, &s.n);
    return s;
}

static bool is_false(lua_State *L, int index) {
    return lua_isboolean(L, index) && !lua_toboolean(L, index);
}

bool bh_close_code_ok(lua_Integer code) {
    bool standard = code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
    return standard || (code >= 3000 && code <= 4999);
}

/* `false, code, reason` */
static void close_as_told(struct bh_task *t, struct bh_subscriber *sub) {
    int first = t->argc + 1;
    lua_Integer code = 1008;
    if (lua_gettop(t->co) > first && !lua_isnil(t->co, first + 1))
        code = lua_isinteger(t->co, first + 1) ? lua_tointeger(t->co, first + 1) : 0;
    if (!bh_close_code_ok(code)) {
        bh_task_complain(t, "false, code, reason: the close code must be 1000 to 1014 or 3000 to "
                            "4999 (and not 1004, 1005, 1006); 1008 was used");
        code = 1008;
    }
    if (sub)
        sub->vt->close(sub, (unsigned)code, string_at(t->co, first + 2));
}

static void open_end(struct bh_task *t, enum bh_outcome outcome) {
    struct bh_subscriber *sub = bh_conn_subscriber(t->conn);
    if (outcome == BH_FAILED && sub)
        sub->vt->close(sub, 1011, BH_SLICE("on_open failed"));
    if (outcome == BH_DECIDED && is_false(t->co, t->argc + 1))
        close_as_told(t, sub);
}

/* Text that is not text goes out as binary. */
static void reply(struct bh_subscriber *sub, unsigned opcode, struct bh_slice data) {
    if (sub && sub->vt->send(sub, opcode, data) == BH_EUTF8)
        sub->vt->send(sub, BH_BINARY, data);
}

static void publish_for_client(struct bh_task *t, int index) {
    struct bh_publish_request r;
    char why[BH_WHY_MAX];
    if (bh_publish_read(t->co, index, &r, why)) {
        bh_task_complain(t, why);
        return;
    }
    struct bh_script *s = t->script;
    bh_handle outer = s->lane->publisher;
    r.p.source = BH_SOURCE_CLIENT;
    r.p.from = t->conn->number;
    s->lane->publisher = t->conn->handle;
    if (bh_publish_send(s, &r, why))
        bh_info_limited("publish refused", bh_kv_str("why", why));
    s->lane->publisher = outer;
}

static void message_default(struct bh_task *t, struct bh_subscriber *sub) {
    if (sub && !t->script->config->client_messages)
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
            close_as_told(t, sub);
        return;
    default:
        bh_task_complain(t, "on_message must return true, a string (the reply), a table (to be "
                            "published), false with code and reason, or nil");
    }
}

static void message_end(struct bh_task *t, enum bh_outcome outcome) {
    struct bh_subscriber *sub = bh_conn_subscriber(t->conn);
    if (outcome == BH_DECIDED)
        message_decided(t, sub);
    else if (outcome == BH_NO_OPINION)
        message_default(t, sub);
}

static void subscribe_refused(struct bh_task *t, lua_Integer status, struct bh_slice body) {
    t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, false, (int)status, body);
}

static void subscribe_decided(struct bh_task *t) {
    int first = t->argc + 1;
    if (lua_istable(t->co, first) || (lua_isboolean(t->co, first) && lua_toboolean(t->co, first)))
        t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, true, 0, bh_slice(NULL, 0));
    else if (is_false(t->co, first))
        subscribe_refused(t,
                          lua_isinteger(t->co, first + 1) ? lua_tointeger(t->co, first + 1) : 403,
                          string_at(t->co, first + 2));
    else {
        bh_task_complain(t, "on_subscribe must return true, a table, false with a code, or nil");
        subscribe_refused(t, 503, BH_SLICE("on_subscribe failed"));
    }
}

static void subscribe_end(struct bh_task *t, enum bh_outcome outcome) {
    if (outcome == BH_DECIDED)
        subscribe_decided(t);
    else if (outcome == BH_NO_OPINION)
        t->u.allowed.done(t->u.allowed.ud, t->u.allowed.handle, true, 0, bh_slice(NULL, 0));
    else if (outcome == BH_FAILED)
        subscribe_refused(t, 503, BH_SLICE("on_subscribe failed"));
    else
        subscribe_refused(t, 0, BH_SLICE("closed"));
}

static void expire_end(struct bh_task *t, enum bh_outcome outcome) {
    int first = t->argc + 1;
    int64_t expires = 0;
    if (outcome == BH_DECIDED) {
        lua_Number at = lua_tonumber(t->co, first);
        if (at > 0 && at < 1e12)
            expires = (int64_t)at;
        else if (!is_false(t->co, first))
            bh_task_complain(t, "on_expire must return the new expiry in Unix seconds, false, or "
                                "nil");
    }
    t->u.expiry.done(t->u.expiry.ud, t->u.expiry.handle, expires);
}

void bh_conn_hook_end(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    if (t->hook == HOOK_OPEN)
        open_end(t, outcome);
    else if (t->hook == HOOK_MESSAGE)
        message_end(t, outcome);
    else if (t->hook == HOOK_SUBSCRIBE)
        subscribe_end(t, outcome);
    else if (t->hook == HOOK_EXPIRE)
        expire_end(t, outcome);
}
