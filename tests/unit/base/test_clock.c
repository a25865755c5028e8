/* The clock: the fake moves only when advanced, the real one never back. */
#include "bellhop/base/clock.h"

#include "unit_test.h"

#include <time.h>

static void the_fake_moves_only_by_hand(void **state) {
    bh_clock_fake(1000, 1700000000000);
    assert_int_equal(bh_clock_ms(), 1000);
    assert_int_equal(bh_clock_us(), 1000000);
    assert_int_equal(bh_clock_wall_ms(), 1700000000000);
    assert_int_equal(bh_clock_ms(), 1000);
    bh_clock_fake_advance(250);
    assert_int_equal(bh_clock_ms(), 1250);
    assert_int_equal(bh_clock_us(), 1250000);
    assert_int_equal(bh_clock_wall_ms(), 1700000000250);
    bh_clock_real();
}

static void the_fake_runs_when_it_is_read(void **state) {
    bh_clock_fake(1000, 1700000000000);
    bh_clock_fake_run(400);
    assert_int_equal(bh_clock_us(), 1000400);
    assert_int_equal(bh_clock_ms(), 1000);
    assert_int_equal(bh_clock_us(), 1001200);
    assert_int_equal(bh_clock_wall_ms(), 1700000000001);
    bh_clock_fake_run(0);
    assert_int_equal(bh_clock_us(), 1001200);
    bh_clock_real();
}

static void the_real_clock_agrees_with_the_system(void **state) {
    int64_t before = (int64_t)time(NULL) - 1;
    assert_true(bh_clock_wall_ms() / 1000 >= before);
    assert_true(bh_clock_wall_ms() / 1000 <= (int64_t)time(NULL) + 1);
    uint64_t last = bh_clock_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = bh_clock_us();
        assert_true(now >= last);
        last = now;
    }
    uint64_t ms = bh_clock_ms();
    assert_true(ms >= last / 1000);
    assert_true(bh_clock_us() / 1000 >= ms);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fake_moves_only_by_hand),
        cmocka_unit_test(the_fake_runs_when_it_is_read),
        cmocka_unit_test(the_real_clock_agrees_with_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
