/* pace.h - the schedule of the open loop: fixed times, shared by the processes in turn. */
#ifndef BELLHOP_BENCH_PACE_H
#define BELLHOP_BENCH_PACE_H

#include "output.h"
#include "worker.h"

/* When this process's n-th message is due; `processes` share the rate. */
static inline uint64_t pace_due(const struct worker *worker, unsigned processes, uint64_t n) {
    double place = (double)n * processes + worker->index;
    return worker->shared->start + (uint64_t)(place * ((double)NS_PER_S / worker->options->rate));
}

#endif
