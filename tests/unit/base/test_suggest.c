/* "Did you mean": near words are found, far ones are not, and nothing overruns. */
#include "bellhop/base/suggest.h"

#include "unit_test.h"

static const char *const words[] = {"listen",        "workers", "redis", "policy",
                                    "payload_bytes", "ttl",     NULL};

static void finds_the_nearest(void **state) {
    static const struct {
        const char *typed, *meant;
    } cases[] = {
        {"listne", "listen"},
        {"Listen", "listen"},
        {"worker", "workers"},
        {"wrokers", "workers"},
        {"reddis", "redis"},
        {"polciy", "policy"},
        {"payload_byte", "payload_bytes"},
        {"payloadbytes", "payload_bytes"},
        {"tttl", "ttl"},
        {"redis", "redis"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *found = bh_suggest(cases[i].typed, words);
        assert_non_null(found);
        assert_string_equal(found, cases[i].meant);
    }
}

static void another_word_is_not_meant(void **state) {
    const char *const far[] = {"", "x", "xy", "timeout", "banana", "lst", "zzzzzzzzzzzz"};
    for (size_t i = 0; i < COUNT(far); i++)
        assert_null(bh_suggest(far[i], words));
}

static void of_two_the_nearer_and_of_equals_the_first(void **state) {
    const char *const near[] = {"porta", "ports", "port_", NULL};
    assert_string_equal(bh_suggest("ports", near), "ports");
    assert_string_equal(bh_suggest("port", near), "porta");
}

static void no_words_no_suggestion(void **state) {
    const char *const none[] = {NULL};
    assert_null(bh_suggest("listen", none));
}

static void long_words_do_no_harm(void **state) {
    char typed[1024];
    const char *const long_words[] = {"thirty_two_bytes_long_exactly_32",
                                      "a_word_that_is_longer_than_any_key_of_ours_would_ever_be",
                                      NULL};
    for (size_t n = 0; n < sizeof typed; n++) {
        memset(typed, 'q', n);
        typed[n] = '\0';
        assert_null(bh_suggest(typed, long_words));
        assert_null(bh_suggest(typed, words));
    }
    assert_string_equal(bh_suggest("thirty_two_bytes_long_exactly_3", long_words), long_words[0]);
    assert_null(bh_suggest("thirty_two_bytes_long_exactly_32+", long_words)); /* not compared */
}

static void random_bytes_do_no_harm(void **state) {
    for (int round = 0; round < 20000; round++) {
        char typed[48];
        size_t n = test_random() % (sizeof typed - 1);
        for (size_t i = 0; i < n; i++)
            typed[i] = (char)(test_random() % 255 + 1);
        typed[n] = '\0';
        bh_suggest(typed, words);
    }
}

static void a_phrase_for_the_end_of_a_sentence(void **state) {
    char out[64], small[8];
    assert_ptr_equal(bh_suggest_phrase("listne", words, out, sizeof out), out);
    assert_string_equal(out, "; did you mean \"listen\"?");
    assert_string_equal(bh_suggest_phrase("banana", words, out, sizeof out), "");
    assert_string_equal(bh_suggest_phrase("listne", words, small, sizeof small), "; did y");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_nearest),
        cmocka_unit_test(another_word_is_not_meant),
        cmocka_unit_test(of_two_the_nearer_and_of_equals_the_first),
        cmocka_unit_test(no_words_no_suggestion),
        cmocka_unit_test(long_words_do_no_harm),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(a_phrase_for_the_end_of_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
