/* state.c - a worker's Lua state: made, loaded, started, closed.
 *
 * Everything that can raise while a state is built runs inside one protected call, so that a bad
 * script stops the start with a message and nothing else. The hooks of each script are looked up
 * once, here, and become registry references in chains; a key that is no hook is an error, because
 * a hook with a typing error would be a filter that never filters. */
#include "state.h"

#include "bind_message.h"
#include "hooks_private.h"
#include "sandbox.h"
#include "sched.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"

#include <stdio.h>

struct bh_script *bh_script_at(struct bh_worker *worker) {
    struct bh_hooks *h = worker->hooks;
    return h && h->vt == &bh_script_hooks_vt ? (struct bh_script *)h : NULL;
}

void bh_script_check_started(lua_State *L, const char *what) {
    if (!bh_script_of(L)->started)
        luaL_error(L, "%s works inside hooks only; use on_init for what is to happen at start",
                   what);
}

/* --- hooks of a script --- */

static const char *const later[] = {"on_expire", "on_shutdown", "timers", NULL};

static bool is_later(const char *key) {
    for (const char *const *name = later; *name; name++)
        if (strcmp(*name, key) == 0)
            return true;
    return false;
}

static enum bh_script_hook find_hook(const char *key) {
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        if (strcmp(bh_script_hook_name(hook), key) == 0)
            return hook;
    return HOOK_NONE;
}

static int unknown_hook(lua_State *L, const char *file, const char *key) {
    const char *names[HOOK_COUNT + 1];
    char hint[64];
    for (int hook = 0; hook < HOOK_COUNT; hook++)
        names[hook] = bh_script_hook_name(hook);
    names[HOOK_COUNT] = NULL;
    if (is_later(key))
        return luaL_error(L, "%s: \"%s\" is not available in this version", file, key);
    return luaL_error(L, "%s: unknown hook \"%s\"%s", file, key,
                      bh_suggest_phrase(key, names, hint, sizeof hint));
}

static void add_hook(lua_State *L, struct bh_script *s, enum bh_script_hook hook,
                     const char *file) {
    struct bh_chain *chain = &s->chains[hook];
    size_t n = chain->count + 1;
    chain->refs = bh_realloc(chain->refs, n * sizeof *chain->refs);
    chain->files = bh_realloc(chain->files, n * sizeof *chain->files);
    lua_pushvalue(L, -1);
    chain->refs[n - 1] = luaL_ref(L, LUA_REGISTRYINDEX);
    chain->files[n - 1] = file;
    chain->count = (unsigned)n;
    s->hooks.present |= bh_script_hook_bit(hook);
}

/* The script's table is on top. */
static void take_hooks(lua_State *L, struct bh_script *s, const char *file) {
    if (!lua_istable(L, -1))
        luaL_error(L,
                   "%s: a script must return a table of hooks, for example return { on_message = "
                   "function(conn, data) return data end }; this one returned a %s",
                   file, luaL_typename(L, -1));
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s: the table of hooks has a key that is a %s; hooks have names", file,
                       luaL_typename(L, -2));
        const char *key = lua_tostring(L, -2);
        enum bh_script_hook hook = find_hook(key);
        if (hook == HOOK_NONE)
            unknown_hook(L, file, key);
        if (hook == HOOK_HTTP) {
            bh_routes_take(L, s, file);
            continue;
        }
        if (!lua_isfunction(L, -1))
            luaL_error(L, "%s: %s must be a function, not a %s", file, key, luaL_typename(L, -1));
        add_hook(L, s, hook, file);
    }
}

static void load_file(lua_State *L, struct bh_script *s, const char *file) {
    if (luaL_loadfilex(L, file, "t") != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 1);
    take_hooks(L, s, file);
    lua_pop(L, 1);
}

/* --- building --- */

static int new_conn_table(lua_State *L, bool weak) {
    lua_newtable(L);
    if (weak) {
        lua_newtable(L);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int build(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    bh_sandbox_open(L);
    s->conns_ref = new_conn_table(L, true);
    s->kept_ref = new_conn_table(L, false);
    bh_delivery_push_new(L);
    s->delivery_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    for (size_t i = 0; i < s->config->file_count; i++)
        load_file(L, s, s->config->files[i]);
    return 0;
}

static int with_traceback(lua_State *L) {
    const char *message = lua_tostring(L, 1);
    if (!message)
        message = lua_pushfstring(L, "(an error object: a %s value)", luaL_typename(L, 1));
    luaL_traceback(L, L, message, 1);
    /* Where no Lua frame is left, a trace says nothing. */
    if (!strstr(lua_tostring(L, -1) + strlen(message), ".lua:"))
        lua_pushstring(L, message);
    return 1;
}

static struct bh_script *create(const struct bh_script_config *config, struct bh_worker *worker) {
    struct bh_script *s = bh_calloc(1, sizeof *s);
    s->hooks.vt = &bh_script_hooks_vt;
    s->config = config;
    s->worker = worker;
    bh_slots_init(&s->slots);
    bh_list_init(&s->live);
    bh_list_init(&s->pool);
    bh_list_init(&s->joining);
    s->L = luaL_newstate();
    if (s->L)
        *(struct bh_script **)lua_getextraspace(s->L) = s;
    return s;
}

int bh_script_new(const struct bh_script_config *config, struct bh_worker *worker,
                  struct bh_script **out, char **error) {
    struct bh_script *s = create(config, worker);
    if (!s->L) {
        *error = bh_strdup("no memory for a Lua state");
        bh_free(s);
        return BH_ESCRIPT;
    }
    lua_pushcfunction(s->L, with_traceback);
    lua_pushcfunction(s->L, build);
    if (lua_pcall(s->L, 0, 0, 1) != LUA_OK) {
        *error = bh_strdup(lua_tostring(s->L, -1));
        bh_script_free(s);
        return BH_ESCRIPT;
    }
    lua_settop(s->L, 0);
    *out = s;
    return 0;
}

/* --- on_init --- */

static void init_refused(struct bh_task *t) {
    const char *why = lua_tostring(t->co, t->argc + 2);
    char text[512];
    snprintf(text, sizeof text, "%s: on_init refused: %s",
             t->script->chains[HOOK_INIT].files[t->link], why ? why : "(no reason given)");
    t->script->init_done(t->script->init_ud, BH_ESCRIPT, text);
}

static void init_end(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_script *s = t->script;
    if (outcome == BH_NO_OPINION)
        s->init_done(s->init_ud, 0, NULL);
    else if (outcome == BH_DECIDED)
        init_refused(t);
    else
        s->init_done(s->init_ud, BH_ESCRIPT, error ? error : "on_init was cancelled");
}

static void push_context(lua_State *L, const struct bh_worker *w) {
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)w->index + 1);
    lua_setfield(L, -2, "worker");
    lua_pushinteger(L, bh_node_worker_count(w->node));
    lua_setfield(L, -2, "workers");
    lua_pushinteger(L, 1);
    lua_setfield(L, -2, "generation");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "reload");
}

void bh_script_start(struct bh_script *s, void (*done)(void *ud, int error, const char *why),
                     void *ud) {
    s->worker->hooks = &s->hooks;
    s->started = true;
    if (!bh_script_has(s, HOOK_INIT)) {
        done(ud, 0, NULL);
        return;
    }
    s->init_done = done;
    s->init_ud = ud;
    struct bh_task *t = bh_task_new(s, HOOK_INIT, init_end);
    push_context(t->co, s->worker);
    bh_task_run(t, 1);
}

struct bh_hooks *bh_script_hooks(struct bh_script *s) {
    return &s->hooks;
}

void bh_script_free(struct bh_script *s) {
    s->started = false;
    bh_task_cancel_all(s);
    bh_task_pool_free(s);
    lua_close(s->L);
    if (s->worker && s->worker->hooks == &s->hooks)
        s->worker->hooks = NULL;
    for (int hook = 0; hook < HOOK_COUNT; hook++) {
        bh_free(s->chains[hook].refs);
        bh_free(s->chains[hook].files);
    }
    bh_routes_free(&s->routes);
    bh_slots_deinit(&s->slots);
    bh_bytes_free(&s->scratch);
    bh_free(s);
}
