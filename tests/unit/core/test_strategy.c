/* Strategies: parsing and printing names, and the whole table of plans. */
#include "bellhop/core/strategy.h"

#include "core_test.h"

static void names_go_there_and_back(void **state) {
    for (int i = BH_STRATEGY_LOCAL_FIRST; i <= BH_STRATEGY_LOCAL; i++) {
        enum bh_strategy parsed = BH_STRATEGY_DEFAULT;
        const char *name = bh_strategy_name((enum bh_strategy)i);
        assert_int_equal(bh_strategy_parse(bh_slice_cstr(name), &parsed, NULL), 0);
        assert_int_equal(parsed, i);
    }
    assert_string_equal(bh_strategy_name(BH_STRATEGY_LOCAL_FIRST), "local_first");
    assert_string_equal(bh_strategy_name(BH_STRATEGY_REDIS), "redis");
    assert_string_equal(bh_strategy_name(BH_STRATEGY_BOTH), "both");
    assert_string_equal(bh_strategy_name(BH_STRATEGY_LOCAL), "local");
    assert_non_null(bh_strategy_name(BH_STRATEGY_DEFAULT));
}

static void other_names_are_refused_with_the_choice(void **state) {
    const char *const bad[] = {"", "default", "Local", "local ", "loca", "locals", "durabl"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        enum bh_strategy untouched = BH_STRATEGY_BOTH;
        const char *why = NULL;
        struct bh_slice name = test_exact(bh_slice_cstr(bad[i]));
        assert_int_equal(bh_strategy_parse(name, &untouched, &why), BH_EINVAL);
        assert_int_equal(bh_strategy_parse(name, &untouched, NULL), BH_EINVAL);
        test_exact_free(name);
        assert_int_equal(untouched, BH_STRATEGY_BOTH);
        for (int s = BH_STRATEGY_LOCAL_FIRST; s <= BH_STRATEGY_LOCAL; s++)
            assert_non_null(strstr(why, bh_strategy_name((enum bh_strategy)s)));
    }
}

static void the_table_of_plans(void **state) {
    static const struct {
        enum bh_strategy strategy;
        bool shared, local, publish, echo, dedup;
    } table[] = {
        {BH_STRATEGY_LOCAL_FIRST, true, true, true, false, false},
        {BH_STRATEGY_LOCAL_FIRST, false, true, false, false, false},
        {BH_STRATEGY_REDIS, true, false, true, true, false},
        {BH_STRATEGY_REDIS, false, false, true, true, false},
        {BH_STRATEGY_BOTH, true, true, true, false, true},
        {BH_STRATEGY_BOTH, false, true, false, false, true},
        {BH_STRATEGY_LOCAL, true, true, false, false, false},
        {BH_STRATEGY_LOCAL, false, true, false, false, false},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        struct bh_plan p = bh_strategy_plan(table[i].strategy, table[i].shared);
        assert_int_equal(p.local, table[i].local);
        assert_int_equal(p.publish, table[i].publish);
        assert_int_equal(p.echo, table[i].echo);
        assert_int_equal(p.dedup, table[i].dedup);
        assert_true(p.local != p.echo); /* each local socket gets it exactly once */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_there_and_back),
        cmocka_unit_test(other_names_are_refused_with_the_choice),
        cmocka_unit_test(the_table_of_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
