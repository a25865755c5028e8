/* safe_tables.c - the functions of `table` that can run for long in one call.
 *
 * Scripts are stopped by a hook that runs between their instructions, and loops in C execute none:
 * table.move({}, 1, 1e12, 1) would block its worker for ever, and a __len that lies makes a small
 * table long. The loops here check the limits. pack and unpack stay Lua's own: they hold no more
 * than fits on a stack.
 *
 * sort is Lua's own, because scripts may depend on its order of equal elements and its errors. With
 * a comparison written in Lua it can be stopped; for long tables any other comparison is wrapped in
 * a function that checks the limits. Small tables are not wrapped: sorting would take twice as
 * long. */
#include "sandbox/safe_tables.h"

#include "lua/limits.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>

#define STEPS        1024 /* elements between two checks */
#define SORT_LARGE   2048
#define BYTES_A_STEP 64 /* of an element of concat */

enum access { READ = 1, WRITE = 2, LENGTH = 4 };

static bool has_field(lua_State *L, int arg, const char *name) {
    if (luaL_getmetafield(L, arg, name) == LUA_TNIL)
        return false;
    lua_pop(L, 1);
    return true;
}

/* A table, or a value with the metamethods that the access needs. */
static void check_table(lua_State *L, int arg, int access) {
    if (lua_istable(L, arg))
        return;
    if ((access & READ && !has_field(L, arg, "__index")) ||
        (access & WRITE && !has_field(L, arg, "__newindex")) ||
        (access & LENGTH && !has_field(L, arg, "__len")))
        luaL_checktype(L, arg, LUA_TTABLE);
}

static lua_Integer check_length(lua_State *L, int access) {
    check_table(L, 1, access | LENGTH);
    return luaL_len(L, 1);
}

static void charge(lua_State *L, size_t *steps, size_t n) {
    *steps += n;
    if (*steps >= STEPS) {
        *steps = 0;
        bh_limits_check(L);
    }
}

/* --- move --- */

/* to[at + k] = from[first + k], for k from 0 to n - 1, or downwards. */
static void copy(lua_State *L, lua_Integer first, lua_Integer at, int to, lua_Integer n,
                 bool downwards) {
    size_t steps = 0;
    for (lua_Integer k = 0; k < n; k++) {
        lua_Integer offset = downwards ? n - 1 - k : k;
        lua_geti(L, 1, first + offset);
        lua_seti(L, to, at + offset);
        charge(L, &steps, 1);
    }
}

static int safe_move(lua_State *L) {
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3),
                at = luaL_checkinteger(L, 4);
    int to = lua_isnoneornil(L, 5) ? 1 : 5;
    check_table(L, 1, READ);
    check_table(L, to, WRITE);
    if (last >= first) {
        luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3,
                      "too many elements to move");
        lua_Integer n = last - first + 1;
        luaL_argcheck(L, at <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
        bool overwrites = at > first && at <= last && (to == 1 || lua_compare(L, 1, to, LUA_OPEQ));
        copy(L, first, at, to, n, overwrites);
    }
    lua_pushvalue(L, to);
    return 1;
}

/* --- insert, remove --- */

static int safe_insert(lua_State *L) {
    lua_Integer end = (lua_Integer)((lua_Unsigned)check_length(L, READ | WRITE) + 1), at = end;
    size_t steps = 0;
    switch (lua_gettop(L)) {
    case 2:
        break;
    case 3:
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, (lua_Unsigned)at - 1 < (lua_Unsigned)end, 2, "position out of bounds");
        break;
    default:
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    for (lua_Integer i = end; i > at; i--) {
        lua_geti(L, 1, i - 1);
        lua_seti(L, 1, i);
        charge(L, &steps, 1);
    }
    lua_seti(L, 1, at);
    return 0;
}

/* Without a position, the last element is removed, even at index 0. */
static int safe_remove(lua_State *L) {
    lua_Integer n = check_length(L, READ | WRITE), at = luaL_optinteger(L, 2, n);
    size_t steps = 0;
    if (at != n)
        luaL_argcheck(L, (lua_Unsigned)at - 1 <= (lua_Unsigned)n, 1, "position out of bounds");
    lua_geti(L, 1, at);
    for (; at < n; at++) {
        lua_geti(L, 1, at + 1);
        lua_seti(L, 1, at);
        charge(L, &steps, 1);
    }
    lua_pushnil(L);
    lua_seti(L, 1, at);
    return 1;
}

/* --- concat --- */

static void add_element(lua_State *L, luaL_Buffer *b, lua_Integer at, size_t *steps) {
    lua_geti(L, 1, at);
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid value (%s) at index %I in table for 'concat'", luaL_typename(L, -1),
                   (LUAI_UACINT)at);
    charge(L, steps, 1 + lua_rawlen(L, -1) / BYTES_A_STEP);
    luaL_addvalue(b);
}

static int safe_concat(lua_State *L) {
    lua_Integer n = check_length(L, READ);
    size_t separator_size, steps = 0;
    const char *separator = luaL_optlstring(L, 2, "", &separator_size);
    lua_Integer at = luaL_optinteger(L, 3, 1), last = luaL_optinteger(L, 4, n);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (; at < last; at++) {
        add_element(L, &b, at, &steps);
        luaL_addlstring(&b, separator, separator_size);
    }
    if (at == last)
        add_element(L, &b, at, &steps);
    luaL_pushresult(&b);
    return 1;
}

/* --- sort --- */

/* Upvalue: the comparison, or nil for <. */
static int checked_compare(lua_State *L) {
    bh_limits_check(L);
    if (lua_isnil(L, lua_upvalueindex(1))) {
        lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* Whether Lua's own sort could run for long without executing Lua code. A value that is not a plain
 * table may have any length. */
static bool is_long(lua_State *L) {
    if (lua_isfunction(L, 2) && !lua_iscfunction(L, 2))
        return false;
    if (!lua_isnoneornil(L, 2) && !lua_isfunction(L, 2))
        return false; /* an error */
    return !lua_istable(L, 1) || has_field(L, 1, "__len") || lua_rawlen(L, 1) > SORT_LARGE;
}

static int safe_sort(lua_State *L) {
    lua_CFunction sort = lua_tocfunction(L, lua_upvalueindex(1));
    if (is_long(L)) {
        lua_settop(L, 2);
        lua_pushcclosure(L, checked_compare, 1);
    }
    return sort(L);
}

/* --- opening --- */

void bh_safe_tables_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"concat", safe_concat},
        {"insert", safe_insert},
        {"move", safe_move},
        {"remove", safe_remove},
        {NULL, NULL},
    };
    lua_getglobal(L, LUA_TABLIBNAME);
    luaL_setfuncs(L, functions, 0);
    lua_getfield(L, -1, "sort");
    lua_pushcclosure(L, safe_sort, 1);
    lua_setfield(L, -2, "sort");
    lua_pop(L, 1);
}
