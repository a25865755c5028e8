/* pace.h - when messages of the open loop are due: at fixed times, whatever happens. The processes
 * take turns. */
#ifndef BELLHOP_BENCH_PACE_H
#define BELLHOP_BENCH_PACE_H

#include "client.h"
#include "say.h"

/* When this process's n-th message is due; `processes` share the rate. */
static inline uint64_t pace_due(const struct client *client, unsigned processes, uint64_t n) {
    double place = (double)n * processes + client->index;
    return client->shared->start + (uint64_t)(place * ((double)NS_PER_S / client->options->rate));
}

#endif
