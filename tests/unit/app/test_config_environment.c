/* BELLHOP_APP_X, and variables that nothing reads. */
#include "app_test.h"

static const char *const names[] = {
    "BELLHOP_APP_N",
    "BELLHOP_APP_B",
    "BELLHOP_APP_S",
    "BELLHOP_APP_L",
    "BELLHOP_APP_T_S",
    "BELLHOP_APP_T",
    "BELLHOP_APP_A_B",
    "BELLHOP_APP_NEW_ONE",
    "BELLHOP_APP_",
    "BELLHOP_APP",
    "BELLHOP_REDIS_ULR",
    "BELLHOP_WORKERS",
    "BELLHOP_JWT_SECRET",
    "BELLHOP_KEYS",
    "BELLHOP_PORT",
    "BELLHOP_PORT_80_TCP_ADDR",
    "BELLHOP_SERVICE_HOST",
    "BELLHOP_SERVICE_PORT_HTTP",
    "BELLHOP_NOTHING_LIKE_THIS",
};

static int clear(void **state) {
    for (size_t i = 0; i < COUNT(names); i++)
        unsetenv(names[i]);
    unsetenv("BELLHOP_BIN"); /* of the tests themselves */
    unsetenv("BELLHOP_OTHER_BIN");
    unsetenv("BELLHOP_TEST_REDIS");
    unsetenv("BELLHOP_TEST_REDIS_PORT");
    unsetenv("BELLHOP_TEST_REDIS_SERVER");
    return app_setup(state);
}

static int end(void **state) {
    for (size_t i = 0; i < COUNT(names); i++)
        unsetenv(names[i]);
    return app_teardown(state);
}

/* The section app as scripts see it, encoded again. */
static void app_is(const char *text) {
    const struct bh_json *app = bh_json_get(config.tree, "app"), *member = bh_json_child(app);
    struct bh_bytes all = {0};
    for (; member; member = bh_json_sibling(member)) {
        bh_bytes_addf(&all, "%s%s=", all.len ? " " : "", bh_json_name(member));
        if (bh_json_str(member))
            bh_bytes_addf(&all, "'%s'", bh_json_str(member));
        else if (bh_json_type(member) == BH_JSON_NUMBER)
            bh_bytes_addf(&all, "%g", bh_json_num(member));
        else if (bh_json_child(member))
            for (const struct bh_json *c = bh_json_child(member); c; c = bh_json_sibling(c))
                bh_bytes_addf(&all, "(%s)", bh_json_str(c));
        else
            bh_bytes_adds(&all, bh_json_type(member) == BH_JSON_TRUE ? "true" : "false");
    }
    assert_slice(bh_bytes_slice(&all), text);
    bh_bytes_free(&all);
}

static void a_value_has_the_type_of_the_file(void **state) {
    setenv("BELLHOP_APP_N", "2.5", 1);
    app_load("return { app = { n = 1 } }");
    app_is("n=2.5");
    unsetenv("BELLHOP_APP_N");
    setenv("BELLHOP_APP_B", "false", 1);
    app_load("return { app = { b = true } }");
    app_is("b=false");
    unsetenv("BELLHOP_APP_B");
    setenv("BELLHOP_APP_S", "7 \"x\"", 1);
    app_load("return { app = { s = 'a' } }");
    app_is("s='7 \"x\"'");
    unsetenv("BELLHOP_APP_S");
    setenv("BELLHOP_APP_L", "p, q", 1);
    app_load("return { app = { l = { 'x' } } }");
    app_is("l=(p)(q)");
    app_load("return { app = { l = {} } }");
    app_is("l=(p)(q)");
}

static void without_the_file_it_is_a_string(void **state) {
    setenv("BELLHOP_APP_NEW_ONE", "1", 1);
    app_load(NULL);
    app_is("new_one='1'");
    app_load("return { app = {} }");
    app_is("new_one='1'");
    app_load("return { app = { s = 'a' } }");
    app_is("s='a' new_one='1'");
    setenv("BELLHOP_APP_NEW_ONE", "", 1);
    app_load(NULL);
    app_is("new_one=''");
}

static void one_line_end_is_removed(void **state) {
    setenv("BELLHOP_APP_NEW_ONE", "of a file\r\n", 1);
    setenv("BELLHOP_APP_N", "2\n", 1);
    setenv("BELLHOP_APP_S", "two\nlines\n\n", 1);
    setenv("BELLHOP_APP_L", "p, q\n", 1);
    app_load("return { app = { n = 1, s = 'a', l = { 'x' } } }");
    const struct bh_json *app = bh_json_get(config.tree, "app");
    assert_string_equal(bh_json_str(bh_json_get(app, "new_one")), "of a file");
    assert_true(bh_json_num(bh_json_get(app, "n")) == 2);
    assert_string_equal(bh_json_str(bh_json_get(app, "s")), "two\nlines\n");
    const struct bh_json *last = bh_json_sibling(bh_json_child(bh_json_get(app, "l")));
    assert_string_equal(bh_json_str(last), "q");
}

static void tables_and_other_characters(void **state) {
    setenv("BELLHOP_APP_T_S", "y", 1);
    app_load("return { app = { t = { s = 'x' } } }");
    app_is("t=(y)");
    setenv("BELLHOP_APP_A_B", "y", 1);
    unsetenv("BELLHOP_APP_T_S");
    app_load("return { app = { ['a-b'] = 'x' } }");
    app_is("a-b='y'");
    setenv("BELLHOP_APP_T", "y", 1);
    app_refused("return { app = { t = { s = 'x' } } }", "BELLHOP_APP_T: must be set in the file",
                NULL);
}

static void wrong_values(void **state) {
    setenv("BELLHOP_APP_N", "many", 1);
    app_refused("return { app = { n = 1 } }", "BELLHOP_APP_N: must be a number", NULL);
    setenv("BELLHOP_APP_N", "true", 1);
    app_refused("return { app = { n = 1 } }", "BELLHOP_APP_N: must be a number", NULL);
    setenv("BELLHOP_APP_N", "1", 1);
    app_refused("return { app = { n = true } }", "BELLHOP_APP_N: must be true or false", NULL);
    app_refused("return { app = { 'x' } }", "app is not a table with names", NULL);
}

static void warned(size_t i, const char *begin) {
    const char *warning = i < report.warnings.count ? report.warnings.items[i] : "";
    if (strncmp(warning, begin, strlen(begin)) != 0)
        fail_msg("%s, not %s", warning, begin);
}

static void unknown_variables(void **state) {
    static const struct {
        const char *name, *hint;
    } unknown[] = {
        {"BELLHOP_REDIS_ULR", "did you mean BELLHOP_REDIS_URL?"},
        {"BELLHOP_WORKERS", "did you mean BELLHOP_SERVER_WORKERS?"},
        {"BELLHOP_JWT_SECRET", "did you mean BELLHOP_AUTH_JWT_SECRET?"},
        {"BELLHOP_NOTHING_LIKE_THIS", "keys are BELLHOP_<SECTION>_<KEY>"},
        {"BELLHOP_PORT", ""},
        {"BELLHOP_APP", ""},
        {"BELLHOP_APP_", ""},
    };
    app_load(NULL);
    assert_int_equal(report.warnings.count, 0);
    for (size_t i = 0; i < COUNT(unknown); i++) {
        char text[160];
        setenv(unknown[i].name, "8080", 1);
        app_load(NULL);
        assert_int_equal(report.warnings.count, 1);
        snprintf(text, sizeof text, "%s: unknown variable, ignored; %s", unknown[i].name,
                 unknown[i].hint);
        warned(0, text);
        unsetenv(unknown[i].name);
    }
    setenv("BELLHOP_APP_N", "x", 1);
    app_environment("server.workers", "1");
    app_load(NULL);
    assert_int_equal(report.warnings.count, 0);
}

static void variables_of_kubernetes(void **state) {
    setenv("BELLHOP_PORT", "tcp://10.0.0.1:80", 1);
    app_load(NULL);
    warned(0, "BELLHOP_PORT and 0 more: ");
    setenv("BELLHOP_PORT_80_TCP_ADDR", "10.0.0.1", 1);
    setenv("BELLHOP_SERVICE_HOST", "10.0.0.1", 1);
    setenv("BELLHOP_SERVICE_PORT_HTTP", "80", 1);
    app_load(NULL);
    assert_int_equal(report.warnings.count, 1);
    assert_non_null(strstr(report.warnings.items[0], " and 3 more: unknown variables, ignored"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, clear, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_value_has_the_type_of_the_file),
        TEST(without_the_file_it_is_a_string),
        TEST(one_line_end_is_removed),
        TEST(tables_and_other_characters),
        TEST(wrong_values),
        TEST(unknown_variables),
        TEST(variables_of_kubernetes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
