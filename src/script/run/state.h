/* state.h - one Lua state of a worker and what belongs to it.
 *
 * The Lua state's extra space holds the pointer to this struct, so that every binding finds it.
 * Created by ../state.c. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_STATE_H
#define BELLHOP_SCRIPT_STATE_H

#include "lua/limits.h"
#include "run/hook_table.h"
#include "run/routes.h"
#include "run/script_worker.h"
#include "run/timers.h"

#include "bellhop/base/list.h"
#include "bellhop/io/timer.h"
#include "bellhop/script/script.h"

#include <lauxlib.h>
#include <lua.h>

struct bh_cache;

#define BH_SCRATCH_KEPT ((size_t)64 * 1024) /* bytes; a larger one is freed after its hook */

/* A hook's functions, in the order of the scripts that have one. */
struct bh_chain {
    unsigned count;
    int *refs;
    const char **files;
};

struct bh_script {
    struct bh_hooks hooks; /* first: the port casts back */
    const struct bh_script_config *config;
    struct bh_worker *worker;               /* NULL: only checking */
    struct bh_script_worker *script_worker; /* NULL until it is started */
    struct bh_list in_worker;
    unsigned generation;
    lua_State *L;
    struct bh_memory memory;
    bool started; /* hooks may run: on_init has begun */
    bool retired; /* another generation serves */
    struct bh_chain chains[HOOK_COUNT];
    struct bh_script_timers timers;
    struct bh_routes routes; /* of `http` */

    struct bh_list live; /* tasks that have not finished */
    size_t live_count;
    void (*on_idle)(struct bh_script *s); /* after each task that has finished */
    struct bh_list pool;                  /* tasks to use again */
    unsigned pooled;
    struct bh_defer gc_step;  /* of the collector, at the end of the tick */
    struct bh_timer gc_timer; /* the next step after a burst */

    struct bh_timer grace;         /* retired: background tasks are cancelled after it */
    struct bh_timer destroy_timer; /* retired and idle: collected in slices, then destroyed */
    unsigned gc_cycles;            /* completed by these slices */

    int conns_ref;    /* weak table: subscriber's handle -> conn */
    int pinned_ref;   /* table: struct bh_lua_conn * -> conn that must not be collected */
    int delivery_ref; /* the msg object of on_deliver, used again and again */

    const void *request_class; /* the metatable of req */

    struct bh_cache *cache;
    struct bh_bytes scratch; /* for encoders; not valid after a call into Lua */

    void (*init_done)(void *ud, int error, const char *why);
    void *init_ud;
};

static inline struct bh_script *bh_script_of(lua_State *L) {
    return *(struct bh_script **)lua_getextraspace(L);
}

/* The innermost task that runs now on this worker, or NULL. */
static inline struct bh_task *bh_script_current(const struct bh_script *s) {
    return s->script_worker ? s->script_worker->current : NULL;
}

static inline bool bh_script_has(const struct bh_script *s, enum bh_script_hook hook) {
    return s->chains[hook].count > 0;
}

#endif
