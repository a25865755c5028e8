/* test_peak.c - when memory is given back after a peak. */
#include "unit_test.h"

#include "peak.h"

#define MIB    ((uint64_t)1 << 20)
#define MINUTE BH_PEAK_INTERVAL_MS

static void below_half(void **state) {
    struct bh_peak p = {0};
    assert_false(bh_peak_passed(&p, 100 * MIB, 1));
    assert_false(bh_peak_passed(&p, 50 * MIB, 2));
    assert_true(bh_peak_passed(&p, 50 * MIB - 1, 3));
}

static void once(void **state) {
    struct bh_peak p = {0};
    bh_peak_passed(&p, 100 * MIB, 0);
    assert_true(bh_peak_passed(&p, 40 * MIB, 1));
    assert_false(bh_peak_passed(&p, 40 * MIB, 1 + MINUTE));
    assert_false(bh_peak_passed(&p, 21 * MIB, 2 + MINUTE));
    assert_true(bh_peak_passed(&p, 19 * MIB, 3 + MINUTE));
}

static void once_a_minute(void **state) {
    struct bh_peak p = {0};
    bh_peak_passed(&p, 100 * MIB, 0);
    assert_true(bh_peak_passed(&p, 0, 1));
    bh_peak_passed(&p, 100 * MIB, 2);
    assert_false(bh_peak_passed(&p, 0, 3));
    assert_false(bh_peak_passed(&p, 0, MINUTE));
    assert_true(bh_peak_passed(&p, 0, MINUTE + 1)); /* it was not forgotten */
    assert_false(bh_peak_passed(&p, 0, 3 * MINUTE));
}

static void it_has_risen_again(void **state) {
    struct bh_peak p = {0};
    bh_peak_passed(&p, 100 * MIB, 0);
    assert_true(bh_peak_passed(&p, 0, 1));
    bh_peak_passed(&p, 100 * MIB, 2);
    bh_peak_passed(&p, 0, 3);
    assert_false(bh_peak_passed(&p, 90 * MIB, MINUTE + 1));
    assert_true(bh_peak_passed(&p, 0, MINUTE + 2));
}

static void little_is_not_worth_it(void **state) {
    struct bh_peak p = {0};
    bh_peak_passed(&p, BH_PEAK_WORTH, 0);
    assert_false(bh_peak_passed(&p, 1, 1));
    assert_true(bh_peak_passed(&p, 0, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(below_half),
        cmocka_unit_test(once),
        cmocka_unit_test(once_a_minute),
        cmocka_unit_test(it_has_risen_again),
        cmocka_unit_test(little_is_not_worth_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
