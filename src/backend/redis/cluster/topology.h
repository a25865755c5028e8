/* topology.h - keeps the map of a cluster up to date. Private to the cluster.
 *
 * It has one link, to any node of the cluster: those of the URL at first, later the masters of the
 * last map and then those of the URL again, one after the other when the link is lost or the node
 * says that the cluster is down. It asks CLUSTER INFO and CLUSTER SLOTS: when the link is up, when
 * it is told to refresh, again and again for half a minute then, at most once a second; and at an
 * interval. A node that is cut off from the majority says cluster_state:fail, and its map is not
 * used, unless there is none yet.
 *
 * A node that is no cluster, or does not know SSUBSCRIBE (Redis before 7), is an error that the log
 * and the reason show.
 *
 * Thread: the bus, except as noted. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_TOPOLOGY_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_TOPOLOGY_H

#include "bellhop/io/mailbox.h"
#include "cluster/map.h"
#include "link/hello.h"

#define BH_REDIS_REFRESH_MIN_MS 1000
#define BH_REDIS_REFRESH_MS     15000 /* without a reason */
/* After a reason: a failover takes its time, and nothing may happen here when it is done. */
#define BH_REDIS_ALERT_MS 30000
/* The timeouts of its link, at most: another node is asked sooner than a master is given up. */
#define BH_REDIS_TOPOLOGY_TIMEOUT_MS 2000

struct bh_redis_topology_bell;

struct bh_redis_topology {
    const struct bh_redis_config *config;
    /* Set by the owner before _start. The map has changed; it is the callee's. */
    void (*on_map)(struct bh_redis_topology *t, struct bh_redis_cluster_map *map);
    struct bh_redis_cluster_master *(*make)(void *ud, const char *host,
                                            uint16_t port); /* as in map.h */
    void *ud;
    /* The rest is private. */
    struct bh_redis_link link;
    struct bh_redis_config node;      /* `config`, for the current node; owns nothing */
    char host[BH_REDIS_HOST_MAX + 1]; /* of the current node */
    unsigned current;                 /* its place among the masters and the nodes of the URL */
    struct bh_redis_hello hello;      /* of the current node */
    struct bh_redis_cluster_map *map; /* the last one; NULL: none yet */
    struct bh_timer timer;            /* until it asks, or goes to the next node */
    bool asked;                       /* and not answered */
    bool sound;                       /* the node's cluster_state is ok */
    uint64_t asked_ms, alert_ms;      /* when; until when it is asked often */
    struct bh_redis_topology_bell *bell;
    _Atomic(const char *) trouble;
};

/* config is borrowed. */
void bh_redis_topology_init(struct bh_redis_topology *t, const struct bh_redis_config *config);
void bh_redis_topology_start(struct bh_redis_topology *t, struct bh_loop *bus,
                             struct bh_mailbox *bus_mailbox);
void bh_redis_topology_stop(struct bh_redis_topology *t);
void bh_redis_topology_deinit(struct bh_redis_topology *t);
/* The map may be old. Any thread, from _init to _deinit. */
void bh_redis_topology_refresh(struct bh_redis_topology *t);
/* Why there is no map, or why it may be wrong (a constant sentence): no node can be reached, or the
 * cluster is down. NULL: all is well. Any thread. */
const char *bh_redis_topology_trouble(const struct bh_redis_topology *t);

#endif
