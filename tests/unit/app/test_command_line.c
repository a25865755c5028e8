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

static void lists_add_up(void **state) {
    struct usage u = parsed("serve --listen 127.0.0.1:1 --workers 1 --listen 127.0.0.1:2 "
                            "--policy a.lua --policy b.lua --workers 2");
    assert_int_equal(u.line.option_count, 5);
    assert_string_equal(u.line.options[0].value, "127.0.0.1:1");
    assert_string_equal(u.line.options[2].value, "127.0.0.1:2");
    assert_string_equal(option(&u, "server.workers"), "2");
}

static void too_many_options(void **state) {
    static char *argv[2 * BH_OPTIONS_MAX + 4] = {(char *)"bellhop", (char *)"serve"};
    struct bh_command_line line;
    int argc = 2, status;
    for (int i = 0; i < BH_OPTIONS_MAX; i++) {
        argv[argc++] = (char *)"--listen";
        argv[argc++] = (char *)":1";
    }
    assert_true(bh_command_line_parse(&line, argc, argv, &status));
    argv[argc++] = (char *)"--listen=:1";
    assert_false(bh_command_line_parse(&line, argc, argv, &status));
    assert_int_equal(status, BH_EXIT_USAGE);
}

static void wrong_usage(void **state) {
    static const struct {
        const char *words, *part;
    } cases[] = {
        {"", "a command is missing"},
        {"--dev", "a command is missing"},
        {"sreve", "unknown command sreve (did you mean serve?)"},
        {"help sreve", "unknown command sreve (did you mean serve?)"},
        {"help serve more", "unexpected argument more"},
        {"version more", "unexpected argument more"},
        {"check --user 1", "check has no option --user"},
        {"token --user 1 --listen :1", "token has no option --listen"},
        {"--dev test a.lua", "test takes its options after its name"},
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

/* What is printed for these words; the command does not run. */
static const char *printed(const char *words) {
    struct usage u = {.words = words};
    const char *output = app_output(STDOUT_FILENO, parse, &u);
    assert_false(u.run);
    assert_int_equal(u.status, BH_EXIT_OK);
    return output;
}

static void help(void **state) {
    static const char *const all[] = {"help", "-h", "--help", "--help --dev"};
    static const char *const parts[] = {
        "usage: bellhop COMMAND", "serve", "check", "test", "token", "help", "version",
        "BELLHOP_REDIS_URL"};
    for (size_t i = 0; i < COUNT(all); i++)
        for (size_t j = 0; j < COUNT(parts); j++)
            assert_non_null(strstr(printed(all[i]), parts[j]));
}

static void help_for_each_command(void **state) {
    static const struct {
        const char *command, *part, *missing;
    } cases[] = {{"serve", "--listen ADDRESS:PORT", "--user"},
                 {"check", "--policy FILE", "--ttl"},
                 {"test", "busted", "--listen"},
                 {"token", "--user ID", "--dev"}};
    static const char *const forms[] = {"%s --help", "%s -h", "help %s"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t j = 0; j < COUNT(forms); j++) {
            char words[64], usage[64];
            snprintf(words, sizeof words, forms[j], cases[i].command);
            snprintf(usage, sizeof usage, "usage: bellhop %s ", cases[i].command);
            const char *output = printed(words);
            assert_non_null(strstr(output, usage));
            assert_non_null(strstr(output, cases[i].part));
            assert_null(strstr(output, cases[i].missing));
        }
    }
    assert_non_null(strstr(printed("test -c f.lua --help"), "usage: bellhop test "));
    assert_non_null(strstr(printed("-h check"), "usage: bellhop check "));
}

static void the_version(void **state) {
    static const char *const forms[] = {"--version", "-V", "version", "serve --version"};
    for (size_t i = 0; i < COUNT(forms); i++)
        assert_string_equal(printed(forms[i]), "bellhop " BELLHOP_VERSION "\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_commands),
        cmocka_unit_test(options_set_keys),
        cmocka_unit_test(options_may_come_first_and_twice),
        cmocka_unit_test(a_token),
        cmocka_unit_test(specs_keep_their_options),
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test(lists_add_up),
        cmocka_unit_test(too_many_options),
        cmocka_unit_test(help),
        cmocka_unit_test(help_for_each_command),
        cmocka_unit_test(the_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
