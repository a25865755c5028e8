/* read_config.c - evaluates the configuration file, which is Lua without side effects.
 *
 * It runs in a state of its own, freed afterwards, with string, table, math, utf8 and os.getenv, 64
 * MiB of memory and one second of this thread's CPU time, enforced as for scripts. The returned
 * table is encoded as JSON and parsed into a tree; values that are not data are refused. */
#include "read_config.h"

#include "lua/json_value.h"
#include "lua/limits.h"
#include "sandbox/safe_base.h"
#include "sandbox/safe_strings.h"
#include "sandbox/safe_tables.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/script/script.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMORY_MAX ((size_t)64 << 20)
#define CPU_MS     1000

/* --- the sandbox --- */

/* Without a line end at the end, which a secret has that comes from a file. */
static int safe_getenv(lua_State *L) {
    const char *value = getenv(luaL_checkstring(L, 1));
    struct bh_slice text = bh_slice_chomp(bh_slice_cstr(value));
    if (value)
        lua_pushlstring(L, text.p, text.n);
    else
        lua_pushnil(L);
    return 1;
}

static void remove_fields(lua_State *L, const char *const *names) {
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
    lua_pop(L, 1);
}

static void open_libraries(lua_State *L) {
    static const char *const globals[] = {"dofile", "loadfile",       "load", "require",
                                          "print",  "collectgarbage", "warn", NULL};
    static const char *const of_string[] = {"dump", NULL};
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    remove_fields(L, of_string);
    lua_settop(L, 0);
    lua_pushglobaltable(L);
    remove_fields(L, globals);
    bh_safe_base_open(L);
    bh_safe_strings_open(L);
    bh_safe_tables_open(L);
    lua_newtable(L);
    lua_pushcfunction(L, safe_getenv);
    lua_setfield(L, -2, "getenv");
    lua_setglobal(L, LUA_OSLIBNAME);
}

/* --- evaluation --- */

/* `history = { {...}, {...}, window_bytes = n }` has a list and names, which JSON has not: the list
 * becomes the member `rules`. */
static void name_rules(lua_State *L, int root) {
    lua_pushliteral(L, "history");
    lua_rawget(L, root);
    lua_Integer count = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
    if (count == 0)
        return;
    int history = lua_gettop(L);
    lua_pushliteral(L, "rules");
    if (lua_rawget(L, history) != LUA_TNIL)
        return; /* both: the encoder refuses it */
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, history, i);
        lua_rawseti(L, -2, i);
        lua_pushnil(L);
        lua_rawseti(L, history, i);
    }
    lua_setfield(L, history, "rules");
}

struct reading {
    const char *file;
    struct bh_bytes text;
};

static int evaluate(lua_State *L) {
    struct reading *r = lua_touserdata(L, 1);
    char why[BH_JSON_WHY_MAX];
    open_libraries(L);
    if (luaL_loadfilex(L, r->file, "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    if (!lua_istable(L, -1))
        return luaL_error(L, "%s:1: a configuration must return a table; this one returned a %s",
                          r->file, luaL_typename(L, -1));
    int root = lua_gettop(L);
    name_rules(L, root);
    if (bh_json_encode_for_tree(L, root, &r->text, why))
        return luaL_error(L, "%s: %s", r->file, why);
    return 0;
}

/* Most messages of Lua begin with file and line already. */
static char *with_file(const char *file, const char *message) {
    struct bh_bytes text = {0};
    if (strncmp(message, file, strlen(file)) != 0)
        bh_bytes_addf(&text, "%s: ", file);
    bh_bytes_adds(&text, message);
    bh_bytes_addc(&text, '\0');
    return text.p;
}

static int parse(struct reading *r, struct bh_json **out, char **error) {
    struct bh_json_error why;
    if (!bh_json_parse(bh_bytes_slice(&r->text), out, &why))
        return 0;
    *error = with_file(r->file, why.why);
    return BH_EINVAL;
}

static int check_readable(const char *file, char **error) {
    FILE *f = fopen(file, "r");
    if (f) {
        fclose(f);
        return 0;
    }
    bool missing = errno == ENOENT;
    *error = with_file(file, strerror(errno));
    return missing ? BH_ENOTFOUND : BH_EINVAL;
}

int bh_read_config_within(const char *file, unsigned cpu_ms, struct bh_json **out, char **error) {
    static const struct bh_limit_text text = {"the configuration", "; it must finish"};
    struct bh_limits limits;
    struct bh_level level;
    struct bh_memory memory;
    struct reading r = {.file = file};
    int rc = check_readable(file, error);
    if (rc)
        return rc;
    bh_memory_init(&memory, MEMORY_MAX, &limits);
    bh_limits_start(&limits, (int)cpu_ms, &text, 0, NULL);
    lua_State *L = lua_newstate(bh_memory_allocate, &memory);
    if (!L) {
        bh_limits_stop(&limits);
        *error = bh_strdup("not enough memory for a Lua state");
        return BH_ESCRIPT;
    }
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, &r);
    bh_limits_enter(&limits, &level, L, 0);
    int status = lua_pcall(L, 1, 0, 0);
    bh_limits_leave(&limits, &level);
    bh_limits_stop(&limits);
    if (status != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        *error = with_file(file, message ? message : "error without a message");
        rc = BH_ESCRIPT;
    } else {
        rc = parse(&r, out, error);
    }
    lua_close(L);
    bh_bytes_free(&r.text);
    return rc;
}

int bh_script_read_config(const char *file, struct bh_json **out, char **error) {
    return bh_read_config_within(file, CPU_MS, out, error);
}
