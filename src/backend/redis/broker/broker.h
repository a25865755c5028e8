/* broker.h - what the backend's other modules borrow of the broker. Private to the backend. */
#ifndef BELLHOP_BACKEND_REDIS_BROKER_H
#define BELLHOP_BACKEND_REDIS_BROKER_H

#include "link/link.h"

/* The command link of that worker, for its thread; NULL for a worker that the broker does not know.
 * It is IDLE before worker_start and after worker_stop. */
struct bh_redis_link *bh_redis_broker_link(struct bh_broker *broker, unsigned worker);

/* Bus thread, after bh_redis_link_start: the link is told of each move of the master that a
 * Sentinel announces, until it stops, which must be before the broker is freed. */
void bh_redis_broker_follow(struct bh_broker *broker, struct bh_redis_link *link);

#endif
