/* test_rate.c - token buckets: how much passes at once, and over time. */
#include "unit_test.h"

#include "limits/rate.h"

static void test_a_second_at_once(void **state) {
    struct bh_rate r = {0};
    for (int i = 0; i < 100; i++)
        assert_int_equal(bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 100, 5000), 0);
    assert_true(bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 100, 5000) > 0);
    assert_int_equal(bh_rate_charge(&r, BH_RATE_CONTROL, 1, 100, 5000), 0); /* its own bucket */
}

static void test_no_limit(void **state) {
    struct bh_rate r = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(bh_rate_charge(&r, BH_RATE_BYTES, UINT64_MAX, 0, 1), 0);
}

static void test_over_time_the_rate_is_kept(void **state) {
    struct bh_rate r = {0};
    uint64_t now = 1, passed = 0;
    while (now < 100000) {
        uint32_t wait = bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 50, now);
        passed++;
        now += wait;
    }
    assert_in_range(passed, 50 * 95, 50 * 101 + 50); /* 100 s, and the burst */
}

static void test_after_the_wait_it_passes(void **state) {
    struct bh_rate r = {0};
    uint32_t wait = 0;
    while (!wait)
        wait = bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 10, 7000);
    assert_int_equal(bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 10, 7000 + wait), 0);
}

static void test_the_debt_is_bounded(void **state) {
    struct bh_rate r = {0};
    uint32_t wait = bh_rate_charge(&r, BH_RATE_BYTES, UINT64_MAX, 1, 1000);
    assert_in_range(wait, 1000, 11000);
    assert_int_equal(bh_rate_charge(&r, BH_RATE_BYTES, 0, 1, 1000 + wait), 0);
}

static void test_clock_wraps(void **state) {
    struct bh_rate r = {.at_ms = UINT32_MAX - 10};
    uint64_t before = (uint64_t)UINT32_MAX - 5;
    while (!bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 10, before))
        ;
    assert_int_equal(bh_rate_charge(&r, BH_RATE_MESSAGES, 1, 10, before + 2000), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_second_at_once),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_over_time_the_rate_is_kept),
        cmocka_unit_test(test_after_the_wait_it_passes),
        cmocka_unit_test(test_the_debt_is_bounded),
        cmocka_unit_test(test_clock_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
