/* unit_test.h - for every unit test: cmocka with the headers it needs, comparing bytes, repeatable
 * random numbers, heap blocks of an exact size. */
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

/* The same numbers in every run. The second one is for tests that keep a state of their own. */
uint32_t test_random(void);
uint32_t test_random_from(uint64_t *state);

#define assert_slice(slice, text)                                                                  \
    do {                                                                                           \
        struct bh_slice slice_here = (slice);                                                      \
        assert_int_equal(slice_here.n, strlen(text));                                              \
        assert_memory_equal(slice_here.n ? slice_here.p : "", text, strlen(text));                 \
    } while (0)

/* A copy in a heap block of exactly its size, so that reading past it is caught. */
struct bh_slice test_exact(struct bh_slice s);
void test_exact_free(struct bh_slice s);

#endif
