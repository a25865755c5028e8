/* quota.c - counters by the keyed hash of a name.
 *
 * A counter is 12 bytes in an open-addressing table and keeps no name. Two names with the same
 * 64-bit hash would share a counter; the key of the hash is secret, so a client cannot provoke it.
 * The tables are spread by hash over shards with a lock each; a lock is held for one probe.
 * Deleting shifts the probe chain back, so there are no tombstones. */
#include "limits/quota.h"

#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#include <pthread.h>

#define SHARDS    16
#define TABLE_MIN 16

struct counter {
    uint64_t hash; /* 0: free */
    uint32_t count;
} __attribute__((packed, aligned(4)));

struct shard {
    pthread_mutex_t lock;
    struct counter *table;
    size_t mask, used; /* mask 0: no table yet */
};

#define SHARD                                                                                      \
    { PTHREAD_MUTEX_INITIALIZER, NULL, 0, 0 }
#define FOUR_SHARDS SHARD, SHARD, SHARD, SHARD
static struct shard shards[SHARDS] = {FOUR_SHARDS, FOUR_SHARDS, FOUR_SHARDS, FOUR_SHARDS};

/* The low bits choose the shard, so the rest place it. */
static size_t home(const struct shard *s, uint64_t hash) {
    return (size_t)(hash / SHARDS) & s->mask;
}

/* Where the hash is, or the free slot where it belongs. */
static size_t probe(const struct shard *s, uint64_t hash) {
    size_t i = home(s, hash);
    while (s->table[i].hash && s->table[i].hash != hash)
        i = (i + 1) & s->mask;
    return i;
}

static void resize(struct shard *s, size_t size) {
    struct counter *old = s->table;
    size_t old_size = old ? s->mask + 1 : 0;
    s->table = bh_calloc(size, sizeof *s->table);
    s->mask = size - 1;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].hash)
            s->table[probe(s, old[i].hash)] = old[i];
    bh_free(old);
}

static void remove_at(struct shard *s, size_t hole) {
    s->used--;
    for (size_t i = (hole + 1) & s->mask; s->table[i].hash; i = (i + 1) & s->mask) {
        /* It may fill the hole unless its own chain begins behind the hole. */
        size_t from_home = (i - home(s, s->table[i].hash)) & s->mask;
        if (from_home < ((i - hole) & s->mask))
            continue;
        s->table[hole] = s->table[i];
        hole = i;
    }
    s->table[hole] = (struct counter){0};
    if (s->mask >= TABLE_MIN && s->used * 8 < s->mask)
        resize(s, (s->mask + 1) / 4 < TABLE_MIN ? TABLE_MIN : (s->mask + 1) / 4);
}

static uint64_t hash_of(enum bh_quota kind, struct bh_slice name) {
    char key[1 + 256];
    size_t n = name.n < sizeof key - 1 ? name.n : sizeof key - 1;
    key[0] = (char)('a' + (int)kind);
    memcpy(key + 1, name.p, n);
    uint64_t hash = bh_hash(bh_slice(key, n + 1));
    return hash ? hash : 1;
}

bool bh_quota_acquire(enum bh_quota kind, struct bh_slice name, size_t limit) {
    if (limit == 0 || name.n == 0)
        return true;
    uint64_t hash = hash_of(kind, name);
    struct shard *s = &shards[hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    if (!s->table || (s->used + 1) * 4 > (s->mask + 1) * 3)
        resize(s, s->table ? (s->mask + 1) * 2 : TABLE_MIN);
    struct counter *c = &s->table[probe(s, hash)];
    bool taken = c->count < limit;
    if (taken) {
        s->used += c->hash == 0;
        c->hash = hash;
        c->count++;
    }
    pthread_mutex_unlock(&s->lock);
    return taken;
}

void bh_quota_release(enum bh_quota kind, struct bh_slice name, size_t limit) {
    if (limit == 0 || name.n == 0)
        return;
    uint64_t hash = hash_of(kind, name);
    struct shard *s = &shards[hash % SHARDS];
    pthread_mutex_lock(&s->lock);
    if (s->table) {
        size_t i = probe(s, hash);
        if (s->table[i].hash && --s->table[i].count == 0)
            remove_at(s, i);
    }
    pthread_mutex_unlock(&s->lock);
}
