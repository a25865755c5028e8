/* conn.h - a connection as a script sees it, and the order of its hooks.
 *
 * The Lua object is made when a hook first needs it. The subscriber's `script` points to it; Lua
 * finds it in a weak table, so an idle connection whose object nobody holds gives it back. While
 * hooks wait in line, or `vars` is in use, or after the end, it is kept in a strong table.
 *
 * Ordered hooks (open, message, subscribe, unsubscribe, close) run one at a time; what cannot run
 * at once waits as a job. A subscribe that a hook of the same connection asks for runs inside it.
 * Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_CONN_H
#define BELLHOP_SCRIPT_CONN_H

#include "run/sched.h"

#define BH_CONN_MT "bellhop.conn"

/* What stays readable after the end. */
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

struct bh_conn { /* lives in the userdata; user value 1 is `vars` */
    struct bh_script *script;
    bh_handle handle;
    uint64_t number;
    int64_t opened_at;
    struct bh_snapshot *closed; /* NULL while the connection is open */
    struct bh_task *running;    /* its ordered hook under way */
    struct bh_list nested;      /* subscribe hooks inside it */
    struct bh_list jobs;
    struct bh_bucket *buckets;
    uint32_t messages; /* among the jobs, and their bytes */
    size_t bytes;
    bool kept, vars, paused, pumping;

    /* After a reload: the object of the same connection in the earlier state, whose hook is still
     * under way (this one's jobs wait for it), and the other way round. */
    struct bh_conn *elder, *heir;
};

struct bh_job {
    struct bh_list node;
    uint8_t hook;
    uint8_t opcode;     /* message */
    unsigned code;      /* close */
    const char *why;    /* unsubscribe; a constant */
    bh_allowed_cb done; /* subscribe */
    bh_expiry_cb expired;
    void *ud;
    bh_handle handle;
    struct bh_slice data; /* message, topic's id, or reason of the close */
};

/* Pushes the subscriber's conn; makes it if need be. */
struct bh_conn *bh_conn_push(lua_State *L, struct bh_script *s, struct bh_subscriber *sub);
/* The open subscriber behind it, or NULL. */
struct bh_subscriber *bh_conn_subscriber(const struct bh_conn *c);
/* The same while it closes, when it can be read and not used. */
struct bh_subscriber *bh_conn_seen(const struct bh_conn *c);
const struct bh_identity *bh_conn_identity(const struct bh_conn *c);
/* Keeps it from being collected until it has nothing more to do. */
void bh_conn_keep(struct bh_conn *c);

void bh_conn_push_kept(lua_State *L, struct bh_conn *c);

/* Runs the job now, or copies it to wait its turn. */
void bh_conn_submit(struct bh_script *s, struct bh_subscriber *sub, const struct bh_job *job);
/* The ordered hook has ended: on with the next. */
void bh_conn_next(struct bh_conn *c);
/* A nested hook has ended. */
void bh_conn_settle(struct bh_conn *c);
/* The subscriber goes: takes a snapshot, cancels what waits for nobody, queues on_close. */
void bh_conn_end(struct bh_script *s, struct bh_subscriber *sub, const struct bh_job *close);
/* Whether the subscriber's object belongs to another state. */
static inline bool bh_conn_is_elsewhere(const struct bh_subscriber *sub,
                                        const struct bh_script *s) {
    const struct bh_conn *c = sub->script;
    return c && c->script != s;
}
/* handover.c: the subscriber's object, which is elsewhere, is left for one in `to`. */
void bh_conn_hand_over(struct bh_subscriber *sub, struct bh_script *to);
/* The same for some of the worker's subscribers; *cursor 0 at first. False: those were the last. */
bool bh_conn_hand_over_some(struct bh_script *to, uint32_t *cursor);
/* handover.c: the last hook of an elder has ended. */
void bh_conn_inherit(struct bh_conn *elder);

/* Whether one more of `name` is within rate (a second) and burst; BH_ETOOBIG: it has too many
 * buckets. From the first one on the object stays until the end, as with vars. */
int bh_conn_allow(struct bh_conn *c, struct bh_slice name, double rate, double burst,
                  bool *allowed);

/* Drops the jobs that wait; for the end of the state. */
void bh_conn_clear(struct bh_conn *c);

/* Sets __gc in the metatable on top. */
void bh_conn_set_gc(lua_State *L);

/* hooks_conn.c: starts the hook of a job; the conn is on top of t->co. */
void bh_conn_hook_prepare(struct bh_task *t, const struct bh_job *job);
void bh_conn_hook_end(struct bh_task *t, enum bh_outcome outcome, const char *error);

#endif
