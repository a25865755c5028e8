/* The rules of `history`: their defaults, where they may come from, and what is wrong with one. */
#include "app_test.h"

static struct bh_app_history history;

static const struct bh_history_rule *load(const char *rules) {
    char text[1024];
    snprintf(text, sizeof text, "return { history = { %s } }", rules);
    app_load(text);
    bh_app_history_config(&config, &history);
    return history.rules;
}

static void none_by_default(void **state) {
    load("");
    assert_int_equal(history.config.rule_count, 0);
    app_load(NULL);
    bh_app_history_config(&config, &history);
    assert_int_equal(history.config.rule_count, 0);
    assert_int_equal(history.config.window_bytes, 64 << 20);
    assert_int_equal(history.config.recover_wait_ms, 30000);
    assert_int_equal(history.config.ids_ms, 300000);
    assert_int_equal(history.config.min_replicas, 0);
    assert_int_equal(history.memory_bytes, 256 << 20);
}

static void a_rule_of_defaults(void **state) {
    const struct bh_history_rule *r = load("{ topic = 'user:*' }, window_bytes = 0");
    assert_int_equal(history.config.rule_count, 1);
    assert_ptr_equal(history.config.rules, r);
    assert_slice(r->pattern, "user:");
    assert_true(r->prefix);
    assert_false(r->latest);
    assert_int_equal(r->size, 100);
    assert_int_equal(r->revision, 1);
    assert_int_equal(r->ttl_ms, 86400000);
    assert_true(r->position_ttl_ms == UINT64_C(2592000000));
    assert_int_equal(r->bytes, 1 << 20);
    assert_int_equal(history.config.window_bytes, 0);
    r = load("{ topic = 'all', ttl = 5184000 }"); /* the default follows */
    assert_true(r->position_ttl_ms == UINT64_C(10368000000));
}

static void a_rule_of_all_keys(void **state) {
    const struct bh_history_rule *r =
        load("{ topic = 'topic:a', size = 1000, ttl = 0.5, position_ttl = 1, bytes = 4096, "
             "mode = 'log', revision = 7 }, { topic = 'topic:*', mode = 'latest' }");
    assert_int_equal(history.config.rule_count, 2);
    assert_slice(r->pattern, "topic:a");
    assert_false(r->prefix);
    assert_int_equal(r->size, 1000);
    assert_int_equal(r->revision, 7);
    assert_int_equal(r->ttl_ms, 500);
    assert_int_equal(r->position_ttl_ms, 1000);
    assert_int_equal(r->bytes, 4096);
    assert_true(r[1].latest);
    assert_int_equal(r[1].size, 1);
}

static void names_of_topics(void **state) {
    load("{ topic = 'user:42' }, { topic = 'tenant:7' }, { topic = 'topic:news/eu' }, "
         "{ topic = 'all' }, { topic = 'user:auth0|5:f' }, { topic = 'us*' }, "
         "{ topic = 'topic:*' }, { topic = '*' }");
    assert_int_equal(history.config.rule_count, 8);
    assert_slice(history.rules[5].pattern, "us");
    assert_slice(history.rules[7].pattern, "");
}

static void scripts_see_them(void **state) {
    load("{ topic = 'user:*' }, recover_wait = 1");
    const struct bh_json *section = bh_json_get(config.tree, "history");
    const struct bh_json *rule = bh_json_child(bh_json_get(section, "rules"));
    assert_string_equal(bh_json_str(bh_json_get(rule, "topic")), "user:*");
    assert_true(bh_json_num(bh_json_get(section, "recover_wait")) == 1);
}

static void from_the_environment(void **state) {
    app_environment("history.rules", "[{\"topic\":\"user:*\",\"size\":5}]\n");
    app_load("return { history = { { topic = 'all' }, { topic = 'tenant:*' } } }");
    bh_app_history_config(&config, &history);
    assert_int_equal(history.config.rule_count, 1);
    assert_int_equal(history.rules[0].size, 5);
    app_environment("history.rules", "user:*");
    app_refused(NULL, "BELLHOP_HISTORY_RULES: history.rules must be a list of rules", NULL);
    app_environment("history.rules", "[{\"topic\":\"users:1\"}]");
    app_refused(NULL, "BELLHOP_HISTORY_RULES: history, rule 1: users:1 is not the name of a topic",
                "did you mean \"user:1\"?");
    app_environment("history.rules", "[]");
    app_load("return { history = { { topic = 'all' } } }");
    bh_app_history_config(&config, &history);
    assert_int_equal(history.config.rule_count, 0);
}

static void what_to_write_instead(void **state) {
    static const struct {
        const char *rules, *part;
    } cases[] = {
        {"{ topic = 'notification:42' }", "is a channel; write \"user:42\""},
        {"{ topic = 'notification:tenant:*' }", "is a channel; write \"tenant:*\""},
        {"{ topic = 'notification:broadcast' }", "is a channel; write \"all\""},
        {"{ topic = 'broadcast' }", "broadcasts are the topic \"all\""},
        {"{ topic = '42' }", "write \"user:42\", \"tenant:42\" or \"topic:42\""},
        {"{ topic = 'user' }", "write \"user:*\""},
        {"{ topic = 'user:' }", "write \"user:*\""},
        {"{ topic = 'tennant:7' }", "did you mean \"tenant:7\"?"},
        {"{ topic = 'room:*' }", "which is user:ID, tenant:ID, topic:ID or all"},
        {"{ topic = 'user:a b' }", "which is user:ID, tenant:ID, topic:ID or all"},
        {"{ topic = 'topic:*:x' }", "a * is allowed at the end only"},
        {"{ topic = '' }", "topic is empty"},
        {"{ topic = 'user:\\n*' }", "topic has a control character"},
        {"{ topic = 7 }", "topic must be a string"},
        {"{ size = 7 }", "topic is missing"},
        {"'user:*'", "a rule is a table"},
        {"{ topic = 'all', siez = 1 }", "unknown key siez; did you mean \"size\"?"},
        {"{ topic = 'all', size = 0 }", "size must be between 1 and 100000"},
        {"{ topic = 'all', size = 1.5 }", "size must be a whole number"},
        {"{ topic = 'all', ttl = '1' }", "ttl must be a number of seconds"},
        {"{ topic = 'all', ttl = 100, position_ttl = 199 }", "at least twice ttl, 200"},
        {"{ topic = 'all', mode = 'last' }", "mode must be one of log|latest"},
        {"{ topic = 'all', mode = 'latest', size = 2 }", "leave size out"},
        {"{ topic = 'all' }, { topic = 'all' }", "rule 2: rule 1 has the same topic"},
        {"{ topic = 'u*' }, { topic = 'user:4*' }", "rule 2: is never used, because rule 1 (u*)"},
        {"{ topic = 'user:*' }, { topic = 'user:42' }", "rule 2: is never used, because rule 1"},
        {"window_bytes = -1", "history.window_bytes must be between"},
        {"window = 1", "unknown key history.window"},
        {"{ topic = 'all' }, rules = {}", "history: a table must be a list"},
        {"{ topic = 'all', ttl = function() end }", "history.rules[1].ttl: a function"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "return { history = { %s } }", cases[i].rules);
        app_refused(text, cases[i].part, NULL);
        assert_int_equal(report.errors.count, 1);
    }
    app_refused("return { history = 7 }", "history must be a table", NULL);
}

static void every_mistake_with_its_line(void **state) {
    app_refused("return {\n"
                "  history = {\n"
                "    { topic = 'user:*', size = -1,\n"
                "      ttl = true },\n"
                "    'tenant:*',\n"
                "    {\n"
                "      topic = 'topic:*',\n"
                "      mod = 1,\n"
                "    },\n"
                "  },\n"
                "  server = { workers = 'two' },\n"
                "}\n",
                "bellhop.conf.lua:3: history, rule 1: size", NULL);
    app_reported("bellhop.conf.lua:4: history, rule 1: ttl");
    app_reported("bellhop.conf.lua:2: history, rule 2: a rule is a table");
    app_reported("bellhop.conf.lua:8: history, rule 3: unknown key mod");
    app_reported("bellhop.conf.lua:11: server.workers");
    assert_int_equal(report.errors.count, 5);
}

static void too_many(void **state) {
    app_refused("local rules = {}\n"
                "for i = 1, 65 do rules[i] = { topic = 'user:' .. i } end\n"
                "return { history = rules }\n",
                "bellhop.conf.lua:3: history, rule 65: at most 64 rules are allowed", NULL);
    app_load("local rules = {}\n"
             "for i = 1, 64 do rules[i] = { topic = 'user:' .. i } end\n"
             "return { history = rules }\n");
}

static void rules_of_a_test(void **state) {
    static const char *const texts[] = {"{\"history\":{\"rules\":[{\"topic\":\"all\"}]}}",
                                        "{\"history\":{\"rules\":[{\"topic\":\"x\"},{}]}}",
                                        "{\"history\":{\"rules\":7}}", "{}"};
    static const size_t counts[] = {1, 0, 0, 0};
    static const char *const errors[] = {NULL, "rule 1: x is not the name", "must be a list", NULL};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct bh_history_rule rules[BH_HISTORY_RULES_MAX];
        struct bh_json *tree;
        struct bh_json_error why;
        char *error = NULL;
        assert_int_equal(bh_json_parse(bh_slice_cstr(texts[i]), &tree, &why), 0);
        assert_int_equal(bh_app_history_rules(tree, rules, &error), counts[i]);
        if (errors[i])
            app_error_has(error, errors[i]);
        else
            assert_null(error);
        bh_json_free(tree);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, app_setup, app_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(none_by_default),
        TEST(a_rule_of_defaults),
        TEST(a_rule_of_all_keys),
        TEST(names_of_topics),
        TEST(scripts_see_them),
        TEST(from_the_environment),
        TEST(what_to_write_instead),
        TEST(every_mistake_with_its_line),
        TEST(too_many),
        TEST(rules_of_a_test),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
