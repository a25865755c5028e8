/* failover.h - one watch over the Sentinels for all links of a broker, and the locators of those
 * links. Private to the backend. */
#ifndef BELLHOP_BACKEND_REDIS_FAILOVER_H
#define BELLHOP_BACKEND_REDIS_FAILOVER_H

#include "link/locators.h"
#include "link/sentinel.h"

struct bh_redis_master {
    char host[BH_REDIS_HOST_MAX + 1];
    uint16_t port; /* 0: not known */
};

struct bh_redis_failover {
    const struct bh_redis_config *config;
    struct bh_redis_sentinel watch; /* the bus thread's */
    struct bh_redis_master master;  /* as the watch last heard; under the lock of `locators` */
    struct bh_redis_locators locators;
};

/* config is borrowed. Without Sentinels in it start and stop do nothing. Bus thread. */
void bh_redis_failover_init(struct bh_redis_failover *f, const struct bh_redis_config *config);
void bh_redis_failover_start(struct bh_redis_failover *f, struct bh_loop *bus);
void bh_redis_failover_stop(struct bh_redis_failover *f);
void bh_redis_failover_deinit(struct bh_redis_failover *f); /* when all links have stopped */

/* For bh_redis_link_start, on the same thread and loop: a locator that asks the Sentinels, and
 * moves its link when the watch hears of another master. NULL without Sentinels. */
struct bh_redis_locator *bh_redis_failover_locator(struct bh_redis_failover *f,
                                                   struct bh_loop *loop);

#endif
