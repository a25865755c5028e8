/* test_read_config.c - the configuration file and its sandbox. */
#include "read_config.h"
#include "script_cmocka.h"

#define SHORT_MS 100   /* the CPU limit, where a test uses it up */
#define LONG_MS  60000 /* and where it must not, with a sanitizer on a busy machine */

static int evaluate_within(struct env *env, const char *source, unsigned cpu_ms,
                           struct bh_json **out, char **error) {
    char path[64];
    *out = NULL;
    *error = NULL;
    env_write(env, "bellhop.conf.lua", source);
    snprintf(path, sizeof path, "%s/bellhop.conf.lua", env->dir);
    return cpu_ms ? bh_read_config_within(path, cpu_ms, out, error)
                  : bh_script_read_config(path, out, error);
}

static int evaluate(struct env *env, const char *source, struct bh_json **out, char **error) {
    return evaluate_within(env, source, 0, out, error);
}

static void refused_within(struct env *env, const char *source, unsigned cpu_ms, const char *part) {
    struct bh_json *root;
    char *error;
    assert_int_not_equal(evaluate_within(env, source, cpu_ms, &root, &error), 0);
    if (!strstr(error, part) || !strstr(error, "bellhop.conf.lua"))
        fail_msg("the message is: %s", error);
    bh_free(error);
}

static void refused(struct env *env, const char *source, const char *part) {
    refused_within(env, source, 0, part);
}

static void test_reads_a_tree(void **state) {
    struct bh_json *root;
    char *error;
    int64_t n;
    setenv("BELLHOP_TEST_NAME", "from the environment", 1);
    assert_int_equal(evaluate(*state,
                              "local n = 4 * 2\n"
                              "return { workers = n, name = os.getenv 'BELLHOP_TEST_NAME',\n"
                              "  none = os.getenv 'BELLHOP_TEST_NONE', list = { 'a', 'b' },\n"
                              "  nested = { on = true, text = ('x'):rep(3) } }",
                              &root, &error),
                     0);
    assert_true(bh_json_is_int(bh_json_get(root, "workers"), &n));
    assert_int_equal(n, 8);
    assert_string_equal(bh_json_str(bh_json_get(root, "name")), "from the environment");
    assert_null(bh_json_get(root, "none"));
    assert_int_equal(bh_json_type(bh_json_get(root, "list")), BH_JSON_ARRAY);
    assert_string_equal(bh_json_str(bh_json_get(bh_json_get(root, "nested"), "text")), "xxx");
    bh_json_free(root);
}

static void test_missing(void **state) {
    struct bh_json *root;
    char *error = NULL;
    assert_int_equal(bh_script_read_config("/nowhere/x.lua", &root, &error), BH_ENOTFOUND);
    assert_non_null(strstr(error, "/nowhere/x.lua"));
    bh_free(error);
}

static void test_refuses(void **state) {
    refused(*state, "\nreturn {{", ":2:");
    refused(*state, "return 1", "must return a table");
    refused(*state, "return { a = { b = pairs } }", ": a.b: a function");
    refused(*state, "return { a = { b = ipairs } }", ": a.b: a function");
    refused(*state, "local x = nil\nreturn { x = x.y }", ":2:");
    refused(*state, "return { a = { 1 << 60 } }", "a[1]: an integer beyond 2^53");
    refused(*state, "return { a = '\\0' }", "\\u0000");
    refused(*state, "error {}", "");
}

static void test_no_side_effects(void **state) {
    static const char *const names[] = {"io",         "require",   "dofile",     "loadfile",
                                        "load",       "debug",     "coroutine",  "package",
                                        "os.execute", "os.remove", "string.dump"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char source[64];
        struct bh_json *root;
        char *error;
        snprintf(source, sizeof source, "return { there = %s ~= nil }", names[i]);
        assert_int_equal(evaluate(*state, source, &root, &error), 0);
        assert_int_equal(bh_json_type(bh_json_get(root, "there")), BH_JSON_FALSE);
        bh_json_free(root);
    }
}

static void test_cpu_limit(void **state) {
    if (!HAS_WATCHDOG)
        skip();
    refused(*state, "while true do end", "the configuration ran for more than 1000 ms");
    refused_within(*state, "while true do pcall(function() while true do end end) end", SHORT_MS,
                   "the configuration ran for more than 100 ms");
}

static void test_cpu_limit_of_library_functions(void **state) {
    if (!HAS_WATCHDOG)
        skip();
    static const char *const endless[] = {
        "xpcall(error, function() while true do end end)",
        "return { ('a'):rep(60000):find(('.-'):rep(20) .. 'b') }",
        "table.move({}, 1, 1 << 40, 1)",
    };
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++)
        refused_within(*state, endless[i], SHORT_MS, "ran for more than 100 ms");
    refused(*state, "setmetatable({}, { __gc = function() end })", "finalizers");
}

static void test_memory_is_bounded(void **state) {
    refused_within(*state,
                   "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1 << 20) .. i end return t",
                   LONG_MS, "not enough memory");
    refused(*state, "return { x = ('x'):rep(1 << 30) }", "not enough memory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_reads_a_tree),      SCRIPT_TEST(test_missing),
        SCRIPT_TEST(test_refuses),           SCRIPT_TEST(test_no_side_effects),
        SCRIPT_TEST(test_cpu_limit),         SCRIPT_TEST(test_cpu_limit_of_library_functions),
        SCRIPT_TEST(test_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
