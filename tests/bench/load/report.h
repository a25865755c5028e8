/* report.h - the output of bench_load. */
#ifndef BELLHOP_BENCH_REPORT_H
#define BELLHOP_BENCH_REPORT_H

#include "options.h"
#include "process_stats.h"
#include "shared.h"

/* Resources used until a moment; client: by bench_load itself. */
struct usage {
    uint64_t at;
    struct process_cpu server, client;
};

struct report {
    struct process_memory memory_before, memory_after;
    struct usage opening, opened; /* the connections */
    struct usage begin, end;      /* the measured time; not of a burst */
    uint64_t measured_ns;
};

/* Called when all workers have ended. Returns the exit status: 0, or 3 for wrong deliveries, which
 * are also printed on stderr. */
int report_print(const struct report *r, const struct options *o, const struct shared *s);

#endif
