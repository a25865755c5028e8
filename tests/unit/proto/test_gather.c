/* Memory follows what has arrived and stops at the limit. */
#include "gather.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "proto_test.h"

static void memory_doubles_up_to_the_limit(void **state) {
    struct bh_bytes b = {0};
    size_t grown = 0;
    for (size_t i = 0; i < 1000; i++) {
        size_t cap = b.cap;
        assert_int_equal(bh_gather_add(&b, bh_slice("x", 1), 1000), 0);
        assert_true(b.cap <= 1000 && b.cap <= 2 * b.len);
        grown += b.cap != cap;
    }
    assert_true(grown <= 11);
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.cap, 1000);
    bh_bytes_free(&b);
}

static void one_piece_takes_just_its_size(void **state) {
    struct bh_bytes b = {0};
    assert_int_equal(bh_gather_add(&b, BH_SLICE("0123456789"), SIZE_MAX), 0);
    assert_int_equal(b.cap, 10);
    assert_int_equal(bh_gather_add(&b, bh_slice(NULL, 0), SIZE_MAX), 0);
    assert_slice(bh_bytes_slice(&b), "0123456789");
    bh_bytes_free(&b);
}

static void a_failure_leaves_what_was_there(void **state) {
    struct bh_bytes b = {0};
    assert_int_equal(bh_gather_add(&b, BH_SLICE("abc"), 100), 0);
    bh_mem_fail_nth(1);
    assert_int_equal(bh_gather_add(&b, BH_SLICE("def"), 100), BH_ENOMEM);
    assert_slice(bh_bytes_slice(&b), "abc");
    bh_bytes_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_doubles_up_to_the_limit),
        cmocka_unit_test(one_piece_takes_just_its_size),
        cmocka_unit_test(a_failure_leaves_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
