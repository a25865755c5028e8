/* spec_world.c - a node, a worker and a policy on one loop, with a clock that stands still. */
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/loop.h"
#include "spec_internal.h"

#include <lauxlib.h>

#define STEP_MIN_MS  5
#define STEP_MAX_MS  1000
#define STEPS        2000 /* about so many for one advance */
#define TICKS        8
#define INIT_WAIT_MS 50
#define SHARED_BYTES (16u << 20)

void bh_spec_world_settle(struct bh_spec_world *w) {
    for (int i = 0; i < TICKS; i++) {
        bh_loop_tick(w->loop, false);
        bh_spec_redis_answer(w);
        bh_spec_fetch_answer(w);
    }
}

void bh_spec_world_advance(struct bh_spec_world *w, uint64_t ms) {
    uint64_t step = ms / STEPS < STEP_MIN_MS ? STEP_MIN_MS : ms / STEPS;
    step = step < STEP_MAX_MS ? step : STEP_MAX_MS;
    bh_spec_world_settle(w);
    for (uint64_t left = ms; left > 0; left -= step < left ? step : left) {
        bh_clock_fake_advance(step < left ? step : left);
        bh_loop_tick(w->loop, false);
        bh_spec_redis_answer(w);
        bh_spec_fetch_answer(w);
    }
    bh_spec_world_settle(w);
}

static void on_init_done(void *ud, int error, const char *why) {
    struct bh_spec_world *w = ud;
    w->started = error == 0;
    if (error)
        w->error = bh_strdup(why);
}

static int start_script(struct bh_spec_world *w, unsigned generation, struct bh_script **out) {
    bh_free(w->error);
    w->error = NULL;
    w->started = false;
    int rc = bh_script_new(&w->script_config, w->worker, generation, out, &w->error);
    if (rc)
        return rc;
    bh_script_start(*out, on_init_done, w);
    bh_spec_world_advance(w, INIT_WAIT_MS);
    for (int i = 0; i < 1000 && !w->started && !w->error; i++)
        bh_spec_world_advance(w, 100); /* on_init waits */
    if (!w->started && !w->error)
        w->error = bh_strdup("on_init has not ended");
    return w->started ? 0 : BH_ESCRIPT;
}

static void make_node(struct bh_spec_world *w) {
    struct bh_node_config node = {.instance = BH_SLICE("test"),
                                  .strategy = BH_STRATEGY_LOCAL_FIRST,
                                  .payload_max = w->config->payload_max,
                                  .seen_max = 10000,
                                  .seen_ms = 300000};
    w->loop = bh_loop_new();
    w->mailbox = bh_mailbox_new(w->loop);
    w->broker = w->config->broker();
    w->tracker = w->config->tracker(w->config->debounce_ms);
    w->node = bh_node_new(&node, w->broker, w->tracker, w->loop, w->mailbox);
    w->worker = bh_node_add_worker(w->node, w->loop, w->mailbox);
    bh_node_start(w->node);
    w->broker->vt->worker_start(w->broker, 0, w->loop);
    bh_spec_redis_init(w);
    bh_spec_fetch_init(w);
}

int bh_spec_world_open(struct bh_spec_world *w, const struct bh_spec_config *config,
                       struct bh_json *tree, size_t files) {
    bh_clock_fake(1000, BH_SPEC_WALL_MS);
    w->config = config;
    w->tree = tree;
    make_node(w);
    bh_spec_world_settle(w);
    w->script_config = *config->script;
    w->script_config.config = tree;
    w->script_config.files = (const char *const *)w->files;
    w->script_config.file_count = files;
    w->script_config.shared = bh_shared_new(SHARED_BYTES);
    return start_script(w, 1, &w->script);
}

const char *bh_spec_world_reload(struct bh_spec_world *w) {
    struct bh_script *next = NULL;
    if (start_script(w, bh_script_generation(w->script) + 1, &next)) {
        if (next)
            bh_script_free(next);
        return w->error;
    }
    bh_script_flip(next);
    w->script = next;
    bh_spec_world_settle(w);
    return NULL;
}

void bh_spec_world_close(struct bh_spec_world *w) {
    bh_spec_world_settle(w);
    if (w->script)
        bh_script_free(w->script);
    bh_spec_redis_clear(w);
    bh_spec_fetch_clear(w);
    bh_node_stop(w->node);
    bh_loop_tick(w->loop, false);
    bh_mailbox_close(w->mailbox);
    w->broker->vt->worker_stop(w->broker, 0);
    bh_mailbox_free(w->mailbox);
    bh_node_free(w->node);
    w->broker->vt->free(w->broker);
    w->tracker->vt->free(w->tracker);
    bh_loop_free(w->loop);
    bh_json_free(w->tree);
    bh_shared_free(w->script_config.shared);
    for (size_t i = 0; i < BH_SPEC_FILES; i++)
        bh_free(w->files[i]);
    bh_free(w->error);
}
