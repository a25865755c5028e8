/* test_suggest.c - did you mean. */
#include "script_cmocka.h"

#include "../../../src/script/suggest.h"

static const char *const words[] = {"on_open", "on_message", "on_close", NULL};

static void test_finds_the_nearest(void **state) {
    assert_string_equal(bh_suggest("on_mesage", words), "on_message");
    assert_string_equal(bh_suggest("onopen", words), "on_open");
    assert_string_equal(bh_suggest("on_clsoe", words), "on_close");
}

static void test_is_silent_when_nothing_is_near(void **state) {
    char long_word[200];
    memset(long_word, 'x', sizeof long_word);
    long_word[199] = '\0';
    assert_null(bh_suggest("frobnicate", words));
    assert_null(bh_suggest("", words));
    assert_null(bh_suggest(long_word, words));
}

static void test_phrase(void **state) {
    char out[64];
    assert_string_equal(bh_suggest_phrase("on_opne", words, out, sizeof out),
                        "; did you mean \"on_open\"?");
    assert_string_equal(bh_suggest_phrase("frobnicate", words, out, sizeof out), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_the_nearest),
        cmocka_unit_test(test_is_silent_when_nothing_is_near),
        cmocka_unit_test(test_phrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
