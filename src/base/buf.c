/* buf.c - shared immutable buffers and private growable ones.
 *
 * A bh_buf is one allocation: header and bytes. The count is atomic and nothing else is, because
 * the bytes never change once the buffer is shared; the decrement is acquire-release so that the
 * thread that frees has seen the last read of every other thread.
 *
 * A bh_bytes doubles, so appending n bytes one at a time costs O(n). */
#include "bellhop/base/buf.h"

#include "bellhop/base/budget.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES_MIN 64

static struct bh_buf *buf_setup(struct bh_buf *b, size_t len) {
    atomic_init(&b->refs, 1);
    atomic_init(&b->counted, false);
    b->tag = 0;
    b->len = len;
    return b;
}

struct bh_buf *bh_buf_new(size_t len) {
    if (len > SIZE_MAX - sizeof(struct bh_buf))
        abort();
    return buf_setup(bh_malloc(sizeof(struct bh_buf) + len), len);
}

struct bh_buf *bh_buf_try_new(size_t len) {
    if (len > SIZE_MAX - sizeof(struct bh_buf))
        return NULL;
    struct bh_buf *b = bh_try_malloc(sizeof *b + len);
    return b ? buf_setup(b, len) : NULL;
}

struct bh_buf *bh_buf_copy(struct bh_slice s) {
    struct bh_buf *b = bh_buf_new(s.n);
    if (s.n)
        memcpy(b->data, s.p, s.n);
    return b;
}

struct bh_buf *bh_buf_ref(struct bh_buf *b) {
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

/* With what malloc takes for itself: small ones may be many. */
static int64_t charge_of(const struct bh_buf *b) {
    return (int64_t)(sizeof *b + 2 * sizeof(size_t) + b->len);
}

void bh_buf_count(struct bh_buf *b) {
    if (!atomic_exchange_explicit(&b->counted, true, memory_order_relaxed))
        bh_budget_charge(BH_BUDGET_QUEUES, charge_of(b));
}

/* Not inlined, so that dropping a reference which is not the last one is. */
static __attribute__((noinline)) void buf_free(struct bh_buf *b) {
    if (atomic_load_explicit(&b->counted, memory_order_relaxed))
        bh_budget_charge(BH_BUDGET_QUEUES, -charge_of(b));
    bh_free(b);
}

/* The holder of the only reference need not lock the count. */
void bh_buf_unref(struct bh_buf *b) {
    if (b && (atomic_load_explicit(&b->refs, memory_order_acquire) == 1 ||
              atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1))
        buf_free(b);
}

/* The capacity for len + extra bytes, or 0 when no address space has that much. */
static size_t grown(const struct bh_bytes *b, size_t extra) {
    if (extra > SIZE_MAX / 2 || b->len > SIZE_MAX / 2 - extra)
        return 0;
    size_t want = b->len + extra;
    size_t cap = b->cap < BYTES_MIN ? BYTES_MIN : b->cap * 2;
    return want > cap ? want : cap;
}

void bh_bytes_reserve(struct bh_bytes *b, size_t extra) {
    if (extra <= b->cap - b->len)
        return;
    size_t cap = grown(b, extra);
    if (!cap)
        abort();
    b->p = bh_realloc(b->p, cap);
    b->cap = cap;
}

int bh_bytes_try_reserve(struct bh_bytes *b, size_t extra) {
    if (extra <= b->cap - b->len)
        return 0;
    size_t cap = grown(b, extra);
    char *p = cap ? bh_try_realloc(b->p, cap) : NULL;
    if (!p)
        return BH_ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

void bh_bytes_add(struct bh_bytes *b, struct bh_slice s) {
    if (s.n == 0)
        return;
    bh_bytes_reserve(b, s.n);
    memcpy(b->p + b->len, s.p, s.n);
    b->len += s.n;
}

static int grow_within(struct bh_bytes *b, size_t want, size_t most) {
    size_t cap = b->cap > most / 2 ? most : b->cap * 2;
    if (cap < want)
        cap = want;
    char *p = bh_try_realloc(b->p, cap);
    if (!p)
        return BH_ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

int bh_bytes_try_add(struct bh_bytes *b, struct bh_slice s, size_t most) {
    if (s.n == 0)
        return 0;
    if (s.n > b->cap - b->len && grow_within(b, b->len + s.n, most))
        return BH_ENOMEM;
    memcpy(b->p + b->len, s.p, s.n);
    b->len += s.n;
    return 0;
}

void bh_bytes_addc(struct bh_bytes *b, char c) {
    bh_bytes_reserve(b, 1);
    b->p[b->len++] = c;
}

void bh_bytes_adds(struct bh_bytes *b, const char *s) {
    bh_bytes_add(b, bh_slice_cstr(s));
}

void bh_bytes_addf(struct bh_bytes *b, const char *format, ...) {
    va_list args;
    va_start(args, format);
    bh_bytes_vaddf(b, format, args);
    va_end(args);
}

void bh_bytes_vaddf(struct bh_bytes *b, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    bh_bytes_reserve(b, 1);
    int n = vsnprintf(b->p + b->len, b->cap - b->len, format, args);
    if (n > 0 && (size_t)n >= b->cap - b->len) {
        bh_bytes_reserve(b, (size_t)n + 1); /* vsnprintf wants room for its NUL */
        vsnprintf(b->p + b->len, b->cap - b->len, format, again);
    }
    if (n > 0)
        b->len += (size_t)n;
    va_end(again);
}

void bh_bytes_consume(struct bh_bytes *b, size_t n) {
    if (n == 0)
        return;
    b->len -= n;
    memmove(b->p, b->p + n, b->len);
}

void bh_bytes_clear(struct bh_bytes *b) {
    b->len = 0;
}

void bh_bytes_free(struct bh_bytes *b) {
    bh_free(b->p);
    *b = (struct bh_bytes){0};
}
