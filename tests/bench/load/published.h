/* published.h - what fanout and users share: publishing, and checking what arrives. */
#ifndef BELLHOP_BENCH_PUBLISHED_H
#define BELLHOP_BENCH_PUBLISHED_H

#include "client.h"

/* The first process publishes. */
static inline bool published_here(const struct client *client) {
    return client->index == 0;
}

void published_init(struct client *client);

/* Publishes to this user; the stamp is moved a little where it is not later than the last one. */
void published_send(struct client *client, unsigned number, uint64_t stamp);

/* Calls fn for each message that is due by now and before the end; open loop. */
void published_send_due(struct client *client, void (*fn)(struct client *client, uint64_t due));

/* Counts what has arrived at a phone; false when it does not count. */
bool published_take(struct phone *phone, const uint8_t *bytes, size_t len);

/* Wakes the process that publishes. */
void published_tell(struct client *client);

#endif
