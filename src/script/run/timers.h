/* timers.h - `timers` of a script: functions that run periodically.
 *
 *     timers = { name = { every = 60, scope = "cluster", fn = function() ... end } }
 *
 * Scopes: "worker" (each worker), "instance" (one worker of each instance), "cluster" (one
 * instance: the one that gets the lease in Redis, key <prefix>timer:<name>, which lasts for the
 * period; without Redis as "instance"). A timer does not overlap with itself. Thread: the worker's.
 */
#ifndef BELLHOP_SCRIPT_TIMERS_H
#define BELLHOP_SCRIPT_TIMERS_H

#include "bellhop/io/timer.h"

#include <lua.h>
#include <stddef.h>

struct bh_script;
struct bh_task;

enum bh_timer_scope { BH_SCOPE_WORKER, BH_SCOPE_INSTANCE, BH_SCOPE_CLUSTER };

struct bh_script_timer {
    struct bh_script *script;
    struct bh_timer timer;
    const char *file;
    char *name;
    int ref;
    uint64_t every_ms;  /* the configured period */
    uint64_t period_ms; /* the present one */
    uint64_t began_ms;  /* when the last run was due */
    enum bh_timer_scope scope;
    struct bh_task *running;
};

struct bh_script_timers {
    struct bh_script_timer **list;
    size_t count;
};

extern const char *const bh_timer_keys[]; /* of a timer's table; NULL at the end */

/* While loading: adds the timers of the table on top of the stack. Raises when it is not valid. */
void bh_script_timers_add(lua_State *L, struct bh_script *s, const char *file);
/* When the state begins to serve, and when it no longer does. */
void bh_script_timers_start(struct bh_script *s);
void bh_script_timers_stop(struct bh_script *s);
void bh_script_timers_free(struct bh_script_timers *t);

#endif
