/* env.c - an environment: a node, one worker and a policy on one loop, with a fake clock.
 *
 * The clock moves only in bh_spec_env_advance, in small steps, so that timers run in their order.
 * After each tick the spec's functions answer the Redis commands and HTTP requests that came up. */
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/loop.h"
#include "spec_internal.h"

#include <lauxlib.h>

#define STEP_MIN_MS  5
#define STEP_MAX_MS  1000
#define STEPS        2000 /* about so many in one advance, which bounds its cost */
#define TICKS        8    /* a hook may wait again after each answer */
#define WAIT_MS      20
#define WAITS        2000
#define INIT_WAIT_MS 50
#define SHARED_BYTES (16u << 20)
#define STREAM_BYTES (64u << 20)

static void tick(struct bh_spec_env *env) {
    bh_loop_tick(env->loop, false);
    bh_spec_redis_answer(env);
    bh_spec_fetch_answer(env);
}

void bh_spec_env_run_due(struct bh_spec_env *env) {
    for (int i = 0; i < TICKS; i++)
        tick(env);
}

void bh_spec_env_advance(struct bh_spec_env *env, uint64_t ms) {
    uint64_t step = ms / STEPS < STEP_MIN_MS ? STEP_MIN_MS : ms / STEPS;
    step = step < STEP_MAX_MS ? step : STEP_MAX_MS;
    bh_spec_env_run_due(env);
    for (uint64_t left = ms; left > 0; left -= step < left ? step : left) {
        bh_clock_fake_advance(step < left ? step : left);
        tick(env);
    }
    bh_spec_env_run_due(env);
}

void bh_spec_env_wait(struct bh_spec_env *env, const bool *done) {
    for (int i = 0; i < WAITS && !*done; i++)
        bh_spec_env_advance(env, i < 10 ? 0 : WAIT_MS);
}

static void on_init_done(void *ud, int error, const char *why) {
    struct bh_spec_env *env = ud;
    env->started = error == 0;
    if (error)
        env->error = bh_strdup(why);
}

static int start_script(struct bh_spec_env *env, unsigned generation, struct bh_script **out) {
    bh_free(env->error);
    env->error = NULL;
    env->started = false;
    int rc = bh_script_new(&env->script_config, env->worker, generation, out, &env->error);
    if (rc)
        return rc;
    bh_script_start(*out, on_init_done, env);
    bh_spec_env_advance(env, INIT_WAIT_MS);
    for (int i = 0; i < 1000 && !env->started && !env->error; i++)
        bh_spec_env_advance(env, 100);
    if (!env->started && !env->error)
        env->error = bh_strdup("on_init did not finish");
    return env->started ? 0 : BH_ESCRIPT;
}

static void make_history(struct bh_spec_env *env, const struct bh_history_config *config) {
    if (config->rule_count == 0)
        return;
    env->history = env->config->history(config, env->broker, STREAM_BYTES);
    bh_node_set_history(env->node, env->history);
    env->history->vt->worker_start(env->history, 0, env->loop, env->mailbox);
}

static void make_node(struct bh_spec_env *env) {
    struct bh_history_config history = {
        .rules = env->rules,
        .rule_count = env->config->history_rules(env->tree, env->rules, &env->error),
        .window_bytes = 64u << 20,
        .recover_wait_ms = 30000,
        .ids_ms = 300000};
    struct bh_node_config node = {.instance = BH_SLICE("test"),
                                  .strategy = BH_STRATEGY_LOCAL_FIRST,
                                  .payload_max = env->config->payload_max,
                                  .seen_max = 10000,
                                  .seen_ms = 300000,
                                  .history = history};
    env->loop = bh_loop_new();
    env->mailbox = bh_mailbox_new(env->loop);
    env->broker = env->config->broker();
    env->tracker = env->config->tracker(env->config->debounce_ms);
    env->node = bh_node_new(&node, env->broker, env->tracker, env->loop, env->mailbox);
    env->worker = bh_node_add_worker(env->node, env->loop, env->mailbox);
    make_history(env, &history);
    bh_node_start(env->node);
    env->broker->vt->worker_start(env->broker, 0, env->loop);
    bh_spec_redis_init(env);
    bh_spec_fetch_init(env);
}

int bh_spec_env_open(struct bh_spec_env *env, const struct bh_spec_config *config,
                     struct bh_json *tree, size_t files) {
    bh_clock_fake(1000, BH_SPEC_WALL_MS);
    env->config = config;
    env->tree = tree;
    make_node(env);
    if (env->error)
        return BH_EINVAL;
    bh_spec_env_run_due(env);
    env->script_config = *config->script;
    env->script_config.config = tree;
    env->script_config.files = (const char *const *)env->files;
    env->script_config.file_count = files;
    env->script_config.shared = bh_shared_new(SHARED_BYTES);
    return start_script(env, 1, &env->script);
}

const char *bh_spec_env_reload(struct bh_spec_env *env) {
    struct bh_script *next = NULL;
    if (start_script(env, bh_script_generation(env->script) + 1, &next)) {
        if (next)
            bh_script_free(next);
        return env->error;
    }
    bh_script_activate(next);
    env->script = next;
    bh_spec_env_run_due(env);
    return NULL;
}

void bh_spec_env_close(struct bh_spec_env *env) {
    bh_spec_env_run_due(env);
    if (env->history) /* while the script is there, which waits for its appends */
        env->history->vt->worker_stop(env->history, 0);
    if (env->script)
        bh_script_free(env->script);
    bh_spec_redis_clear(env);
    bh_spec_fetch_clear(env);
    bh_node_stop(env->node);
    bh_loop_tick(env->loop, false);
    bh_mailbox_close(env->mailbox);
    env->broker->vt->worker_stop(env->broker, 0);
    bh_mailbox_free(env->mailbox);
    bh_node_free(env->node);
    if (env->history)
        env->history->vt->free(env->history);
    env->broker->vt->free(env->broker);
    env->tracker->vt->free(env->tracker);
    bh_loop_free(env->loop);
    bh_json_free(env->tree);
    bh_shared_free(env->script_config.shared);
    for (size_t i = 0; i < BH_SPEC_FILES; i++)
        bh_free(env->files[i]);
    bh_free(env->error);
}
