/* test_history_loss.c - a Redis that comes back older, empty or as the replica that it had: what a
 * client has seen is in an epoch, and the read says what it does not know any more. */
#include "history_test.h"

static void check_payloads(const char *topic, struct bh_position since, bool rewound,
                           const char *wanted) {
    struct ranged r = read_behind(topic, since);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.range->outcome, BH_HISTORY_OK);
    assert_string_equal(payloads(r.range), wanted);
    assert_int_equal(r.range->rewound, rewound);
    for (size_t i = 0; i < r.range->count; i++) { /* whatever epoch they were appended in */
        assert_true(r.range->messages[i]->position.epoch == r.range->top.epoch);
        assert_int_equal(r.range->messages[i]->position.offset, r.range->since.offset + 1 + i);
    }
    release(&r);
}

static struct bh_position append_numbers(int from, int to) {
    struct bh_position last = {0};
    for (int i = from; i <= to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        last = append("user:42", text, text);
    }
    return last;
}

/* A snapshot of 5, 3 more, kill -9, start, 4 new: the clients have seen 8. */
static void test_back_to_a_snapshot(void **state) {
    open_history();
    struct bh_position third = append_numbers(1, 3);
    append_numbers(4, 5);
    test_redis_do(&fx->redis, "SAVE");
    struct bh_position eighth = append_numbers(6, 8);
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(!fx->g.up);
    test_redis_run(&fx->redis);
    WAIT_UNTIL(is_ready(&fx->g) && history_is_ready(NULL));
    /* Nothing was appended yet: there is nothing new, and 6 to 8 are unknown. */
    check_payloads("user:42", eighth, true, "");
    check_payloads("user:42", third, false, "4,5");
    struct bh_position ninth = append_numbers(9, 12);
    assert_int_equal(ninth.offset, 9);
    assert_true(ninth.epoch != eighth.epoch);
    check_payloads("user:42", eighth, true, "9,10,11,12");
    check_payloads("user:42", third, false, "4,5,9,10,11,12");
    check_payloads("user:42", ninth, false, "");
}

static void test_back_empty(void **state) {
    open_history();
    struct bh_position third = append_numbers(1, 3);
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(!fx->g.up);
    test_redis_run(&fx->redis);
    WAIT_UNTIL(is_ready(&fx->g) && history_is_ready(NULL));
    struct bh_position first = append_numbers(4, 4);
    assert_int_equal(first.offset, 1);
    struct ranged r = read_behind("user:42", third);
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP);
    assert_true(bh_position_eq(r.range->top, first));
    release(&r);
}

static void test_keys_that_are_deleted_alone(void **state) {
    open_history();
    struct bh_position second = append_numbers(1, 2);
    append_numbers(3, 3);
    test_redis_do(&fx->redis, "DEL {notification:42}:m");
    struct bh_position fourth = append_numbers(4, 4);
    assert_int_equal(fourth.offset, 4);
    check_payloads("user:42", second, false, "3,4");
    test_redis_do(&fx->redis, "DEL {notification:42}:log");
    check_payloads("user:42", fourth, false, "");
    struct ranged r = read_behind("user:42", second);
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP);
    release(&r);
    assert_int_equal(append_numbers(5, 5).offset, 5);
    check_payloads("user:42", fourth, false, "5");
}

/* The id of an append that was answered with an error is known on the other side of a restart. */
static void test_ids_outlive_the_instance(void **state) {
    struct appended a = {0};
    open_history();
    struct bh_position first = append("user:42", "a", "one");
    close_history();
    open_history();
    start_append("user:42", "a", "one", &a);
    WAIT_UNTIL(a.count);
    assert_true(a.result.known);
    assert_true(bh_position_eq(a.result.position, first));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown_history)
    const struct CMUnitTest tests[] = {
        T(test_back_to_a_snapshot),
        T(test_back_empty),
        T(test_keys_that_are_deleted_alone),
        T(test_ids_outlive_the_instance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
