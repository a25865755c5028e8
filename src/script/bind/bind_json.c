/* bind_json.c - bh.json: encode, decode, peek, null, and the marks for arrays and objects. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/hints.h"
#include "lua/json_value.h"
#include "run/state.h"

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

const char *const bh_json_decode_options[] = {"big_integers", NULL};
const char *const bh_json_peek_options[] = {"big_integers", "raw", NULL};

static enum bh_json_big check_big(lua_State *L, int arg) {
    static const char *const names[] = {[BH_JSON_BIG_ERROR] = "error",
                                        [BH_JSON_BIG_FLOAT] = "float",
                                        [BH_JSON_BIG_STRING] = "string"};
    int type = lua_getfield(L, arg, "big_integers");
    const char *name = type == LUA_TSTRING ? lua_tostring(L, -1) : type == LUA_TNIL ? names[0] : "";
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum bh_json_big)i;
    return luaL_error(L, "option big_integers must be \"error\", \"float\" or \"string\"");
}

enum bh_json_big bh_check_json_options(lua_State *L, int arg) {
    if (lua_isnoneornil(L, arg))
        return BH_JSON_BIG_ERROR;
    bh_check_option_names(L, arg, bh_json_decode_options);
    return check_big(L, arg);
}

static int json_decode(lua_State *L) {
    struct bh_slice text = bh_check_slice(L, 1);
    return bh_json_decode(L, text, bh_check_json_options(L, 2));
}

static int json_peek(lua_State *L) {
    struct bh_slice text = bh_check_slice(L, 1), path = bh_check_slice(L, 2);
    enum bh_json_big big = BH_JSON_BIG_ERROR;
    bool raw = false;
    if (!lua_isnoneornil(L, 3)) {
        bh_check_option_names(L, 3, bh_json_peek_options);
        big = check_big(L, 3);
        lua_getfield(L, 3, "raw");
        raw = lua_toboolean(L, -1);
    }
    return bh_json_peek(L, text, path, big, raw);
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
    bh_hints_watch(L, -1, "bh.json");
    lua_setfield(L, -2, "json");
}
