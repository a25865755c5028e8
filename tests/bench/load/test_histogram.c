/* test_histogram.c - a histogram tells quantiles within its error bound, also when it is merged. */
#include "histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VALUES 20000

static struct histogram first, second;

static int empty(void **state) {
    memset(&first, 0, sizeof first);
    memset(&second, 0, sizeof second);
    return 0;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void assert_near(uint64_t exact, uint64_t told) {
    uint64_t off = told > exact ? told - exact : exact - told;
    assert_true(off * 128 <= exact);
}

/* From a few to hours, as many in each octave. */
static uint64_t draw(void) {
    return ((uint64_t)rand() << 31 | (uint64_t)rand()) >> (18 + rand() % 42);
}

static void test_each_value_is_near(void **state) {
    for (uint64_t value = 1; value < (uint64_t)1 << 44; value += 1 + value / 97) {
        empty(NULL);
        histogram_add(&first, value);
        histogram_add(&first, value * 2); /* so that the largest value is not the one in question */
        assert_near(value, histogram_quantile(&first, 0.5));
        assert_int_equal(value * 2, first.max);
    }
}

static void test_quantiles_are_near(void **state) {
    static uint64_t values[VALUES];
    static const double quantiles[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999};
    srand(7);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = draw();
        histogram_add(i % 3 ? &first : &second, values[i]);
    }
    histogram_merge(&first, &second);
    qsort(values, VALUES, sizeof *values, compare);
    assert_int_equal(VALUES, first.count);
    assert_int_equal(values[VALUES - 1], first.max);
    assert_near(first.max, histogram_quantile(&first, 1));
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
        assert_near(values[(size_t)(quantiles[i] * VALUES) - 1],
                    histogram_quantile(&first, quantiles[i]));
}

static void test_what_is_too_large_is_the_largest(void **state) {
    histogram_add(&first, UINT64_MAX);
    assert_int_equal(UINT64_MAX, first.max);
    assert_int_equal(1, first.buckets[HISTOGRAM_BUCKETS - 1]);
}

static void test_empty(void **state) {
    assert_int_equal(0, histogram_quantile(&first, 0.5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_value_is_near, empty),
        cmocka_unit_test_setup(test_quantiles_are_near, empty),
        cmocka_unit_test_setup(test_what_is_too_large_is_the_largest, empty),
        cmocka_unit_test_setup(test_empty, empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
