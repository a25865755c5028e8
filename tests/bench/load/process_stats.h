/* process_stats.h - CPU time and memory of processes and all their descendants, from /proc. */
#ifndef BELLHOP_BENCH_PROCESS_STATS_H
#define BELLHOP_BENCH_PROCESS_STATS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of live threads only. */
struct process_cpu {
    uint64_t total_ns;     /* by the scheduler's clock */
    uint64_t user, system; /* ticks: how the total is split, roughly */
};

struct process_memory {
    uint64_t pss_kib; /* shared pages count in proportion */
    uint64_t rss_kib;
    uint64_t private_kib;
};

/* A process that does not exist or is not readable counts as zero; `found` (may be null) is how
 * many processes were read. */
struct process_cpu process_stats_cpu(const pid_t *roots, size_t count, size_t *found);
struct process_memory process_stats_memory(const pid_t *roots, size_t count);

#endif
