/* shared.h - what the processes of bench_load share: one mapping, made before they are forked. The
 * conductor (load.c) writes the orders, each client process its own result, and reads of others are
 * atomic or come after the writer has ended. */
#ifndef BELLHOP_BENCH_SHARED_H
#define BELLHOP_BENCH_SHARED_H

#include "histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* In this order, each announced on the client's own eventfd. RUN may come twice: a run before the
 * measured one. */
enum command { COMMAND_NONE, COMMAND_OPEN, COMMAND_RUN, COMMAND_QUIT };

/* Of one client process. */
struct result {
    _Alignas(64) _Atomic uint32_t command; /* the conductor's order */
    _Atomic uint64_t delivered;            /* whole payloads, since the beginning */
    _Atomic uint64_t sent;                 /* likewise; by the publisher, or each echo process */
    uint64_t sent_measured, delivered_measured, pings_measured;
    uint64_t bad;        /* payloads of another size or with other bytes */
    uint64_t unexpected; /* twice, out of order, or nobody's */
    uint64_t lost;
    uint64_t closed; /* connections that the server ended */
    uint64_t opened_at;
    struct histogram latency, handshake, round;
};

struct shared {
    _Atomic uint64_t start;       /* when sending begins */
    _Atomic uint64_t from, until; /* the measured time: arrivals, and stamps for latencies */
    _Atomic uint32_t rounds;
    _Atomic uint64_t ended;    /* the last round */
    _Atomic uint64_t complete; /* fanout: process x rounds that have arrived there */
    int arrived;               /* eventfd: a client has done what it was told */
    int publisher;             /* eventfd: something was delivered elsewhere */
    _Atomic bool probe_counts;
    struct histogram probe;
    uint64_t probe_late;       /* the longest delay of the probe itself */
    _Atomic uint32_t *sent_to; /* users: messages of each connection, by its number - 1 */
    struct result results[];
};

#endif
