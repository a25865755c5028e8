/* routes.h - the way of one thread's commands to the masters of a cluster. Private to the cluster;
 * broker/route.h is what others see.
 *
 * Each thread (the workers and the bus) has its own copy of the owners of slots, which it corrects
 * when it is told MOVED, and replaces when the bus has published a new map. The link to a master is
 * opened when a command is to go there, and closed when the master has no slots any more and
 * nothing is pending. A command waits here (bounded, and at most command_timeout) while its link is
 * not up, while its slot is being moved (ASK, TRYAGAIN), or the cluster is down (CLUSTERDOWN).
 *
 * Order: when a command is answered by MOVED, those of the same slot that were sent after it to the
 * same master will be, too. Until a PING behind them is answered, all commands of that slot wait,
 * in the order in which they were routed first; so also when a new map moves the slot. A master
 * that does not answer the PING holds them up for BH_REDIS_BARRIER_MS at most: then the order is
 * not certain.
 *
 * Thread: that of the side. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_ROUTES_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_ROUTES_H

#include "bellhop/io/timer.h"
#include "broker/route.h"
#include "cluster/map.h"
#include "cluster/topology.h"
#include "cluster/waiting.h"

#include <pthread.h>

#define BH_REDIS_BARRIER_MS 1000

/* What the bus publishes to all threads. */
struct bh_redis_shared_map {
    pthread_mutex_t lock;
    struct bh_redis_cluster_map *map; /* a reference; under the lock; NULL: not known yet */
    atomic_uint version;              /* incremented with each new map */
};

struct bh_redis_routes {
    struct bh_redis_shared_map *shared;
    struct bh_redis_topology *topology;
    const struct bh_redis_config *config;
    unsigned side;        /* worker, or the number of workers for the bus */
    struct bh_loop *loop; /* NULL: not started, or stopped */
    unsigned version;
    struct bh_redis_cluster_map *map; /* the one of `owner`; NULL: none yet */
    uint16_t owner[BH_REDIS_SLOTS];   /* in map->masters */
    struct bh_redis_peer **peers;     /* by place in map->masters; NULL: no link was needed yet */
    struct bh_list open;              /* all peers, also those whose masters are gone */
    struct bh_redis_waiting waiting;
    struct bh_timer timer;
    struct bh_redis_watch watch; /* of the bus; `up` is NULL: nobody watches */
};

void bh_redis_routes_init(struct bh_redis_routes *r, struct bh_redis_shared_map *shared,
                          struct bh_redis_topology *topology, const struct bh_redis_config *config,
                          unsigned side);
/* Before _start: as bh_redis_broker_watch. */
void bh_redis_routes_watch(struct bh_redis_routes *r, const struct bh_redis_watch *watch);
void bh_redis_routes_start(struct bh_redis_routes *r, struct bh_loop *loop);
/* Fails what waits with BH_EUNAVAIL, completes what is pending with BH_EIO, closes all links.
 * Harmless when it has not started. */
void bh_redis_routes_stop(struct bh_redis_routes *r);
/* After the tick in which it stopped. Any thread. */
void bh_redis_routes_deinit(struct bh_redis_routes *r);
/* Takes over a new map now; else it does when it is used, or within a second. */
void bh_redis_routes_refresh(struct bh_redis_routes *r);

/* The master of the slot, as far as this thread knows; NULL: nobody, or not known yet. */
struct bh_redis_cluster_master *bh_redis_routes_master(struct bh_redis_routes *r, unsigned slot);
/* Why it is NULL, a constant. */
const char *bh_redis_routes_nobody(const struct bh_redis_routes *r);
/* The link for a command of that slot now, READY or not, opened if it was not; NULL as above. */
struct bh_redis_link *bh_redis_routes_link(struct bh_redis_routes *r, unsigned slot);
/* As bh_redis_route and bh_redis_reroute. */
void bh_redis_routes_send(struct bh_redis_routes *r, struct bh_redis_routed *one, unsigned slot);
bool bh_redis_routes_again(struct bh_redis_routes *r, struct bh_redis_routed *one,
                           const struct bh_reply *reply);

#endif
