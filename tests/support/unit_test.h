/* What unit tests share: cmocka with what it wants included before it, repeatable random numbers,
 * comparing bytes. */
#ifndef BELLHOP_TESTS_SUPPORT_UNIT_TEST_H
#define BELLHOP_TESTS_SUPPORT_UNIT_TEST_H

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

static inline uint32_t test_random(void) {
    static uint64_t state = 0x9e3779b97f4a7c15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

#define assert_slice(slice, text)                                                                  \
    do {                                                                                           \
        struct bh_slice slice_here = (slice);                                                      \
        assert_int_equal(slice_here.n, strlen(text));                                              \
        assert_memory_equal(slice_here.n ? slice_here.p : "", text, strlen(text));                 \
    } while (0)

/* The bytes as a fresh heap block of exactly their size, so that reading past them is caught. */
static inline struct bh_slice test_exact(struct bh_slice s) {
    char *p = malloc(s.n ? s.n : 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return bh_slice(p, s.n);
}

static inline void test_exact_free(struct bh_slice s) {
    free((char *)s.p);
}

#endif
