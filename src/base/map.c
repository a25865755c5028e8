/* map.c - a hash table with linear probing and no tombstones.
 *
 * A slot is a value pointer and half of the hash; a probe compares hashes first, so it touches a
 * value only when it is almost certainly the right one. Slots lie in pairs, so that there is no
 * padding between them and every pointer is aligned, where a leak checker looks for it. Removing
 * moves the followers back over the hole, so a table stays fast however many ids come and go. It
 * doubles above 3/4 load and halves below 1/8, so its memory follows the number of values.
 *
 * The hash key is random per process: a peer that chooses ids cannot make them collide. */
#include "bellhop/base/map.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "siphash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define SLOTS_MIN 8

static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void draw_hash_key(void) {
    if (getrandom(hash_key, sizeof hash_key, 0) != (ssize_t)sizeof hash_key)
        abort();
}

uint64_t bh_hash(struct bh_slice key) {
    pthread_once(&hash_key_once, draw_hash_key);
    return bh_siphash13(hash_key, key);
}

void bh_map_init(struct bh_map *m, bh_map_key_cb key_of) {
    *m = (struct bh_map){.key_of = key_of};
}

void bh_map_deinit(struct bh_map *m) {
    bh_free(m->pairs);
    bh_map_init(m, m->key_of);
}

static void **value_at(const struct bh_map *m, size_t slot) {
    return &m->pairs[slot / 2].values[slot % 2];
}

static uint32_t *hash_at(const struct bh_map *m, size_t slot) {
    return &m->pairs[slot / 2].hashes[slot % 2];
}

static size_t size_of(const struct bh_map *m) {
    return m->pairs ? m->mask + 1 : 0;
}

static void set(struct bh_map *m, size_t slot, uint32_t hash, void *value) {
    *hash_at(m, slot) = hash;
    *value_at(m, slot) = value;
}

/* The slot of the key, or the free slot where it belongs. The table must exist. */
static size_t find(const struct bh_map *m, uint32_t hash, struct bh_slice key) {
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        void *value = *value_at(m, i);
        if (!value || (*hash_at(m, i) == hash && bh_slice_eq(m->key_of(value), key)))
            return i;
    }
}

/* size is a power of two, and not 1. */
static void resize(struct bh_map *m, size_t size) {
    struct bh_map old = *m;
    m->pairs = bh_calloc(size / 2, sizeof *m->pairs);
    m->mask = size - 1;
    for (size_t i = 0; i < size_of(&old); i++) {
        uint32_t hash = *hash_at(&old, i);
        if (!*value_at(&old, i))
            continue;
        size_t to = hash & m->mask;
        while (*value_at(m, to))
            to = (to + 1) & m->mask;
        set(m, to, hash, *value_at(&old, i));
    }
    bh_free(old.pairs);
}

void *bh_map_get(const struct bh_map *m, struct bh_slice key) {
    return m->count ? *value_at(m, find(m, (uint32_t)bh_hash(key), key)) : NULL;
}

int bh_map_put(struct bh_map *m, void *value) {
    if (!m->pairs)
        resize(m, SLOTS_MIN);
    struct bh_slice key = m->key_of(value);
    uint32_t hash = (uint32_t)bh_hash(key);
    size_t slot = find(m, hash, key);
    if (*value_at(m, slot))
        return BH_EEXIST;
    if ((m->count + 1) * 4 > size_of(m) * 3) {
        resize(m, size_of(m) * 2);
        slot = find(m, hash, key);
    }
    set(m, slot, hash, value);
    m->count++;
    return 0;
}

/* Moves back each follower whose probe path leads over the hole. */
static void close_hole(struct bh_map *m, size_t hole) {
    void *value;
    for (size_t i = (hole + 1) & m->mask; (value = *value_at(m, i)); i = (i + 1) & m->mask) {
        uint32_t hash = *hash_at(m, i);
        size_t home = hash & m->mask;
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            set(m, hole, hash, value);
            hole = i;
        }
    }
    set(m, hole, 0, NULL);
}

void *bh_map_remove(struct bh_map *m, struct bh_slice key) {
    if (!m->count)
        return NULL;
    size_t slot = find(m, (uint32_t)bh_hash(key), key);
    void *value = *value_at(m, slot);
    if (!value)
        return NULL;
    close_hole(m, slot);
    m->count--;
    if (size_of(m) > SLOTS_MIN && m->count * 8 < size_of(m))
        resize(m, size_of(m) / 2);
    return value;
}

void *bh_map_next(const struct bh_map *m, size_t *cursor) {
    while (*cursor < size_of(m)) {
        void *value = *value_at(m, (*cursor)++);
        if (value)
            return value;
    }
    return NULL;
}
