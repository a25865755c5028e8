/* bind_cache.h - the values that bh.cache keeps for one Lua state. */
#ifndef BELLHOP_SCRIPT_BIND_CACHE_H
#define BELLHOP_SCRIPT_BIND_CACHE_H

struct bh_cache;

struct bh_cache *bh_cache_new(void);
/* After the Lua state has been closed. */
void bh_cache_free(struct bh_cache *c);

#endif
