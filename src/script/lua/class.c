/* class.c - metatables that scripts cannot reach.
 *
 * A metatable is hidden from scripts by `__metatable`. Its members are found by one raw look-up in
 * a map that is an upvalue, so reading a field compares no strings. A second upvalue is what
 * scripts call the object. */
#include "lua/class.h"

#include "lua/hints.h"

#include <stdbool.h>
#include <string.h>

static int read_only(lua_State *L) {
    return luaL_error(L, "this object is read-only (field \"%s\")", luaL_tolstring(L, 2, NULL));
}

static void hide(lua_State *L) {
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void bh_class_new(lua_State *L, const char *name, const luaL_Reg *methods,
                  const char *const *fields, lua_CFunction index, lua_CFunction newindex) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    if (methods)
        luaL_setfuncs(L, methods, 0);
    for (int i = 0; fields[i]; i++) {
        lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, fields[i]);
    }
    lua_pushstring(L, strrchr(name, '.') + 1);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, index, 2);
    lua_setfield(L, -4, "__index");
    lua_pushcclosure(L, newindex ? newindex : read_only, 2);
    lua_setfield(L, -2, "__newindex");
    hide(L);
}

void bh_class_new_methods(lua_State *L, const char *name, const luaL_Reg *methods) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    bh_hints_watch(L, -1, strrchr(name, '.') + 1);
    lua_setfield(L, -2, "__index");
    hide(L);
    lua_pop(L, 1);
}

void *bh_class_self(lua_State *L, const void *metatable, const char *name) {
    if (lua_getmetatable(L, 1)) {
        bool same = lua_topointer(L, -1) == metatable;
        lua_pop(L, 1);
        if (same)
            return lua_touserdata(L, 1);
    }
    return luaL_checkudata(L, 1, name); /* raises the error */
}

int bh_class_member(lua_State *L) {
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TFUNCTION)
        return -1;
    int field = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (field == 0)
        bh_hints_note(L, lua_upvalueindex(2), lua_upvalueindex(1));
    return field;
}

void bh_set_module(lua_State *L, const char *name, const luaL_Reg *functions) {
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushfstring(L, "bh.%s", name);
    bh_hints_watch(L, -2, lua_tostring(L, -1));
    lua_pop(L, 1);
    lua_setfield(L, -2, name);
}
