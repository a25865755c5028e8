/* sandbox.c - the environment of scripts: guard-rails for the operator's own code, not isolation of
 * hostile tenants.
 *
 * Left out: io, debug, package, most of os, bytecode in and out. `require` finds `bellhop`,
 * `bellhop.*` in the Lua folder, and modules beside the scripts; module names cannot leave these
 * folders. A trusted script gets all of Lua, with the same folders at the front of package.path. */
#include "sandbox.h"

#include "bind_all.h"
#include "lua/hints.h"
#include "run/state.h"
#include "sandbox/safe_base.h"
#include "sandbox/safe_strings.h"
#include "sandbox/safe_tables.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"

#include <lualib.h>
#include <stdio.h>
#include <unistd.h>

/* --- load without bytecode --- */

#define LOAD_MAX ((size_t)1024 * 1024)

/* A reader function is called here, not by load, so that the size of the source is bounded:
 * compiling executes no bytecode and cannot be stopped. */
static void join_pieces(lua_State *L) {
    luaL_Buffer b;
    size_t total = 0;
    luaL_buffinit(L, &b);
    for (;;) {
        lua_pushvalue(L, 1);
        lua_call(L, 0, 1);
        if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "reader function must return a string");
        total += lua_rawlen(L, -1);
        luaL_argcheck(L, total <= LOAD_MAX, 1, "a chunk of at most 1 MiB");
        if (lua_rawlen(L, -1) == 0)
            break;
        luaL_addvalue(&b);
    }
    lua_pop(L, 1);
    luaL_pushresult(&b);
    lua_replace(L, 1);
    if (lua_isnil(L, 2)) {
        lua_pushliteral(L, "=(load)");
        lua_replace(L, 2);
    }
}

static int safe_load(lua_State *L) {
    int n = lua_gettop(L) >= 4 ? 4 : 3; /* an environment of nil differs from none */
    lua_settop(L, n);
    if (lua_isfunction(L, 1))
        join_pieces(L);
    luaL_argcheck(L, lua_rawlen(L, 1) <= LOAD_MAX, 1, "a chunk of at most 1 MiB");
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

static int safe_collectgarbage(lua_State *L) {
    const char *what = luaL_optstring(L, 1, "count");
    if (strcmp(what, "count") != 0)
        return luaL_error(L, "collectgarbage(\"%s\") is not available to scripts, only \"count\"",
                          what);
    int kib = lua_gc(L, LUA_GCCOUNT), rest = lua_gc(L, LUA_GCCOUNTB);
    lua_pushnumber(L, kib + rest / 1024.0);
    return 1;
}

/* --- require --- */

/* Dotted names of letters, digits, - and _: they cannot leave a folder. */
static bool is_module_name(const char *name) {
    bool part = false;
    for (; *name; name++) {
        bool word = (*name >= '0' && *name <= '9') ||
                    ((*name | 32) >= 'a' && (*name | 32) <= 'z') || *name == '_' || *name == '-';
        if (!word && !(*name == '.' && part))
            return false;
        part = word;
    }
    return part;
}

static void push_folder(lua_State *L, const char *file) {
    const char *slash = strrchr(file, '/');
    if (slash)
        lua_pushlstring(L, file, (size_t)(slash - file));
    else
        lua_pushliteral(L, ".");
}

/* Pushes the path of folder/a/b.lua or folder/a/b/init.lua; false: neither exists. */
static bool find_below(lua_State *L, const char *folder, const char *name) {
    static const char *const forms[] = {"%s/%s.lua", "%s/%s/init.lua"};
    const char *relative = luaL_gsub(L, name, ".", "/");
    for (int i = 0; i < 2; i++) {
        const char *path = lua_pushfstring(L, forms[i], folder, relative);
        if (access(path, R_OK) == 0) {
            lua_remove(L, -2);
            return true;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return false;
}

static bool find_module(lua_State *L, const struct bh_script_config *config, const char *name) {
    if (strncmp(name, "bellhop.", 8) == 0)
        return config->lua_dir && find_below(L, config->lua_dir, name);
    for (size_t i = 0; i < config->file_count; i++) {
        push_folder(L, config->files[i]);
        bool found = find_below(L, lua_tostring(L, -1), name);
        lua_remove(L, found ? -2 : -1);
        if (found)
            return true;
    }
    return false;
}

static const char loading; /* its address marks a module that is being loaded */

static int load_module(lua_State *L, const char *name, int loaded) {
    if (!find_module(L, bh_script_of(L)->config, name))
        return luaL_error(L, "module '%s' not found %s", name,
                          strncmp(name, "bellhop.", 8) == 0
                              ? "in the Lua folder of bellhop"
                              : "in the folders of the configured scripts");
    const char *path = lua_tostring(L, -1);
    if (luaL_loadfilex(L, path, "t") != LUA_OK)
        return lua_error(L);
    lua_pushlightuserdata(L, (void *)&loading);
    lua_setfield(L, loaded, name);
    lua_pushstring(L, name);
    lua_pushstring(L, path);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, loaded, name);
    return 1;
}

static int safe_require(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    int loaded = lua_upvalueindex(1);
    lua_settop(L, 1);
    if (lua_getfield(L, loaded, name) != LUA_TNIL) {
        if (lua_touserdata(L, -1) == (void *)&loading)
            return luaL_error(L, "module '%s' requires itself, or failed to load before", name);
        return 1;
    }
    if (!is_module_name(name))
        return luaL_error(L,
                          "'%s' is not a module name: use letters, digits, - and _, with dots "
                          "between folders",
                          name);
    lua_pushvalue(L, loaded);
    return load_module(L, name, lua_gettop(L));
}

/* --- libraries --- */

static void open_some(lua_State *L) {
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},        {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_TABLIBNAME, luaopen_table},  {LUA_OSLIBNAME, luaopen_os},
        {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},  {NULL, NULL},
    };
    for (const luaL_Reg *lib = libraries; lib->name; lib++) {
        luaL_requiref(L, lib->name, lib->func, 1);
        lua_pop(L, 1);
    }
}

static void remove_globals(lua_State *L) {
    static const char *const names[] = {"dofile", "loadfile", "load", "collectgarbage", NULL};
    for (const char *const *name = names; *name; name++) {
        lua_pushnil(L);
        lua_setglobal(L, *name);
    }
}

#define DATE_MAX 1024

/* The time of the core's clock, which tests can set. */
static int safe_time(lua_State *L) {
    if (lua_isnoneornil(L, 1)) {
        lua_pushinteger(L, bh_clock_wall_ms() / 1000);
        return 1;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int safe_date(lua_State *L) {
    lua_settop(L, 2);
    luaL_argcheck(L, lua_rawlen(L, 1) <= DATE_MAX, 1, "a format of at most 1024 bytes");
    if (lua_isnil(L, 1)) {
        lua_pushliteral(L, "%c");
        lua_replace(L, 1);
    }
    if (lua_isnil(L, 2)) {
        lua_pushinteger(L, bh_clock_wall_ms() / 1000);
        lua_replace(L, 2);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

static void restrict_os(lua_State *L) {
    static const struct {
        const char *name;
        lua_CFunction instead; /* its upvalue is the stock function */
    } keep[] = {{"time", safe_time}, {"date", safe_date}, {"clock", NULL}, {"difftime", NULL}};
    lua_newtable(L);
    lua_getglobal(L, LUA_OSLIBNAME);
    for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
        lua_getfield(L, -1, keep[i].name);
        if (keep[i].instead)
            lua_pushcclosure(L, keep[i].instead, 1);
        lua_setfield(L, -3, keep[i].name);
    }
    lua_pop(L, 1);
    lua_setglobal(L, LUA_OSLIBNAME);
}

/* Hides the metatable of all strings, and removes string.dump, which makes bytecode. */
static void restrict_strings(lua_State *L) {
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void watch_libraries(lua_State *L) {
    static const char *const names[] = {LUA_OSLIBNAME,   LUA_STRLIBNAME,  LUA_TABLIBNAME,
                                        LUA_MATHLIBNAME, LUA_UTF8LIBNAME, LUA_COLIBNAME};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getglobal(L, names[i]);
        bh_hints_watch(L, -1, names[i]);
        lua_pop(L, 1);
    }
}

static void open_sandboxed(lua_State *L) {
    open_some(L);
    lua_getglobal(L, "load");
    remove_globals(L);
    lua_pushcclosure(L, safe_load, 1);
    lua_setglobal(L, "load");
    lua_pushcfunction(L, safe_collectgarbage);
    lua_setglobal(L, "collectgarbage");
    restrict_os(L);
    restrict_strings(L);
    bh_safe_base_open(L);
    bh_safe_strings_open(L);
    bh_safe_tables_open(L);
    watch_libraries(L);
    lua_newtable(L); /* loaded modules */
    bh_bind_all(L);
    lua_setfield(L, -2, "bellhop");
    lua_pushcclosure(L, safe_require, 1);
    lua_setglobal(L, "require");
}

void bh_prepend_path(lua_State *L, const char *folder) {
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", folder, folder, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 2);
}

static void open_trusted(lua_State *L) {
    const struct bh_script_config *config = bh_script_of(L)->config;
    luaL_openlibs(L);
    if (config->lua_dir)
        bh_prepend_path(L, config->lua_dir);
    for (size_t i = config->file_count; i-- > 0;) {
        push_folder(L, config->files[i]);
        bh_prepend_path(L, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    bh_bind_all(L);
    lua_setfield(L, -2, "bellhop");
    lua_pop(L, 1);
}

void bh_sandbox_open(lua_State *L) {
    if (bh_script_of(L)->config->trusted)
        open_trusted(L);
    else
        open_sandboxed(L);
}
