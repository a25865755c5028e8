/* report.h - what bench_load prints. */
#ifndef BELLHOP_BENCH_REPORT_H
#define BELLHOP_BENCH_REPORT_H

#include "options.h"
#include "process_stats.h"
#include "shared.h"

/* What was used up to a moment. */
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

/* When all clients have ended. Returns the status to end with: 0, or 3 when not all came as it was
 * sent, which is also said on stderr. */
int report_print(const struct report *r, const struct options *o, const struct shared *s);

#endif
