/* locator.c - links that follow the master of a slot. */
#include "cluster/locator.h"

#include "bellhop/base/mem.h"

#include <stdio.h>

struct locator {
    struct bh_redis_located located;
    struct bh_redis_slot_locators *owner;
    unsigned slot;
    bool waiting;                     /* the link, for a master */
    uint16_t noted;                   /* the port at `host` where it goes next; 0: the map says */
    char host[BH_REDIS_HOST_MAX + 1]; /* what the link was last told */
};

static struct locator *of(struct bh_redis_locator *l) {
    return BH_CONTAINER_OF(l, struct locator, located.base);
}

/* The port, or 0: nobody has the slot. */
static uint16_t look_up(const struct locator *l, char host[BH_REDIS_HOST_MAX + 1]) {
    struct bh_redis_shared_map *shared = l->owner->shared;
    uint16_t port = 0;
    pthread_mutex_lock(&shared->lock);
    const struct bh_redis_cluster_map *map = shared->map;
    if (map && map->owner[l->slot] != BH_REDIS_NOBODY) {
        const struct bh_redis_cluster_master *m = map->masters[map->owner[l->slot]];
        snprintf(host, BH_REDIS_HOST_MAX + 1, "%s", m->host);
        port = m->port;
    }
    pthread_mutex_unlock(&shared->lock);
    return port;
}

static const char *missing(const struct locator *l) {
    const char *why = bh_redis_topology_trouble(l->owner->topology);
    return why ? why : "no master of the Redis Cluster has the slot of the key";
}

static void answer(struct locator *l) {
    struct bh_redis_link *link = l->located.link;
    uint16_t port = l->noted ? l->noted : look_up(l, l->host);
    l->noted = 0;
    l->waiting = !port;
    if (port)
        bh_redis_link_found(link, l->host, port);
    else
        atomic_store(&link->down_reason, missing(l));
}

static void ask(struct bh_redis_locator *base, struct bh_redis_link *link) {
    struct locator *l = of(base);
    bool again = l->located.link;
    l->located.link = link;
    if (again)
        bh_redis_topology_refresh(l->owner->topology);
    answer(l);
}

static void stop(struct bh_redis_locator *base) {
    of(base)->waiting = false;
}

/* It was redirected, maybe before the map has it. If it is not there the map is asked again. */
static void note(struct bh_redis_locator *base, const char *host, uint16_t port) {
    struct locator *l = of(base);
    snprintf(l->host, sizeof l->host, "%s", host);
    l->noted = port;
}

static void on_news(struct bh_redis_located *located) {
    struct locator *l = of(&located->base);
    char host[BH_REDIS_HOST_MAX + 1];
    uint16_t port;
    if (l->waiting)
        answer(l);
    else if ((port = look_up(l, host)))
        bh_redis_link_move(located->link, host, port);
}

static const struct bh_redis_locator_vt vt = {ask, stop, note, bh_redis_located_free};

struct bh_redis_locator *bh_redis_slot_locator(struct bh_redis_slot_locators *s,
                                               struct bh_loop *loop, unsigned slot) {
    struct locator *l = bh_calloc(1, sizeof *l);
    l->located.base.vt = &vt;
    l->located.on_news = on_news;
    l->owner = s;
    l->slot = slot;
    bh_redis_located_init(&l->located, &s->all, loop);
    return &l->located.base;
}

void bh_redis_slot_locators_init(struct bh_redis_slot_locators *s,
                                 struct bh_redis_shared_map *shared,
                                 struct bh_redis_topology *topology) {
    bh_redis_locators_init(&s->all);
    s->shared = shared;
    s->topology = topology;
}

void bh_redis_slot_locators_deinit(struct bh_redis_slot_locators *s) {
    bh_redis_locators_deinit(&s->all);
}

void bh_redis_slot_locators_tell(struct bh_redis_slot_locators *s) {
    bh_redis_locators_tell(&s->all);
}
