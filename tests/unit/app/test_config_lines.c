/* Where a key stands in the text of a configuration file. */
#include "app_test.h"
#include "config_lines.h"

static const struct {
    const char *text, *path;
    int line;
} cases[] = {
    {"return {\n server = {\n  workers = 1 } }", "server.workers", 3},
    {"return {\n server = {\n  workers = 1 } }", "server", 2},
    {"return { fetch = {\n timeout = 1 },\n redis = {\n timeout = 2 } }", "redis.timeout", 4},
    {"return { fetch = {\n timeout = 1 },\n redis = {\n timeout = 2 } }", "fetch.timeout", 2},
    {"return { server = {\n admin_listen = {},\n listen = {} } }", "server.listen", 3},
    {"return { auth = { jwt = {\n secret = 's' } } }", "auth.jwt.secret", 2},
    {"local c = {}\nc.server = {}\nc.server.workers = 1\nreturn c", "server.workers", 3},
    {"local server = {\n workers = 1 }\nreturn { server = server }", "server.workers", 2},
    {"-- server = { workers = 1 }\nreturn { server = { workers = 1 } }", "server.workers", 2},
    {"--[[ workers = 1\n]] return { server = { workers = 1 } }", "server.workers", 2},
    {"--[==[ ]]\n workers = 1 ]==]\nreturn {\n server = { workers = 1 } }", "server.workers", 4},
    {"return { a = 'workers = 1', b = [[\nworkers = 2\n]],\n server = { workers = 1 } }",
     "server.workers", 4},
    {"return { a = \"\\\" workers = 1\",\n server = { workers = 1 } }", "server.workers", 2},
    {"return { ['server'] = {\n [ \"workers\" ]\n = 1 } }", "server.workers", 2},
    {"return { x = 1 == 2,\n server = { workers\n=\n1 } }", "server.workers", 2},
    {"return {\n server = make { n = 1 },\n other = { workers = 2 } }", "server.workers", 3},
    {"local workers = 1\nreturn { server = { workers = workers } }", "server.workers", 2},
    {"return f()", "server.workers", 0},
    {"", "server.workers", 0},
    {"return {{{{{{{{{{{{{{{{{{{{ a = 1", "a", 0},
    {"'", "a", 0},
    {"--[[", "a", 0},
    {"[[", "a", 0},
    {"[", "a", 0},
    {"a.b", "a.b", 0},
    {"}}} a = 1", "a", 1},
};

static void the_line_of_a_key(void **state) {
    for (size_t i = 0; i < COUNT(cases); i++) {
        int line = bh_config_find_line(cases[i].text, cases[i].path);
        if (line != cases[i].line)
            fail_msg("%s in line %d, not %d, of\n%s", cases[i].path, line, cases[i].line,
                     cases[i].text);
    }
}

/* A text that is cut anywhere has an end. */
static void cut_texts(void **state) {
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t n = 0; n < strlen(cases[i].text); n++) {
            char *text = bh_strndup(cases[i].text, n);
            assert_true(bh_config_find_line(text, cases[i].path) <= cases[i].line ||
                        cases[i].line == 0 || strstr(text, "workers"));
            bh_free(text);
        }
    }
}

static void the_line_of_an_entry(void **state) {
    static const char text[] = "local other = { { size = 1 } }\n"
                               "return { history = {\n"
                               "  { topic = 'a', size = { 1 } },\n"
                               "  { topic = 'b',\n"
                               "    size = 2 },\n"
                               "  window_bytes = 3 },\n"
                               "  app = { { size = 4 } } }\n";
    assert_int_equal(bh_config_find_entry(text, "history", 0, "size"), 3);
    assert_int_equal(bh_config_find_entry(text, "history", 1, "size"), 5);
    assert_int_equal(bh_config_find_entry(text, "history", 1, "ttl"), 4);
    assert_int_equal(bh_config_find_entry(text, "history", 1, NULL), 4);
    assert_int_equal(bh_config_find_entry(text, "history", 2, NULL), 0);
    assert_int_equal(bh_config_find_entry(text, "none", 0, NULL), 0);
    assert_int_equal(bh_config_find_entry("{{{{{{{{{{{{{{{{{{ a = {{ b = 1", "a", 0, "b"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_of_a_key),
        cmocka_unit_test(cut_texts),
        cmocka_unit_test(the_line_of_an_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
