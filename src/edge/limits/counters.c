/* counters.c - an open-addressing table. Deleting shifts the probe chain back, so there are no
 * tombstones. */
#include "limits/counters.h"

#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#define TABLE_MIN 16

struct bh_counter {
    uint64_t hash; /* 0: free */
    uint32_t count;
} __attribute__((packed, aligned(4)));

/* The owner may have chosen this table by the low bits. */
static size_t home(const struct bh_counters *c, uint64_t hash) {
    return (size_t)(hash >> 8) & c->mask;
}

/* Where the hash is, or the free slot where it belongs. */
static size_t probe(const struct bh_counters *c, uint64_t hash) {
    size_t i = home(c, hash);
    while (c->table[i].hash && c->table[i].hash != hash)
        i = (i + 1) & c->mask;
    return i;
}

static void resize(struct bh_counters *c, size_t size) {
    struct bh_counter *old = c->table;
    size_t old_size = old ? c->mask + 1 : 0;
    c->table = bh_calloc(size, sizeof *c->table);
    c->mask = size - 1;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].hash)
            c->table[probe(c, old[i].hash)] = old[i];
    bh_free(old);
}

static void remove_at(struct bh_counters *c, size_t hole) {
    c->used--;
    for (size_t i = (hole + 1) & c->mask; c->table[i].hash; i = (i + 1) & c->mask) {
        /* It may fill the hole unless its own chain begins behind the hole. */
        size_t from_home = (i - home(c, c->table[i].hash)) & c->mask;
        if (from_home < ((i - hole) & c->mask))
            continue;
        c->table[hole] = c->table[i];
        hole = i;
    }
    c->table[hole] = (struct bh_counter){0};
    if (c->mask >= TABLE_MIN && c->used * 8 < c->mask)
        resize(c, (c->mask + 1) / 4 < TABLE_MIN ? TABLE_MIN : (c->mask + 1) / 4);
}

uint64_t bh_counters_hash(char kind, struct bh_slice name) {
    char key[1 + 256];
    size_t n = name.n < sizeof key - 1 ? name.n : sizeof key - 1;
    key[0] = kind;
    memcpy(key + 1, name.p, n);
    uint64_t hash = bh_hash(bh_slice(key, n + 1));
    return hash ? hash : 1;
}

bool bh_counters_add(struct bh_counters *c, uint64_t hash, uint32_t n, uint64_t most) {
    pthread_mutex_lock(&c->lock);
    if (!c->table || (c->used + 1) * 4 > (c->mask + 1) * 3)
        resize(c, c->table ? (c->mask + 1) * 2 : TABLE_MIN);
    struct bh_counter *counter = &c->table[probe(c, hash)];
    bool added = n <= most && counter->count <= most - n;
    if (added) {
        c->used += counter->hash == 0;
        counter->hash = hash;
        counter->count += n;
    }
    pthread_mutex_unlock(&c->lock);
    return added;
}

void bh_counters_subtract(struct bh_counters *c, uint64_t hash, uint32_t n) {
    pthread_mutex_lock(&c->lock);
    if (c->table) {
        size_t i = probe(c, hash);
        if (c->table[i].hash && (c->table[i].count -= n) == 0)
            remove_at(c, i);
    }
    pthread_mutex_unlock(&c->lock);
}

uint32_t bh_counters_largest(struct bh_counters *c, uint64_t *hash) {
    uint32_t largest = 0;
    *hash = 0;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; c->table && i <= c->mask; i++) {
        if (c->table[i].count <= largest)
            continue;
        largest = c->table[i].count;
        *hash = c->table[i].hash;
    }
    pthread_mutex_unlock(&c->lock);
    return largest;
}
