/* map.h - hash map from bytes to pointers, keyed against collision attacks.
 *
 * The map stores only the value pointers and a hash; the key lives inside the value, where the
 * owner's `key_of` finds it. The hash is SipHash-1-3 under a random per-process key, so a peer
 * cannot choose colliding ids. Open addressing; values are not owned. Not thread-safe: one owner.
 */
#ifndef BELLHOP_BASE_MAP_H
#define BELLHOP_BASE_MAP_H

#include "bellhop/base/slice.h"

#include <stdint.h>

typedef struct bh_slice (*bh_map_key_cb)(const void *value);

/* Two slots, which need 12 bytes each when they come in pairs: there are several for each
 * connection. */
struct bh_map_pair {
    void *values[2]; /* NULL: free */
    uint32_t hashes[2];
};
#define BH_MAP_SLOT_BYTES (sizeof(struct bh_map_pair) / 2)

struct bh_map {
    bh_map_key_cb key_of;
    struct bh_map_pair *pairs;
    size_t mask; /* slots - 1, or 0 before the first put */
    size_t count;
};

void bh_map_init(struct bh_map *m, bh_map_key_cb key_of);
/* Frees the table, not the values. */
void bh_map_deinit(struct bh_map *m);
void *bh_map_get(const struct bh_map *m, struct bh_slice key);
/* Inserts a value whose key is not in the map yet; 0 or BH_EEXIST. */
int bh_map_put(struct bh_map *m, void *value);
/* Removes and returns the value, or NULL. Shrinks when it has become mostly empty. */
void *bh_map_remove(struct bh_map *m, struct bh_slice key);
/* Iteration: start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
void *bh_map_next(const struct bh_map *m, size_t *cursor);

/* The keyed hash itself. */
uint64_t bh_hash(struct bh_slice key);

#endif
