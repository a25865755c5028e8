/* topology.h - keeps the map of a cluster up to date. Private to the cluster.
 *
 * It has one link, to any node of the cluster: those of the URL at first, later the masters of the
 * last map, one after the other when the link is lost or the node says that the cluster is down. It
 * asks CLUSTER INFO and CLUSTER SLOTS: when the link is up, when it is told to refresh (at most
 * once a second), and at an interval. A node that is cut off from the majority says
 * cluster_state:fail, and its map is not used, unless there is none yet.
 *
 * A node that is no cluster, or does not know SSUBSCRIBE (Redis before 7), is an error that the log
 * and down_reason show.
 *
 * Thread: the bus, except as noted. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_TOPOLOGY_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_TOPOLOGY_H

#include "bellhop/io/mailbox.h"
#include "cluster/map.h"
#include "link/link.h"

#define BH_REDIS_REFRESH_MIN_MS 1000
#define BH_REDIS_REFRESH_MS     15000 /* without a reason */

struct bh_redis_topology {
    const struct bh_redis_config *config;
    struct bh_redis_link link;
    struct bh_redis_locator locator; /* of the link */
    /* Set by the owner before _start. The map has changed; it is the callee's. */
    void (*on_map)(struct bh_redis_topology *t, struct bh_redis_cluster_map *map);
    struct bh_redis_cluster_master *(*make)(void *ud, const char *host,
                                            uint16_t port); /* as in map.h */
    void *ud;
    /* ... and what the implementation needs. */
};

void bh_redis_topology_init(struct bh_redis_topology *t, const struct bh_redis_config *config);
void bh_redis_topology_start(struct bh_redis_topology *t, struct bh_loop *bus,
                             struct bh_mailbox *bus_mailbox);
void bh_redis_topology_stop(struct bh_redis_topology *t);
void bh_redis_topology_deinit(struct bh_redis_topology *t);
/* The map may be old. Any thread. */
void bh_redis_topology_refresh(struct bh_redis_topology *t);

#endif
