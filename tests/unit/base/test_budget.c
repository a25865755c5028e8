/* test_budget.c - charging and releasing in steps, the limit, and several threads. */
#include "unit_test.h"

#include "bellhop/base/budget.h"

#include <pthread.h>

#define STEP BH_BUDGET_STEP

static int setup(void **state) {
    bh_budget_set_limit(0);
    return 0;
}

/* Every test leaves nothing charged. */
static int teardown(void **state) {
    bh_budget_settle();
    return bh_budget_used() == 0 ? 0 : -1;
}

static void steps_reach_the_total(void **state) {
    bh_budget_charge(BH_BUDGET_MESSAGES, STEP - 1);
    assert_int_equal(bh_budget_used(), 0);
    bh_budget_charge(BH_BUDGET_MESSAGES, 1);
    assert_int_equal(bh_budget_used(), STEP);
    bh_budget_charge(BH_BUDGET_MESSAGES, -(STEP - 1));
    assert_int_equal(bh_budget_used(), STEP);
    bh_budget_charge(BH_BUDGET_MESSAGES, -1);
    assert_int_equal(bh_budget_used(), 0);
}

/* Many small ones are no less than a large one. */
static void small_changes_add_up(void **state) {
    for (int i = 0; i < 1000; i++)
        bh_budget_charge(BH_BUDGET_BODIES, 1000);
    assert_in_range(bh_budget_used(), 1000 * 1000 - STEP, 1000 * 1000);
    for (int i = 0; i < 1000; i++)
        bh_budget_charge(BH_BUDGET_BODIES, -1000);
    assert_in_range(bh_budget_used(), 0, STEP);
}

static void settling_makes_it_exact(void **state) {
    bh_budget_charge(BH_BUDGET_HELD, 10);
    bh_budget_charge(BH_BUDGET_QUEUES, 20);
    bh_budget_settle();
    assert_int_equal(bh_budget_used(), 30);
    assert_int_equal(bh_budget_used_by(BH_BUDGET_HELD), 10);
    assert_int_equal(bh_budget_used_by(BH_BUDGET_QUEUES), 20);
    bh_budget_charge(BH_BUDGET_HELD, -10);
    bh_budget_charge(BH_BUDGET_QUEUES, -20);
}

static void kinds_are_apart(void **state) {
    for (int kind = 0; kind < BH_BUDGET_KINDS; kind++)
        bh_budget_charge((enum bh_budget_kind)kind, (kind + 1) * STEP);
    for (int kind = 0; kind < BH_BUDGET_KINDS; kind++) {
        assert_int_equal(bh_budget_used_by((enum bh_budget_kind)kind), (kind + 1) * STEP);
        bh_budget_charge((enum bh_budget_kind)kind, -(kind + 1) * STEP);
    }
}

static void the_limit_is_included(void **state) {
    bh_budget_set_limit(4 * STEP);
    bh_budget_charge(BH_BUDGET_MESSAGES, 4 * STEP);
    assert_false(bh_budget_exceeded());
    bh_budget_charge(BH_BUDGET_QUEUES, STEP);
    assert_true(bh_budget_exceeded());
    bh_budget_charge(BH_BUDGET_MESSAGES, -STEP);
    assert_false(bh_budget_exceeded());
    bh_budget_charge(BH_BUDGET_MESSAGES, -3 * STEP);
    bh_budget_charge(BH_BUDGET_QUEUES, -STEP);
}

static void room(void **state) {
    bh_budget_set_limit(4 * STEP);
    bh_budget_charge(BH_BUDGET_BODIES, STEP);
    assert_true(bh_budget_has_room(0));
    assert_true(bh_budget_has_room(3 * STEP));
    assert_false(bh_budget_has_room(3 * STEP + 1));
    assert_false(bh_budget_has_room(UINT64_MAX));
    bh_budget_charge(BH_BUDGET_BODIES, 4 * STEP);
    assert_false(bh_budget_has_room(0));
    bh_budget_set_limit(0);
    assert_true(bh_budget_has_room(UINT64_MAX));
    bh_budget_charge(BH_BUDGET_BODIES, -5 * STEP);
}

static void without_a_limit_it_only_counts(void **state) {
    bh_budget_charge(BH_BUDGET_MESSAGES, INT64_MAX / 2);
    assert_false(bh_budget_exceeded());
    assert_true(bh_budget_used() == INT64_MAX / 2);
    bh_budget_set_limit(UINT64_MAX);
    assert_false(bh_budget_exceeded());
    bh_budget_charge(BH_BUDGET_MESSAGES, -(INT64_MAX / 2));
}

/* One thread charges, another one releases: less than nothing is nothing. */
static void *release(void *bytes) {
    bh_budget_charge(BH_BUDGET_QUEUES, -(intptr_t)bytes);
    bh_budget_settle();
    return NULL;
}

static void another_thread_may_release(void **state) {
    pthread_t thread;
    bh_budget_charge(BH_BUDGET_QUEUES, 100);
    assert_int_equal(pthread_create(&thread, NULL, release, (void *)100), 0);
    pthread_join(thread, NULL);
    assert_int_equal(bh_budget_used(), 0);
    assert_int_equal(bh_budget_used_by(BH_BUDGET_QUEUES), 0);
}

static void *grow(void *unused) {
    for (int i = 0; i < 100000; i++)
        bh_budget_charge(BH_BUDGET_MESSAGES, 1 + i % 7000);
    bh_budget_settle();
    return NULL;
}

static void *shrink(void *unused) {
    for (int i = 0; i < 100000; i++)
        bh_budget_charge(BH_BUDGET_MESSAGES, -(1 + i % 7000));
    bh_budget_settle();
    return NULL;
}

static void run(void *(*work)(void *), int64_t expected) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(bh_budget_used() == expected);
}

static void threads_lose_nothing(void **state) {
    int64_t one = 0;
    for (int i = 0; i < 100000; i++)
        one += 1 + i % 7000;
    run(grow, 4 * one);
    run(shrink, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(steps_reach_the_total),          TEST(small_changes_add_up),
        TEST(settling_makes_it_exact),        TEST(kinds_are_apart),
        TEST(the_limit_is_included),          TEST(room),
        TEST(without_a_limit_it_only_counts), TEST(another_thread_may_release),
        TEST(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
