/* process_stats.h - what processes and all their descendants use, as /proc tells it. */
#ifndef BELLHOP_BENCH_PROCESS_STATS_H
#define BELLHOP_BENCH_PROCESS_STATS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of the threads that there are: what an ended one has used is not in it. */
struct process_cpu {
    uint64_t total_ns;     /* by the scheduler's own clock */
    uint64_t user, system; /* ticks: how the total is split, roughly */
};

struct process_memory {
    uint64_t pss_kib; /* shared pages are split between those who share them */
    uint64_t rss_kib;
    uint64_t private_kib;
};

/* A process that is not there, or may not be read, counts as nothing; `found` (may be null) says
 * how many processes were read. */
struct process_cpu process_stats_cpu(const pid_t *roots, size_t count, size_t *found);
struct process_memory process_stats_memory(const pid_t *roots, size_t count);

#endif
