/* fuzz.h - for all fuzz targets: the entry, a check that aborts, and choices read from the front of
 * the input, so that a run depends only on its input. */
#ifndef BELLHOP_TESTS_FUZZ_FUZZ_H
#define BELLHOP_TESTS_FUZZ_FUZZ_H

#include "bellhop/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* --- choices --- */

/* The next byte of the input; 0 after its end. */
static inline uint8_t fuzz_byte(struct bh_slice *in) {
    if (in->n == 0)
        return 0;
    uint8_t byte = (uint8_t)in->p[0];
    *in = bh_slice(in->p + 1, in->n - 1);
    return byte;
}

static inline struct bh_slice fuzz_bytes(struct bh_slice *in, size_t n) {
    n = n < in->n ? n : in->n;
    struct bh_slice taken = bh_slice(in->p, n);
    *in = bh_slice(in->p + n, in->n - n);
    return taken;
}

/* How a stream is cut, chosen by a byte of the input. */
struct fuzz_cuts {
    uint32_t state;
    uint32_t longest;
};

static inline struct fuzz_cuts fuzz_cuts(uint8_t seed) {
    static const uint32_t longest[] = {1, 3, 7, 20, 64, 300, 1500, 70000};
    return (struct fuzz_cuts){.state = seed * 2654435761u + 1, .longest = longest[seed & 7]};
}

/* The length of the next piece, of `left` (more than none) bytes. */
static inline size_t fuzz_cut(struct fuzz_cuts *cuts, size_t left) {
    cuts->state = cuts->state * 1664525 + 1013904223;
    size_t n = 1 + (cuts->state >> 8) % cuts->longest;
    return n < left ? n : left;
}

/* --- bytes --- */

/* A heap block of exactly the size, so that reading past it is caught. */
static inline void *fuzz_exact(struct bh_slice s) {
    void *copy = malloc(s.n ? s.n : 1);
    CHECK(copy);
    if (s.n)
        memcpy(copy, s.p, s.n);
    return copy;
}

static inline bool fuzz_holds_any(struct bh_slice s, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s.n && memchr(s.p, bytes[i], s.n))
            return true;
    return false;
}

/* No NUL, CR or LF: valid in a header. */
static inline bool fuzz_is_one_line(struct bh_slice s) {
    return !fuzz_holds_any(s, "\0\r\n", 3);
}

/* Length and bytes, so that two transcripts are equal only when their parts are. */
static inline void fuzz_record(struct bh_bytes *transcript, const char *what, struct bh_slice s) {
    bh_bytes_addf(transcript, " %s[%zu]=", what, s.n);
    bh_bytes_add(transcript, s);
}

static inline void fuzz_check_same(const struct bh_bytes *a, const struct bh_bytes *b) {
    if (bh_slice_eq(bh_bytes_slice(a), bh_bytes_slice(b)))
        return;
    fprintf(stderr, "--- one way\n%.*s\n--- the other way\n%.*s\n", (int)a->len, a->p, (int)b->len,
            b->p);
    abort();
}

#endif
