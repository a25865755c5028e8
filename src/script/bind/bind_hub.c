/* bind_hub.c - bh.hub: the connections of this instance.
 *
 * count is of the whole instance. by_user and by_topic return conn objects, which belong to this
 * worker, so they list this worker's connections only; so do subscribers and topics, which count
 * without creating an object for each connection. close_user reaches the user on all instances. */
#include "bind/bind.h"
#include "bind/bind_publish.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/lua_conn.h"

#include "bellhop/base/error.h"

static int hub_count(lua_State *L) {
    bh_script_check_started(L, "bh.hub");
    lua_pushinteger(L, bh_node_connection_count(bh_script_of(L)->worker->node));
    return 1;
}

/* The topic named by argument 1; *t is NULL when it has no subscribers. 0, or BH_EINVAL and why. */
static int find_topic(lua_State *L, enum bh_topic_kind kind, const struct bh_hub_topic **t,
                      const char **why) {
    struct bh_slice id;
    struct bh_topic topic;
    bh_script_check_started(L, "bh.hub");
    lua_settop(L, 1);
    if (!bh_id_from_lua(L, &id))
        return luaL_typeerror(L, 1, "id (a string or an integer)");
    if (bh_topic_make(kind, id, &topic, why))
        return BH_EINVAL;
    *t = bh_hub_find(&bh_script_of(L)->worker->hub, bh_topic_name(&topic));
    return 0;
}

static int list_topic(lua_State *L, enum bh_topic_kind kind) {
    struct bh_script *s = bh_script_of(L);
    const struct bh_hub_topic *t = NULL;
    const char *why = "";
    lua_Integer n = 0;
    if (find_topic(L, kind, &t, &why))
        return bh_push_error(L, why);
    lua_newtable(L);
    for (uint32_t i = 0; t && i < t->used; i++) {
        struct bh_subscriber *sub = t->cap_log2 == 0 ? t->one : t->many[i];
        if (!sub)
            continue;
        bh_lua_conn_push(L, s, sub);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int hub_by_user(lua_State *L) {
    return list_topic(L, BH_TOPIC_USER);
}

static int hub_by_topic(lua_State *L) {
    return list_topic(L, BH_TOPIC_TOPIC);
}

static int hub_subscribers(lua_State *L) {
    const struct bh_hub_topic *t = NULL;
    const char *why = "";
    if (find_topic(L, BH_TOPIC_TOPIC, &t, &why))
        return bh_push_error(L, why);
    lua_pushinteger(L, t ? t->count : 0);
    return 1;
}

/* Nothing else runs meanwhile, so the map does not change under the cursor. */
static int hub_topics(lua_State *L) {
    struct bh_slice space = BH_SLICE("topic:"), prefix = bh_slice("", 0);
    const struct bh_hub_topic *t = NULL;
    size_t cursor = 0;
    if (!lua_isnoneornil(L, 1))
        prefix = bh_check_slice(L, 1);
    bh_script_check_started(L, "bh.hub");
    lua_newtable(L);
    while ((t = bh_map_next(&bh_script_of(L)->worker->hub.topics, &cursor))) {
        struct bh_slice name = bh_hub_topic_name(t);
        if (t->count == 0 || !bh_slice_starts(name, space))
            continue;
        name = bh_slice(name.p + space.n, name.n - space.n);
        if (!bh_slice_starts(name, prefix))
            continue;
        bh_push_slice(L, name);
        lua_pushinteger(L, t->count);
        lua_rawset(L, -3);
    }
    return 1;
}

static void ignore_result(void *ud, bh_handle handle, const struct bh_publish_result *result) {}

static int hub_close_user(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    struct bh_slice user, reason;
    const char *why = "";
    lua_Integer code = luaL_optinteger(L, 2, 1000);
    reason.p = luaL_optlstring(L, 3, "", &reason.n);
    bh_script_check_started(L, "bh.hub");
    luaL_argcheck(L, bh_close_code_ok(code), 2, "a close code is 1000 to 1014 or 3000 to 4999");
    lua_pushvalue(L, 1);
    if (!bh_id_from_lua(L, &user))
        return luaL_typeerror(L, 1, "id (a string or an integer)");
    if (bh_id_check(BH_ID_USER, user, &why))
        return bh_push_error(L, why);
    bh_node_disconnect(s->worker, user, (unsigned)code, reason, ignore_result, NULL, 0);
    return bh_push_result(L, 0);
}

static const luaL_Reg functions[] = {
    {"count", hub_count},
    {"by_user", hub_by_user},
    {"by_topic", hub_by_topic},
    {"subscribers", hub_subscribers},
    {"topics", hub_topics},
    {"close_user", hub_close_user},
    {NULL, NULL},
};

void bh_bind_hub(lua_State *L) {
    bh_set_module(L, "hub", functions);
}
