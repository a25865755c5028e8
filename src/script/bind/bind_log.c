/* bind_log.c - bh.log.debug/info/warn/error(message, fields), and print.
 *
 * The log quotes and masks message and fields. A level that is off costs a call and a comparison.
 */
#include "bind/bind.h"
#include "lua/class.h"
#include "run/state.h"

#include "bellhop/base/log.h"

#define FIELDS_MAX 16

static struct bh_kv to_kv(lua_State *L, const char *key, int index) {
    struct bh_slice s;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return bh_kv_bool(key, lua_toboolean(L, index));
    case LUA_TSTRING:
        s.p = lua_tolstring(L, index, &s.n);
        return bh_kv_slice(key, s);
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? bh_kv_int(key, lua_tointeger(L, index))
                                       : bh_kv_double(key, lua_tonumber(L, index));
    default:
        return bh_kv_str(key, luaL_typename(L, index));
    }
}

static struct bh_kv generation_of(lua_State *L) {
    return bh_kv_int("generation", bh_script_of(L)->generation);
}

static int write_line(lua_State *L, enum bh_log_level level) {
    struct bh_kv kv[FIELDS_MAX + 2];
    size_t n = 0;
    const char *message = luaL_checkstring(L, 1);
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    if ((int)level < bh_log_threshold)
        return 0;
    if (lua_istable(L, 2)) {
        luaL_checkstack(L, 2 * FIELDS_MAX + 4, "log");
        for (lua_pushnil(L); n < FIELDS_MAX && lua_next(L, 2); lua_pop(L, 1))
            if (lua_type(L, -2) == LUA_TSTRING)
                kv[n++] = to_kv(L, lua_tostring(L, -2), -1);
    }
    kv[n++] = generation_of(L);
    kv[n] = (struct bh_kv){0};
    bh_log_write(level, NULL, message, kv);
    return 0;
}

static int log_debug(lua_State *L) {
    return write_line(L, BH_LOG_DEBUG);
}

static int log_info(lua_State *L) {
    return write_line(L, BH_LOG_INFO);
}

static int log_warn(lua_State *L) {
    return write_line(L, BH_LOG_WARN);
}

static int log_error(lua_State *L) {
    return write_line(L, BH_LOG_ERROR);
}

static int print(lua_State *L) {
    int n = lua_gettop(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n; i++) {
        if (i > 1)
            luaL_addchar(&b, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    bh_info("print", bh_kv_str("text", lua_tostring(L, -1)), generation_of(L));
    return 0;
}

static const luaL_Reg functions[] = {
    {"debug", log_debug}, {"info", log_info}, {"warn", log_warn},
    {"error", log_error}, {NULL, NULL},
};

void bh_bind_log(lua_State *L) {
    bh_set_module(L, "log", functions);
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
}
