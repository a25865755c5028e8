/* hooks_publish.c - on_publish, once for each publish; on_deliver, for each receiver; on_slow, for
 * a receiver whose queue is full.
 *
 * on_publish may wait: the caller keeps *p until done, and the msg object is detached from it when
 * the hook has finished, so a script that keeps msg cannot access freed memory. on_deliver is the
 * hot path: all receivers get the same msg object, and it must not wait. */
#include "bind/bind_message.h"
#include "hooks/hooks.h"
#include "run/lua_conn.h"
#include "run/task_log.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

/* --- on_publish --- */

static void publish_decided(struct bh_task *t, struct bh_publish *p, int *error, const char **why) {
    int first = t->argc + 1;
    enum bh_strategy strategy;
    if (lua_type(t->co, first) == LUA_TSTRING) {
        struct bh_slice name;
        name.p = lua_tolstring(t->co, first, &name.n);
        *error = bh_strategy_parse(name, &strategy, why) ? BH_ESCRIPT : 0;
        if (*error)
            bh_task_log_error(t, *why);
        else
            p->strategy = (uint8_t)strategy;
    } else if (lua_isboolean(t->co, first)) {
        *error = lua_toboolean(t->co, first) ? 0 : BH_EDENIED;
        if (*error && lua_type(t->co, first + 1) == LUA_TSTRING)
            *why = lua_tostring(t->co, first + 1);
    } else {
        *error = BH_ESCRIPT;
        bh_task_log_error(t, "on_publish must return a strategy's name, true, false with a reason, "
                             "or nil");
    }
}

static void publish_done(struct bh_task *t, enum bh_outcome outcome, const char *text) {
    struct bh_publish *p = t->u.publish.msg->p;
    int error = 0;
    const char *why = NULL;
    t->u.publish.msg->p = NULL;
    luaL_unref(t->co, LUA_REGISTRYINDEX, t->u.publish.msg_ref);
    if (outcome == BH_DECIDED)
        publish_decided(t, p, &error, &why);
    else if (outcome != BH_UNDECIDED)
        error = BH_ESCRIPT;
    if (error == BH_ESCRIPT)
        why = "the on_publish hook failed";
    else if (error && !why)
        why = "refused by the policy";
    t->u.publish.done(t->u.publish.ud, error, why);
}

static void push_publisher(lua_State *L, struct bh_script *s, const struct bh_publish *p) {
    char id[BH_CONNECTION_ID_LEN + 1];
    struct bh_subscriber *sub = bh_worker_subscriber(s->worker, s->script_worker->publisher);
    bh_connection_id(p->from, id);
    lua_pushstring(L, id);
    lua_setfield(L, -2, "id");
    if (!sub || sub->number != p->from)
        return;
    bh_lua_conn_push(L, s, sub);
    lua_setfield(L, -2, "conn");
}

static void push_source(lua_State *L, struct bh_script *s, const struct bh_publish *p) {
    static const char *const kinds[] = {
        [BH_SOURCE_HTTP] = "http", [BH_SOURCE_SCRIPT] = "script", [BH_SOURCE_CLIENT] = "client"};
    lua_createtable(L, 0, 3);
    lua_pushstring(L, kinds[p->source]);
    lua_setfield(L, -2, "kind");
    if (p->source == BH_SOURCE_CLIENT)
        push_publisher(L, s, p);
}

void bh_hook_publish(struct bh_hooks *h, struct bh_publish *p,
                     void (*done)(void *ud, int error, const char *why), void *ud) {
    struct bh_script *s = (struct bh_script *)h;
    struct bh_task *t = bh_task_new(s, HOOK_PUBLISH, publish_done);
    t->u.publish.done = done;
    t->u.publish.ud = ud;
    t->u.publish.msg = bh_msg_push(t->co, p);
    lua_pushvalue(t->co, -1);
    t->u.publish.msg_ref = luaL_ref(t->co, LUA_REGISTRYINDEX);
    push_source(t->co, s, p);
    bh_task_run(t, 2);
}

/* --- on_deliver --- */

struct bh_deliver_call {
    struct bh_subscriber *sub;
    enum bh_verdict verdict;
    struct bh_slice replacement;
};

static const char replacement_key;

static void deliver_decided(struct bh_task *t) {
    struct bh_deliver_call *call = t->u.deliver;
    int first = t->argc + 1;
    if (lua_isboolean(t->co, first)) {
        call->verdict = lua_toboolean(t->co, first) ? BH_DELIVER_PASS : BH_DELIVER_SKIP;
    } else if (lua_type(t->co, first) == LUA_TSTRING) {
        call->verdict = BH_DELIVER_REPLACED;
        call->replacement.p = lua_tolstring(t->co, first, &call->replacement.n);
        lua_pushvalue(t->co, first); /* keeps it alive until the next one */
        lua_rawsetp(t->co, LUA_REGISTRYINDEX, &replacement_key);
    } else {
        call->verdict = BH_DELIVER_SKIP;
        bh_task_log_error(t, "on_deliver must return true, false, a string, or nil");
    }
}

static void turn_off(const struct bh_script *s, struct bh_subscriber *sub, struct bh_lua_conn *c) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(sub->number, id);
    c->deliver_off = true;
    bh_script_count_deliver_off();
    bh_warn_limited("connection closed: on_deliver is too slow", bh_kv_str("hook", "on_deliver"),
                    bh_kv_slice("user", sub->identity->user), bh_kv_str("connection", id),
                    bh_kv_int("generation", s->generation),
                    bh_kv_str("why", "script.deliver_limit exceeded three times in a minute"));
    sub->vt->close(sub, 1011, BH_SLICE("on_deliver failed"));
}

__attribute__((cold, noinline)) static void on_overrun(struct bh_script *s,
                                                       struct bh_subscriber *sub) {
    struct bh_lua_conn *c = sub->script;
    bool third = bh_script_worker_overran(s->script_worker, c ? &c->overruns : NULL);
    if (!c)
        return;
    bh_lua_conn_pin(c);
    if (third)
        turn_off(s, sub, c);
}

static void deliver_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    if (t->overran)
        on_overrun(t->script, t->u.deliver->sub);
    if (outcome == BH_DECIDED)
        deliver_decided(t);
    else
        t->u.deliver->verdict = outcome == BH_UNDECIDED ? BH_DELIVER_PASS : BH_DELIVER_SKIP;
}

/* While connections are turned off, the limit is strict. */
__attribute__((cold, noinline)) static bool is_off(struct bh_script *s,
                                                   const struct bh_subscriber *sub) {
    const struct bh_lua_conn *c = sub->script;
    bh_script_worker_relax(s->script_worker);
    return c && c->deliver_off;
}

enum bh_verdict bh_hook_deliver(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_message *m,
                                struct bh_slice *replacement) {
    struct bh_script *s = (struct bh_script *)h;
    struct bh_deliver_call call = {.sub = sub, .verdict = BH_DELIVER_SKIP};
    if (s->script_worker->strict_until_ms && is_off(s, sub))
        return BH_DELIVER_SKIP;
    struct bh_task *t = bh_task_new(s, HOOK_DELIVER, deliver_done);
    t->u.deliver = &call;
    bh_lua_conn_push(t->co, s, sub);
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, s->delivery_ref);
    struct bh_lua_delivery *delivery = lua_touserdata(t->co, -1);
    struct bh_message *outer = delivery->m;
    delivery->m = m;
    bh_task_run(t, 2);
    delivery->m = outer;
    *replacement = call.replacement;
    return call.verdict;
}

/* --- on_slow --- */

static void slow_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    static const char *const names[] = {[BH_SLOW_CLOSE] = "close",
                                        [BH_SLOW_DROP_OLDEST] = "drop_oldest",
                                        [BH_SLOW_DROP_NEWEST] = "drop_newest"};
    if (t->overran)
        bh_script_worker_overran(t->script->script_worker, NULL);
    if (outcome == BH_UNDECIDED)
        return;
    *t->u.slow = BH_SLOW_CLOSE;
    if (outcome != BH_DECIDED)
        return;
    const char *answer = lua_tostring(t->co, t->argc + 1);
    for (int i = 0; answer && i < (int)(sizeof names / sizeof *names); i++) {
        if (strcmp(answer, names[i]) == 0) {
            *t->u.slow = (enum bh_slow)i;
            return;
        }
    }
    bh_task_log_error(t, "on_slow must return \"drop_oldest\", \"drop_newest\", \"close\", or nil");
}

enum bh_slow bh_hook_slow(struct bh_hooks *h, struct bh_subscriber *sub, size_t queued,
                          enum bh_slow otherwise) {
    struct bh_script *s = (struct bh_script *)h;
    if (s->script_worker->strict_until_ms)
        bh_script_worker_relax(s->script_worker);
    struct bh_task *t = bh_task_new(s, HOOK_SLOW, slow_done);
    t->u.slow = &otherwise;
    bh_lua_conn_push(t->co, s, sub);
    lua_pushinteger(t->co, (lua_Integer)queued);
    bh_task_run(t, 2);
    return otherwise;
}
