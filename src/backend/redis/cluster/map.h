/* map.h - which master has which slot, as a node of the cluster has told it. Private to the
 * cluster.
 *
 * A map is immutable and atomically ref-counted; so are the masters in it, which live as long as a
 * map or anybody else holds them. A thread that is told of a single slot by MOVED notes that in a
 * copy of `owner` of its own (routes.h). Thread: any, except as noted. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_MAP_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_MAP_H

#include "bellhop/core/broker.h"
#include "cluster/slots.h"
#include "link/reply.h"

#define BH_REDIS_MASTERS_MAX 1000 /* as the specification has it */
#define BH_REDIS_NOBODY      UINT16_MAX

struct bh_redis_config;

/* One master: a broker of one node (broker.h), whose worker sides are started when first needed. */
struct bh_redis_cluster_master {
    atomic_uint refs;
    struct bh_broker *broker;
    uint16_t port;
    char host[];
};

/* Its broker has the configuration of the cluster, but host and port. One reference is the
 * caller's. The last one frees the broker, which has been stopped by then, on the bus and by each
 * worker. */
struct bh_redis_cluster_master *bh_redis_cluster_master_new(const struct bh_redis_config *config,
                                                            unsigned workers, const char *host,
                                                            uint16_t port);
struct bh_redis_cluster_master *bh_redis_cluster_master_ref(struct bh_redis_cluster_master *m);
void bh_redis_cluster_master_unref(struct bh_redis_cluster_master *m); /* NULL is allowed */

struct bh_redis_cluster_map {
    atomic_uint refs;
    unsigned count;
    struct bh_redis_cluster_master **masters; /* those with slots; a reference each */
    uint16_t owner[BH_REDIS_SLOTS];           /* in `masters`, or BH_REDIS_NOBODY */
};

struct bh_redis_cluster_map *bh_redis_cluster_map_ref(struct bh_redis_cluster_map *map);
void bh_redis_cluster_map_unref(struct bh_redis_cluster_map *map); /* NULL is allowed */

/* From a reply to CLUSTER SLOTS of the node `asked` (a host may be empty or NULL: the one that was
 * asked). Masters that `known` (or NULL) has are taken from there; others are made by `make`. NULL
 * with *why: the reply is malformed, or has more than BH_REDIS_MASTERS_MAX masters. */
struct bh_redis_cluster_map *bh_redis_cluster_map_parse(
    const struct bh_reply *slots, const char *asked, const struct bh_redis_cluster_map *known,
    struct bh_redis_cluster_master *(*make)(void *ud, const char *host, uint16_t port), void *ud,
    const char **why);
/* Its place in `masters`; BH_REDIS_NOBODY: it is not there. */
unsigned bh_redis_cluster_map_find(const struct bh_redis_cluster_map *map, struct bh_slice host,
                                   uint16_t port);
/* False: no slot is without a master. */
bool bh_redis_cluster_map_incomplete(const struct bh_redis_cluster_map *map);

/* "MOVED 8000 10.0.0.1:6379" and "ASK ...": their slot, and where to; the host is empty when the
 * node that answered does not know it (then it is its own). False: it is something else. */
struct bh_redis_redirection {
    bool ask;
    unsigned slot;
    struct bh_slice host;
    uint16_t port;
};
bool bh_redis_redirection_parse(struct bh_slice error, struct bh_redis_redirection *out);

#endif
