/* members.c - what scripts can use, as names: tests compare the documentation with it.
 *
 * Objects do not list their members, and only the code that reads options knows their names. So
 * core.names() lists hooks and options, and env:members() lists the classes of a running state:
 * every class made by luaL_newmetatable that scripts can index, so that none is forgotten. L is the
 * spec's state; the script's state is only read. */
#include "bind/bind.h"
#include "hooks/identity.h"
#include "run/hook_table.h"
#include "spec_internal.h"

/* --- names --- */

static const char *hook_name(size_t i) {
    return i < HOOK_COUNT ? bh_script_hook_name((enum bh_script_hook)i) : NULL;
}

static const char *identity_name(size_t i) {
    return bh_identity_keys[i];
}

static const char *timer_name(size_t i) {
    return bh_timer_keys[i];
}

static const char *read_name(size_t i) {
    return bh_history_read_options[i];
}

static const char *remove_name(size_t i) {
    return bh_history_remove_options[i];
}

static const char *verify_name(size_t i) {
    return bh_jwt_verify_options[i];
}

static const char *sign_name(size_t i) {
    return bh_jwt_sign_options[i];
}

static const char *decode_name(size_t i) {
    return bh_json_decode_options[i];
}

static const char *peek_name(size_t i) {
    return bh_json_peek_options[i];
}

static const struct {
    const char *name;
    const char *(*at)(size_t i); /* NULL at the end */
} lists[] = {
    {"hooks", hook_name},         {"identity", identity_name},     {"publish", bh_publish_field},
    {"timer", timer_name},        {"fetch", bh_fetch_option},      {"jwt_verify", verify_name},
    {"history_read", read_name},  {"history_remove", remove_name}, {"jwt_sign", sign_name},
    {"json_decode", decode_name}, {"json_peek", peek_name},
};

int bh_spec_names(lua_State *L) {
    const char *name;
    lua_newtable(L);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        lua_newtable(L);
        for (size_t n = 0; (name = lists[i].at(n)); n++) {
            lua_pushstring(L, name);
            lua_rawseti(L, -2, (lua_Integer)n + 1);
        }
        lua_setfield(L, -2, lists[i].name);
    }
    return 1;
}

/* --- classes --- */

/* The class is on top of `from`. Pushes its members: its __index, or the upvalue of that function.
 */
static bool push_map(lua_State *from) {
    if (lua_getfield(from, -1, "__index") == LUA_TFUNCTION && lua_getupvalue(from, -1, 1))
        lua_remove(from, -2);
    if (lua_istable(from, -1))
        return true;
    lua_pop(from, 1);
    return false;
}

/* {send = "function", id = "field"} on L. */
static void list_map(lua_State *L, lua_State *from) {
    lua_newtable(L);
    for (lua_pushnil(from); lua_next(from, -2); lua_pop(from, 1)) {
        lua_pushstring(L, lua_isfunction(from, -1) ? "function" : "field");
        lua_setfield(L, -2, lua_tostring(from, -2));
    }
}

static bool is_class(lua_State *from) {
    if (lua_type(from, -2) != LUA_TSTRING || !lua_istable(from, -1))
        return false;
    lua_pushliteral(from, "__name");
    bool named = lua_rawget(from, -2) == LUA_TSTRING && lua_rawequal(from, -1, -3);
    lua_pop(from, 1);
    return named;
}

void bh_spec_push_members(lua_State *L, const struct bh_script *s) {
    lua_State *from = s->L;
    lua_checkstack(from, 8);
    lua_newtable(L);
    lua_pushvalue(from, LUA_REGISTRYINDEX);
    for (lua_pushnil(from); lua_next(from, -2); lua_pop(from, 1)) {
        if (!is_class(from) || !push_map(from))
            continue;
        list_map(L, from);
        lua_setfield(L, -2, lua_tostring(from, -3));
        lua_pop(from, 1);
    }
    lua_pop(from, 1);
}
