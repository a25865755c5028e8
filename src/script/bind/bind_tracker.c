/* bind_tracker.c - bh.tracker: online users and the connections of users and tenants, across
 * instances. All functions wait. An uncertain answer has the second value "partial". */
#include "bind/bind.h"
#include "bind/bind_publish.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/sched.h"

#include "bellhop/base/error.h"

static void push_connection(lua_State *L, const struct bh_connection_info *c) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(c->number, id);
    lua_createtable(L, 0, 4);
    bh_push_slice(L, c->instance);
    lua_setfield(L, -2, "instance");
    lua_pushlstring(L, id, BH_CONNECTION_ID_LEN);
    lua_setfield(L, -2, "id");
    bh_push_optional(L, c->tenant);
    lua_setfield(L, -2, "tenant");
    lua_pushnumber(L, (double)c->opened_at / 1000);
    lua_setfield(L, -2, "opened_at");
}

/* NULL when nobody waits any more, or the lookup failed, which is then answered. */
static struct bh_task *waiting_task(void *ud, bh_handle wait, int error, size_t count) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    if (!t || (!error && count >= 1))
        return t;
    bh_task_answer_error(t, bh_strerror(error ? error : BH_ENOTFOUND));
    return NULL;
}

/* The value is on the stack of the task, which has room for one more. */
static void answer(struct bh_task *t, const struct bh_presence *found) {
    if (found->uncertain)
        lua_pushliteral(t->co, "partial");
    bh_task_answer(t, found->uncertain ? 2 : 1);
}

static void on_connections(void *ud, bh_handle wait, int error, const struct bh_presence *users,
                           size_t count, int64_t as_of) {
    struct bh_task *t = waiting_task(ud, wait, error, count);
    if (!t)
        return;
    lua_checkstack(t->co, 8);
    lua_newtable(t->co);
    for (size_t i = 0; users->connections && i < users->count; i++) {
        push_connection(t->co, &users->connections[i]);
        lua_rawseti(t->co, -2, (lua_Integer)i + 1);
    }
    answer(t, users);
}

static void on_online(void *ud, bh_handle wait, int error, const struct bh_presence *users,
                      size_t count, int64_t as_of) {
    struct bh_task *t = waiting_task(ud, wait, error, count);
    if (!t)
        return;
    lua_checkstack(t->co, 2);
    lua_pushboolean(t->co, users->count > 0);
    answer(t, users);
}

static void on_count(void *ud, bh_handle wait, int error, const struct bh_presence *tenants,
                     size_t count, int64_t as_of) {
    struct bh_task *t = waiting_task(ud, wait, error, count);
    if (!t)
        return;
    lua_checkstack(t->co, 2);
    lua_pushinteger(t->co, (lua_Integer)tenants->count);
    answer(t, tenants);
}

static int lookup(lua_State *L, const char *name, enum bh_lookup what, bh_tracker_cb done) {
    struct bh_slice id;
    const char *why = "";
    struct bh_task *t = bh_task_may_wait(L, name);
    struct bh_worker *w = t->script->worker;
    enum bh_id_kind kind = what == BH_LOOKUP_TENANTS ? BH_ID_TENANT : BH_ID_USER;
    lua_settop(L, 1);
    if (!bh_id_from_lua(L, &id))
        return luaL_typeerror(L, 1, "id (a string or an integer)");
    if (bh_id_check(kind, id, &why))
        return bh_push_error(L, why);
    bh_node_lookup(w, what, &id, 1, done, w, bh_task_wait(t, 0, NULL));
    return bh_task_yield(L, t);
}

static int tracker_online(lua_State *L) {
    return lookup(L, "bh.tracker.online", BH_LOOKUP_ONLINE, on_online);
}

static int tracker_connections(lua_State *L) {
    return lookup(L, "bh.tracker.connections", BH_LOOKUP_CONNECTIONS, on_connections);
}

static int tracker_count(lua_State *L) {
    return lookup(L, "bh.tracker.count", BH_LOOKUP_TENANTS, on_count);
}

static const luaL_Reg functions[] = {
    {"online", tracker_online},
    {"connections", tracker_connections},
    {"count", tracker_count},
    {NULL, NULL},
};

void bh_bind_tracker(lua_State *L) {
    bh_set_module(L, "tracker", functions);
}
