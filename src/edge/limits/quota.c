/* quota.c - counters of connections, spread by hash over shards with a lock each. */
#include "limits/quota.h"

#include "limits/counters.h"

#define SHARDS      16
#define FOUR_SHARDS BH_COUNTERS_INIT, BH_COUNTERS_INIT, BH_COUNTERS_INIT, BH_COUNTERS_INIT

static struct bh_counters shards[SHARDS] = {FOUR_SHARDS, FOUR_SHARDS, FOUR_SHARDS, FOUR_SHARDS};

static uint64_t hash_of(enum bh_quota kind, struct bh_slice name) {
    return bh_counters_hash((char)('a' + (int)kind), name);
}

bool bh_quota_acquire(enum bh_quota kind, struct bh_slice name, size_t limit) {
    if (limit == 0 || name.n == 0)
        return true;
    uint64_t hash = hash_of(kind, name);
    return bh_counters_add(&shards[hash % SHARDS], hash, 1, limit);
}

void bh_quota_release(enum bh_quota kind, struct bh_slice name, size_t limit) {
    if (limit == 0 || name.n == 0)
        return;
    uint64_t hash = hash_of(kind, name);
    bh_counters_subtract(&shards[hash % SHARDS], hash, 1);
}
