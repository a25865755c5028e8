/* state.h - one worker's Lua state and everything that hangs on it.
 *
 * Owned by the worker's thread. The Lua state's extra space holds the pointer to this struct, so
 * that every binding finds it. */
#ifndef BELLHOP_SCRIPT_STATE_H
#define BELLHOP_SCRIPT_STATE_H

#include "bind/cache.h"
#include "lua/limits.h"
#include "run/routes.h"
#include "run/timers.h"

#include "bellhop/base/list.h"
#include "bellhop/io/timer.h"
#include "bellhop/script/script.h"

#include <lauxlib.h>
#include <lua.h>

enum bh_script_hook {
    HOOK_INIT,
    HOOK_TENANT,
    HOOK_HANDSHAKE,
    HOOK_API,
    HOOK_OPEN,
    HOOK_MESSAGE,
    HOOK_PUBLISH,
    HOOK_DELIVER,
    HOOK_SLOW,
    HOOK_PRESENCE,
    HOOK_OFFLINE,
    HOOK_SUBSCRIBE,
    HOOK_UNSUBSCRIBE,
    HOOK_CLOSE,
    HOOK_EXPIRE,
    HOOK_SHUTDOWN,
    HOOK_TIMER, /* has no chain: see timers.h */
    HOOK_HTTP,  /* has no chain: see routes.h */
    HOOK_COUNT,
    HOOK_NONE = HOOK_COUNT, /* a task of the script's own: bh.spawn, bh.after */
};

/* A hook's functions, in the order of the scripts that have one. */
struct bh_chain {
    unsigned count;
    int *refs;
    const char **files;
};

struct bh_task;

/* What the generations of one worker have in common: a handle finds its task whichever of them it
 * belongs to, and hooks of one may run inside those of another. Lives as long as one of them. */
struct bh_lane {
    struct bh_list states; /* started ones; the current one is worker->hooks */
    struct bh_limits limits;
    struct bh_slots slots;    /* tickets and waits -> tasks */
    struct bh_timer handover; /* the next slice of connections, after a reload */
    uint32_t handover_cursor;
    bool handing_over;
    struct bh_task *current;           /* the innermost task that runs now, or NULL */
    struct bh_list joining;            /* tasks that wait in conn:subscribe */
    struct bh_publish_call *publishes; /* bh.publish calls on the C stack, innermost first */
    uint64_t publish_serial;
    bh_handle publisher; /* the subscriber whose on_message publishes at the moment */
};

struct bh_script {
    struct bh_hooks hooks; /* first: the port casts back */
    const struct bh_script_config *config;
    struct bh_worker *worker; /* NULL: only checking */
    struct bh_lane *lane;     /* NULL until it is started */
    struct bh_list in_lane;
    unsigned generation;
    lua_State *L;
    struct bh_memory memory;
    bool started; /* hooks may run: on_init has begun */
    bool retired; /* another generation has taken its place */
    struct bh_chain chains[HOOK_COUNT];
    struct bh_script_timers timers;
    struct bh_routes routes; /* of `http` */

    struct bh_list live; /* tasks under way */
    size_t live_count;
    struct bh_list pool; /* tasks to use again */
    unsigned pooled;
    struct bh_defer step;  /* of the collector, at the end of the tick */
    struct bh_timer end;   /* retired, and nothing is under way: it goes bit by bit */
    unsigned cycles;       /* of the collector, until then */
    struct bh_timer grace; /* how long tasks of a retired one may go on */

    int conns_ref;    /* weak table: subscriber's handle -> conn */
    int kept_ref;     /* table: struct bh_conn * -> conn that must not be collected */
    int delivery_ref; /* the msg object that on_deliver is shown, again and again */

    const void *request_class; /* the metatable of req */

    struct bh_cache cache;
    struct bh_bytes scratch; /* for encoders; nobody keeps it over a call into Lua */

    void (*init_done)(void *ud, int error, const char *why);
    void *init_ud;
};

static inline struct bh_script *bh_script_of(lua_State *L) {
    return *(struct bh_script **)lua_getextraspace(L);
}

/* The lane of a worker, for completions that outlive a state; NULL when all have gone. */
struct bh_lane *bh_lane_of(const struct bh_worker *worker);
/* The innermost task that runs now in this worker, or NULL. */
static inline struct bh_task *bh_script_current(const struct bh_script *s) {
    return s->lane ? s->lane->current : NULL;
}

/* A retired state goes when nothing holds it any more. */
void bh_script_let_go(struct bh_script *s);

const char *bh_script_hook_name(enum bh_script_hook hook);
unsigned bh_script_hook_bit(enum bh_script_hook hook); /* of enum bh_hook; 0: none */
static inline bool bh_script_has(const struct bh_script *s, enum bh_script_hook hook) {
    return s->chains[hook].count > 0;
}

/* For bindings that need a running worker: an error when the script is only being loaded. */
void bh_script_check_started(lua_State *L, const char *what);

#endif
