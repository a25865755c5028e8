/* bridge_args.c - arguments and classes that the parts of the bridge have in common. */
#include "bridge.h"

const struct bh_spec_config *bh_spec_config_of(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, BH_SPEC_CONFIG_KEY);
    const struct bh_spec_config *config = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return config;
}

struct bh_spec_env *bh_spec_check_env(lua_State *L) {
    struct bh_spec_env *env = luaL_checkudata(L, 1, BH_SPEC_ENV_CLASS);
    luaL_argcheck(L, env->open, 1, "the environment is closed");
    env->L = L;
    return env;
}

struct bh_slice bh_spec_check_slice(lua_State *L, int arg) {
    struct bh_slice s;
    s.p = luaL_checklstring(L, arg, &s.n);
    return s;
}

struct bh_slice bh_spec_field(lua_State *L, int index, const char *name, const char *fallback) {
    struct bh_slice s = bh_slice_cstr(fallback);
    lua_getfield(L, index, name);
    if (lua_type(L, -1) == LUA_TSTRING)
        s.p = lua_tolstring(L, -1, &s.n);
    lua_pop(L, 1);
    return s;
}

void bh_spec_set_slice(lua_State *L, const char *name, struct bh_slice s) {
    if (s.n)
        lua_pushlstring(L, s.p, s.n);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, name);
}

void bh_spec_new_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
