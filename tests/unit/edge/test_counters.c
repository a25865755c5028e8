/* test_counters.c - numbers by name: bounds, the largest, several threads. (test_quota.c has them
 * against a model.) */
#include "unit_test.h"

#include "limits/counters.h"

static struct bh_counters counters = BH_COUNTERS_INIT;

static uint64_t hash(unsigned i) {
    char name[16];
    return bh_counters_hash('x', bh_slice(name, (size_t)snprintf(name, sizeof name, "%u", i)));
}

static void bounds(void **state) {
    assert_true(bh_counters_add(&counters, hash(1), 7, 10));
    assert_false(bh_counters_add(&counters, hash(1), 4, 10));
    assert_true(bh_counters_add(&counters, hash(1), 3, 10));
    assert_false(bh_counters_add(&counters, hash(2), 11, 10));
    bh_counters_subtract(&counters, hash(1), 10);
    assert_int_equal(counters.used, 0);
}

static void names_have_spaces(void **state) {
    assert_true(bh_counters_hash('a', BH_SLICE("1")) != bh_counters_hash('b', BH_SLICE("1")));
    assert_true(bh_counters_hash('a', BH_SLICE("1")) == bh_counters_hash('a', BH_SLICE("1")));
}

static void the_largest(void **state) {
    uint64_t which;
    assert_int_equal(bh_counters_largest(&counters, &which), 0);
    assert_int_equal(which, 0);
    for (unsigned i = 1; i <= 100; i++)
        bh_counters_add(&counters, hash(i), i == 40 ? 1000 : i, UINT32_MAX);
    assert_int_equal(bh_counters_largest(&counters, &which), 1000);
    assert_true(which == hash(40));
    bh_counters_subtract(&counters, hash(40), 960);
    assert_int_equal(bh_counters_largest(&counters, &which), 100);
    assert_true(which == hash(100));
    for (unsigned i = 1; i <= 100; i++)
        bh_counters_subtract(&counters, hash(i), i);
    assert_int_equal(bh_counters_largest(&counters, &which), 0);
}

static void *hammer(void *unused) {
    for (unsigned i = 0; i < 20000; i++)
        bh_counters_add(&counters, hash(i % 50), 1 + i % 3, UINT32_MAX);
    for (unsigned i = 0; i < 20000; i++)
        bh_counters_subtract(&counters, hash(i % 50), 1 + i % 3);
    return NULL;
}

static void threads(void **state) {
    pthread_t ids[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&ids[i], NULL, hammer, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
    assert_int_equal(counters.used, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds),
        cmocka_unit_test(names_have_spaces),
        cmocka_unit_test(the_largest),
        cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
