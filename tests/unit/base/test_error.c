/* Error numbers: distinct, negative, each with a text. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "unit_test.h"

static const int numbers[] = {
#define NUMBER(name, number, text) name,
    BH_ERROR_MAP(NUMBER)
#undef NUMBER
};

static void each_number_is_negative_and_unique(void **state) {
    for (size_t i = 0; i < COUNT(numbers); i++) {
        assert_true(numbers[i] < 0);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(numbers[i], numbers[j]);
    }
}

static void each_number_has_its_text(void **state) {
    assert_string_equal(bh_strerror(0), "ok");
    assert_string_equal(bh_strerror(BH_EINVAL), "invalid argument");
    assert_string_equal(bh_strerror(BH_ESYNTAX), "syntax error");
    for (size_t i = 0; i < COUNT(numbers); i++)
        assert_string_not_equal(bh_strerror(numbers[i]), "unknown error");
}

static void strangers_have_a_text_too(void **state) {
    assert_string_equal(bh_strerror(1), "unknown error");
    assert_string_equal(bh_strerror(-1000), "unknown error");
}

static void an_error_is_set_as_text(void **state) {
    char *error = NULL;
    assert_int_equal(bh_error_set(&error, "%s: %d", "tls.keys", 2), BH_EINVAL);
    assert_string_equal(error, "tls.keys: 2");
    bh_free(error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_set_as_text),
        cmocka_unit_test(each_number_is_negative_and_unique),
        cmocka_unit_test(each_number_has_its_text),
        cmocka_unit_test(strangers_have_a_text_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
