/* state.h - one worker's Lua state and everything that hangs on it.
 *
 * Owned by the worker's thread. The Lua state's extra space holds the pointer to this struct, so
 * that every binding finds it. */
#ifndef BELLHOP_SCRIPT_STATE_H
#define BELLHOP_SCRIPT_STATE_H

#include "routes.h"

#include "bellhop/base/list.h"
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
    HOOK_HTTP, /* has no chain: see routes.h */
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

struct bh_script {
    struct bh_hooks hooks; /* first: the port casts back */
    const struct bh_script_config *config;
    struct bh_worker *worker; /* NULL: only checking */
    lua_State *L;
    bool started; /* hooks may run: on_init has begun */
    struct bh_chain chains[HOOK_COUNT];
    struct bh_routes routes; /* of `http` */

    struct bh_slots slots;   /* tickets and waits -> tasks */
    struct bh_list live;     /* tasks under way */
    struct bh_task *current; /* the innermost task that runs now, or NULL */
    struct bh_list pool;     /* tasks to use again */
    unsigned pooled;
    struct bh_list joining; /* tasks that wait in conn:subscribe */

    int conns_ref;    /* weak table: subscriber's handle -> conn */
    int kept_ref;     /* table: struct bh_conn * -> conn that must not be collected */
    int delivery_ref; /* the msg object that on_deliver is shown, again and again */

    struct bh_bytes scratch;           /* for encoders; nobody keeps it over a call into Lua */
    struct bh_publish_call *publishes; /* bh.publish calls on the C stack, innermost first */
    uint64_t publish_serial;
    bh_handle publisher; /* the subscriber whose on_message publishes at the moment */

    void (*init_done)(void *ud, int error, const char *why);
    void *init_ud;
};

static inline struct bh_script *bh_script_of(lua_State *L) {
    return *(struct bh_script **)lua_getextraspace(L);
}

/* The script behind a worker now, for completions that outlive a state; NULL when it has gone. */
struct bh_script *bh_script_at(struct bh_worker *worker);

const char *bh_script_hook_name(enum bh_script_hook hook);
unsigned bh_script_hook_bit(enum bh_script_hook hook); /* of enum bh_hook; 0: none */
static inline bool bh_script_has(const struct bh_script *s, enum bh_script_hook hook) {
    return s->chains[hook].count > 0;
}

/* For bindings that need a running worker: an error when the script is only being loaded. */
void bh_script_check_started(lua_State *L, const char *what);

#endif
