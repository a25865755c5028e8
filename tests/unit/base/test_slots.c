/* Handles: stale ones find nothing, slots are reused, iteration survives removal. */
#include "bellhop/base/slots.h"

#include "unit_test.h"

static void finds_what_was_added(void **state) {
    struct bh_slots s;
    int a, b;
    bh_slots_init(&s);
    bh_handle ha = bh_slots_add(&s, &a), hb = bh_slots_add(&s, &b);
    assert_true(ha != 0 && hb != 0 && ha != hb);
    assert_ptr_equal(bh_slots_get(&s, ha), &a);
    assert_ptr_equal(bh_slots_get(&s, hb), &b);
    assert_int_equal(s.count, 2);
    bh_slots_deinit(&s);
    assert_null(bh_slots_get(&s, ha));
}

static void strange_handles_find_nothing(void **state) {
    struct bh_slots s;
    int a;
    bh_slots_init(&s);
    assert_null(bh_slots_get(&s, 0));
    assert_null(bh_slots_get(&s, UINT64_MAX));
    bh_slots_remove(&s, 0);
    bh_handle h = bh_slots_add(&s, &a);
    assert_null(bh_slots_get(&s, 0));
    assert_null(bh_slots_get(&s, h + 1));                    /* a slot never used */
    assert_null(bh_slots_get(&s, h + ((bh_handle)1 << 32))); /* a generation to come */
    bh_slots_remove(&s, h + ((bh_handle)1 << 32));
    assert_ptr_equal(bh_slots_get(&s, h), &a);
    bh_slots_deinit(&s);
}

static void an_outdated_handle_finds_nothing_even_when_its_slot_lives_again(void **state) {
    struct bh_slots s;
    int a, b;
    bh_slots_init(&s);
    bh_handle old = bh_slots_add(&s, &a);
    bh_slots_remove(&s, old);
    assert_null(bh_slots_get(&s, old));
    assert_null(bh_slots_get(&s, old + ((bh_handle)1 << 32))); /* free, though its generation */
    bh_slots_remove(&s, old + ((bh_handle)1 << 32));
    assert_int_equal(s.count, 0);
    bh_handle new = bh_slots_add(&s, &b);
    assert_int_equal((uint32_t) new, (uint32_t)old);
    assert_null(bh_slots_get(&s, old));
    bh_slots_remove(&s, old);
    assert_ptr_equal(bh_slots_get(&s, new), &b);
    assert_int_equal(s.used, 1);
    bh_slots_deinit(&s);
}

static void a_generation_is_never_zero(void **state) {
    struct bh_slots s;
    int a;
    bh_slots_init(&s);
    bh_handle h = bh_slots_add(&s, &a);
    s.slots[0].generation = UINT32_MAX; /* as after 2^32 - 2 reuses */
    h = (bh_handle)UINT32_MAX << 32 | (uint32_t)h;
    bh_slots_remove(&s, h);
    h = bh_slots_add(&s, &a);
    assert_int_equal(h >> 32, 1);
    assert_ptr_equal(bh_slots_get(&s, h), &a);
    bh_slots_deinit(&s);
}

static void iteration_allows_removing_the_object_at_hand(void **state) {
    enum { N = 100 };
    struct bh_slots s;
    static bh_handle handles[N];
    bh_slots_init(&s);
    for (int i = 0; i < N; i++)
        handles[i] = bh_slots_add(&s, &handles[i]);
    uint32_t cursor = 0;
    int seen = 0;
    for (bh_handle *h; (h = bh_slots_next(&s, &cursor)); seen++)
        if (seen % 2)
            bh_slots_remove(&s, *h);
    assert_int_equal(seen, N);
    assert_int_equal(s.count, N / 2);
    cursor = 0;
    for (seen = 0; bh_slots_next(&s, &cursor); seen++)
        ;
    assert_int_equal(seen, N / 2);
    bh_slots_deinit(&s);
}

static void agrees_with_a_model_under_churn(void **state) {
    enum { N = 200 };
    struct bh_slots s;
    static bh_handle live[N], dead[N];
    size_t count = 0;
    bh_slots_init(&s);
    for (int round = 0; round < 50000; round++) {
        size_t i = test_random() % N;
        if (live[i]) {
            bh_slots_remove(&s, live[i]);
            dead[i] = live[i];
            live[i] = 0;
            count--;
        } else {
            live[i] = bh_slots_add(&s, &live[i]);
            count++;
        }
        assert_int_equal(s.count, count);
        size_t other = test_random() % N;
        assert_ptr_equal(bh_slots_get(&s, live[other]), live[other] ? &live[other] : NULL);
        assert_null(bh_slots_get(&s, dead[other]));
    }
    assert_true(s.used <= N);
    bh_slots_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(strange_handles_find_nothing),
        cmocka_unit_test(an_outdated_handle_finds_nothing_even_when_its_slot_lives_again),
        cmocka_unit_test(a_generation_is_never_zero),
        cmocka_unit_test(iteration_allows_removing_the_object_at_hand),
        cmocka_unit_test(agrees_with_a_model_under_churn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
