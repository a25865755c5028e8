/* bind_json.c - bh.json: encode, decode, peek, null, and the marks for arrays and objects. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/json_value.h"
#include "run/state.h"

#include "bellhop/base/error.h"

static int json_encode(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    char why[BH_JSON_WHY_MAX];
    luaL_checkany(L, 1);
    bh_bytes_clear(&s->scratch);
    if (bh_json_encode(L, 1, &s->scratch, why))
        return bh_push_error(L, why);
    bh_push_slice(L, bh_bytes_slice(&s->scratch));
    return 1;
}

static int syntax_error(lua_State *L, const struct bh_json_error *error) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s (at byte %d)", error->why, (int)error->offset + 1);
    return 2;
}

/* Builds the Lua value in protected mode, so that the tree is freed also after an error. */
static int push_tree(lua_State *L) {
    bh_json_push(L, lua_touserdata(L, 1));
    return 1;
}

int bh_json_decode(lua_State *L, struct bh_slice text) {
    struct bh_json_error error;
    struct bh_json *root;
    if (text.n > BH_JSON_TEXT_MAX)
        return bh_push_error(L, "the text is larger than 16 MiB");
    if (bh_json_parse(text, &root, &error))
        return syntax_error(L, &error);
    lua_pushcfunction(L, push_tree);
    lua_pushlightuserdata(L, root);
    int status = lua_pcall(L, 1, 1, 0);
    bh_json_free(root);
    return status == LUA_OK ? 1 : lua_error(L);
}

static int json_decode(lua_State *L) {
    return bh_json_decode(L, bh_check_slice(L, 1));
}

static void push_number(lua_State *L, struct bh_json_value v) {
    int64_t integer;
    if (!bh_json_int64(v, &integer)) {
        lua_pushinteger(L, integer);
        return;
    }
    lua_pushlstring(L, v.raw.p, v.raw.n); /* a copy that ends with NUL */
    lua_pushnumber(L, lua_tonumber(L, -1));
    lua_remove(L, -2);
}

static void push_string(lua_State *L, struct bh_json_value v) {
    struct bh_script *s = bh_script_of(L);
    bh_bytes_clear(&s->scratch);
    bh_json_string(v, &s->scratch);
    bh_push_slice(L, bh_bytes_slice(&s->scratch));
}

/* Reads a value without building tables: scalars as values, containers as their text and type. */
static int json_peek(lua_State *L) {
    struct bh_slice text = bh_check_slice(L, 1), path = bh_check_slice(L, 2);
    struct bh_json_error error;
    struct bh_json_value v;
    if (bh_json_check(text, &error))
        return syntax_error(L, &error);
    if (!bh_json_path(bh_json_root(text), path, &v))
        return 0;
    switch (v.type) {
    case BH_JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        return 1;
    case BH_JSON_FALSE:
        lua_pushboolean(L, 0);
        return 1;
    case BH_JSON_TRUE:
        lua_pushboolean(L, 1);
        return 1;
    case BH_JSON_NUMBER:
        push_number(L, v);
        return 1;
    case BH_JSON_STRING:
        push_string(L, v);
        return 1;
    default:
        bh_push_slice(L, v.raw);
        lua_pushstring(L, v.type == BH_JSON_ARRAY ? "array" : "object");
        return 2;
    }
}

static int mark(lua_State *L, const void *key) {
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
    lua_setmetatable(L, 1);
    return 1;
}

static int json_array(lua_State *L) {
    return mark(L, &bh_json_array_key);
}

static int json_object(lua_State *L) {
    return mark(L, &bh_json_object_key);
}

static int null_tostring(lua_State *L) {
    lua_pushliteral(L, "null");
    return 1;
}

static const luaL_Reg functions[] = {
    {"encode", json_encode}, {"decode", json_decode}, {"peek", json_peek},
    {"array", json_array},   {"object", json_object}, {NULL, NULL},
};

void bh_bind_json(lua_State *L) {
    bh_json_make_marks(L);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushlightuserdata(L, NULL);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "null");
    lua_setfield(L, -2, "json");
}
