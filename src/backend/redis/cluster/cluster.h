/* cluster.h - the broker over a Redis Cluster (redis+cluster://). Private to the backend.
 *
 * It is composed of the topology, which keeps the map of slots; a broker of one node for each
 * master (broker.h), whose subscriber link uses SSUBSCRIBE, and whose probes prove that what is
 * published there comes back; the routes of each thread; and the queues of the publishes of each
 * worker, one a group of slots. A shard of this broker is a group of slots: it is up when the
 * subscriber links of all masters that have slots of it are.
 *
 * Bus: bus.h. A channel is on the link of the master of its slot. When the link's server says
 * that it is not there any more (MOVED, a sunsubscribe that nobody asked for), or a map says so,
 * the sink is told on_lost, the channel goes to its new master, and on_subscribed follows. A
 * channel whose slot nobody has waits in a list. Workers: publishes.c, routes.c. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_H

#include "broker/publish_queue.h"
#include "broker/route.h"
#include "cluster/bus.h"
#include "cluster/locator.h"
#include "cluster/routes.h"

struct bh_redis_cluster_side {
    struct bh_redis_routes routes;
    struct bh_redis_cluster *cluster;
    /* One a group, so that a master that is down does not hold up the others' messages. */
    struct bh_redis_cluster_queue {
        struct bh_redis_publish_queue queue;
        struct bh_redis_cluster_side *side;
    } queues[BH_REDIS_GROUPS];
};

struct bh_redis_cluster {
    struct bh_redis_routing routing; /* its ways: bh_redis_cluster_ways */
    struct bh_redis commands;
    struct bh_redis_config config;
    struct bh_redis_topology topology;
    struct bh_redis_shared_map shared;
    struct bh_redis_slot_locators locators; /* told after each map that is shared */
    unsigned worker_count;
    struct bh_redis_cluster_side **sides; /* of each worker, and of the bus */
    /* Groups that are up, one bit each: written by the bus, read by any thread. */
    atomic_uint_fast32_t groups_up;
    /* So: those whose topics have just left a master that did not answer any more. Publishes that
     * wait for the new one should not be sent yet. */
    atomic_uint_fast32_t settling;
    struct bh_redis_cluster_bus bus;
};

static inline struct bh_redis_cluster *bh_redis_cluster_of(const struct bh_broker *b) {
    return BH_CONTAINER_OF((struct bh_broker *)b, struct bh_redis_cluster, routing.base);
}

/* As bh_redis_broker_new, for a config with `cluster` set. */
struct bh_broker *bh_redis_cluster_new(const struct bh_redis_config *config, unsigned workers);

/* --- publishes.c: the worker sides --- */

/* For a zeroed side. Of the bus: only its routes are used, which the bus starts and stops. */
void bh_redis_cluster_side_init(struct bh_redis_cluster_side *side,
                                struct bh_redis_cluster *cluster, unsigned side_number);
/* When no thread runs any more. */
void bh_redis_cluster_side_deinit(struct bh_redis_cluster_side *side);
int bh_redis_cluster_worker_start(struct bh_broker *b, unsigned worker, struct bh_loop *loop);
void bh_redis_cluster_worker_stop(struct bh_broker *b, unsigned worker);
void bh_redis_cluster_publish(struct bh_broker *b, unsigned worker, struct bh_message *m,
                              bh_broker_published_cb done, void *ud, bh_handle handle);
void bh_redis_cluster_append(struct bh_broker *b, unsigned worker,
                             const struct bh_redis_outgoing *out);

/* --- commands.c: the command port --- */

void bh_redis_cluster_call(struct bh_redis *r, unsigned worker, size_t argc,
                           const struct bh_slice *argv, bh_reply_cb done, void *ud,
                           bh_handle handle);

/* --- ways.c --- */

extern const struct bh_redis_ways bh_redis_cluster_ways;
extern const struct bh_redis_vt bh_redis_cluster_commands_vt;

#endif
