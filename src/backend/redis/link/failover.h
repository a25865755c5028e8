/* failover.h - one watch over the Sentinels for all links of a broker. Private to the backend. */
#ifndef BELLHOP_BACKEND_REDIS_FAILOVER_H
#define BELLHOP_BACKEND_REDIS_FAILOVER_H

#include "link/sentinel.h"

#include <pthread.h>

struct bh_redis_follower;

struct bh_redis_failover {
    const struct bh_redis_config *config;
    struct bh_redis_sentinel watch; /* the bus thread's */
    pthread_mutex_t lock;
    struct bh_list followers; /* under the lock */
};

/* Without Sentinels in the configuration (borrowed) all of this does nothing. Bus thread, but for
 * what says otherwise. */
void bh_redis_failover_init(struct bh_redis_failover *f, const struct bh_redis_config *config);
void bh_redis_failover_start(struct bh_redis_failover *f, struct bh_loop *bus);
void bh_redis_failover_stop(struct bh_redis_failover *f);
void bh_redis_failover_deinit(struct bh_redis_failover *f); /* when all links have stopped */

/* The link's thread, after bh_redis_link_start: it is told of each move of the master, on its own
 * thread, until it stops. */
void bh_redis_failover_follow(struct bh_redis_failover *f, struct bh_redis_link *link);
/* For bh_redis_link_stop. NULL is allowed. */
void bh_redis_failover_leave(struct bh_redis_follower *follower);

#endif
