/* cache.h - the values that bh.cache keeps, as a part of their state. Private to bind_cache.c. */
#ifndef BELLHOP_SCRIPT_CACHE_H
#define BELLHOP_SCRIPT_CACHE_H

#include "bellhop/base/list.h"
#include "bellhop/base/map.h"

struct bh_cache {
    struct bh_map map;
    struct bh_list used; /* the entry that was used longest ago is the first */
};

void bh_cache_init(struct bh_cache *c);
/* After the Lua state has been closed. */
void bh_cache_deinit(struct bh_cache *c);

#endif
