/* safe_base.c - the standard functions by which a script could get around its limits.
 *
 * A coroutine runs on a stack of its own, which the watchdog must know: resume, wrap and close
 * register it for as long as it runs. A message handler runs with hooks off when the error was
 * raised by a hook, so xpcall's is left out then. A finalizer always runs with hooks off, so
 * setmetatable accepts none. Everything else is done by the stock functions, which are upvalues of
 * these. */
#include "sandbox/safe_base.h"

#include "lua/limits.h"

#include <lauxlib.h>
#include <lualib.h>

/* --- coroutines --- */

/* Calls the function below its nargs arguments while co is on the chain of the watchdog; leaves the
 * results. Errors of the call itself are raised. */
static void call_on_chain(lua_State *L, lua_State *co, int nargs) {
    struct bh_limits *l = bh_limits_of(L);
    struct bh_level level;
    bh_limits_enter(l, &level, co, 0);
    int status = lua_pcall(L, nargs, LUA_MULTRET, 0);
    l->level = level.outer;
    if (status != LUA_OK)
        lua_error(L);
}

/* resume and close: the stock function is the upvalue. */
static int coroutine_call(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTHREAD);
    lua_State *co = lua_tothread(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    call_on_chain(L, co, lua_gettop(L) - 1);
    return lua_gettop(L);
}

enum { WRAPPED = 1, RESUME, CLOSE };

static int wrapped_failed(lua_State *L, lua_State *co) {
    lua_settop(L, 2); /* false, the error */
    lua_pushvalue(L, lua_upvalueindex(CLOSE));
    lua_pushvalue(L, lua_upvalueindex(WRAPPED));
    call_on_chain(L, co, 1);
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, 2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(WRAPPED));
    lua_pushvalue(L, lua_upvalueindex(WRAPPED));
    lua_insert(L, 1);
    lua_pushvalue(L, lua_upvalueindex(RESUME));
    lua_insert(L, 1);
    call_on_chain(L, co, lua_gettop(L) - 1);
    if (!lua_toboolean(L, 1))
        return wrapped_failed(L, co);
    return lua_gettop(L) - 1;
}

/* Upvalues: create, resume, close. */
static int coroutine_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_pushcclosure(L, wrapped, 3);
    return 1;
}

static void open_coroutines(lua_State *L) {
    static const char *const callers[] = {"resume", "close"};
    if (lua_getglobal(L, LUA_COLIBNAME) != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    lua_getfield(L, -1, "create");
    lua_getfield(L, -2, "resume");
    lua_getfield(L, -3, "close");
    lua_pushcclosure(L, coroutine_wrap, 3);
    lua_setfield(L, -2, "wrap");
    for (int i = 0; i < 2; i++) {
        lua_getfield(L, -1, callers[i]);
        lua_pushcclosure(L, coroutine_call, 1);
        lua_setfield(L, -2, callers[i]);
    }
    lua_pop(L, 1);
}

/* --- xpcall --- */

static int message_handler(lua_State *L) {
    lua_settop(L, 1);
    if (bh_limits_reached(L))
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int finish_xpcall(lua_State *L, int status, lua_KContext below) {
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - (int)below;
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int safe_xpcall(lua_State *L) {
    int nargs = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, message_handler, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    return finish_xpcall(L, lua_pcallk(L, nargs, LUA_MULTRET, 2, 2, finish_xpcall), 2);
}

/* --- setmetatable --- */

static int safe_setmetatable(lua_State *L) {
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL)
            return luaL_error(L, "setmetatable: scripts may not have finalizers (__gc); use a "
                                 "to-be-closed variable (__close), or on_close");
        lua_pop(L, 1);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

void bh_safe_base_open(lua_State *L) {
    open_coroutines(L);
    lua_pushcfunction(L, safe_xpcall);
    lua_setglobal(L, "xpcall");
    lua_getglobal(L, "setmetatable");
    lua_pushcclosure(L, safe_setmetatable, 1);
    lua_setglobal(L, "setmetatable");
}
