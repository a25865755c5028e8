/* bind_id.c - bh.id.check, and bh.channel: ids, and the names of Redis channels that are made of
 * them. Neither waits. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/state.h"

#include "bellhop/base/error.h"
#include "bellhop/core/topic.h"

static int id_check(lua_State *L) {
    static const char *const names[] = {"user", "tenant", "topic", NULL};
    static const enum bh_id_kind kinds[] = {BH_ID_USER, BH_ID_TENANT, BH_ID_TOPIC};
    enum bh_id_kind kind = kinds[luaL_checkoption(L, 1, NULL, names)];
    struct bh_slice id;
    const char *why = "";
    lua_settop(L, 2);
    if (!bh_id_from_lua(L, &id))
        return bh_push_error(L, "an id must be a string or an integer");
    if (bh_id_check(kind, id, &why))
        return bh_push_error(L, why);
    bh_push_slice(L, id);
    return 1;
}

/* The field of argument 1 that names the target; raises unless there is exactly one. */
static enum bh_topic_kind check_target(lua_State *L) {
    static const char *const names[] = {"user", "tenant", "topic", "all", NULL};
    int kind = -1;
    bh_check_option_names(L, 1, names);
    for (int i = 0; names[i]; i++) {
        if (lua_getfield(L, 1, names[i]) == LUA_TNIL) {
            lua_pop(L, 1);
            continue;
        }
        luaL_argcheck(L, kind < 0, 1, "more than one of user, tenant, topic, all");
        kind = i;
    }
    luaL_argcheck(L, kind >= 0, 1, "one of user, tenant, topic, all is missing");
    return (enum bh_topic_kind)kind;
}

static int channel(lua_State *L) {
    struct bh_slice id = bh_slice("", 0);
    struct bh_topic topic;
    const char *why = "";
    char name[BH_CHANNEL_MAX + 1];
    enum bh_topic_kind kind = check_target(L);
    if (kind == BH_TOPIC_ALL)
        luaL_argcheck(L, lua_isboolean(L, -1) && lua_toboolean(L, -1), 1, "all must be true");
    else if (!bh_id_from_lua(L, &id))
        return luaL_argerror(L, 1, "an id must be a string or an integer");
    if (bh_topic_make(kind, id, &topic, &why))
        return bh_push_error(L, why);
    const char *prefix = bh_script_of(L)->config->channel_prefix;
    size_t n =
        bh_topic_to_channel(&topic, bh_slice_cstr(prefix ? prefix : BH_CHANNEL_PREFIX), name);
    lua_pushlstring(L, name, n);
    return 1;
}

static const luaL_Reg functions[] = {{"check", id_check}, {NULL, NULL}};

void bh_bind_id(lua_State *L) {
    bh_set_module(L, "id", functions);
    lua_pushcfunction(L, channel);
    lua_setfield(L, -2, "channel");
}
