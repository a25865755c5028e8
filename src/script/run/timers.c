/* timers.c - a script's timers: read when it is loaded, run while it serves.
 *
 * The period is from one start to the next. A run that is due while the previous one has not
 * finished is skipped. A run that exceeds the CPU limit stops the worker for that long, so it
 * doubles the period; the first run that stays within the limit restores it.
 *
 * Scope "cluster": every instance tries, at its own time, to set a key in Redis that expires after
 * the period; the instance that succeeds runs the timer. So there is one run in each period as long
 * as one instance is alive, and none while Redis is not reachable. */
#include "run/timers.h"

#include "run/sched.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"

#include <math.h>
#include <stdio.h>

#define EVERY_MIN     0.05
#define EVERY_MAX     (30 * 86400.0)
#define PERIOD_MAX_MS 3600000 /* of a doubled period, unless the configured one is longer */
#define LEASE_CUT     50 /* ms that the lease is shorter than the period: timers are not exact */

const char *const bh_timer_keys[] = {"every", "scope", "fn", NULL};
static const char *const scopes[] = {"worker", "instance", "cluster", NULL};

/* --- running --- */

/* The next run is due one period after the start of the last one. */
static void reschedule(struct bh_script_timer *timer) {
    uint64_t now = bh_loop_now(timer->script->worker->loop);
    uint64_t due = timer->began_ms + timer->period_ms;
    if (bh_timer_pending(&timer->timer)) /* else it has been stopped */
        bh_timer_set(&timer->timer, due > now ? due - now : 0);
}

static void log_period(const struct bh_script_timer *timer) {
    bool longer = timer->period_ms > timer->every_ms;
    BH_LOG(longer ? BH_LOG_WARN : BH_LOG_INFO, NULL,
           longer ? "timer exceeded script.cpu_limit: its period was doubled"
                  : "timer stayed within script.cpu_limit: its period was restored",
           bh_kv_str("timer", timer->name), bh_kv_str("script", timer->file),
           bh_kv_int("generation", timer->script->generation),
           bh_kv_double("period", (double)timer->period_ms / 1000));
}

static void set_period(struct bh_script_timer *timer, uint64_t ms) {
    if (ms == timer->period_ms)
        return;
    timer->period_ms = ms;
    reschedule(timer);
    log_period(timer);
}

static uint64_t doubled(const struct bh_script_timer *timer) {
    uint64_t most = timer->every_ms > PERIOD_MAX_MS ? timer->every_ms : PERIOD_MAX_MS;
    return timer->period_ms * 2 < most ? timer->period_ms * 2 : most;
}

static void run_done(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_script_timer *timer = t->u.timer;
    timer->running = NULL;
    if (outcome == BH_CANCELLED)
        return;
    set_period(timer, t->overran ? doubled(timer) : timer->every_ms);
}

static void run(struct bh_script_timer *timer) {
    if (timer->running)
        return;
    struct bh_task *t = bh_task_new(timer->script, HOOK_TIMER, run_done);
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, timer->ref);
    t->u.timer = timer;
    timer->running = t;
    bh_task_run(t, 1);
}

struct attempt {
    struct bh_worker *worker;
    unsigned generation;
    size_t index; /* of the timer */
};

static void on_lease(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct attempt *a = ud;
    struct bh_script *s = (struct bh_script *)a->worker->hooks;
    struct bh_script_timer *timer =
        s && s->generation == a->generation ? s->timers.list[a->index] : NULL;
    if (timer && !error && reply->type == BH_REPLY_STATUS)
        run(timer);
    if (timer && !error && reply->type == BH_REPLY_ERROR)
        bh_warn_limited("lease of a cluster timer refused by Redis",
                        bh_kv_str("timer", timer->name), bh_kv_slice("reason", reply->str));
    bh_free(a);
}

static void request_lease(struct bh_script_timer *timer, size_t index) {
    struct bh_script *s = timer->script;
    struct bh_worker *w = s->worker;
    struct bh_bytes key = {0};
    char ttl[24];
    uint64_t ttl_ms = timer->period_ms - (timer->period_ms > 2 * LEASE_CUT ? LEASE_CUT : 1);
    struct attempt *a = bh_malloc(sizeof *a);
    *a = (struct attempt){w, s->generation, index};
    bh_bytes_adds(&key, s->config->key_prefix ? s->config->key_prefix : "ws:");
    bh_bytes_addf(&key, "timer:%s", timer->name);
    int n = snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)ttl_ms);
    const struct bh_slice argv[] = {
        BH_SLICE("SET"), bh_bytes_slice(&key), bh_node_instance(w->node),
        BH_SLICE("NX"),  BH_SLICE("PX"),       bh_slice(ttl, (size_t)n)};
    w->redis->vt->call(w->redis, w->index, sizeof argv / sizeof *argv, argv, on_lease, a, 0);
    bh_bytes_free(&key);
}

static size_t index_of(const struct bh_script_timer *timer) {
    size_t i = 0;
    while (timer->script->timers.list[i] != timer)
        i++;
    return i;
}

static void on_due(struct bh_timer *t) {
    struct bh_script_timer *timer = BH_CONTAINER_OF(t, struct bh_script_timer, timer);
    timer->began_ms = bh_loop_now(timer->script->worker->loop);
    bh_timer_set(t, timer->period_ms);
    if (timer->scope == BH_SCOPE_CLUSTER && timer->script->worker->redis)
        request_lease(timer, index_of(timer));
    else
        run(timer);
}

void bh_script_timers_start(struct bh_script *s) {
    for (size_t i = 0; i < s->timers.count; i++) {
        struct bh_script_timer *timer = s->timers.list[i];
        bh_timer_init(&timer->timer, s->worker->loop, on_due);
        if (timer->scope == BH_SCOPE_WORKER || s->worker->index == 0)
            bh_timer_set(&timer->timer, timer->period_ms);
    }
}

void bh_script_timers_stop(struct bh_script *s) {
    for (size_t i = 0; i < s->timers.count; i++)
        if (s->timers.list[i]->timer.fn)
            bh_timer_cancel(&s->timers.list[i]->timer);
}

void bh_script_timers_free(struct bh_script_timers *t) {
    for (size_t i = 0; i < t->count; i++) {
        bh_free(t->list[i]->name);
        bh_free(t->list[i]);
    }
    bh_free(t->list);
}

/* --- reading --- */

static int timer_error(lua_State *L, const char *file, const char *name, const char *why) {
    return luaL_error(L, "%s: timers.%s: %s", file, name, why);
}

static void check_keys(lua_State *L, const char *file, const char *name) {
    char hint[64], why[160];
    const char *const *known = bh_timer_keys;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "(not a string)";
        bool found = false;
        for (int i = 0; known[i]; i++)
            found = found || strcmp(known[i], key) == 0;
        if (found)
            continue;
        snprintf(why, sizeof why, "unknown key \"%.60s\"%s", key,
                 bh_suggest_phrase(key, known, hint, sizeof hint));
        timer_error(L, file, name, why);
    }
}

/* The timer's table is on top. */
static void read_timer(lua_State *L, struct bh_script_timer *timer, const char *file,
                       const char *name) {
    int is_number, scope = BH_SCOPE_WORKER;
    if (!lua_istable(L, -1))
        timer_error(L, file, name,
                    "it must be a table: { every = seconds, fn = function() ... end }");
    check_keys(L, file, name);
    lua_getfield(L, -1, "every");
    double every = lua_tonumberx(L, -1, &is_number);
    if (!is_number || !(every >= EVERY_MIN && every <= EVERY_MAX))
        timer_error(L, file, name, "`every` must be a number of seconds, from 0.05 to 30 days");
    lua_getfield(L, -2, "scope");
    if (!lua_isnil(L, -1)) {
        const char *word = lua_tostring(L, -1);
        for (scope = 0; scopes[scope] && (!word || strcmp(scopes[scope], word) != 0);)
            scope++;
        if (!scopes[scope])
            timer_error(L, file, name, "`scope` must be \"worker\", \"instance\" or \"cluster\"");
    }
    lua_pop(L, 2);
    if (lua_getfield(L, -1, "fn") != LUA_TFUNCTION)
        timer_error(L, file, name, "`fn` must be a function");
    timer->every_ms = timer->period_ms = (uint64_t)(every * 1000);
    timer->scope = (enum bh_timer_scope)scope;
    timer->ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void check_name(lua_State *L, const struct bh_script *s, const char *file) {
    const char *why = "", *name;
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_error(L, "%s: timers have names: timers = { cleanup = { every = 60, fn = ... } }",
                   file);
    name = lua_tostring(L, -2);
    if (bh_id_check(BH_ID_TIMER, bh_slice_cstr(name), &why))
        timer_error(L, file, name, why);
    for (size_t i = 0; i < s->timers.count; i++)
        if (strcmp(s->timers.list[i]->name, name) == 0)
            timer_error(L, file, name, "another script has a timer of that name");
}

void bh_script_timers_add(lua_State *L, struct bh_script *s, const char *file) {
    if (!lua_istable(L, -1))
        luaL_error(L, "%s: timers must be a table, not a %s", file, luaL_typename(L, -1));
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        struct bh_script_timer read = {.script = s, .file = file};
        check_name(L, s, file);
        const char *name = lua_tostring(L, -2);
        read_timer(L, &read, file, name);
        read.name = bh_strdup(name);
        struct bh_script_timers *t = &s->timers;
        t->list = bh_realloc(t->list, (t->count + 1) * sizeof(struct bh_script_timer *));
        t->list[t->count] = bh_malloc(sizeof read);
        *t->list[t->count++] = read;
    }
}
