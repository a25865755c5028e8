/* cluster.c - the broker over a cluster: composes the topology, the bus and the workers' sides. */
#include "cluster/cluster.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "link/config.h"

/* --- the map --- */

static struct bh_redis_cluster_map *swap_map(struct bh_redis_shared_map *shared,
                                             struct bh_redis_cluster_map *map) {
    pthread_mutex_lock(&shared->lock);
    struct bh_redis_cluster_map *old = shared->map;
    shared->map = map;
    atomic_fetch_add(&shared->version, 1);
    pthread_mutex_unlock(&shared->lock);
    return old;
}

static struct bh_redis_cluster_map *shared_map(struct bh_redis_shared_map *shared) {
    pthread_mutex_lock(&shared->lock);
    struct bh_redis_cluster_map *map = shared->map ? bh_redis_cluster_map_ref(shared->map) : NULL;
    pthread_mutex_unlock(&shared->lock);
    return map;
}

static struct bh_redis_routes *bus_routes(const struct bh_redis_cluster *c) {
    return &c->sides[c->worker_count]->routes;
}

static void on_map(struct bh_redis_topology *t, struct bh_redis_cluster_map *map) {
    struct bh_redis_cluster *c = t->ud;
    bh_redis_bus_adopt(&c->bus, map);
    bh_redis_cluster_map_unref(swap_map(&c->shared, map));
    bh_redis_slot_locators_tell(&c->locators);
    bh_redis_routes_refresh(bus_routes(c));
}

/* One that has left, and comes back before its topics have gone, is the same. */
static struct bh_redis_cluster_master *make(void *ud, const char *host, uint16_t port) {
    struct bh_redis_cluster *c = ud;
    struct bh_redis_cluster_master *known = bh_redis_bus_known(&c->bus, host, port);
    return known ? known : bh_redis_cluster_master_new(&c->config, c->worker_count, host, port);
}

/* --- the bus side --- */

static int start(struct bh_broker *base, struct bh_loop *bus, struct bh_mailbox *mailbox,
                 const struct bh_broker_sink *sink) {
    struct bh_redis_cluster *c = bh_redis_cluster_of(base);
    bh_redis_bus_start(&c->bus, bus, mailbox, sink);
    bh_redis_routes_start(bus_routes(c), bus);
    bh_redis_topology_start(&c->topology, bus, mailbox);
    return 0;
}

static void stop(struct bh_broker *base) {
    struct bh_redis_cluster *c = bh_redis_cluster_of(base);
    if (!c->bus.loop)
        return;
    bh_redis_topology_stop(&c->topology);
    bh_redis_routes_stop(bus_routes(c));
    bh_redis_bus_stop(&c->bus);
}

static unsigned shard_of(struct bh_broker *base, struct bh_slice topic) {
    return bh_redis_group(bh_redis_bus_slot(&bh_redis_cluster_of(base)->bus, topic));
}

static bool subscribe(struct bh_broker *base, struct bh_slice topic) {
    return bh_redis_moves_subscribe(&bh_redis_cluster_of(base)->bus, topic);
}

static void unsubscribe(struct bh_broker *base, struct bh_slice topic) {
    bh_redis_moves_unsubscribe(&bh_redis_cluster_of(base)->bus, topic);
}

static void fence(struct bh_broker *base, void (*done)(void *ud, bool proven), void *ud) {
    bh_redis_bus_fence(&bh_redis_cluster_of(base)->bus, done, ud);
}

static const char *unready(struct bh_redis_cluster *c, const struct bh_redis_cluster_map *map) {
    const char *why = bh_redis_topology_trouble(&c->topology);
    if (why)
        return why;
    if (!map || bh_redis_cluster_map_incomplete(map))
        return "not every slot of the Redis Cluster has a master";
    for (unsigned i = 0; i < map->count; i++)
        if (map->masters[i]->broker->vt->ready(map->masters[i]->broker, &why) != 0)
            return why;
    if (atomic_load(&c->groups_up) != (UINT32_C(1) << BH_REDIS_GROUPS) - 1)
        return "topics are on their way to a new master of the Redis Cluster";
    return NULL;
}

static int ready(const struct bh_broker *base, const char **why) {
    struct bh_redis_cluster *c = bh_redis_cluster_of(base);
    struct bh_redis_cluster_map *map = shared_map(&c->shared);
    *why = unready(c, map);
    bh_redis_cluster_map_unref(map);
    return *why ? BH_EUNAVAIL : 0;
}

/* --- life --- */

static void free_cluster(struct bh_broker *base) {
    struct bh_redis_cluster *c = bh_redis_cluster_of(base);
    for (unsigned i = 0; i <= c->worker_count; i++) {
        bh_redis_cluster_side_deinit(c->sides[i]);
        bh_free(c->sides[i]);
    }
    bh_free(c->sides);
    bh_redis_slot_locators_deinit(&c->locators);
    bh_redis_topology_deinit(&c->topology);
    bh_redis_bus_deinit(&c->bus);
    bh_redis_cluster_map_unref(c->shared.map);
    pthread_mutex_destroy(&c->shared.lock);
    bh_redis_config_free_copy(&c->config);
    bh_free(c);
}

static const struct bh_broker_vt cluster_vt = {
    .name = "redis",
    .shared = true,
    .start = start,
    .shard_of = shard_of,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .fence = fence,
    .stop = stop,
    .worker_start = bh_redis_cluster_worker_start,
    .worker_stop = bh_redis_cluster_worker_stop,
    .publish = bh_redis_cluster_publish,
    .ready = ready,
    .free = free_cluster,
};

struct bh_broker *bh_redis_cluster_new(const struct bh_redis_config *config, unsigned workers) {
    struct bh_redis_cluster *c = bh_calloc(1, sizeof *c);
    c->routing.base.vt = &cluster_vt;
    c->routing.ways = &bh_redis_cluster_ways;
    c->commands.vt = &bh_redis_cluster_commands_vt;
    bh_redis_config_copy(&c->config, config);
    pthread_mutex_init(&c->shared.lock, NULL);
    bh_redis_topology_init(&c->topology, &c->config);
    c->topology.on_map = on_map;
    c->topology.make = make;
    c->topology.ud = c;
    bh_redis_slot_locators_init(&c->locators, &c->shared, &c->topology);
    bh_redis_bus_init(&c->bus, &c->config, &c->topology, &c->groups_up, &c->settling);
    c->worker_count = workers;
    c->sides = bh_calloc(workers + 1, sizeof *c->sides);
    for (unsigned i = 0; i <= workers; i++) {
        c->sides[i] = bh_calloc(1, sizeof *c->sides[i]);
        bh_redis_cluster_side_init(c->sides[i], c, i);
    }
    return &c->routing.base;
}
