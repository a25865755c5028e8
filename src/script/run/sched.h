/* sched.h - tasks: a hook call, or a function of the script's own, in a pooled coroutine.
 *
 * A task walks its hook's chain: while a function answers nil, the next script's is asked. `end` is
 * called once, when the chain has ended; then the coroutine goes back to the pool. A binding that
 * waits registers a wait, starts its operation and yields; the completion finds the task by the
 * wait's handle, so one that comes too late finds nothing. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_SCHED_H
#define BELLHOP_SCRIPT_SCHED_H

#include "state.h"

enum bh_outcome {
    BH_DECIDED,    /* the results are on co's stack, from index argc + 1 */
    BH_NO_OPINION, /* every script answered nil */
    BH_FAILED,     /* an error, already logged and counted; its text is given; co is empty */
    BH_CANCELLED,
};

/* What lies at the bottom of each task's stack, where nearly each hook wants it: the state's table
 * of conns, and the two opcodes. */
enum { BH_TASK_CONNS = 1, BH_TASK_TEXT, BH_TASK_BINARY, BH_TASK_BASE = BH_TASK_BINARY };

struct bh_conn;
typedef void (*bh_task_end)(struct bh_task *t, enum bh_outcome outcome, const char *error);

struct bh_task {
    struct bh_list node; /* in script->live or script->pool */
    struct bh_script *script;
    lua_State *co; /* on its stack: the base, the function of a task without chain, and the hook's
                      arguments */
    int co_ref;
    bh_task_end end;
    bh_handle ticket; /* 0: nobody may cancel it from outside */
    bh_handle wait;   /* 0: it does not wait */
    uint8_t hook;
    uint8_t link;  /* which function of the chain */
    uint8_t argc;  /* all of these; what the hook returns lies above */
    bool sync;     /* must not wait */
    bool running;  /* on the C stack */
    bool doomed;   /* cancelled while it was running */
    bool answered; /* its wait was answered before it could yield */
    int answers;
    struct bh_timer timer;    /* of the wait */
    struct bh_timer deadline; /* of the whole; a hook that has waited once has one */

    struct bh_conn *conn;     /* whose ordered hook it is, or NULL */
    bool nested;              /* runs inside another hook of conn */
    struct bh_list in_nested; /* in conn->nested */
    struct bh_list in_joining;
    bh_handle joining; /* the subscriber that it waits for in conn:subscribe */

    union { /* what `end` needs */
        struct {
            bh_welcome_cb done;
            void *ud;
            bh_handle handle;
        } welcome;
        struct {
            bh_allowed_cb done;
            void *ud;
            bh_handle handle;
        } allowed;
        struct {
            void (*done)(void *ud, int error, const char *why);
            void *ud;
            struct bh_lua_msg *msg;
            int msg_ref; /* keeps it until the end, come what may */
        } publish;
        struct bh_deliver_call *deliver;
        enum bh_slow *slow;
        struct {
            bh_offline_cb done;
            void *ud;
            bh_handle handle;
            struct bh_lua_delivery *msg;
            int msg_ref; /* keeps it until the end */
            unsigned attempt;
        } offline;
        struct bh_script_timer *timer;
        struct {
            bh_expiry_cb done;
            void *ud;
            bh_handle handle;
        } expiry;
        struct {
            void (*done)(void *ud);
            void *ud;
        } shutdown;
        struct {
            bh_response_cb done;
            void *ud;
            bh_handle handle;
            const struct bh_script_route *route;
        } http;
        struct bh_tenant_call *tenant;
        uint8_t opcode;
    } u;
};

/* A task with nothing but the base on its coroutine; push the arguments on t->co (first the
 * function, when the hook has no chain; it counts), then run it. */
struct bh_task *bh_task_new(struct bh_script *s, enum bh_script_hook hook, bh_task_end end);
/* Runs until it waits or ends. The task may be gone afterwards. */
void bh_task_run(struct bh_task *t, int argc);
/* A handle by which to cancel it; get it before it runs. */
bh_handle bh_task_ticket(struct bh_task *t);
/* Ends it: to-be-closed variables run, `end` gets BH_CANCELLED. A task that is on the C stack ends
 * as soon as it comes back. */
void bh_task_cancel(struct bh_task *t);

/* In a binding: the task that L runs, or a Lua error that says why `what` cannot wait here. */
struct bh_task *bh_task_may_wait(lua_State *L, const char *what);
/* Begins a wait; timeout_ms 0: without limit. When the time is over, `on_timeout` answers. */
bh_handle bh_task_wait(struct bh_task *t, uint64_t timeout_ms,
                       void (*on_timeout)(struct bh_timer *));
/* The return value of the binding: what was answered already, or yields. */
int bh_task_yield(lua_State *L, struct bh_task *t);
/* The same with a continuation, which gets the answers on top of the `ctx` values that are there
 * now. */
int bh_task_yieldk(lua_State *L, struct bh_task *t, lua_KFunction k);

/* In a completion: NULL when nobody waits any more. */
struct bh_task *bh_task_waiting(const struct bh_worker *worker, bh_handle wait);
/* The answers have been pushed on t->co. The task may be gone afterwards. */
void bh_task_answer(struct bh_task *t, int answers);
/* nil and the text of an error number, or `why`. */
void bh_task_answer_error(struct bh_task *t, const char *why);

/* Whether there may be one more. */
bool bh_task_room(const struct bh_script *s);
/* For the end of the state: cancels every task, without calling its `end`. No task is running. */
void bh_task_cancel_all(struct bh_script *s);
/* Cancels the script's own tasks (bh.spawn, bh.after, timers). No task is running. */
void bh_task_cancel_own(struct bh_script *s);
/* Frees the pool; every task has ended. */
void bh_task_pool_free(struct bh_script *s);

/* A hook answered what no hook may: logged and counted like an error. */
void bh_task_complain(struct bh_task *t, const char *error);
void bh_script_count_error(enum bh_script_hook hook);
void bh_script_count_limit(void);

#endif
