/* The command line: which command, which options, and what is printed for wrong usage. */
#include "app_test.h"
#include "command_line.h"

#include <unistd.h>

struct usage {
    const char *words;
    struct bh_command_line line;
    bool run;
    int status;
    char storage[256], *argv[16];
};

/* getopt reorders the words, so they are fresh for each call. */
static void parse(void *ud) {
    struct usage *u = ud;
    char *save = NULL;
    int argc = 1;
    u->argv[0] = (char *)"bellhop";
    snprintf(u->storage, sizeof u->storage, "%s", u->words);
    for (char *w = strtok_r(u->storage, " ", &save); w; w = strtok_r(NULL, " ", &save))
        u->argv[argc++] = w;
    u->run = bh_command_line_parse(&u->line, argc, u->argv, &u->status);
}

static struct usage parsed(const char *words) {
    static struct usage u;
    u = (struct usage){.words = words};
    parse(&u);
    if (!u.run)
        fail_msg("refused: %s", words);
    return u;
}

static const char *option(const struct usage *u, const char *path) {
    for (size_t i = 0; i < u->line.option_count; i++)
        if (strcmp(u->line.options[i].path, path) == 0)
            return u->line.options[i].value;
    return NULL;
}

static void the_commands(void **state) {
    struct usage u = parsed("serve");
    assert_int_equal(u.line.command, BH_COMMAND_SERVE);
    assert_null(u.line.file);
    assert_int_equal(u.line.option_count, 0);
    assert_int_equal(parsed("check").line.command, BH_COMMAND_CHECK);
    assert_int_equal(parsed("token --user 42").line.command, BH_COMMAND_TOKEN);
    assert_int_equal(parsed("test spec.lua").line.command, BH_COMMAND_TEST);
}

static void options_set_keys(void **state) {
    struct usage u = parsed("serve -c bellhop.conf.lua --dev --listen 127.0.0.1:1,127.0.0.1:2 "
                            "--redis redis://r --policy p.lua --workers=3 --instance i1");
    assert_string_equal(u.line.file, "bellhop.conf.lua");
    assert_string_equal(option(&u, "server.dev"), "true");
    assert_string_equal(option(&u, "server.listen"), "127.0.0.1:1,127.0.0.1:2");
    assert_string_equal(option(&u, "redis.url"), "redis://r");
    assert_string_equal(option(&u, "script.files"), "p.lua");
    assert_string_equal(option(&u, "server.workers"), "3");
    assert_string_equal(option(&u, "server.instance"), "i1");
    for (size_t i = 0; i < u.line.option_count; i++)
        assert_non_null(bh_config_find_key(u.line.options[i].path));
}

static void options_may_come_first_and_twice(void **state) {
    struct usage u = parsed("--workers 1 --config a.lua --workers 2 check --workers 3 -c b.lua");
    assert_int_equal(u.line.command, BH_COMMAND_CHECK);
    assert_int_equal(u.line.option_count, 1);
    assert_string_equal(option(&u, "server.workers"), "3");
    assert_string_equal(u.line.file, "b.lua");
}

static void a_token(void **state) {
    struct usage u = parsed("token --user 42");
    assert_string_equal(u.line.user, "42");
    assert_null(u.line.tenant);
    assert_int_equal(u.line.ttl_s, 3600);
    u = parsed("token --user 42 --tenant 7 --ttl 60");
    assert_string_equal(u.line.tenant, "7");
    assert_int_equal(u.line.ttl_s, 60);
    assert_int_equal(parsed("token --user 42 --ttl 316224000").line.ttl_s, 316224000);
}

static void specs_keep_their_options(void **state) {
    struct usage u = parsed("test --filter x a.lua");
    assert_null(u.line.file);
    assert_int_equal(u.line.spec_count, 3);
    assert_string_equal(u.line.specs[0], "--filter");
    u = parsed("test -c f.lua a.lua -c g.lua --help");
    assert_string_equal(u.line.file, "f.lua");
    assert_int_equal(u.line.spec_count, 4);
    assert_string_equal(u.line.specs[0], "a.lua");
    assert_string_equal(u.line.specs[3], "--help");
}

static void wrong_usage(void **state) {
    static const struct {
        const char *words, *part;
    } cases[] = {
        {"", "a command is missing"},
        {"--dev", "a command is missing"},
        {"sreve", "unknown command sreve"},
        {"SERVE", "unknown command SERVE"},
        {"serve more", "unexpected argument more"},
        {"token", "token needs --user"},
        {"token --user 1 --ttl x", "--ttl must be a number of seconds"},
        {"token --user 1 --ttl 316224001", "--ttl must be a number of seconds"},
        {"token --user 1 --ttl -1", "--ttl must be a number of seconds"},
        {"serve --nope", "--nope"},
        {"serve --workers", "--workers"},
        {"serve --dev=1", "--dev"},
        {"serve -x", "'x'"},
        {"test", "test needs a spec"},
        {"test -c f.lua", "test needs a spec"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct usage u = {.words = cases[i].words};
        const char *output = app_output(STDERR_FILENO, parse, &u);
        assert_false(u.run);
        assert_int_equal(u.status, BH_EXIT_USAGE);
        if (!strstr(output, cases[i].part) || !strstr(output, "bellhop --help"))
            fail_msg("%s: %s", cases[i].words, output);
    }
}

static void help_and_version(void **state) {
    struct usage u = {.words = "serve --help"};
    const char *output = app_output(STDOUT_FILENO, parse, &u);
    assert_false(u.run);
    assert_int_equal(u.status, BH_EXIT_OK);
    static const char *const parts[] = {
        "usage: bellhop ", "serve",    "check",  "test",
        "token",           "--listen", "--user", "BELLHOP_REDIS_URL"};
    for (size_t i = 0; i < COUNT(parts); i++)
        assert_non_null(strstr(output, parts[i]));
    u = (struct usage){.words = "-h"};
    assert_non_null(strstr(app_output(STDOUT_FILENO, parse, &u), "usage: "));
    u = (struct usage){.words = "--version"};
    assert_string_equal(app_output(STDOUT_FILENO, parse, &u), "bellhop " BELLHOP_VERSION "\n");
    assert_false(u.run);
    assert_int_equal(u.status, BH_EXIT_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_commands),
        cmocka_unit_test(options_set_keys),
        cmocka_unit_test(options_may_come_first_and_twice),
        cmocka_unit_test(a_token),
        cmocka_unit_test(specs_keep_their_options),
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test(help_and_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
