/* sched.h - tasks: a hook call, or a function that a script has started, in a pooled coroutine.
 *
 * A task runs its hook's chain: while a function returns nil, the next script's is called. on_done
 * is called once, when the chain has finished; then the coroutine goes back to the pool. A binding
 * that waits registers a wait, starts its operation and yields. The completion finds the task by
 * the wait's handle; one that comes too late finds nothing. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_SCHED_H
#define BELLHOP_SCRIPT_SCHED_H

#include "run/state.h"

enum bh_outcome {
    BH_DECIDED,   /* the results are on co's stack, from index argc + 1 */
    BH_UNDECIDED, /* every script returned nil */
    BH_FAILED,    /* an error, already logged and counted; its text is given; co is empty */
    BH_CANCELLED,
};

/* The base of each task's stack: what nearly every hook needs. The state's table of conns, and the
 * two opcodes. */
enum { BH_TASK_CONNS = 1, BH_TASK_TEXT, BH_TASK_BINARY, BH_TASK_BASE = BH_TASK_BINARY };

struct bh_lua_conn;
typedef void (*bh_task_done_cb)(struct bh_task *t, enum bh_outcome outcome, const char *error);

/* What a task of an ordered hook calls on its conn. */
struct bh_task_conn_ops {
    /* The coroutine is about to be reset; its stack may hold the last reference to the conn. */
    void (*before_reset)(struct bh_lua_conn *c);
    /* After on_done; the task is in the pool again. */
    void (*on_finished)(struct bh_lua_conn *c, bool nested);
};

struct bh_task {
    struct bh_list node; /* in script->live or script->pool */
    struct bh_script *script;
    lua_State *co; /* on its stack: the base, the function of a task without chain, and the hook's
                      arguments */
    int co_ref;
    bh_task_done_cb on_done;
    bh_handle ticket; /* for cancelling it from outside; 0: none */
    bh_handle wait;   /* 0: it does not wait */
    uint8_t hook;
    uint8_t chain_index;   /* which function of the chain */
    uint8_t argc;          /* the base and the arguments; what the hook returns lies above */
    bool sync;             /* must not wait */
    bool brief;            /* under script.deliver_limit */
    bool overran;          /* its CPU limit, since it last waited; on_done may ask */
    bool running;          /* on the C stack */
    bool cancel_requested; /* while it was running */
    bool finishing;        /* on_done may close what would cancel it */
    bool answered;         /* its wait was answered before it could yield */
    int answers;
    struct bh_timer timer;        /* of the wait */
    struct bh_timer hook_timeout; /* set when a hook waits for the first time */

    struct bh_lua_conn *conn; /* of an ordered hook, else NULL */
    const struct bh_task_conn_ops *conn_ops;
    bool nested;              /* runs inside another hook of conn */
    struct bh_list in_nested; /* in conn->nested */
    struct bh_list in_joining;
    bh_handle joining; /* the subscriber that it waits for in conn:subscribe */

    union { /* for on_done */
        struct {
            bh_handshake_cb done;
            void *ud;
            bh_handle handle;
        } handshake;
        struct {
            bh_allowed_cb done;
            void *ud;
            bh_handle handle;
        } allowed;
        struct {
            void (*done)(void *ud, int error, const char *why);
            void *ud;
            struct bh_lua_msg *msg;
            int msg_ref; /* keeps msg until the hook has finished */
        } publish;
        struct bh_deliver_call *deliver;
        enum bh_slow *slow;
        struct {
            bh_offline_cb done;
            void *ud;
            bh_handle handle;
            struct bh_lua_delivery *msg;
            int msg_ref; /* keeps msg until the hook has finished */
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
        struct {
            const char *function; /* "bh.spawn" or "bh.after" */
            uint8_t started_by;   /* enum bh_script_hook */
        } background;
    } u;
};

static inline bool bh_task_has_chain(const struct bh_task *t) {
    return t->hook != HOOK_NONE && t->hook != HOOK_TIMER && t->hook != HOOK_HTTP;
}

/* A task with nothing but the base on its coroutine. Push the arguments on t->co (when the hook has
 * no chain, first the function, which counts as one), then run it. */
struct bh_task *bh_task_new(struct bh_script *s, enum bh_script_hook hook, bh_task_done_cb on_done);
/* Runs it until it waits or finishes. The task may be gone afterwards. */
void bh_task_run(struct bh_task *t, int argc);
/* A handle for cancelling it; get it before it runs. */
bh_handle bh_task_ticket(struct bh_task *t);
/* To-be-closed variables run, on_done gets BH_CANCELLED. A task on the C stack finishes as soon as
 * it returns. */
void bh_task_cancel(struct bh_task *t);

/* In a binding: the task that L runs, or a Lua error that says why `what` cannot wait here. */
struct bh_task *bh_task_may_wait(lua_State *L, const char *what);
/* In a binding that does not wait, but needs a worker: an error while the script is being loaded.
 */
void bh_script_check_started(lua_State *L, const char *what);
/* Begins a wait; on_timeout NULL: without limit, else it answers the wait after timeout_ms. */
bh_handle bh_task_wait(struct bh_task *t, uint64_t timeout_ms,
                       void (*on_timeout)(struct bh_timer *));
/* The return value of the binding: the answers when there are some already, else it yields. */
int bh_task_yield(lua_State *L, struct bh_task *t);
/* The same with a continuation, which gets the answers on top of the `ctx` values that are there
 * now. */
int bh_task_yieldk(lua_State *L, struct bh_task *t, lua_KFunction k);

/* In a completion: the task that waits, or NULL. */
struct bh_task *bh_task_waiting(const struct bh_worker *worker, bh_handle wait);
/* The answers have been pushed on t->co. The task may be gone afterwards. */
void bh_task_answer(struct bh_task *t, int answers);
/* nil, why */
void bh_task_answer_error(struct bh_task *t, const char *why);

/* Whether one more may be created (script.max_tasks). */
bool bh_task_has_room(const struct bh_script *s);
/* For freeing the state: cancels every task, without calling its on_done. No task is running. */
void bh_task_cancel_all(struct bh_script *s);
/* Cancels the background tasks (bh.spawn, bh.after, timers). No task is running. */
void bh_task_cancel_background(struct bh_script *s);
/* Is there a hook that has not finished? */
bool bh_task_has_hooks(const struct bh_script *s);
/* Every task has finished. */
void bh_task_pool_free(struct bh_script *s);

#endif
