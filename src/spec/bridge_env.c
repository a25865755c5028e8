/* bridge_env.c - environments as Lua objects. */
#include "bellhop/base/clock.h"
#include "bellhop/base/mem.h"
#include "bridge.h"

static int ref_function(lua_State *L, int arg) {
    if (!lua_isfunction(L, arg))
        return LUA_NOREF;
    lua_pushvalue(L, arg);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

int bh_spec_new_env(lua_State *L) {
    struct bh_json_error error;
    struct bh_json *tree;
    size_t files = (size_t)lua_gettop(L) - 3;
    luaL_argcheck(L, files >= 1 && files <= BH_SPEC_FILES, 4, "1 to 8 files");
    luaL_argcheck(L, bh_json_parse(bh_spec_check_slice(L, 1), &tree, &error) == 0, 1, "not JSON");
    struct bh_spec_env *env = lua_newuserdatauv(L, sizeof *env, 0);
    *env =
        (struct bh_spec_env){.open = true, .L = L, .redis_ref = LUA_NOREF, .fetch_ref = LUA_NOREF};
    for (size_t i = 0; i < files; i++)
        env->files[i] = bh_strdup(luaL_checkstring(L, (int)i + 4));
    env->redis_ref = ref_function(L, 2);
    env->fetch_ref = ref_function(L, 3);
    luaL_setmetatable(L, BH_SPEC_ENV_CLASS);
    if (bh_spec_env_open(env, bh_spec_config_of(L), tree, files) == 0)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, env->error);
    return 2;
}

/* Does nothing while clients are open: the collector may call it before it collects them. */
static int env_close(lua_State *L) {
    struct bh_spec_env *env = luaL_checkudata(L, 1, BH_SPEC_ENV_CLASS);
    if (!env->open || env->clients)
        return 0;
    env->open = false;
    env->L = NULL;
    bh_spec_env_close(env);
    luaL_unref(L, LUA_REGISTRYINDEX, env->redis_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, env->fetch_ref);
    return 0;
}

static int env_advance(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e8, 2, "0 to 1e8 seconds");
    bh_spec_env_advance(env, (uint64_t)(seconds * 1000));
    return 0;
}

static int env_time(lua_State *L) {
    bh_spec_check_env(L);
    lua_pushnumber(L, (double)bh_clock_wall_ms() / 1000);
    return 1;
}

/* env:reload() -> true; or nil and the error */
static int env_reload(lua_State *L) {
    const char *why = bh_spec_env_reload(bh_spec_check_env(L));
    if (!why) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static int env_members(lua_State *L) {
    bh_spec_push_members(L, bh_spec_check_env(L)->script);
    return 1;
}

static void on_shut_down(void *ud) {
    *(bool *)ud = true;
}

/* env:shutdown() -> whether on_shutdown has finished */
static int env_shutdown(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    bool done = false;
    bh_script_shutdown(env->script, "stop", 10000, on_shut_down, &done);
    bh_spec_env_wait(env, &done);
    lua_pushboolean(L, done);
    return 1;
}

static const luaL_Reg methods[] = {{"connect", bh_spec_env_connect},
                                   {"request", bh_spec_env_request},
                                   {"api", bh_spec_env_api},
                                   {"publish", bh_spec_env_publish},
                                   {"history", bh_spec_env_history},
                                   {"advance", env_advance},
                                   {"time", env_time},
                                   {"reload", env_reload},
                                   {"shutdown", env_shutdown},
                                   {"members", env_members},
                                   {"close", env_close},
                                   {NULL, NULL}};

void bh_spec_open_env(lua_State *L) {
    bh_spec_new_class(L, BH_SPEC_ENV_CLASS, methods, env_close);
}
