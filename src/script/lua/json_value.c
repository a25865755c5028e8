/* json_value.c - the marks of arrays and objects, and the trees of the configuration as Lua values.
 */
#include "lua/json_value.h"

const char bh_json_array_key, bh_json_object_key;

static void new_mark(lua_State *L, const void *key) {
    lua_newtable(L);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void bh_json_make_marks(lua_State *L) {
    new_mark(L, &bh_json_array_key);
    new_mark(L, &bh_json_object_key);
}

void bh_json_mark_array(lua_State *L) {
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &bh_json_array_key) == LUA_TTABLE)
        lua_setmetatable(L, -2);
    else
        lua_pop(L, 1);
}

static void push_container(lua_State *L, const struct bh_json *node, bool array) {
    lua_Integer n = 0;
    luaL_checkstack(L, 4, "JSON");
    lua_newtable(L);
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c)) {
        if (!array)
            lua_pushstring(L, bh_json_name(c));
        bh_json_push(L, c);
        if (array)
            lua_rawseti(L, -2, ++n);
        else
            lua_rawset(L, -3);
    }
    if (array && n == 0)
        bh_json_mark_array(L);
}

static void push_number(lua_State *L, const struct bh_json *node) {
    int64_t integer;
    if (bh_json_is_int(node, &integer))
        lua_pushinteger(L, integer);
    else
        lua_pushnumber(L, bh_json_num(node));
}

void bh_json_push(lua_State *L, const struct bh_json *node) {
    switch (bh_json_type(node)) {
    case BH_JSON_FALSE:
    case BH_JSON_TRUE:
        lua_pushboolean(L, bh_json_type(node) == BH_JSON_TRUE);
        return;
    case BH_JSON_STRING:
        lua_pushstring(L, bh_json_str(node));
        return;
    case BH_JSON_ARRAY:
    case BH_JSON_OBJECT:
        push_container(L, node, bh_json_type(node) == BH_JSON_ARRAY);
        return;
    case BH_JSON_NUMBER:
        push_number(L, node);
        return;
    default:
        lua_pushlightuserdata(L, NULL);
        return;
    }
}
