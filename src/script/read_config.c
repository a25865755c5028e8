/* read_config.c - the configuration file: Lua that computes and cannot act.
 *
 * A state of its own, thrown away afterwards. It has string, table, math, utf8 and os.getenv, 64
 * MiB and one second of this thread's CPU. When the second is over the hook raises at every
 * instruction, so that no pcall can hold on. The table that comes back passes through JSON text
 * into a tree, which refuses what is no data. */
#include "bellhop/script/script.h"

#include "json_value.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEMORY_MAX   (64u << 20)
#define CPU_NS       INT64_C(1000000000)
#define INSTRUCTIONS 10000

struct limits {
    size_t used;
    int64_t deadline_ns;
};

static void *allocate(void *ud, void *p, size_t old_size, size_t size) {
    struct limits *limits = ud;
    size_t old = p ? old_size : 0;
    if (size == 0) {
        limits->used -= old;
        bh_free(p);
        return NULL;
    }
    if (size > old && size - old > MEMORY_MAX - limits->used)
        return NULL;
    void *q = bh_try_realloc(p, size);
    if (q)
        limits->used = limits->used - old + size;
    return q;
}

static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void on_count(lua_State *L, lua_Debug *ar) {
    struct limits *limits = *(struct limits **)lua_getextraspace(L);
    if (cpu_ns() < limits->deadline_ns)
        return;
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, "a configuration may compute for one second, and this one did not end");
}

/* --- the sandbox --- */

static int safe_getenv(lua_State *L) {
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
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
    lua_newtable(L);
    lua_pushcfunction(L, safe_getenv);
    lua_setfield(L, -2, "getenv");
    lua_setglobal(L, LUA_OSLIBNAME);
}

/* --- evaluation --- */

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
    lua_sethook(L, on_count, LUA_MASKCOUNT, INSTRUCTIONS);
    lua_call(L, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    if (!lua_istable(L, -1))
        return luaL_error(L, "%s:1: a configuration must return a table; this one returned a %s",
                          r->file, luaL_typename(L, -1));
    if (bh_json_encode(L, -1, &r->text, why))
        return luaL_error(L, "%s: %s", r->file, why);
    return 0;
}

/* Lua's own messages mostly begin with the file, and its line. */
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

static int is_readable(const char *file, char **error) {
    FILE *f = fopen(file, "r");
    if (f) {
        fclose(f);
        return 0;
    }
    bool missing = errno == ENOENT;
    *error = with_file(file, strerror(errno));
    return missing ? BH_ENOTFOUND : BH_EINVAL;
}

int bh_script_read_config(const char *file, struct bh_json **out, char **error) {
    struct limits limits = {.deadline_ns = cpu_ns() + CPU_NS};
    struct reading r = {.file = file};
    int rc = is_readable(file, error);
    if (rc)
        return rc;
    lua_State *L = lua_newstate(allocate, &limits);
    if (!L) {
        *error = bh_strdup("no memory for a Lua state");
        return BH_ESCRIPT;
    }
    *(struct limits **)lua_getextraspace(L) = &limits;
    lua_pushcfunction(L, evaluate);
    lua_pushlightuserdata(L, &r);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        *error = with_file(file, message ? message : "an error without text");
        rc = BH_ESCRIPT;
    } else {
        rc = parse(&r, out, error);
    }
    lua_close(L);
    bh_bytes_free(&r.text);
    return rc;
}
