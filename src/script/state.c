/* state.c - a worker's Lua state: created, loaded, started, replaced, destroyed.
 *
 * All that may raise while a state is built runs inside one protected call, so a broken script
 * stops the start with a message and nothing else. The hooks of each script are looked up once,
 * here, and become registry references in chains. A key that is not a hook is an error: a hook with
 * a spelling mistake would never run.
 *
 * A reload builds a second state beside the one that serves. Activating it hands the connections
 * over (handover.c) and retires the old one, which is destroyed when its last task has finished. */
#include "run/state.h"

#include "bind/bind_cache.h"
#include "bind/bind_message.h"
#include "hooks/hooks.h"
#include "lua/error_text.h"
#include "run/sched.h"
#include "sandbox.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"

#include <stdio.h>

#define LOAD_CPU_MS 2000
#define GC_STEPS    8 /* in each slice before a state is destroyed */
#define GC_STEP_KIB 32
#define GRACE_MS    10000 /* for background tasks of a retired state, if hooks have no time-out */

/* --- hooks of a script --- */

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
static void add_hooks(lua_State *L, struct bh_script *s, const char *file) {
    if (!lua_istable(L, -1))
        luaL_error(L,
                   "%s: a script must return a table of hooks, for example return { on_message = "
                   "function(conn, data) return data end }; this one returned a %s",
                   file, luaL_typename(L, -1));
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L,
                       "%s: the table of hooks has a key that is a %s; keys must be names of hooks",
                       file, luaL_typename(L, -2));
        const char *key = lua_tostring(L, -2);
        enum bh_script_hook hook = find_hook(key);
        if (hook == HOOK_NONE)
            unknown_hook(L, file, key);
        if (hook == HOOK_TIMER || hook == HOOK_HTTP) {
            (hook == HOOK_TIMER ? bh_script_timers_add : bh_routes_add)(L, s, file);
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
    add_hooks(L, s, file);
    lua_pop(L, 1);
}

/* --- life --- */

static struct bh_limits no_limits; /* of a state that runs nothing */

static void join_worker(struct bh_script *s) {
    struct bh_script_worker *sw = bh_script_worker_of(s->worker);
    if (!sw)
        sw = bh_script_worker_new(s->worker, s->config->cpu_limit_ms, s->config->deliver_limit_ms);
    bh_list_append(&sw->states, &s->in_worker);
    s->script_worker = sw;
    s->memory.limits = &sw->limits;
}

static void leave_worker(struct bh_script *s) {
    if (!s->script_worker)
        return;
    bh_list_unlink(&s->in_worker);
    if (bh_list_empty(&s->script_worker->states))
        bh_script_worker_free(s->script_worker);
}

static void destroy(struct bh_script *s) {
    s->started = false;
    if (s->worker)
        bh_timer_cancel(&s->grace);
    bh_script_timers_stop(s);
    if (s->script_worker) {
        bh_task_cancel_all(s);
        bh_task_pool_free(s);
    }
    bh_defer_cancel(&s->gc_step); /* the last task may have set these */
    if (s->worker) {
        bh_timer_cancel(&s->gc_timer);
        bh_timer_cancel(&s->destroy_timer);
    }
    if (s->L)
        lua_close(s->L);
    if (s->worker && s->worker->hooks == &s->hooks)
        s->worker->hooks = NULL;
    bh_cache_free(s->cache);
    bh_script_timers_free(&s->timers);
    bh_routes_free(&s->routes);
    leave_worker(s);
    for (int hook = 0; hook < HOOK_COUNT; hook++) {
        bh_free(s->chains[hook].refs);
        bh_free(s->chains[hook].files);
    }
    bh_bytes_free(&s->scratch);
    bh_free(s);
}

/* lua_close frees all at once, so most of it is collected in slices first. */
static void on_destroy_timer(struct bh_timer *t) {
    struct bh_script *s = BH_CONTAINER_OF(t, struct bh_script, destroy_timer);
    for (int i = 0; i < GC_STEPS && s->gc_cycles < 2; i++)
        s->gc_cycles += (unsigned)lua_gc(s->L, LUA_GCSTEP, GC_STEP_KIB);
    if (s->gc_cycles < 2)
        bh_timer_set(t, 1);
    else
        destroy(s);
}

static void maybe_destroy(struct bh_script *s) {
    if (s->retired && s->live_count == 0 && !s->script_worker->handover.active)
        bh_timer_set(&s->destroy_timer, 0);
}

/* Hooks have a time-out of their own; background tasks could run for ever. */
static void on_grace(struct bh_timer *t) {
    bh_task_cancel_background(BH_CONTAINER_OF(t, struct bh_script, grace));
}

static void step(struct bh_script *s) {
    if (bh_memory_step(&s->memory, s->L))
        bh_timer_set(&s->gc_timer, 1);
    if (s->scratch.cap > BH_SCRATCH_KEPT)
        bh_bytes_free(&s->scratch);
}

static void on_gc_step(struct bh_defer *d) {
    step(BH_CONTAINER_OF(d, struct bh_script, gc_step));
}

static void on_gc_timer(struct bh_timer *t) {
    step(BH_CONTAINER_OF(t, struct bh_script, gc_timer));
}

static void retire(struct bh_script *s) {
    uint64_t grace_ms = s->config->hook_timeout_ms;
    s->retired = true;
    bh_script_timers_stop(s);
    if (s->live_count > 0)
        bh_timer_set(&s->grace, grace_ms ? grace_ms : GRACE_MS);
}

void bh_script_activate(struct bh_script *s) {
    struct bh_script *previous = (struct bh_script *)s->worker->hooks;
    s->worker->hooks = &s->hooks;
    retire(previous);
    bh_handover_start(s->script_worker);
    bh_script_timers_start(s);
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
    s->pinned_ref = new_conn_table(L, false);
    bh_delivery_push_new(L);
    s->delivery_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    for (size_t i = 0; i < s->config->file_count; i++)
        load_file(L, s, s->config->files[i]);
    return 0;
}

static int with_traceback(lua_State *L) {
    const char *message = bh_error_text_push(L, L, 1);
    luaL_traceback(L, L, message, 1);
    /* Without a Lua frame, a traceback is of no use. */
    if (!strstr(lua_tostring(L, -1) + strlen(message), ".lua:"))
        lua_pushstring(L, message);
    return 1;
}

static int on_panic(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    bh_error("Lua failed outside of any protected call",
             bh_kv_str("error", message ? message : ""));
    return 0; /* and abort */
}

static struct bh_script *create(const struct bh_script_config *config, struct bh_worker *worker,
                                unsigned generation) {
    struct bh_script *s = bh_calloc(1, sizeof *s);
    s->hooks.vt = &bh_script_hooks_vt;
    s->config = config;
    s->worker = worker;
    s->generation = generation;
    bh_list_init(&s->in_worker);
    bh_list_init(&s->live);
    bh_list_init(&s->pool);
    s->on_idle = maybe_destroy;
    s->cache = bh_cache_new();
    bh_defer_init(&s->gc_step, on_gc_step);
    if (worker) {
        bh_timer_init(&s->gc_timer, worker->loop, on_gc_timer);
        bh_timer_init(&s->grace, worker->loop, on_grace);
        bh_timer_init(&s->destroy_timer, worker->loop, on_destroy_timer);
    }
    return s;
}

/* Builds with a watchdog of its own, on whatever thread this is. */
static int build_limited(struct bh_script *s) {
    static const struct bh_limit_text text = {"loading the script", "; it must finish"};
    struct bh_limits limits;
    struct bh_level level;
    bh_limits_start(&limits, s->config->cpu_limit_ms ? LOAD_CPU_MS : 0, &text, 0, NULL);
    bh_memory_init(&s->memory, s->config->memory_limit, &limits);
    s->L = lua_newstate(bh_memory_allocate, &s->memory);
    if (!s->L) {
        bh_limits_stop(&limits);
        return LUA_ERRMEM;
    }
    lua_atpanic(s->L, on_panic);
    *(struct bh_script **)lua_getextraspace(s->L) = s;
    lua_pushcfunction(s->L, with_traceback);
    lua_pushcfunction(s->L, build);
    bh_limits_enter(&limits, &level, s->L, 0);
    int status = lua_pcall(s->L, 0, 0, 1);
    bh_limits_leave(&limits, &level);
    bh_limits_stop(&limits);
    s->memory.limits = &no_limits;
    return status;
}

int bh_script_new(const struct bh_script_config *config, struct bh_worker *worker,
                  unsigned generation, struct bh_script **out, char **error) {
    struct bh_script *s = create(config, worker, generation);
    int status = build_limited(s);
    if (status != LUA_OK) {
        *error = bh_strdup(s->L ? lua_tostring(s->L, -1) : "not enough memory for a Lua state");
        bh_script_free(s);
        return BH_ESCRIPT;
    }
    lua_settop(s->L, 0);
    bh_memory_stop_collector(s->L); /* it runs between hooks: on_gc_step */
    *out = s;
    return 0;
}

/* --- on_init --- */

static void init_refused(struct bh_task *t) {
    const char *why = lua_tostring(t->co, t->argc + 2);
    char text[512];
    snprintf(text, sizeof text, "%s: on_init refused: %s",
             t->script->chains[HOOK_INIT].files[t->chain_index], why ? why : "(no reason given)");
    t->script->init_done(t->script->init_ud, BH_ESCRIPT, text);
}

static void on_ready(struct bh_script *s) {
    if (s->worker->hooks == &s->hooks)
        bh_script_timers_start(s);
    s->init_done(s->init_ud, 0, NULL);
}

static void init_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_script *s = t->script;
    if (outcome == BH_UNDECIDED)
        on_ready(s);
    else if (outcome == BH_DECIDED)
        init_refused(t);
    else
        s->init_done(s->init_ud, BH_ESCRIPT, error ? error : "on_init was cancelled");
}

/* The state that serves while this one starts; NULL for the first. */
static const struct bh_script *serving(const struct bh_script *s) {
    struct bh_hooks *h = s->worker->hooks;
    return h == &s->hooks ? NULL : (struct bh_script *)h;
}

static void push_context(lua_State *L, const struct bh_script *s) {
    const struct bh_worker *w = s->worker;
    const struct bh_script *previous = serving(s);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)w->index + 1);
    lua_setfield(L, -2, "worker");
    lua_pushinteger(L, bh_node_worker_count(w->node));
    lua_setfield(L, -2, "workers");
    lua_pushinteger(L, s->generation);
    lua_setfield(L, -2, "generation");
    lua_pushboolean(L, previous != NULL);
    lua_setfield(L, -2, "reload");
    if (previous) {
        lua_pushinteger(L, previous->generation);
        lua_setfield(L, -2, "previous");
    }
}

void bh_script_start(struct bh_script *s, void (*done)(void *ud, int error, const char *why),
                     void *ud) {
    join_worker(s);
    if (!s->worker->hooks)
        s->worker->hooks = &s->hooks;
    s->started = true;
    s->init_done = done;
    s->init_ud = ud;
    if (!bh_script_has(s, HOOK_INIT)) {
        on_ready(s);
        return;
    }
    struct bh_task *t = bh_task_new(s, HOOK_INIT, init_done);
    push_context(t->co, s);
    bh_task_run(t, 1);
}

struct bh_hooks *bh_script_hooks(struct bh_script *s) {
    return &s->hooks;
}

unsigned bh_script_generation(const struct bh_script *s) {
    return s->generation;
}

size_t bh_script_state_count(const struct bh_worker *worker) {
    const struct bh_script_worker *sw = bh_script_worker_of(worker);
    size_t n = 0;
    for (struct bh_list *at = sw ? sw->states.next : NULL; sw && at != &sw->states; at = at->next)
        n++;
    return n;
}

bool bh_script_is_busy(const struct bh_worker *worker) {
    const struct bh_script_worker *sw = bh_script_worker_of(worker);
    for (struct bh_list *at = sw ? sw->states.next : NULL; sw && at != &sw->states; at = at->next)
        if (bh_task_has_hooks(BH_CONTAINER_OF(at, struct bh_script, in_worker)))
            return true;
    return false;
}

/* The retired ones are destroyed first: what waits for the hooks of their connections is in the one
 * that serves. */
void bh_script_free(struct bh_script *s) {
    s->started = false;
    if (s->script_worker && s->worker->hooks == &s->hooks)
        for (struct bh_list *node; (node = s->script_worker->states.next) != &s->in_worker;)
            destroy(BH_CONTAINER_OF(node, struct bh_script, in_worker));
    destroy(s);
}
