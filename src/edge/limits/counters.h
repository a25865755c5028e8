/* counters.h - numbers by the keyed hash of a name, for all threads.
 *
 * A number takes 12 bytes and keeps no name. Two names with the same 64-bit hash would share one;
 * the key of the hash is secret, so a client cannot provoke it. Thread: any. */
#ifndef BELLHOP_EDGE_COUNTERS_H
#define BELLHOP_EDGE_COUNTERS_H

#include "bellhop/base/slice.h"

#include <pthread.h>

struct bh_counter;

struct bh_counters {
    pthread_mutex_t lock; /* held for one probe, or one pass */
    struct bh_counter *table;
    size_t mask, used; /* mask 0: no table yet */
};
#define BH_COUNTERS_INIT                                                                           \
    { PTHREAD_MUTEX_INITIALIZER, NULL, 0, 0 }

/* Never 0. kind: a name space. */
uint64_t bh_counters_hash(char kind, struct bh_slice name);
/* Adds n unless the number would be above `most`; was it added? */
bool bh_counters_add(struct bh_counters *c, uint64_t hash, uint32_t n, uint64_t most);
/* At most what was added before. */
void bh_counters_subtract(struct bh_counters *c, uint64_t hash, uint32_t n);
/* The largest number and its hash; 0 when there is none. Goes through all of them. */
uint32_t bh_counters_largest(struct bh_counters *c, uint64_t *hash);

#endif
