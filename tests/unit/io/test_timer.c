/* The wheel: never early, never lost, in any order of events. */
#include "io_test.h"

#include "bellhop/io/timer.h"

_Static_assert(sizeof(struct bh_timer) == 40, "the header says so");

#define HORIZON_MS (8192 * 4)

struct probe {
    struct bh_timer timer;
    unsigned fired;
    uint64_t fired_at;
    uint64_t again; /* delay to set itself to, while repeats > 0 */
    unsigned repeats;
    struct probe *cancels;
};

static unsigned fired_in_all;

static void on_fire(struct bh_timer *t) {
    struct probe *p = BH_CONTAINER_OF(t, struct probe, timer);
    assert_false(bh_timer_pending(t));
    p->fired++;
    p->fired_at = bh_clock_ms();
    assert_true(p->fired_at >= t->due_ms);
    fired_in_all++;
    if (p->repeats > 0) {
        p->repeats--;
        bh_timer_set(t, p->again);
    }
    if (p->cancels)
        bh_timer_cancel(&p->cancels->timer);
}

static void probe_init(struct probe *p, struct bh_loop *loop) {
    *p = (struct probe){0};
    bh_timer_init(&p->timer, loop, on_fire);
}

static void advance(struct bh_loop *loop, uint64_t ms) {
    bh_clock_fake_advance(ms);
    bh_loop_tick(loop, false);
}

static int setup(void **state) {
    bh_clock_fake(1000003, 0); /* not a multiple of the slot */
    fired_in_all = 0;
    *state = bh_loop_new();
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(*state);
    bh_clock_real();
    return 0;
}

static void fires_on_time_for_each_delay(void **state) {
    for (uint64_t delay = 0; delay < 20; delay++) {
        struct probe p;
        probe_init(&p, *state);
        assert_false(bh_timer_pending(&p.timer));
        bh_timer_set(&p.timer, delay);
        assert_true(bh_timer_pending(&p.timer));
        for (uint64_t ms = 0; ms < delay; ms++) {
            bh_loop_tick(*state, false);
            assert_int_equal(p.fired, 0);
            bh_clock_fake_advance(1);
        }
        bh_loop_tick(*state, false);
        assert_int_equal(p.fired, 1);
        assert_false(bh_timer_pending(&p.timer));
        advance(*state, 2 * HORIZON_MS);
        assert_int_equal(p.fired, 1);
    }
}

static void beyond_the_horizon(void **state) {
    static const uint64_t delays[] = {HORIZON_MS - 4,     HORIZON_MS - 1,     HORIZON_MS,
                                      HORIZON_MS + 1,     HORIZON_MS + 4,     300000,
                                      5 * HORIZON_MS + 3, 24 * 3600 * 1000ull};
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        struct probe p;
        probe_init(&p, *state);
        bh_timer_set(&p.timer, delays[i]);
        uint64_t left = delays[i];
        for (; left > 10000; left -= 9999)
            advance(*state, 9999);
        advance(*state, left - 1);
        assert_int_equal(p.fired, 0);
        advance(*state, 1);
        assert_int_equal(p.fired, 1);
    }
}

static void one_big_jump_fires_all(void **state) {
    struct probe p[50];
    for (unsigned i = 0; i < 50; i++) {
        probe_init(&p[i], *state);
        bh_timer_set(&p[i].timer, i * 3001ull);
    }
    advance(*state, 40 * 3001);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(p[i].fired, i <= 40);
    advance(*state, 9 * 3001);
    assert_int_equal(fired_in_all, 50);
}

static void moving_and_cancelling(void **state) {
    struct probe p;
    probe_init(&p, *state);
    bh_timer_cancel(&p.timer);
    bh_timer_set(&p.timer, 10);
    bh_timer_set(&p.timer, 50);
    advance(*state, 49);
    assert_int_equal(p.fired, 0);
    bh_timer_set(&p.timer, 5);
    advance(*state, 5);
    assert_int_equal(p.fired, 1);
    bh_timer_set(&p.timer, 5);
    bh_timer_cancel(&p.timer);
    bh_timer_cancel(&p.timer);
    assert_false(bh_timer_pending(&p.timer));
    advance(*state, 2 * HORIZON_MS);
    assert_int_equal(p.fired, 1);
}

static void a_callback_may_set_itself_again(void **state) {
    struct probe p;
    probe_init(&p, *state);
    p.again = 0;
    p.repeats = 3;
    bh_timer_set(&p.timer, 0);
    for (unsigned tick = 1; tick <= 4; tick++) { /* once in each tick, not for ever in one */
        bh_loop_tick(*state, false);
        assert_int_equal(p.fired, tick);
    }
    p.again = 1000;
    p.repeats = 1;
    bh_timer_set(&p.timer, 1000);
    advance(*state, 1000);
    assert_int_equal(p.fired, 5);
    advance(*state, 999);
    assert_int_equal(p.fired, 5);
    advance(*state, 1);
    assert_int_equal(p.fired, 6);
}

static void a_callback_may_cancel_others_that_are_due(void **state) {
    struct probe p[3];
    for (int i = 0; i < 3; i++) {
        probe_init(&p[i], *state);
        bh_timer_set(&p[i].timer, 8);
    }
    p[0].cancels = &p[1];
    p[1].cancels = &p[0];
    advance(*state, 100);
    assert_int_equal(p[0].fired, 1);
    assert_int_equal(p[1].fired, 0);
    assert_int_equal(p[2].fired, 1);
    bh_timer_set(&p[1].timer, 1);
    advance(*state, 1);
    assert_int_equal(p[1].fired, 1);
}

static void an_endless_delay_never_fires(void **state) {
    struct probe never, soon;
    probe_init(&never, *state);
    probe_init(&soon, *state);
    bh_timer_set(&never.timer, UINT64_MAX);
    bh_timer_set(&soon.timer, 10);
    advance(*state, 10);
    assert_int_equal(soon.fired, 1);
    advance(*state, 100ull * 365 * 24 * 3600 * 1000);
    assert_int_equal(never.fired, 0);
    assert_true(bh_timer_pending(&never.timer));
    bh_timer_cancel(&never.timer);
}

static void a_clock_that_starts_over_loses_nothing(void **state) {
    struct probe p;
    probe_init(&p, *state);
    advance(*state, 5000);
    bh_clock_fake(10, 0);
    bh_timer_set(&p.timer, 100);
    advance(*state, 99);
    assert_int_equal(p.fired, 0);
    advance(*state, 1);
    assert_int_equal(p.fired, 1);
}

static void a_hundred_thousand(void **state) {
    enum { N = 100000 };
    struct probe *p = bh_calloc(N, sizeof *p);
    uint64_t seed = 1, end = 0;
    for (size_t i = 0; i < N; i++) {
        probe_init(&p[i], *state);
        uint64_t delay = test_random_from(&seed) % 120000;
        bh_timer_set(&p[i].timer, delay);
        end = delay > end ? delay : end;
    }
    for (size_t i = 0; i < N; i += 4)
        bh_timer_cancel(&p[i].timer);
    for (uint64_t at = 0; at <= end; at += 7) {
        advance(*state, 7);
        bh_loop_tick(*state, false);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(p[i].fired, i % 4 != 0);
        if (p[i].fired)
            assert_true(p[i].fired_at < p[i].timer.due_ms + 7);
    }
    bh_free(p);
}

/* Random operations, compared with a simple model: due means fired in the next tick. */
static void agrees_with_a_naive_model(void **state) {
    enum { N = 60 };
    struct probe p[N];
    bool armed[N] = {false};
    unsigned expected[N] = {0};
    uint64_t seed = 42;
    for (int i = 0; i < N; i++)
        probe_init(&p[i], *state);
    for (int round = 0; round < 40000; round++) {
        int i = (int)(test_random_from(&seed) % N);
        uint32_t dice = test_random_from(&seed) % 100;
        if (dice < 40) {
            static const uint32_t ranges[] = {10, 1000, HORIZON_MS, 5 * HORIZON_MS};
            bh_timer_set(&p[i].timer,
                         test_random_from(&seed) % ranges[test_random_from(&seed) % 4]);
            armed[i] = true;
            continue;
        }
        if (dice < 60) {
            bh_timer_cancel(&p[i].timer);
            armed[i] = false;
            continue;
        }
        advance(*state, test_random_from(&seed) % (dice == 99 ? 3 * HORIZON_MS : 50));
        for (int k = 0; k < N; k++)
            if (armed[k] && p[k].timer.due_ms <= bh_clock_ms()) {
                armed[k] = false;
                expected[k]++;
            }
        for (int k = 0; k < N; k++) {
            assert_int_equal(p[k].fired, expected[k]);
            assert_int_equal(bh_timer_pending(&p[k].timer), armed[k]);
        }
    }
    for (int i = 0; i < N; i++)
        bh_timer_cancel(&p[i].timer);
}

static struct probe *stopper;

static void on_stop(struct bh_timer *t) {
    stopper->fired++;
    bh_loop_stop(t->loop);
}

static void the_real_clock_wakes_the_loop(void **state) {
    struct probe p, other;
    bh_clock_real();
    stopper = &p;
    probe_init(&p, *state);
    probe_init(&other, *state);
    bh_timer_init(&p.timer, *state, on_stop);
    uint64_t began = bh_clock_ms();
    bh_timer_set(&other.timer, 3600 * 1000);
    bh_timer_set(&p.timer, 12);
    bh_loop_run(*state);
    assert_int_equal(p.fired, 1);
    assert_true(bh_clock_ms() - began >= 12);
    bh_timer_set(&p.timer, 0);
    bh_loop_run(*state);
    assert_int_equal(p.fired, 2);
    assert_int_equal(other.fired, 0);
    bh_timer_cancel(&other.timer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fires_on_time_for_each_delay, setup, teardown),
        cmocka_unit_test_setup_teardown(beyond_the_horizon, setup, teardown),
        cmocka_unit_test_setup_teardown(one_big_jump_fires_all, setup, teardown),
        cmocka_unit_test_setup_teardown(moving_and_cancelling, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_set_itself_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_cancel_others_that_are_due, setup, teardown),
        cmocka_unit_test_setup_teardown(an_endless_delay_never_fires, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_starts_over_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hundred_thousand, setup, teardown),
        cmocka_unit_test_setup_teardown(agrees_with_a_naive_model, setup, teardown),
        cmocka_unit_test_setup_teardown(the_real_clock_wakes_the_loop, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
