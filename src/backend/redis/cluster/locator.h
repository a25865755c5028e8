/* locator.h - locators of links that have to be at the master of a slot: they follow it when the
 * map changes. Private to the cluster.
 *
 * A link that was lost or refused at its master asks for a refresh of the map, and goes back there
 * until the map says otherwise. One that was redirected (bh_redis_link_move) goes there at once. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_LOCATOR_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_LOCATOR_H

#include "cluster/routes.h"
#include "link/locators.h"

struct bh_redis_slot_locators {
    struct bh_redis_locators all;
    struct bh_redis_shared_map *shared; /* borrowed, as the topology */
    struct bh_redis_topology *topology;
};

void bh_redis_slot_locators_init(struct bh_redis_slot_locators *s,
                                 struct bh_redis_shared_map *shared,
                                 struct bh_redis_topology *topology);
void bh_redis_slot_locators_deinit(struct bh_redis_slot_locators *s);
/* A new map has been shared. The bus. */
void bh_redis_slot_locators_tell(struct bh_redis_slot_locators *s);

/* For bh_redis_link_start, on the same thread and loop. */
struct bh_redis_locator *bh_redis_slot_locator(struct bh_redis_slot_locators *s,
                                               struct bh_loop *loop, unsigned slot);

#endif
