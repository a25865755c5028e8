/* shared.h - memory shared by the processes of bench_load: one mapping, made before the fork. The
 * conductor (load.c) writes the commands, each worker its own result. Other processes read a result
 * atomically, or after the writer has ended. */
#ifndef BELLHOP_BENCH_SHARED_H
#define BELLHOP_BENCH_SHARED_H

#include "histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* In this order, each announced on the worker's eventfd. RUN may come twice: first to warm up. */
enum command { COMMAND_NONE, COMMAND_OPEN, COMMAND_RUN, COMMAND_QUIT };

/* Of one worker. */
struct result {
    _Alignas(64) _Atomic uint32_t command; /* written by the conductor */
    _Atomic uint64_t delivered;            /* whole payloads, since the start */
    _Atomic uint64_t sent; /* since the start: of the publisher, or of each echo process */
    uint64_t sent_measured, delivered_measured, pings_measured;
    uint64_t bad;        /* payloads of the wrong size or content */
    uint64_t unexpected; /* duplicate, out of order, or not sent to this client */
    uint64_t lost;
    uint64_t closed; /* connections that the server closed */
    uint64_t opened_at;
    struct histogram latency, handshake, round;
};

struct shared {
    _Atomic uint64_t start;       /* when sending begins */
    _Atomic uint64_t from, until; /* the measured time */
    _Atomic uint32_t rounds;
    _Atomic uint64_t ended;    /* when the last round ended */
    _Atomic uint64_t complete; /* fanout: rounds complete in a process, summed over processes */
    int done;                  /* eventfd: a worker has done its command */
    int publisher;             /* eventfd: wakes the process that publishes */
    _Atomic bool probe_counts;
    struct histogram probe;
    uint64_t probe_late;       /* the longest delay of the probe process itself */
    _Atomic uint32_t *sent_to; /* users: messages for each connection, by its number - 1 */
    struct result results[];
};

#endif
