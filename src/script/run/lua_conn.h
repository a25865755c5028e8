/* lua_conn.h - a connection as a script sees it (conn), and the order of its hooks.
 *
 * The Lua object is made when a hook first needs it. The subscriber's `script` points to it; Lua
 * finds it in a weak table, so the collector takes the object of an idle connection that no script
 * holds. It is pinned (also in a strong table) while jobs wait, while `vars` or buckets are in use,
 * and while the end of the connection is being handled.
 *
 * Ordered hooks (open, message, subscribe, unsubscribe, expire, close) run one at a time; a hook
 * that cannot run at once waits as a job. A subscribe that a hook of the same connection asks for
 * runs inside that hook. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_LUA_CONN_H
#define BELLHOP_SCRIPT_LUA_CONN_H

#include "run/sched.h"

#define BH_LUA_CONN_MT "bellhop.conn"

/* What stays readable after the connection has closed. */
struct bh_snapshot {
    struct bh_identity *identity;
    struct bh_slice ip, protocol;
    struct bh_bytes bytes;
};

/* A token bucket of conn:allow. */
struct bh_bucket {
    struct bh_bucket *next;
    double tokens;
    uint64_t at_ms;
    size_t len;
    char name[];
};

struct bh_lua_conn { /* lives in the userdata; user value 1 is `vars` */
    struct bh_script *script;
    bh_handle handle;
    uint64_t number;
    int64_t opened_at;
    struct bh_snapshot *closed; /* NULL while the connection is open */
    struct bh_task *running;    /* its ordered hook that has not finished */
    struct bh_list nested;      /* subscribe hooks inside it */
    struct bh_list jobs;
    struct bh_bucket *buckets;
    uint32_t messages; /* among the jobs, and their bytes */
    size_t bytes;
    bool pinned, vars, paused;
    bool draining;               /* jobs are being started: no second loop inside */
    bool deliver_off;            /* on_deliver is not called any more */
    struct bh_overruns overruns; /* of on_deliver; with one the conn stays pinned */

    /* After a reload: the conn of the same connection in the earlier state, whose hook has not
     * finished (this one's jobs wait for it), and the other way round. */
    struct bh_lua_conn *older, *newer;
};

struct bh_job;

/* Of each ordered hook one, constant. */
struct bh_job_ops {
    enum bh_script_hook hook;
    void (*prepare)(struct bh_task *t, const struct bh_job *job); /* pushes what follows the conn */
    bh_task_done_cb on_done;
};

struct bh_job {
    struct bh_list node;
    const struct bh_job_ops *ops;
    uint8_t opcode;     /* message */
    unsigned code;      /* close */
    const char *why;    /* unsubscribe; a constant */
    bh_allowed_cb done; /* subscribe */
    bh_expiry_cb expired;
    void *ud;
    bh_handle handle;
    struct bh_slice data; /* message, topic id, or close reason */
};

/* Pushes the subscriber's conn; makes it if needed. */
struct bh_lua_conn *bh_lua_conn_push(lua_State *L, struct bh_script *s, struct bh_subscriber *sub);
/* Pushes a pinned one. */
void bh_lua_conn_push_pinned(lua_State *L, struct bh_lua_conn *c);
/* The open subscriber behind it, or NULL. */
struct bh_subscriber *bh_lua_conn_subscriber(const struct bh_lua_conn *c);
/* The same, also while the subscriber is closing: only for reading. */
struct bh_subscriber *bh_lua_conn_readable(const struct bh_lua_conn *c);
const struct bh_identity *bh_lua_conn_identity(const struct bh_lua_conn *c);

/* Keeps it from being collected until unpinned. */
void bh_lua_conn_pin(struct bh_lua_conn *c);
/* Unpins it when nothing is left to do. Then the next call into Lua may collect it. */
void bh_lua_conn_unpin_if_idle(struct bh_lua_conn *c);

/* Runs the job now, or copies it to run later. */
void bh_lua_conn_submit(struct bh_script *s, struct bh_subscriber *sub, const struct bh_job *job);
/* Its ordered hook has finished: starts the jobs that wait. */
void bh_lua_conn_run_next(struct bh_lua_conn *c);
/* The subscriber is closing: takes a snapshot, cancels subscribes, queues the on_close job. */
void bh_lua_conn_closed(struct bh_script *s, struct bh_subscriber *sub, const struct bh_job *close);

/* Whether the subscriber's conn belongs to another state. */
static inline bool bh_lua_conn_is_elsewhere(const struct bh_subscriber *sub,
                                            const struct bh_script *s) {
    const struct bh_lua_conn *c = sub->script;
    return c && c->script != s;
}

/* Whether one more of `name` is within rate (a second) and burst; BH_ETOOBIG: too many buckets.
 * With a bucket the conn stays pinned until the connection closes, as with vars. */
int bh_lua_conn_allow(struct bh_lua_conn *c, struct bh_slice name, double rate, double burst,
                      bool *allowed);

/* Sets __gc in the metatable on top. */
void bh_lua_conn_set_gc(lua_State *L);

#endif
