/* log_ring.c - lines between the threads that log and the one that writes.
 *
 * A line lies in one piece, behind a head with its length, so that one write can take it. One that
 * does not fit before the end of the ring begins at its start, and a head at the end says so. `put`
 * moves when a line is complete, `taken` when it is no longer needed. */
#include "log_ring.h"

#include <stdint.h>

#define REST_UNUSED (-1) /* a level: the next line is at the start */

struct head {
    uint32_t n;
    int32_t level;
};

_Static_assert(sizeof(struct head) <= BH_LOG_RING_ALIGN, "a head fits wherever a line may begin");

static struct head *head_at(const struct bh_log_ring *r, size_t offset) {
    return (struct head *)(void *)(r->bytes + offset % r->size);
}

static size_t bytes_for(size_t n) {
    return (sizeof(struct head) + n + BH_LOG_RING_ALIGN - 1) & ~(size_t)(BH_LOG_RING_ALIGN - 1);
}

static size_t bytes_to_end(const struct bh_log_ring *r, size_t offset) {
    return r->size - offset % r->size;
}

bool bh_log_ring_put(struct bh_log_ring *r, int level, struct bh_slice line) {
    size_t put = atomic_load_explicit(&r->put, memory_order_relaxed);
    size_t used = put - atomic_load_explicit(&r->taken, memory_order_acquire);
    size_t need = line.n < r->size ? bytes_for(line.n) : r->size + 1, rest = bytes_to_end(r, put);
    size_t skipped = rest < need ? rest : 0;
    if (skipped + need > r->size - used)
        return false;
    if (skipped)
        *head_at(r, put) = (struct head){0, REST_UNUSED};
    struct head *head = head_at(r, put + skipped);
    *head = (struct head){(uint32_t)line.n, level};
    if (line.n)
        memcpy(head + 1, line.p, line.n);
    atomic_store_explicit(&r->put, put + skipped + need, memory_order_release);
    return true;
}

bool bh_log_ring_is_empty(struct bh_log_ring *r) {
    return atomic_load_explicit(&r->taken, memory_order_acquire) ==
           atomic_load_explicit(&r->put, memory_order_acquire);
}

static void take(struct bh_log_ring *r, size_t n) {
    size_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    atomic_store_explicit(&r->taken, taken + n, memory_order_release);
}

bool bh_log_ring_first(struct bh_log_ring *r, int *level, struct bh_slice *line) {
    if (bh_log_ring_is_empty(r))
        return false;
    size_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    if (head_at(r, taken)->level == REST_UNUSED)
        take(r, bytes_to_end(r, taken));
    const struct head *head = head_at(r, atomic_load_explicit(&r->taken, memory_order_relaxed));
    *level = head->level;
    *line = bh_slice(head + 1, head->n);
    return true;
}

void bh_log_ring_drop(struct bh_log_ring *r) {
    int level;
    struct bh_slice line;
    if (bh_log_ring_first(r, &level, &line))
        take(r, bytes_for(line.n));
}
