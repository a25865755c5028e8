/* sched.c - the one place that enters Lua.
 *
 * A new coroutine costs twice a used one, so tasks and their coroutines are pooled. Only `enter`
 * resumes Lua; what must hold while a script runs belongs there. Tasks nest on the C stack (a hook
 * publishes, and on_deliver runs for the message); `enter` sets and restores `current`.
 *
 * A task's stack holds the hook's arguments for the whole chain; each function gets copies. The
 * conn among them keeps the connection's Lua object alive while its hook runs.
 *
 * A coroutine that failed or was cancelled is reset, which runs its to-be-closed variables; these
 * must not wait. Its results are gone then, so on_done uses only what is in the task. */
#include "run/sched.h"

#include "lua/error_text.h"
#include "run/task_log.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"

#include <stdio.h>

#define POOL_MAX    64
#define SYNC_HOOKS  (1u << HOOK_TENANT | 1u << HOOK_DELIVER | 1u << HOOK_SLOW)
#define STACK_SPARE 32 /* more than any hook's arguments, twice */

/* --- pool --- */

static void on_hook_timeout(struct bh_timer *timer);

static void push_base(struct bh_task *t) {
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, t->script->conns_ref);
    lua_pushliteral(t->co, "text");
    lua_pushliteral(t->co, "binary");
}

static struct bh_task *create(struct bh_script *s) {
    struct bh_task *t = bh_calloc(1, sizeof *t);
    t->script = s;
    t->co = lua_newthread(s->L);
    t->co_ref = luaL_ref(s->L, LUA_REGISTRYINDEX);
    lua_checkstack(t->co, STACK_SPARE);
    push_base(t);
    bh_list_init(&t->node);
    bh_list_init(&t->in_nested);
    bh_list_init(&t->in_joining);
    bh_timer_init(&t->timer, s->worker->loop, NULL);
    bh_timer_init(&t->hook_timeout, s->worker->loop, on_hook_timeout);
    return t;
}

struct bh_task *bh_task_new(struct bh_script *s, enum bh_script_hook hook,
                            bh_task_done_cb on_done) {
    struct bh_list *pooled = bh_list_shift(&s->pool);
    struct bh_task *t = pooled ? BH_CONTAINER_OF(pooled, struct bh_task, node) : create(s);
    s->pooled -= pooled != NULL;
    bh_list_append(&s->live, &t->node);
    s->live_count++;
    t->hook = (uint8_t)hook;
    t->on_done = on_done;
    t->chain_index = 0;
    t->brief = (1u << hook & s->script_worker->brief_hooks) != 0;
    t->sync = (1u << hook & SYNC_HOOKS) != 0;
    return t;
}

static void destroy(struct bh_task *t) {
    luaL_unref(t->script->L, LUA_REGISTRYINDEX, t->co_ref);
    bh_free(t);
}

static void begin(struct bh_task *t) {
    t->script->script_worker->current = t;
    t->running = true;
}

/* True when it has reached its CPU limit. */
static bool leave(struct bh_task *t, struct bh_level *level, struct bh_task *outer) {
    struct bh_script *s = t->script;
    bool overran = bh_limits_leave(&s->script_worker->limits, level);
    if (overran)
        bh_script_count_cpu_limit();
    t->running = false;
    s->script_worker->current = outer;
    if (!outer && (bh_memory_due(&s->memory) || s->scratch.cap > BH_SCRATCH_KEPT)) {
        bh_memory_left(&s->memory);
        bh_defer(s->worker->loop, BH_PHASE_REAP, &s->gc_step);
    }
    return overran;
}

static unsigned how_to_enter(const struct bh_task *t, bool again) {
    return (t->brief ? BH_ENTER_BRIEF : 0) | (again ? BH_ENTER_AGAIN : 0);
}

/* again: the time of to-be-closed variables counts as that of the task. */
static void reset(struct bh_task *t, bool again) {
    struct bh_limits *limits = &t->script->script_worker->limits;
    struct bh_task *outer = t->script->script_worker->current;
    struct bh_level level;
    begin(t);
    t->sync = true;
    bh_limits_enter(limits, &level, t->co, how_to_enter(t, again));
#if LUA_VERSION_RELEASE_NUM >= 50406
    lua_closethread(t->co, outer ? outer->co : NULL);
#else
    lua_resetthread(t->co);
#endif
    leave(t, &level, outer);
    lua_settop(t->co, 0);
    push_base(t);
}

static void forget_wait(struct bh_task *t) {
    if (!t->wait)
        return;
    bh_slots_remove(&t->script->script_worker->slots, t->wait);
    bh_timer_cancel(&t->timer);
    bh_list_unlink(&t->in_joining);
    t->wait = 0;
}

static void release(struct bh_task *t) {
    struct bh_script *s = t->script;
    forget_wait(t);
    bh_timer_cancel(&t->timer); /* of bh.after */
    bh_timer_cancel(&t->hook_timeout);
    bh_slots_remove(&s->script_worker->slots, t->ticket);
    bh_list_unlink(&t->in_nested);
    lua_settop(t->co, BH_TASK_BASE);
    bh_list_unlink(&t->node);
    if (--s->live_count == 0 && s->retired)
        s->on_idle(s);
    t->ticket = 0;
    t->conn = NULL;
    t->nested = t->cancel_requested = t->answered = t->finishing = false;
    if (s->pooled >= POOL_MAX) {
        destroy(t);
        return;
    }
    s->pooled++;
    bh_list_append(&s->pool, &t->node);
}

void bh_task_pool_free(struct bh_script *s) {
    struct bh_list *node;
    while ((node = bh_list_shift(&s->pool)))
        destroy(BH_CONTAINER_OF(node, struct bh_task, node));
}

/* --- running --- */

/* To-be-closed variables run before on_done acts on the outcome. */
static void finish(struct bh_task *t, enum bh_outcome outcome, const char *error) {
    struct bh_lua_conn *c = t->conn;
    const struct bh_task_conn_ops *ops = t->conn_ops;
    bool nested = t->nested;
    t->finishing = true;
    if (error)
        bh_task_log_error(t, error);
    if (outcome == BH_FAILED || outcome == BH_CANCELLED) {
        if (c)
            ops->before_reset(c);
        forget_wait(t);
        reset(t, outcome == BH_FAILED);
    }
    t->on_done(t, outcome, error);
    release(t);
    if (c)
        ops->on_finished(c, nested);
}

static int enter(struct bh_task *t, int nargs) {
    struct bh_script_worker *sw = t->script->script_worker;
    struct bh_task *outer = sw->current;
    struct bh_level level;
    int nresults;
    begin(t);
    bh_limits_enter(&sw->limits, &level, t->co, how_to_enter(t, false));
    int status = lua_resume(t->co, outer ? outer->co : NULL, nargs, &nresults);
    t->overran = leave(t, &level, outer);
    return status;
}

/* Pushes the function and copies of the arguments: the chain's function, or the one at the bottom.
 * Returns the number of arguments for the resume. */
static int load(struct bh_task *t) {
    bool chain = bh_task_has_chain(t);
    if (chain)
        lua_rawgeti(t->co, LUA_REGISTRYINDEX, t->script->chains[t->hook].refs[t->chain_index]);
    for (int i = BH_TASK_BASE + 1; i <= t->argc; i++)
        lua_pushvalue(t->co, i);
    return t->argc - BH_TASK_BASE - !chain;
}

/* message NULL: the error value on top of the coroutine. */
static void fail_with(struct bh_task *t, const char *message) {
    lua_State *L = t->script->L;
    int top = lua_gettop(L);
    lua_checkstack(L, STACK_SPARE);
    if (!message)
        message = bh_error_text_push(L, t->co, -1);
    luaL_traceback(L, t->co, message, 0);
    finish(t, BH_FAILED, lua_tostring(L, -1));
    lua_settop(L, top);
}

/* Its own limit, or that of what it runs in. */
static bool is_over_limit(const struct bh_task *t) {
    return t->overran || bh_limits_over(&t->script->script_worker->limits);
}

static void fail_cpu_limit(struct bh_task *t) {
    const struct bh_limits *limits = &t->script->script_worker->limits;
    bool brief = t->overran ? t->brief : bh_limits_reached_watch(limits) == &limits->brief;
    char text[BH_LIMITS_TEXT_MAX];
    bh_limits_text(brief ? &limits->brief : &limits->whole, text);
    fail_with(t, text);
}

/* on_init and on_shutdown run in every script: their results do not end the chain, unless on_init
 * refuses. */
static bool decided(const struct bh_task *t) {
    int first = t->argc + 1;
    if (t->hook == HOOK_SHUTDOWN)
        return false;
    if (t->hook == HOOK_INIT)
        return lua_isboolean(t->co, first) && !lua_toboolean(t->co, first);
    return !lua_isnoneornil(t->co, first);
}

static void on_hook_timeout(struct bh_timer *timer) {
    struct bh_task *t = BH_CONTAINER_OF(timer, struct bh_task, hook_timeout);
    char why[128];
    snprintf(why, sizeof why, "the hook did not finish within %.3g s (script.hook_timeout)",
             (double)t->script->config->hook_timeout_ms / 1000);
    finish(t, BH_FAILED, why);
}

/* Background tasks have no time-out. */
static bool is_background(const struct bh_task *t) {
    return t->hook == HOOK_NONE || t->hook == HOOK_TIMER;
}

static void arm_hook_timeout(struct bh_task *t) {
    uint64_t most = t->script->config->hook_timeout_ms;
    if (most && !is_background(t) && !bh_timer_pending(&t->hook_timeout))
        bh_timer_set(&t->hook_timeout, most);
}

static void run(struct bh_task *t, int nargs) {
    for (;;) {
        int status = enter(t, nargs);
        if (status == LUA_YIELD && !t->cancel_requested && is_over_limit(t)) {
            fail_cpu_limit(t);
            return;
        }
        if (status == LUA_YIELD && t->wait && !t->cancel_requested) {
            arm_hook_timeout(t);
            return;
        }
        if (t->cancel_requested) {
            finish(t, BH_CANCELLED, NULL);
            return;
        }
        if (status == LUA_YIELD) {
            finish(
                t, BH_FAILED,
                "a hook must not call coroutine.yield itself; only coroutines that it has created "
                "may yield");
            return;
        }
        if (status != LUA_OK) {
            fail_with(t, NULL);
            return;
        }
        bool has_answer = decided(t);
        if (has_answer || !bh_task_has_chain(t) ||
            t->chain_index + 1u >= t->script->chains[t->hook].count) {
            finish(t, has_answer ? BH_DECIDED : BH_UNDECIDED, NULL);
            return;
        }
        lua_settop(t->co, t->argc);
        t->chain_index++;
        nargs = load(t);
    }
}

bool bh_task_has_room(const struct bh_script *s) {
    return s->config->max_tasks == 0 || s->live_count < s->config->max_tasks;
}

/* A hook that must not wait finishes before another one can begin, so the limit does not apply to
 * it. */
void bh_task_run(struct bh_task *t, int argc) {
    const struct bh_script *s = t->script;
    t->argc = (uint8_t)(BH_TASK_BASE + argc);
    if (s->config->max_tasks && s->live_count > s->config->max_tasks && !t->sync)
        finish(t, BH_FAILED,
               "too many hooks and tasks are waiting (script.max_tasks); wait less often or for a "
               "shorter time");
    else
        run(t, load(t));
}

bh_handle bh_task_ticket(struct bh_task *t) {
    t->ticket = bh_slots_add(&t->script->script_worker->slots, t);
    return t->ticket;
}

static void ignore_outcome(struct bh_task *t, enum bh_outcome outcome, const char *error) {}

void bh_task_cancel_all(struct bh_script *s) {
    while (!bh_list_empty(&s->live)) {
        struct bh_task *t = BH_CONTAINER_OF(s->live.next, struct bh_task, node);
        t->on_done = ignore_outcome;
        finish(t, BH_CANCELLED, NULL);
    }
}

void bh_task_cancel_background(struct bh_script *s) {
    struct bh_list *node = s->live.next;
    while (node != &s->live) {
        struct bh_task *t = BH_CONTAINER_OF(node, struct bh_task, node);
        node = node->next;
        if (!is_background(t))
            continue;
        finish(t, BH_CANCELLED, NULL);
        node = s->live.next; /* the next one may have finished with it */
    }
}

bool bh_task_has_hooks(const struct bh_script *s) {
    for (struct bh_list *node = s->live.next; node != &s->live; node = node->next)
        if (!is_background(BH_CONTAINER_OF(node, struct bh_task, node)))
            return true;
    return false;
}

void bh_task_cancel(struct bh_task *t) {
    if (t->finishing)
        return;
    if (t->running)
        t->cancel_requested = true;
    else
        finish(t, BH_CANCELLED, NULL);
}

/* --- waiting --- */

void bh_script_check_started(lua_State *L, const char *what) {
    if (!bh_script_of(L)->started)
        luaL_error(L, "%s works inside hooks only; use on_init for work at start", what);
}

struct bh_task *bh_task_may_wait(lua_State *L, const char *what) {
    struct bh_task *t = bh_script_current(bh_script_of(L));
    if (!t) {
        luaL_error(L, "%s waits, so it works inside hooks only, not while the script is loaded",
                   what);
        return NULL; /* not reached */
    }
    if (t->sync)
        luaL_error(L, "%s waits, and %s must not wait", what, bh_script_hook_name(t->hook));
    if (t->co != L)
        luaL_error(L,
                   "%s waits, so call it from the hook itself (or from bh.spawn), not from a "
                   "coroutine of your own",
                   what);
    if (!lua_isyieldable(L))
        luaL_error(L,
                   "%s waits, which is not possible in a function called by table.sort, "
                   "string.gsub, require and the like",
                   what);
    return t;
}

bh_handle bh_task_wait(struct bh_task *t, uint64_t timeout_ms,
                       void (*on_timeout)(struct bh_timer *)) {
    t->wait = bh_slots_add(&t->script->script_worker->slots, t);
    t->answered = false;
    t->timer.fn = on_timeout;
    if (on_timeout)
        bh_timer_set(&t->timer, timeout_ms);
    return t->wait;
}

int bh_task_yield(lua_State *L, struct bh_task *t) {
    if (t->answered) {
        t->answered = false;
        return t->answers;
    }
    return lua_yield(L, 0);
}

int bh_task_yieldk(lua_State *L, struct bh_task *t, lua_KFunction k) {
    if (t->answered) {
        t->answered = false;
        return k(L, LUA_OK, lua_gettop(L) - t->answers);
    }
    return lua_yieldk(L, 0, lua_gettop(L), k);
}

struct bh_task *bh_task_waiting(const struct bh_worker *worker, bh_handle wait) {
    const struct bh_script_worker *sw = bh_script_worker_of(worker);
    struct bh_task *t = sw ? bh_slots_get(&sw->slots, wait) : NULL;
    return t && t->wait == wait ? t : NULL;
}

void bh_task_answer(struct bh_task *t, int answers) {
    forget_wait(t);
    if (t->running) {
        t->answered = true;
        t->answers = answers;
        return;
    }
    run(t, answers);
}

void bh_task_answer_error(struct bh_task *t, const char *why) {
    lua_pushnil(t->co);
    lua_pushstring(t->co, why);
    bh_task_answer(t, 2);
}
