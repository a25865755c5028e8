/* run.c - runs busted in its own Lua state.
 *
 * busted reads its arguments from the global `arg` and calls os.exit, so the exit status is usually
 * its own. Closing the state closes the environments and clients that the specs left open. */
#include "bridge.h"
#include "sandbox.h"

#include <lualib.h>
#include <stdio.h>

#define MISSING 2

static void set_arguments(lua_State *L, int argc, char **argv) {
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushliteral(L, "bellhop test");
    lua_rawseti(L, -2, 0);
    lua_setglobal(L, "arg");
}

static void add_core(lua_State *L, const struct bh_spec_config *config) {
    lua_pushlightuserdata(L, (void *)config);
    lua_setfield(L, LUA_REGISTRYINDEX, BH_SPEC_CONFIG_KEY);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, bh_spec_open_core);
    lua_setfield(L, -2, "bellhop.test.core");
    lua_pop(L, 1);
}

int bh_spec_run(const struct bh_spec_config *config, int argc, char **argv) {
    static const char run[] = "local ok, runner = pcall(require, 'busted.runner')\n"
                              "if not ok then return runner end\n"
                              "runner { standalone = false }";
    lua_State *L = luaL_newstate();
    int status = 0;
    if (!L)
        return 1;
    luaL_openlibs(L);
    bh_prepend_path(L, config->script->lua_dir); /* for bellhop.test */
    add_core(L, config);
    set_arguments(L, argc, argv);
    if (luaL_dostring(L, run) != LUA_OK) {
        fprintf(stderr, "bellhop: test: %s\n", lua_tostring(L, -1));
        status = 1;
    } else if (lua_isstring(L, -1)) {
        fprintf(stderr,
                "bellhop: test: busted is not installed for Lua 5.4; run apt-get install "
                "lua-busted\n%s\n",
                lua_tostring(L, -1));
        status = MISSING;
    }
    lua_close(L);
    return status;
}
