/* locator.h - how a link finds its server when the configuration does not name one. Private to the
 * backend.
 *
 * A link owns its locator and calls it on the link's thread. Some ask Sentinels (failover.h),
 * others the map of a cluster. */
#ifndef BELLHOP_BACKEND_REDIS_LOCATOR_H
#define BELLHOP_BACKEND_REDIS_LOCATOR_H

#include <stdint.h>

#define BH_REDIS_HOST_MAX 255 /* bytes of a host that a server has named */

struct bh_redis_link;
struct bh_redis_locator;

struct bh_redis_locator_vt {
    /* Finds the server for this link: bh_redis_link_found follows once, maybe before this returns.
     * It tries until it succeeds or is stopped; why it has not succeeded yet goes to the link's
     * down_reason. */
    void (*ask)(struct bh_redis_locator *l, struct bh_redis_link *link);
    /* Ends the search without a result; nothing happens when there is none. */
    void (*stop)(struct bh_redis_locator *l);
    /* A hint: the result of the next `ask`. */
    void (*note)(struct bh_redis_locator *l, const char *host, uint16_t port);
    /* The link has stopped; allowed inside its callbacks. */
    void (*free)(struct bh_redis_locator *l);
};

struct bh_redis_locator {
    const struct bh_redis_locator_vt *vt;
};

#endif
