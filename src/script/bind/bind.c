/* bind.c - the `bh` table is put together here, and so are the classes of its objects.
 *
 * An object's metatable is closed (`__metatable`), and its members are found by one raw look-up in
 * a map that is an upvalue, so that a field costs no string comparison. */
#include "bind/bind.h"

#include "bellhop/base/error.h"

void bh_bind_all(lua_State *L) {
    lua_newtable(L);
    bh_bind_json(L);
    bh_bind_cache(L);
    bh_bind_config(L);
    bh_bind_log(L);
    bh_bind_crypto(L);
    bh_bind_jwt(L);
    bh_bind_conn(L);
    bh_bind_request(L);
    bh_bind_message(L);
    bh_bind_metrics(L);
    bh_bind_publish(L);
    bh_bind_http(L);
    bh_bind_hub(L);
    bh_bind_tracker(L);
    bh_bind_redis(L);
    bh_bind_shared(L);
    bh_bind_time(L);
    lua_pushliteral(L, BELLHOP_VERSION);
    lua_setfield(L, -2, "version");
}

void bh_bind_module(lua_State *L, const char *name, const luaL_Reg *functions) {
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, name);
}

static int read_only(lua_State *L) {
    return luaL_error(L, "this object is read only (field \"%s\")", luaL_tolstring(L, 2, NULL));
}

void bh_bind_class(lua_State *L, const char *name, const luaL_Reg *methods,
                   const char *const *fields, lua_CFunction index, lua_CFunction newindex) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    if (methods)
        luaL_setfuncs(L, methods, 0);
    for (int i = 0; fields[i]; i++) {
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, fields[i]);
    }
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, index, 1);
    lua_setfield(L, -3, "__index");
    lua_pushcclosure(L, newindex ? newindex : read_only, 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void *bh_bind_self(lua_State *L, const void *metatable, const char *name) {
    if (lua_getmetatable(L, 1)) {
        bool same = lua_topointer(L, -1) == metatable;
        lua_pop(L, 1);
        if (same)
            return lua_touserdata(L, 1);
    }
    return luaL_checkudata(L, 1, name); /* which complains */
}

void bh_bind_methods(lua_State *L, const char *name, const luaL_Reg *methods) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

int bh_bind_member(lua_State *L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TFUNCTION)
        return -1;
    int field = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return field;
}

int bh_bind_error(lua_State *L, const char *why) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

int bh_bind_result(lua_State *L, int error) {
    if (error)
        return bh_bind_error(L, bh_strerror(error));
    lua_pushboolean(L, 1);
    return 1;
}

struct bh_slice bh_bind_slice(lua_State *L, int arg) {
    struct bh_slice s;
    s.p = luaL_checklstring(L, arg, &s.n);
    return s;
}

void bh_bind_push_slice(lua_State *L, struct bh_slice s) {
    lua_pushlstring(L, s.n ? s.p : "", s.n);
}

void bh_bind_push_optional(lua_State *L, struct bh_slice s) {
    if (s.n)
        lua_pushlstring(L, s.p, s.n);
    else
        lua_pushnil(L);
}
