/* bind_time.c - bh.sleep, bh.spawn, bh.after: waiting, and background tasks.
 *
 * A spawned function starts at once, inside the caller, and continues by itself after its first
 * wait. Its failure is logged and affects nothing else. */
#include "bind/bind.h"
#include "lua/args.h"
#include "run/sched.h"

#define SECONDS_MAX (30 * 86400.0)

static uint64_t check_ms(lua_State *L, int arg) {
    lua_Number s = luaL_checknumber(L, arg);
    luaL_argcheck(L, s >= 0 && s <= SECONDS_MAX, arg, "seconds, from 0 to 30 days");
    return (uint64_t)(s * 1000);
}

static void on_awake(struct bh_timer *timer) {
    bh_task_answer(BH_CONTAINER_OF(timer, struct bh_task, timer), 0);
}

static int time_sleep(lua_State *L) {
    uint64_t ms = check_ms(L, 1);
    struct bh_task *t = bh_task_may_wait(L, "bh.sleep");
    bh_task_wait(t, ms, on_awake);
    return bh_task_yield(L, t);
}

static void task_end(struct bh_task *t, enum bh_outcome outcome, const char *error) {}

/* A task of the function at arg; NULL: too many tasks. */
static struct bh_task *new_task(lua_State *L, int arg, const char *what) {
    luaL_checktype(L, arg, LUA_TFUNCTION);
    bh_script_check_started(L, what);
    if (!bh_task_has_room(bh_script_of(L)))
        return NULL;
    const struct bh_task *outer = bh_script_current(bh_script_of(L));
    struct bh_task *t = bh_task_new(bh_script_of(L), HOOK_NONE, task_end);
    t->u.background.function = what;
    t->u.background.started_by = outer ? outer->hook : HOOK_NONE;
    lua_pushvalue(L, arg);
    lua_xmove(L, t->co, 1);
    return t;
}

static int too_many(lua_State *L) {
    return bh_push_error(L, "too many tasks (script.max_tasks)");
}

static int time_spawn(lua_State *L) {
    struct bh_task *t = new_task(L, 1, "bh.spawn");
    if (!t)
        return too_many(L);
    bh_task_run(t, 1);
    return bh_push_result(L, 0);
}

static void on_due(struct bh_timer *timer) {
    bh_task_run(BH_CONTAINER_OF(timer, struct bh_task, timer), 1);
}

static int time_after(lua_State *L) {
    uint64_t ms = check_ms(L, 1);
    struct bh_task *t = new_task(L, 2, "bh.after");
    if (!t)
        return too_many(L);
    t->timer.fn = on_due;
    bh_timer_set(&t->timer, ms);
    return bh_push_result(L, 0);
}

static const luaL_Reg functions[] = {
    {"sleep", time_sleep}, {"spawn", time_spawn}, {"after", time_after}, {NULL, NULL}};

void bh_bind_time(lua_State *L) {
    luaL_setfuncs(L, functions, 0);
}
