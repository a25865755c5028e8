/* script.h - Lua scripts: one state for each worker, behind the hooks port; and the configuration
 * file.
 *
 * A struct bh_script implements struct bh_hooks and belongs to one worker. It is created before
 * that worker runs, or on its thread, so that errors stop the start or the reload; then it is used
 * on the worker's thread only. */
#ifndef BELLHOP_SCRIPT_SCRIPT_H
#define BELLHOP_SCRIPT_SCRIPT_H

#include "bellhop/base/json.h"
#include "bellhop/core/node.h"

/* The stores of bh.shared, which the workers of an instance share. Any thread. */
struct bh_shared;
struct bh_shared *bh_shared_new(size_t max_bytes);
void bh_shared_free(struct bh_shared *s);

struct bh_script_config {     /* immutable, shared, outlives the scripts */
    const char *const *files; /* the scripts, in order */
    size_t file_count;
    const char *lua_dir;          /* the folder of bellhop.* and policy.lua */
    const struct bh_json *config; /* the whole configuration: bh.config(path) */
    bool trusted;                 /* open all libraries */
    bool client_messages; /* when no on_message decides: true: ignored, false: closed with 1008 */
    bool require_user;    /* refuses an identity without user, unless it says `anonymous` */
    struct bh_shared *shared;
    const char *key_prefix;     /* of keys in Redis; NULL: "ws:" */
    const char *channel_prefix; /* of channels in Redis; NULL: BH_CHANNEL_PREFIX */
    uint64_t redis_timeout_ms;
    int cpu_limit_ms;         /* of one hook between two waits; 0: no limit, as below */
    int deliver_limit_ms;     /* of one on_deliver or on_slow; the first script's counts */
    size_t memory_limit;      /* bytes of one state */
    uint64_t hook_timeout_ms; /* of one hook, including its waits */
    size_t max_tasks;         /* hooks and tasks of one state that may wait at the same time */
    /* Whether bellhop itself answers at this path: a script may have no endpoint there. NULL: none.
     */
    bool (*path_is_taken)(struct bh_slice path);
};

struct bh_script; /* opaque */

/* Loads every file and resolves its hooks; any thread. 0, or BH_ESCRIPT with a message in *error
 * that names file, line and what to do (the caller frees it with bh_free). worker NULL: only to
 * check the scripts (bellhop check). generation counts the loads, from 1. */
int bh_script_new(const struct bh_script_config *config, struct bh_worker *worker,
                  unsigned generation, struct bh_script **out, char **error);
/* Runs on_init on the worker's thread, then calls done: 0, or BH_ESCRIPT with the error. The first
 * state of a worker serves at once (worker->hooks); for any other call bh_script_activate after
 * done(0). */
void bh_script_start(struct bh_script *s, void (*done)(void *ud, int error, const char *why),
                     void *ud);
/* On the worker's thread, outside of any hook: s serves from now on. The previous state finishes
 * its tasks, then frees itself. Hooks of one connection still run one at a time, and its conn.vars
 * are copied as far as they are data. Connections move when a hook needs them, the others in
 * slices. */
void bh_script_activate(struct bh_script *s);
/* Runs on_shutdown, then calls done, whether it failed or not; possibly before it returns. */
void bh_script_shutdown(struct bh_script *s, const char *reason, uint64_t grace_ms,
                        void (*done)(void *ud), void *ud);
struct bh_hooks *bh_script_hooks(struct bh_script *s);
unsigned bh_script_generation(const struct bh_script *s);
/* Whether a hook waits on this worker; background tasks and timers do not count. */
bool bh_script_is_busy(const struct bh_worker *worker);
/* The states of the worker that are not freed yet. */
size_t bh_script_state_count(const struct bh_worker *worker);
/* On the worker's thread (or after it has stopped), while the worker exists: cancels every task
 * (their to-be-closed variables run), closes the Lua state and clears worker->hooks. Freeing the
 * state that serves also frees the retired ones. Completions that are pending are not called: their
 * receivers are being freed as well. on_close does not run for connections that close later. */
void bh_script_free(struct bh_script *s);

/* Evaluates a configuration file in a sandbox (string, table, math, utf8 and os.getenv; at most one
 * second of CPU and 64 MiB) and returns its table as a JSON tree. 0, BH_ENOTFOUND, BH_ESCRIPT or
 * BH_EINVAL; an error names file and line in *error (bh_free). */
int bh_script_read_config(const char *file, struct bh_json **out, char **error);

void bh_script_metrics_register(void);

#endif
