/* script_worker.c - creates and frees what the states of a worker share. */
#include "run/script_worker.h"

#include "run/hook_table.h"

#include "bellhop/base/mem.h"

static const struct bh_limit_text cpu_text = {
    "the script", " (script.cpu_limit); do less at once, or wait in between (bh.sleep)"};
static const struct bh_limit_text deliver_text = {
    "the hook", " (script.deliver_limit); it delays every other connection of the worker"};

/* 0 is no limit. */
static int lower_of(int deliver_limit_ms, int cpu_limit_ms) {
    bool is_higher = cpu_limit_ms && deliver_limit_ms > cpu_limit_ms;
    return is_higher ? cpu_limit_ms : deliver_limit_ms;
}

struct bh_script_worker *bh_script_worker_new(struct bh_worker *worker, int cpu_limit_ms,
                                              int deliver_limit_ms) {
    struct bh_script_worker *sw = bh_calloc(1, sizeof *sw);
    sw->worker = worker;
    bh_list_init(&sw->states);
    bh_list_init(&sw->joining);
    bh_slots_init(&sw->slots);
    bh_handover_init(sw);
    sw->brief_hooks = deliver_limit_ms ? 1u << HOOK_DELIVER | 1u << HOOK_SLOW : 0;
    sw->deliver_limit_ms = lower_of(deliver_limit_ms, cpu_limit_ms);
    bh_limits_start(&sw->limits, cpu_limit_ms, &cpu_text, sw->deliver_limit_ms, &deliver_text);
    worker->script = sw;
    return sw;
}

void bh_script_worker_free(struct bh_script_worker *sw) {
    bh_handover_deinit(sw);
    bh_limits_stop(&sw->limits);
    bh_slots_deinit(&sw->slots);
    sw->worker->script = NULL;
    bh_free(sw);
}

#define STRICT_LIMIT_MS 1

static void be_strict(struct bh_script_worker *sw, uint64_t until_ms) {
    sw->strict_until_ms = until_ms;
    sw->limits.brief.limit_ms = STRICT_LIMIT_MS;
}

bool bh_script_worker_overran(struct bh_script_worker *sw, struct bh_overruns *own) {
    uint64_t now = bh_loop_now(sw->worker->loop);
    if (sw->deliver_limit_ms == 0)
        return false;
    if (bh_overruns_add(&sw->overruns, now))
        be_strict(sw, now + BH_OVERRUNS_WINDOW_MS);
    return own && bh_overruns_add(own, now);
}

void bh_script_worker_relax(struct bh_script_worker *sw) {
    if (bh_loop_now(sw->worker->loop) < sw->strict_until_ms)
        return;
    sw->strict_until_ms = 0;
    sw->limits.brief.limit_ms = sw->deliver_limit_ms;
}
