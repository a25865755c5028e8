/* log_ring.c - lines between the threads that log and the one that writes.
 *
 * `put` moves when a line is complete, `taken` when its bytes are no longer needed. Lines end with
 * their line feed, so there is nothing else between them. */
#include "log_ring.h"

bool bh_log_ring_is_empty(struct bh_log_ring *r) {
    return atomic_load_explicit(&r->taken, memory_order_acquire) ==
           atomic_load_explicit(&r->put, memory_order_acquire);
}

static size_t before_end(const struct bh_log_ring *r, size_t from, size_t n) {
    size_t rest = r->size - from % r->size;
    return n < rest ? n : rest;
}

static void copy_in(struct bh_log_ring *r, size_t to, struct bh_slice s) {
    size_t first = before_end(r, to, s.n);
    if (!s.n)
        return;
    memcpy(r->bytes + to % r->size, s.p, first);
    memcpy(r->bytes, s.p + first, s.n - first);
}

bool bh_log_ring_put(struct bh_log_ring *r, struct bh_slice head, struct bh_slice rest) {
    size_t put = atomic_load_explicit(&r->put, memory_order_relaxed);
    size_t room = r->size - (put - atomic_load_explicit(&r->taken, memory_order_acquire));
    if (head.n > room || rest.n > room - head.n)
        return false;
    copy_in(r, put, head);
    copy_in(r, put + head.n, rest);
    atomic_store_explicit(&r->put, put + head.n + rest.n, memory_order_release);
    return true;
}

size_t bh_log_ring_peek(struct bh_log_ring *r, char *out, size_t most) {
    size_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    size_t n = atomic_load_explicit(&r->put, memory_order_acquire) - taken;
    n = n < most ? n : most;
    size_t first = before_end(r, taken, n);
    memcpy(out, r->bytes + taken % r->size, first);
    memcpy(out + first, r->bytes, n - first);
    return n;
}

void bh_log_ring_take(struct bh_log_ring *r, size_t n) {
    size_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    atomic_store_explicit(&r->taken, taken + n, memory_order_release);
}
