/* published.h - shared by fanout and users: publishing, and checking deliveries. */
#ifndef BELLHOP_BENCH_PUBLISHED_H
#define BELLHOP_BENCH_PUBLISHED_H

#include "worker.h"

/* The first process publishes. */
static inline bool is_publisher(const struct worker *worker) {
    return worker->index == 0;
}

void published_init(struct worker *worker);

/* Publishes to this user. Stamps rise strictly: one that does not is moved after the last one. */
void published_send(struct worker *worker, unsigned number, uint64_t stamp);

/* Open loop: calls fn for each message that is due. */
void published_send_due(struct worker *worker, void (*fn)(struct worker *worker, uint64_t due));

/* Counts a delivery; false if it is wrong or a duplicate. */
bool published_receive(struct client *client, const uint8_t *bytes, size_t len);

/* Wakes the process that publishes. */
void published_notify(struct worker *worker);

#endif
