/* test_quota.c - counting connections by name, against a plain model, and from several threads. */
#include "unit_test.h"

#include "limits/quota.h"

#include <pthread.h>

static struct bh_slice name_of(unsigned i, char buffer[16]) {
    return bh_slice(buffer, (size_t)snprintf(buffer, 16, "n%u", i));
}

static void test_limit_holds(void **state) {
    struct bh_slice name = BH_SLICE("42");
    assert_true(bh_quota_acquire(BH_QUOTA_USER, name, 2));
    assert_true(bh_quota_acquire(BH_QUOTA_USER, name, 2));
    assert_false(bh_quota_acquire(BH_QUOTA_USER, name, 2));
    assert_true(bh_quota_acquire(BH_QUOTA_TENANT, name, 1)); /* another name space */
    bh_quota_release(BH_QUOTA_USER, name, 2);
    assert_true(bh_quota_acquire(BH_QUOTA_USER, name, 2));
    assert_false(bh_quota_acquire(BH_QUOTA_USER, name, 2));
    bh_quota_release(BH_QUOTA_USER, name, 2);
    bh_quota_release(BH_QUOTA_USER, name, 2);
    bh_quota_release(BH_QUOTA_TENANT, name, 1);
}

static void test_no_limit_and_no_name(void **state) {
    for (int i = 0; i < 10; i++) {
        assert_true(bh_quota_acquire(BH_QUOTA_IP, BH_SLICE("x"), 0));
        assert_true(bh_quota_acquire(BH_QUOTA_USER, bh_slice(NULL, 0), 1));
    }
    bh_quota_release(BH_QUOTA_IP, BH_SLICE("x"), 0);
    bh_quota_release(BH_QUOTA_USER, bh_slice(NULL, 0), 1);
}

static void test_many_names_against_a_model(void **state) {
    enum { NAMES = 3000, LIMIT = 3 };
    static int model[NAMES];
    char buffer[16];
    for (int step = 0; step < 200000; step++) {
        unsigned i = test_random() % NAMES;
        /* Phases of growing and of shrinking, so that the tables do both. */
        bool growing = step / 20000 % 2 == 0;
        if (test_random() % 4 < (growing ? 3u : 1u)) {
            bool taken = bh_quota_acquire(BH_QUOTA_USER, name_of(i, buffer), LIMIT);
            assert_int_equal(taken, model[i] < LIMIT);
            model[i] += taken;
        } else if (model[i] > 0) {
            bh_quota_release(BH_QUOTA_USER, name_of(i, buffer), LIMIT);
            model[i]--;
        }
    }
    for (unsigned i = 0; i < NAMES; i++) {
        assert_true(bh_quota_acquire(BH_QUOTA_USER, name_of(i, buffer), (size_t)model[i] + 1));
        assert_false(bh_quota_acquire(BH_QUOTA_USER, name_of(i, buffer), (size_t)model[i] + 1));
        for (int n = model[i] + 1; n > 0; n--)
            bh_quota_release(BH_QUOTA_USER, name_of(i, buffer), LIMIT);
    }
}

static void *hammer(void *taken) {
    char buffer[16];
    for (unsigned i = 0; i < 20000; i++)
        if (bh_quota_acquire(BH_QUOTA_IP, name_of(i % 50, buffer), 1 << 20))
            ++*(unsigned *)taken;
    for (unsigned i = 0; i < 20000; i++)
        bh_quota_release(BH_QUOTA_IP, name_of(i % 50, buffer), 1 << 20);
    return NULL;
}

static void test_threads(void **state) {
    pthread_t threads[4];
    unsigned taken[4] = {0};
    char buffer[16];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &taken[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(taken[i], 20000);
    }
    for (unsigned i = 0; i < 50; i++) { /* all were released */
        assert_true(bh_quota_acquire(BH_QUOTA_IP, name_of(i, buffer), 1));
        bh_quota_release(BH_QUOTA_IP, name_of(i, buffer), 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_holds),
        cmocka_unit_test(test_no_limit_and_no_name),
        cmocka_unit_test(test_many_names_against_a_model),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
