/* shared.c - one map under one lock, held for a look-up and a copy of few bytes.
 *
 * An expired entry is removed when it is found, or when space is needed: then all entries are
 * checked, at most once a second. */
#include "run/shared.h"

#include "bellhop/base/error.h"
#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#include <pthread.h>
#include <stdatomic.h>

#define SWEEP_MS 1000

struct entry {
    int64_t expires_ms; /* 0: never */
    struct bh_shared_value value;
    size_t key_len;
    char bytes[]; /* the key, then the string */
};

struct bh_shared {
    pthread_mutex_t lock;
    struct bh_map map;
    size_t used, max;
    int64_t swept_ms;
    atomic_uint generations[BH_SHARED_MATTERS]; /* the last one of bh_shared_once */
};

static struct bh_slice key_of(const void *value) {
    const struct entry *e = value;
    return bh_slice(e->bytes, e->key_len);
}

struct bh_shared *bh_shared_new(size_t max_bytes) {
    struct bh_shared *s = bh_calloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    bh_map_init(&s->map, key_of);
    s->max = max_bytes;
    return s;
}

void bh_shared_free(struct bh_shared *s) {
    size_t cursor = 0;
    if (!s)
        return;
    for (void *e; (e = bh_map_next(&s->map, &cursor));)
        bh_free(e);
    bh_map_deinit(&s->map);
    pthread_mutex_destroy(&s->lock);
    bh_free(s);
}

static size_t size_of(size_t key_len, size_t string_len) {
    return sizeof(struct entry) + BH_MAP_SLOT_BYTES + key_len + string_len;
}

static void drop(struct bh_shared *s, struct entry *e) {
    bh_map_remove(&s->map, key_of(e));
    s->used -= size_of(e->key_len, e->value.string.n);
    bh_free(e);
}

static bool is_expired(const struct entry *e, int64_t now_ms) {
    return e->expires_ms && e->expires_ms <= now_ms;
}

static struct entry *find(struct bh_shared *s, struct bh_slice key, int64_t now_ms) {
    struct entry *e = bh_map_get(&s->map, key);
    if (e && is_expired(e, now_ms)) {
        drop(s, e);
        return NULL;
    }
    return e;
}

static void sweep(struct bh_shared *s, int64_t now_ms) {
    size_t cursor = 0, count = 0;
    if (now_ms < s->swept_ms + SWEEP_MS && s->swept_ms <= now_ms)
        return;
    s->swept_ms = now_ms;
    struct entry **expired = bh_malloc((s->map.count + 1) * sizeof(struct entry *));
    for (struct entry *e; (e = bh_map_next(&s->map, &cursor));)
        if (is_expired(e, now_ms))
            expired[count++] = e;
    while (count > 0)
        drop(s, expired[--count]);
    bh_free(expired);
}

/* old: the entry of that key, or NULL. */
static int put(struct bh_shared *s, struct entry *old, struct bh_slice key,
               const struct bh_shared_value *value, int64_t expires_ms, int64_t now_ms) {
    size_t string_len = value->type == BH_SHARED_STRING ? value->string.n : 0;
    size_t size = size_of(key.n, string_len);
    size_t freed = old ? size_of(key.n, old->value.string.n) : 0;
    if (value->type != BH_SHARED_NIL && s->used - freed + size > s->max) {
        sweep(s, now_ms); /* does not free old, which has not expired */
        if (s->used - freed + size > s->max)
            return BH_ENOMEM;
    }
    if (value->type == BH_SHARED_NIL) {
        if (old)
            drop(s, old);
        return 0;
    }
    struct entry *e = bh_malloc(sizeof *e + key.n + string_len);
    *e = (struct entry){.expires_ms = expires_ms, .value = *value, .key_len = key.n};
    memcpy(e->bytes, key.p, key.n);
    if (string_len)
        memcpy(e->bytes + key.n, value->string.p, string_len);
    e->value.string = bh_slice(e->bytes + key.n, string_len);
    if (old)
        drop(s, old);
    bh_map_put(&s->map, e);
    s->used += size;
    return 0;
}

static int64_t expiry(uint64_t ttl_ms, int64_t now_ms) {
    return ttl_ms ? now_ms + (int64_t)ttl_ms : 0;
}

void bh_shared_get(struct bh_shared *s, struct bh_slice key, int64_t now_ms,
                   struct bh_shared_value *out, struct bh_bytes *bytes) {
    *out = (struct bh_shared_value){.type = BH_SHARED_NIL};
    pthread_mutex_lock(&s->lock);
    const struct entry *e = find(s, key, now_ms);
    if (e) {
        *out = e->value;
        bh_bytes_clear(bytes);
        bh_bytes_add(bytes, e->value.string);
    }
    pthread_mutex_unlock(&s->lock);
    out->string = bh_bytes_slice(bytes);
}

int bh_shared_set(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *value,
                  uint64_t ttl_ms, int64_t now_ms) {
    pthread_mutex_lock(&s->lock);
    int error = put(s, find(s, key, now_ms), key, value, expiry(ttl_ms, now_ms), now_ms);
    pthread_mutex_unlock(&s->lock);
    return error;
}

int bh_shared_add(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *value,
                  uint64_t ttl_ms, int64_t now_ms) {
    pthread_mutex_lock(&s->lock);
    int error =
        find(s, key, now_ms) ? BH_EEXIST : put(s, NULL, key, value, expiry(ttl_ms, now_ms), now_ms);
    pthread_mutex_unlock(&s->lock);
    return error;
}

static bool equal(const struct entry *e, const struct bh_shared_value *v) {
    if (!e || v->type == BH_SHARED_NIL)
        return !e && v->type == BH_SHARED_NIL;
    if (e->value.type != v->type)
        return false;
    switch (v->type) {
    case BH_SHARED_STRING:
        return bh_slice_eq(e->value.string, v->string);
    case BH_SHARED_INTEGER:
        return e->value.integer == v->integer;
    case BH_SHARED_DOUBLE:
        return e->value.number == v->number;
    default:
        return e->value.boolean == v->boolean;
    }
}

int bh_shared_cas(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *expected,
                  const struct bh_shared_value *value, uint64_t ttl_ms, int64_t now_ms) {
    pthread_mutex_lock(&s->lock);
    struct entry *e = find(s, key, now_ms);
    int error =
        equal(e, expected) ? put(s, e, key, value, expiry(ttl_ms, now_ms), now_ms) : BH_ENOTFOUND;
    pthread_mutex_unlock(&s->lock);
    return error;
}

int bh_shared_incr(struct bh_shared *s, struct bh_slice key, int64_t by, uint64_t ttl_ms,
                   int64_t now_ms, int64_t *out) {
    struct bh_shared_value value = {.type = BH_SHARED_INTEGER, .integer = by};
    int error = 0;
    pthread_mutex_lock(&s->lock);
    struct entry *e = find(s, key, now_ms);
    if (e && e->value.type != BH_SHARED_INTEGER)
        error = BH_EINVAL;
    else if (e && __builtin_add_overflow(e->value.integer, by, &value.integer))
        error = BH_ETOOBIG;
    else if (e)
        e->value.integer = value.integer;
    else
        error = put(s, NULL, key, &value, expiry(ttl_ms, now_ms), now_ms);
    pthread_mutex_unlock(&s->lock);
    *out = value.integer;
    return error;
}

/* Two states of a worker exist after a reload; what the old one does is known by then. */
bool bh_shared_once(struct bh_shared *s, unsigned matter, unsigned generation) {
    atomic_uint *last = &s->generations[matter];
    unsigned seen = atomic_load_explicit(last, memory_order_relaxed);
    while (seen < generation)
        if (atomic_compare_exchange_weak(last, &seen, generation))
            return true;
    return false;
}
