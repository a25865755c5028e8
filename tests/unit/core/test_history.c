/* Which topics are streams, and ranges of messages. */
#include "bellhop/core/history.h"

#include "core_test.h"

static const struct bh_history_rule rules[] = {
    {.pattern = BH_SLICE("user:42"), .size = 1},
    {.pattern = BH_SLICE("user:"), .prefix = true, .size = 2},
    {.pattern = BH_SLICE("topic:news"), .size = 3},
    {.pattern = BH_SLICE("topic:news/"), .prefix = true, .size = 4},
    {.pattern = BH_SLICE("all"), .size = 5},
};

static unsigned size_of(const struct bh_history_config *config, const char *name) {
    struct bh_topic topic = test_topic(name);
    const struct bh_history_rule *rule = bh_history_rule_of(config, &topic);
    return rule ? rule->size : 0;
}

static void the_first_match_counts(void **state) {
    const struct bh_history_config config = {.rules = rules, .rule_count = COUNT(rules)};
    static const struct {
        const char *name;
        unsigned size;
    } cases[] = {
        {"user:42", 1},    {"user:421", 2},      {"user:4", 2},    {"user:a:b|c", 2},
        {"topic:news", 3}, {"topic:news/eu", 4}, {"topic:new", 0}, {"topic:newsletter", 0},
        {"tenant:42", 0},  {"all", 5},           {"topic:all", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(size_of(&config, cases[i].name), cases[i].size);
}

static void every_topic(void **state) {
    const struct bh_history_rule rule = {.pattern = BH_SLICE(""), .prefix = true, .size = 9};
    const struct bh_history_config config = {.rules = &rule, .rule_count = 1};
    assert_int_equal(size_of(&config, "all"), 9);
    assert_int_equal(size_of(&config, "tenant:7"), 9);
}

static void no_rule(void **state) {
    const struct bh_history_config config = {0};
    assert_int_equal(size_of(&config, "all"), 0);
}

static void a_range_holds_its_messages(void **state) {
    struct bh_message *messages[] = {test_message("user:1", "one"), test_message("user:1", ""),
                                     test_message("user:1", "three")};
    struct bh_message *kept = bh_message_ref(messages[1]);
    struct bh_range *r = bh_range_new(COUNT(messages), messages);
    assert_int_equal(r->count, 3);
    assert_int_equal(r->bytes, 8);
    assert_int_equal(r->outcome, BH_HISTORY_OK);
    assert_false(r->rewound);
    assert_ptr_equal(r->messages[2], messages[2]);
    assert_ptr_equal(bh_range_ref(r), r);
    bh_range_unref(r);
    assert_int_equal(atomic_load(&kept->refs), 2);
    bh_range_unref(r);
    assert_int_equal(atomic_load(&kept->refs), 1);
    bh_message_unref(kept);
    bh_range_unref(NULL);
}

static void an_empty_range(void **state) {
    struct bh_range *r = bh_range_new(0, NULL);
    assert_int_equal(r->count, 0);
    assert_int_equal(r->bytes, 0);
    bh_range_unref(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_match_counts),
        cmocka_unit_test(every_topic),
        cmocka_unit_test(no_rule),
        cmocka_unit_test(a_range_holds_its_messages),
        cmocka_unit_test(an_empty_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
