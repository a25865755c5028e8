/* script_worker.c - creates and frees what the states of a worker share. */
#include "run/script_worker.h"

#include "bellhop/base/mem.h"

#define CPU_HINT " (script.cpu_limit); do less at once, or wait in between (bh.sleep)"

struct bh_script_worker *bh_script_worker_new(struct bh_worker *worker, int cpu_limit_ms) {
    struct bh_script_worker *sw = bh_calloc(1, sizeof *sw);
    sw->worker = worker;
    bh_list_init(&sw->states);
    bh_list_init(&sw->joining);
    bh_slots_init(&sw->slots);
    bh_handover_init(sw);
    bh_limits_start(&sw->limits, cpu_limit_ms, "the script", CPU_HINT);
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
