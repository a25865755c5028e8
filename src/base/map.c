/* map.c - a hash table with linear probing and no tombstones.
 *
 * A slot is a hash and a value pointer, 16 bytes; a probe compares hashes first, so it touches a
 * value only when it is almost certainly the right one. Removing moves the followers back over the
 * hole, therefore a table that lives for months with churning ids never silts up. It doubles beyond
 * 3/4 and halves below 1/8, so the memory of a crowd goes when the crowd goes.
 *
 * The hash key is drawn once per process; a peer that chooses ids cannot make them collide. */
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
    bh_free(m->slots);
    bh_map_init(m, m->key_of);
}

/* The slot of the key, or the free slot where it belongs. The table must exist. */
static struct bh_map_slot *find(const struct bh_map *m, uint64_t hash, struct bh_slice key) {
    for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct bh_map_slot *slot = &m->slots[i];
        if (!slot->value || (slot->hash == hash && bh_slice_eq(m->key_of(slot->value), key)))
            return slot;
    }
}

static void resize(struct bh_map *m, size_t size) {
    struct bh_map_slot *old = m->slots;
    size_t old_size = old ? m->mask + 1 : 0;
    m->slots = bh_calloc(size, sizeof *m->slots);
    m->mask = size - 1;
    for (size_t i = 0; i < old_size; i++) {
        if (!old[i].value)
            continue;
        size_t to = old[i].hash & m->mask;
        while (m->slots[to].value)
            to = (to + 1) & m->mask;
        m->slots[to] = old[i];
    }
    bh_free(old);
}

void *bh_map_get(const struct bh_map *m, struct bh_slice key) {
    return m->count ? find(m, bh_hash(key), key)->value : NULL;
}

int bh_map_put(struct bh_map *m, void *value) {
    if (!m->slots)
        resize(m, SLOTS_MIN);
    struct bh_slice key = m->key_of(value);
    uint64_t hash = bh_hash(key);
    struct bh_map_slot *slot = find(m, hash, key);
    if (slot->value)
        return BH_EEXIST;
    size_t size = m->mask + 1;
    if ((m->count + 1) * 4 > size * 3) {
        resize(m, size * 2);
        slot = find(m, hash, key);
    }
    *slot = (struct bh_map_slot){hash, value};
    m->count++;
    return 0;
}

/* Moves back each follower whose probe path leads over the hole. */
static void close_hole(struct bh_map *m, size_t hole) {
    for (size_t i = (hole + 1) & m->mask; m->slots[i].value; i = (i + 1) & m->mask) {
        size_t home = m->slots[i].hash & m->mask;
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct bh_map_slot){0};
}

void *bh_map_remove(struct bh_map *m, struct bh_slice key) {
    if (!m->count)
        return NULL;
    struct bh_map_slot *slot = find(m, bh_hash(key), key);
    void *value = slot->value;
    if (!value)
        return NULL;
    close_hole(m, (size_t)(slot - m->slots));
    m->count--;
    size_t size = m->mask + 1;
    if (size > SLOTS_MIN && m->count * 8 < size)
        resize(m, size / 2);
    return value;
}

void *bh_map_next(const struct bh_map *m, size_t *cursor) {
    size_t size = m->slots ? m->mask + 1 : 0;
    while (*cursor < size) {
        void *value = m->slots[(*cursor)++].value;
        if (value)
            return value;
    }
    return NULL;
}
