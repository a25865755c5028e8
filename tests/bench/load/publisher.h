/* publisher.h - publishes by HTTP with kept-alive connections, or as a client of Redis or NATS. It
 * belongs to the first worker, whose loop drives it. */
#ifndef BELLHOP_BENCH_PUBLISHER_H
#define BELLHOP_BENCH_PUBLISHER_H

#include "worker.h"

/* Connects, blocking. Ends the process on failure. */
struct publisher *publisher_new(struct worker *worker);

/* Publishes the payload with this stamp to this user: written at the next flush, or when a
 * connection is free. An error answer ends the process. */
void publisher_send(struct publisher *p, unsigned number, uint64_t stamp);
void publisher_flush(struct publisher *p);

/* Whether messages reach the server in the order of publisher_send. */
bool publisher_keeps_order(const struct options *o);

#endif
