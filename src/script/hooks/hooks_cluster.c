/* hooks_cluster.c - hooks that concern no connection: on_presence, on_offline (for a message that
 * reached no connection), on_shutdown. All may wait.
 *
 * The msg of on_offline is detached from the message when the hook has finished, like that of
 * on_publish. */
#include "bind/bind.h"
#include "bind/bind_message.h"
#include "hooks/hooks.h"
#include "lua/args.h"
#include "run/task_log.h"

#define RETRY_MIN_MS     100
#define RETRY_MAX_S      86400.0
#define RETRY_DEFAULT_MS 1000 /* after a failure; times the attempt */

/* --- on_presence --- */

static void ignore_outcome(struct bh_task *t, enum bh_outcome outcome, const char *error) {}

void bh_hook_presence(struct bh_hooks *h, struct bh_slice user, bool online, int64_t at) {
    struct bh_task *t = bh_task_new((struct bh_script *)h, HOOK_PRESENCE, ignore_outcome);
    lua_createtable(t->co, 0, 3);
    bh_push_slice(t->co, user);
    lua_setfield(t->co, -2, "user");
    lua_pushboolean(t->co, online);
    lua_setfield(t->co, -2, "online");
    lua_pushnumber(t->co, (double)at / 1000);
    lua_setfield(t->co, -2, "at");
    bh_task_run(t, 1);
}

/* --- on_offline --- */

static bool read_retry(lua_State *L, int index, uint64_t *retry_ms) {
    if (!lua_istable(L, index))
        return false;
    int is_number = 0;
    lua_getfield(L, index, "retry");
    double seconds = lua_tonumberx(L, -1, &is_number);
    lua_pop(L, 1);
    if (!is_number || !(seconds >= 0 && seconds <= RETRY_MAX_S))
        return false;
    *retry_ms = (uint64_t)(seconds * 1000);
    if (*retry_ms < RETRY_MIN_MS)
        *retry_ms = RETRY_MIN_MS;
    return true;
}

static enum bh_offline offline_decided(struct bh_task *t, uint64_t *retry_ms) {
    int first = t->argc + 1;
    if (lua_isboolean(t->co, first) && lua_toboolean(t->co, first))
        return BH_OFFLINE_HANDLED;
    if (lua_type(t->co, first) == LUA_TSTRING && strcmp(lua_tostring(t->co, first), "drop") == 0)
        return BH_OFFLINE_DROP;
    if (read_retry(t->co, first, retry_ms))
        return BH_OFFLINE_RETRY;
    bh_task_log_error(t, "on_offline must return true, \"drop\", {retry = seconds}, or nil");
    return BH_OFFLINE_DROP;
}

static void offline_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    uint64_t retry_ms = (uint64_t)RETRY_DEFAULT_MS * t->u.offline.attempt;
    enum bh_offline what = BH_OFFLINE_DROP;
    if (outcome == BH_DECIDED)
        what = offline_decided(t, &retry_ms);
    else if (outcome == BH_FAILED)
        what = BH_OFFLINE_RETRY;
    bh_message_unref(t->u.offline.msg->owned);
    t->u.offline.msg->m = t->u.offline.msg->owned = NULL;
    luaL_unref(t->co, LUA_REGISTRYINDEX, t->u.offline.msg_ref);
    t->u.offline.done(t->u.offline.ud, t->u.offline.handle, what, retry_ms);
}

void bh_hook_offline(struct bh_hooks *h, struct bh_message *m, unsigned attempt, bh_offline_cb done,
                     void *ud, bh_handle handle) {
    struct bh_task *t = bh_task_new((struct bh_script *)h, HOOK_OFFLINE, offline_done);
    t->u.offline.done = done;
    t->u.offline.ud = ud;
    t->u.offline.handle = handle;
    t->u.offline.attempt = attempt;
    t->u.offline.msg = bh_delivery_push_new(t->co);
    t->u.offline.msg->m = t->u.offline.msg->owned = bh_message_ref(m);
    lua_pushvalue(t->co, -1);
    t->u.offline.msg_ref = luaL_ref(t->co, LUA_REGISTRYINDEX);
    lua_pushinteger(t->co, attempt);
    bh_task_run(t, 2);
}

/* --- on_shutdown --- */

static void shutdown_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    t->u.shutdown.done(t->u.shutdown.ud);
}

void bh_script_shutdown(struct bh_script *s, const char *reason, uint64_t grace_ms,
                        void (*done)(void *ud), void *ud) {
    bh_script_timers_stop(s);
    if (!bh_script_has(s, HOOK_SHUTDOWN)) {
        done(ud);
        return;
    }
    struct bh_task *t = bh_task_new(s, HOOK_SHUTDOWN, shutdown_done);
    t->u.shutdown.done = done;
    t->u.shutdown.ud = ud;
    lua_pushstring(t->co, reason);
    lua_pushnumber(t->co, (double)grace_ms / 1000);
    bh_task_run(t, 2);
}
