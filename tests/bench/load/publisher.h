/* publisher.h - who publishes: over HTTP with kept connections, or as a client of Redis or NATS.
 * Of the first client process; its loop drives it. */
#ifndef BELLHOP_BENCH_PUBLISHER_H
#define BELLHOP_BENCH_PUBLISHER_H

#include "client.h"

/* Connects, and greets where that is the custom; waits for it. Ends the process when it cannot. */
struct publisher *publisher_new(struct client *client);

/* The payload with this stamp for this user: written at the next flush, or when a connection for it
 * gets free. A publisher that is told no ends the process. */
void publisher_send(struct publisher *p, unsigned number, uint64_t stamp);
void publisher_flush(struct publisher *p);

/* Whether what was published first is published first. */
bool publisher_keeps_order(const struct options *o);

#endif
