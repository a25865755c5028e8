/* ways.c - what the rest of the backend asks of a cluster (broker/route.h). */
#include "cluster/cluster.h"

static struct bh_redis_routes *routes_of(struct bh_broker *b, unsigned worker) {
    struct bh_redis_cluster *cluster = bh_redis_cluster_of(b);
    unsigned side = worker == BH_REDIS_BUS ? cluster->worker_count : worker;
    return &cluster->sides[side]->routes;
}

static void route(struct bh_broker *b, unsigned worker, struct bh_redis_routed *r,
                  struct bh_slice key) {
    bh_redis_routes_send(routes_of(b, worker), r, bh_redis_slot(key));
}

static bool reroute(struct bh_broker *b, unsigned worker, struct bh_redis_routed *r,
                    const struct bh_reply *reply) {
    return bh_redis_routes_again(routes_of(b, worker), r, reply);
}

static void watch(struct bh_broker *b, const struct bh_redis_watch *w) {
    bh_redis_routes_watch(routes_of(b, BH_REDIS_BUS), w);
}

static struct bh_redis_locator *locator(struct bh_broker *b, struct bh_loop *loop,
                                        struct bh_slice key) {
    return bh_redis_slot_locator(&bh_redis_cluster_of(b)->locators, loop, bh_redis_slot(key));
}

static const struct bh_redis_config *config_of(struct bh_broker *b, struct bh_slice key) {
    return &bh_redis_cluster_of(b)->config;
}

static struct bh_redis *commands(struct bh_broker *b) {
    return &bh_redis_cluster_of(b)->commands;
}

const struct bh_redis_ways bh_redis_cluster_ways = {
    .reroute = reroute,
    .route = route,
    .append = bh_redis_cluster_append,
    .watch = watch,
    .locator = locator,
    .config = config_of,
    .commands = commands,
};

const struct bh_redis_vt bh_redis_cluster_commands_vt = {.call = bh_redis_cluster_call};
