/* buf.h - two kinds of memory for bytes.
 *
 * struct bh_buf: immutable once published, atomically ref-counted, may cross threads. Every holder
 * of a reference may read. Only the creator writes, and only before a second reference exists.
 *
 * struct bh_bytes: a growable, owned byte array for one thread; embed it, zero-initialise it. */
#ifndef BELLHOP_BASE_BUF_H
#define BELLHOP_BASE_BUF_H

#include "bellhop/base/slice.h"

#include <stdarg.h>
#include <stdatomic.h>

struct bh_buf {
    atomic_uint refs;
    atomic_bool counted; /* charged to the budget, until it is freed */
    uint16_t tag;        /* the creator's; 0 */
    size_t len;
    unsigned char data[];
};

/* A buffer of len bytes with one reference, contents undefined; aborts without memory. */
struct bh_buf *bh_buf_new(size_t len);
/* The same for a length that a peer chose: NULL when memory is short. */
struct bh_buf *bh_buf_try_new(size_t len);
struct bh_buf *bh_buf_copy(struct bh_slice s);
struct bh_buf *bh_buf_ref(struct bh_buf *b);
/* NULL is allowed. Frees with the last reference. */
void bh_buf_unref(struct bh_buf *b);
/* It waits in a queue: charges it to the budget (BH_BUDGET_QUEUES), once, until it is freed. */
void bh_buf_count(struct bh_buf *b);

static inline struct bh_slice bh_buf_slice(const struct bh_buf *b) {
    return b ? bh_slice(b->data, b->len) : bh_slice(NULL, 0);
}

struct bh_bytes {
    char *p;
    size_t len;
    size_t cap;
};

/* Grows geometrically; aborts without memory (callers bound what a peer sends first). */
void bh_bytes_reserve(struct bh_bytes *b, size_t extra);
/* For sizes that a peer chose: BH_ENOMEM instead of abort. */
int bh_bytes_try_reserve(struct bh_bytes *b, size_t extra);
void bh_bytes_add(struct bh_bytes *b, struct bh_slice s);
/* For bytes that a peer sends: BH_ENOMEM instead of abort, and the capacity doubles but never
 * exceeds `most`, so that a limit costs the memory that the configuration says. The caller has
 * checked b->len + s.n against `most`. */
int bh_bytes_try_add(struct bh_bytes *b, struct bh_slice s, size_t most);
void bh_bytes_addc(struct bh_bytes *b, char c);
void bh_bytes_adds(struct bh_bytes *b, const char *s);
void bh_bytes_addf(struct bh_bytes *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void bh_bytes_vaddf(struct bh_bytes *b, const char *format, va_list args);
/* Drops the first n bytes. */
void bh_bytes_consume(struct bh_bytes *b, size_t n);
/* Empties it and keeps the memory. */
void bh_bytes_clear(struct bh_bytes *b);
/* Empties it and frees the memory. */
void bh_bytes_free(struct bh_bytes *b);

static inline struct bh_slice bh_bytes_slice(const struct bh_bytes *b) {
    return bh_slice(b->p, b->len);
}

#endif
