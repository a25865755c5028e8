/* script.h - Lua: one state for each worker, behind the hooks port; and reading configuration.
 *
 * A struct bh_script belongs to one worker: it is created and loaded before that worker runs (so
 * that errors stop the start), then used on the worker's thread only. It implements struct
 * bh_hooks. */
#ifndef BELLHOP_SCRIPT_SCRIPT_H
#define BELLHOP_SCRIPT_SCRIPT_H

#include "bellhop/base/json.h"
#include "bellhop/core/node.h"

/* What the workers of an instance share through bh.shared; any thread. */
struct bh_shared;
struct bh_shared *bh_shared_new(size_t max_bytes);
void bh_shared_free(struct bh_shared *s);

struct bh_script_config {     /* immutable, shared, outlives the scripts */
    const char *const *files; /* the policies, in order */
    size_t file_count;
    const char *lua_dir;          /* where bellhop.* and policy.lua are (…/lua) */
    const struct bh_json *config; /* the whole configuration: bh.config(path) */
    bool trusted;                 /* open all libraries */
    bool client_messages;         /* on_message's nil: true drops quietly, false closes 1008 */
    struct bh_shared *shared;
    const char *key_prefix; /* of keys in Redis; NULL: "ws:" */
    uint64_t redis_timeout_ms;
    int cpu_limit_ms;         /* of one hook without a wait; 0: none, and so below */
    size_t memory_limit;      /* bytes of one state */
    uint64_t hook_timeout_ms; /* of one hook with its waits */
    size_t max_tasks;         /* hooks and tasks of one state that wait at the same time */
    /* Is this path answered before any script is asked? An endpoint there is refused. NULL: none */
    bool (*path_is_taken)(struct bh_slice path);
};

struct bh_script; /* opaque */

/* Loads and compiles every file and resolves its hooks; any thread. 0, or BH_ESCRIPT with a message
 * of file, line and what to do in *error (the caller frees it with bh_free). worker may be NULL:
 * then only the check is made (bellhop check). generation counts the reloads, from 1. */
int bh_script_new(const struct bh_script_config *config, struct bh_worker *worker,
                  unsigned generation, struct bh_script **out, char **error);
/* Runs on_init on the worker's thread; done(0) or BH_ESCRIPT with the error. The first of a worker
 * sets worker->hooks; any further one is for bh_script_activate, after done(0). */
void bh_script_start(struct bh_script *s, void (*done)(void *ud, int error, const char *why),
                     void *ud);
/* On the worker's thread, outside of any hook: s serves from now on. The one that served finishes
 * what is under way, then frees itself. Hooks of one connection still run one at a time; its
 * conn.vars go with it as far as they are data. Connections that no hook needs follow in slices. */
void bh_script_activate(struct bh_script *s);
/* Runs on_shutdown; done, maybe at once, when it has ended, well or not. */
void bh_script_shutdown(struct bh_script *s, const char *reason, uint64_t grace_ms,
                        void (*done)(void *ud), void *ud);
struct bh_hooks *bh_script_hooks(struct bh_script *s);
unsigned bh_script_generation(const struct bh_script *s);
/* Generations of the worker that are still there. */
size_t bh_script_state_count(const struct bh_worker *worker);
/* On the worker's thread (or after it), while the worker still exists: cancels every task (their
 * to-be-closed variables run), closes the state, takes the hooks from the worker. Of the one that
 * serves, those before it go, too. Completions that are still owed are not called: who waits for
 * them goes down as well. on_close of connections that are closed later does not run. */
void bh_script_free(struct bh_script *s);

/* Evaluates a configuration file in a sandbox (string, table, math, utf8 and os.getenv; one second
 * of CPU and 64 MiB at most) and returns the table as a JSON tree. 0, BH_ENOTFOUND, or
 * BH_ESCRIPT/BH_EINVAL with *error (bh_free) naming file and line. */
int bh_script_read_config(const char *file, struct bh_json **out, char **error);

void bh_script_metrics_register(void);

#endif
