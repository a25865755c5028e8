/* test_position.c - positions as text: each has one spelling, and nothing else is one. */
#include "bellhop/core/position.h"

#include "bellhop/base/error.h"
#include "core_test.h"

#define MOST "9007199254740991" /* 2^53 - 1 */

static void each_is_read_as_it_was_written(void **state) {
    const struct bh_position positions[] = {
        {1, 0},
        {1, 1},
        {1733000000000000, 42},
        {BH_POSITION_END - 1, BH_POSITION_END - 1},
    };
    static const char *const texts[] = {"1-0", "1-1", "1733000000000000-42", MOST "-" MOST};
    for (size_t i = 0; i < COUNT(positions); i++) {
        char text[BH_POSITION_TEXT_MAX + 1];
        struct bh_position again;
        size_t n = bh_position_format(positions[i], text);
        assert_string_equal(text, texts[i]);
        assert_int_equal(n, strlen(text));
        assert_int_equal(bh_position_parse(bh_slice(text, n), &again), 0);
        assert_true(bh_position_eq(positions[i], again));
    }
}

static void nothing_else_is_one(void **state) {
    static const char *const texts[] = {
        "",
        "-",
        "_",
        "1",
        "1-",
        "-1",
        "1--1",
        "1-1-1",
        "0-1",
        "0-0",
        "01-1",
        "1-01",
        "1-00",
        "00-1",
        "+1-1",
        "1-+1",
        " 1-1",
        "1-1 ",
        "1 -1",
        "1-0x1",
        "a-1",
        "1-a",
        "1.0-1",
        "1e3-1",
        "1\n-1",
        "1_1",
        "1:1",
        "-1-1",
        "1-1,1-1",
        "1/1",
        "\xff-1",
        "1-\xc2",
        "\xc2\xb2-1",
        "9007199254740992-1",
        "1-9007199254740992",
        "18446744073709551617-1",
        "1-18446744073709551616",
        "99999999999999999999999999-1",
        "1-99999999999999999999999999",
    };
    struct bh_position p;
    for (size_t i = 0; i < COUNT(texts); i++)
        if (bh_position_parse(bh_slice_cstr(texts[i]), &p) != BH_EINVAL)
            fail_msg("\"%s\"", texts[i]);
    assert_int_equal(bh_position_parse(bh_slice(NULL, 0), &p), BH_EINVAL);
    assert_int_equal(bh_position_parse(bh_slice("1\0-1", 4), &p), BH_EINVAL);
    assert_int_equal(bh_position_parse(bh_slice("1-1\0", 4), &p), BH_EINVAL);
}

static void a_long_text_is_none(void **state) {
    char digits[300];
    struct bh_position p;
    memset(digits, '1', sizeof digits);
    assert_int_equal(bh_position_parse(bh_slice(digits, sizeof digits), &p), BH_EINVAL);
    digits[150] = '-';
    assert_int_equal(bh_position_parse(bh_slice(digits, sizeof digits), &p), BH_EINVAL);
    memset(digits, '0', sizeof digits);
    digits[150] = '-';
    assert_int_equal(bh_position_parse(bh_slice(digits, sizeof digits), &p), BH_EINVAL);
}

static void they_are_equal_in_both_numbers(void **state) {
    const struct bh_position p = {5, 6};
    assert_true(bh_position_eq(p, (struct bh_position){5, 6}));
    assert_false(bh_position_eq(p, (struct bh_position){5, 7}));
    assert_false(bh_position_eq(p, (struct bh_position){6, 6}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_read_as_it_was_written),
        cmocka_unit_test(nothing_else_is_one),
        cmocka_unit_test(a_long_text_is_none),
        cmocka_unit_test(they_are_equal_in_both_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
