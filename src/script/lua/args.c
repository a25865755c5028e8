/* args.c - from Lua values to our types and back. */
#include "lua/args.h"

#include "bellhop/base/error.h"
#include "bellhop/base/suggest.h"
#include "bellhop/core/message.h"

#include <stdio.h>

#define TIME_MIN 1e9
#define TIME_MAX 1e12

struct bh_slice bh_check_slice(lua_State *L, int arg) {
    struct bh_slice s;
    s.p = luaL_checklstring(L, arg, &s.n);
    return s;
}

bool bh_id_from_lua(lua_State *L, struct bh_slice *out) {
    if (lua_type(L, -1) != LUA_TSTRING && !lua_isinteger(L, -1))
        return false;
    out->p = lua_tolstring(L, -1, &out->n);
    return true;
}

bool bh_text_from_lua(lua_State *L, struct bh_slice *out) {
    int type = lua_type(L, -1);
    if (type == LUA_TBOOLEAN) {
        *out = bh_slice_cstr(lua_toboolean(L, -1) ? "true" : "false");
        return true;
    }
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        return false;
    out->p = lua_tolstring(L, -1, &out->n);
    return true;
}

void bh_check_option_names(lua_State *L, int arg, const char *const *names) {
    char hint[64];
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        bool known = false;
        for (const char *const *n = names; *n && !known; n++)
            known = strcmp(*n, name) == 0;
        if (!known)
            luaL_error(L, "unknown option \"%s\"%s", name,
                       bh_suggest_phrase(name, names, hint, sizeof hint));
    }
}

bool bh_time_ok(lua_Number n, char why[BH_TIME_WHY_MAX]) {
    static const char must[] = "a time in Unix seconds";
    if (n >= TIME_MIN && n < TIME_MAX)
        return true;
    if (n > 0 && n < TIME_MIN)
        snprintf(why, BH_TIME_WHY_MAX, "%s; %.15g is a duration: add it to os.time()", must, n);
    else if (n >= TIME_MAX)
        snprintf(why, BH_TIME_WHY_MAX, "%s; %.15g is too large: are these milliseconds?", must, n);
    else
        snprintf(why, BH_TIME_WHY_MAX, "%s", must);
    return false;
}

bool bh_close_code_ok(lua_Integer code) {
    bool standard = code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
    return standard || (code >= 3000 && code <= 4999);
}

void bh_push_slice(lua_State *L, struct bh_slice s) {
    lua_pushlstring(L, s.n ? s.p : "", s.n);
}

void bh_push_optional(lua_State *L, struct bh_slice s) {
    if (s.n)
        lua_pushlstring(L, s.p, s.n);
    else
        lua_pushnil(L);
}

void bh_push_opcode(lua_State *L, unsigned opcode) {
    if (opcode == BH_TEXT)
        lua_pushliteral(L, "text");
    else
        lua_pushliteral(L, "binary");
}

void bh_push_position(lua_State *L, struct bh_position position) {
    char text[BH_POSITION_TEXT_MAX + 1];
    if (!position.epoch) {
        lua_pushnil(L);
        return;
    }
    bh_position_format(position, text);
    lua_pushstring(L, text);
}

int bh_push_error(lua_State *L, const char *why) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

int bh_push_result(lua_State *L, int error) {
    if (error)
        return bh_push_error(L, bh_strerror(error));
    lua_pushboolean(L, 1);
    return 1;
}
