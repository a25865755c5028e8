/* What the unit tests of proto share: cmocka with what it wants included before it, repeatable
 * random numbers, and the three ways to cut a stream: whole, byte by byte, at random. */
#ifndef BELLHOP_TESTS_UNIT_PROTO_TEST_H
#define BELLHOP_TESTS_UNIT_PROTO_TEST_H

#include "bellhop/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Cut 0 is whole, 1 is byte by byte, the others are random. */
#define CUTS 20

static inline uint32_t test_random(void) {
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* How many of the `left` bytes come next. */
static inline size_t test_cut(int cut, size_t left) {
    if (cut == 0)
        return left;
    if (cut == 1)
        return 1;
    size_t longest = cut % 2 ? 7 : 64;
    size_t n = 1 + test_random() % longest;
    return n < left ? n : left;
}

/* The bytes as a fresh heap block of exactly their size: what reads past them or keeps a pointer to
 * them is caught. */
static inline void *test_exact(const void *p, size_t n) {
    void *copy = malloc(n ? n : 1);
    if (n)
        memcpy(copy, p, n);
    return copy;
}

static inline struct bh_slice test_repeat(struct bh_bytes *into, char c, size_t n) {
    for (size_t i = 0; i < n; i++)
        bh_bytes_addc(into, c);
    return bh_bytes_slice(into);
}

#define assert_slice(slice, text)                                                                  \
    do {                                                                                           \
        struct bh_slice slice_here = (slice);                                                      \
        assert_int_equal(slice_here.n, strlen(text));                                              \
        assert_memory_equal(slice_here.n ? slice_here.p : "", text, strlen(text));                 \
    } while (0)

#define assert_bytes(bytes, text)                                                                  \
    do {                                                                                           \
        bh_bytes_addc(bytes, '\0');                                                                \
        assert_string_equal((bytes)->p, text);                                                     \
        (bytes)->len--;                                                                            \
    } while (0)

#endif
