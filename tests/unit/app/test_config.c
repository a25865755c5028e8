/* Configuration: types and units, which source wins, names in the environment, and errors that name
 * the place. */
#include "app_test.h"

#include "bellhop/base/jwt.h"

#include <ctype.h>

/* --- values --- */

#define SECRET "ssssssssssssssssssssssssssssssss" /* 32 bytes */

static void the_defaults(void **state) {
    app_load(NULL);
    app_strings_are(&config.listen, "127.0.0.1:8080");
    assert_int_equal(config.workers, 0);
    assert_string_equal(config.instance, "");
    assert_false(config.dev);
    assert_int_equal(config.drain_delay, 0);
    assert_int_equal(config.drain_timeout, 10000);
    assert_int_equal(config.message_bytes, 1024 * 1024);
    assert_int_equal(config.message_timeout, 30000);
    assert_true(config.memory_budget == BH_CONFIG_AUTO);
    assert_int_equal(config.redis_urls.count, 0);
    assert_string_equal(config.strategy, "local_first");
    assert_int_equal(config.cpu_limit, 50);
    app_strings_are(&config.jwt_algorithms, "HS256");
    assert_int_equal(config.jwt_leeway, 5000);
    assert_int_equal(bh_config_jwt_algorithms(&config), BH_JWT_HS256);
}

static void a_file_of_all_types(void **state) {
    app_load("local MiB = 1024 * 1024\n"
             "return {\n"
             "  server = { listen = { '127.0.0.1:1', 'unix:/s' }, dev = true, workers = 2 * 2 },\n"
             "  http = { body_bytes = 2 * MiB, idle_timeout = 1.25 },\n"
             "  auth = { jwt = { secret = ('s'):rep(32), leeway = 3.5 } },\n"
             "  api = { keys = {} },\n"
             "}\n");
    app_strings_are(&config.listen, "127.0.0.1:1,unix:/s");
    assert_true(config.dev);
    assert_int_equal(config.workers, 4);
    assert_int_equal(config.body_bytes, 2097152);
    assert_int_equal(config.idle_timeout, 1250);
    assert_string_equal(config.jwt_secret, SECRET);
    assert_int_equal(config.jwt_leeway, 3500);
    assert_int_equal(config.api_keys.count, 0);
}

static void one_url_or_a_list(void **state) {
    static const char sentinels[] = "redis+sentinel://a:1,b:2/main";
    app_load("return { redis = { url = 'redis://a, unix:///s' } }");
    app_strings_are(&config.redis_urls, "redis://a,unix:///s");
    app_load("return { redis = { url = { 'redis://a', 'redis://b' } } }");
    app_strings_are(&config.redis_urls, "redis://a,redis://b");
    app_load_option(NULL, "redis.url", sentinels); /* its comma does not end it */
    assert_int_equal(config.redis_urls.count, 1);
    app_environment("redis.url", "redis+sentinel://a:1,b:2/main , rediss://c");
    app_load(NULL);
    assert_int_equal(config.redis_urls.count, 2);
    assert_string_equal(config.redis_urls.items[0], sentinels);
    assert_string_equal(config.redis_urls.items[1], "rediss://c");
    app_environment("redis.url", "redis+cluster://a:1,b:2,[::1]:3");
    app_load(NULL);
    app_strings_are(&config.redis_urls, "redis+cluster://a:1,b:2,[::1]:3");
    assert_int_equal(config.redis_urls.count, 1);
}

static void bytes_or_auto(void **state) {
    app_load("return { server = { memory_budget = 64 * 1024 } }");
    assert_int_equal(config.memory_budget, 65536);
    app_load("return { server = { memory_budget = 'auto' } }");
    assert_true(config.memory_budget == BH_CONFIG_AUTO);
    app_environment("server.memory_budget", "0");
    app_load("return { server = { memory_budget = 'auto' } }");
    assert_int_equal(config.memory_budget, 0);
    app_environment("server.memory_budget", "auto");
    app_load("return { server = { memory_budget = 1 } }");
    assert_true(config.memory_budget == BH_CONFIG_AUTO);
    app_environment("server.memory_budget", "1g");
    app_refused(NULL, "BELLHOP_SERVER_MEMORY_BUDGET: server.memory_budget must be a whole number",
                "of bytes, or \"auto\"");
    app_refused_option("server.memory_budget", "half", "or \"auto\"");
}

static void lists_in_the_environment(void **state) {
    app_environment("api.keys", " one,two , ,three,");
    app_load(NULL);
    app_strings_are(&config.api_keys, "one,two,three");
    app_environment("api.keys", "");
    app_load("return { api = { keys = { 'x' } } }");
    assert_int_equal(config.api_keys.count, 0);
}

static void the_last_source_wins(void **state) {
    static const char file[] = "return { server = { workers = 1 } }";
    app_load(file);
    assert_int_equal(config.workers, 1);
    app_environment("server.workers", "2");
    app_load(file);
    assert_int_equal(config.workers, 2);
    app_load_option(file, "server.workers", "3");
    assert_int_equal(config.workers, 3);
    app_load(NULL);
    assert_int_equal(config.workers, 2);
}

static void scripts_see_all_keys(void **state) {
    app_environment("server.dev", "true");
    app_load("return { app = { greeting = 'hi', n = { 1, 2.5 } }, log = { level = 'debug' } }");
    const struct bh_json *app = bh_json_get(config.tree, "app");
    assert_string_equal(bh_json_str(bh_json_get(app, "greeting")), "hi");
    assert_true(bh_json_num(bh_json_sibling(bh_json_child(bh_json_get(app, "n")))) == 2.5);
    assert_int_equal(bh_json_type(bh_json_get(config.tree, "dev")), BH_JSON_TRUE);
    assert_string_equal(bh_json_str(bh_json_get(bh_json_get(config.tree, "log"), "level")),
                        "debug");
    const struct bh_json *jwt = bh_json_get(bh_json_get(config.tree, "auth"), "jwt");
    assert_string_equal(bh_json_str(bh_json_get(jwt, "user_claim")), "sub");
    for (size_t i = 0; i < bh_config_key_count; i++) {
        char path[64], *name = path, *dot;
        const struct bh_json *node = config.tree;
        snprintf(path, sizeof path, "%s", bh_config_keys[i].path);
        while (node && (dot = strchr(name, '.'))) {
            *dot = '\0';
            node = bh_json_get(node, name);
            name = dot + 1;
        }
        if (!node || !bh_json_get(node, name))
            fail_msg("%s is not in the tree", bh_config_keys[i].path);
    }
}

/* --- secrets --- */

static void secrets_are_as_long_as_the_hash(void **state) {
    app_refused("return { auth = { jwt = { secret = 'x' } } }",
                "auth.jwt.secret: the secret has 1 bytes; HS256 needs at least 32", NULL);
    app_refused("return { auth = { jwt = { secret = ('x'):rep(31), algorithms = { 'RS256' } } } }",
                "has 31 bytes; HS256 needs at least 32", NULL);
    app_refused("return { auth = { jwt = { secret = ('x'):rep(47), algorithms = { 'HS384' } } } }",
                "has 47 bytes; HS384 needs at least 48", NULL);
    app_refused("return { auth = { jwt = { secret = ('x'):rep(63), algorithms = { 'HS512', 'HS256' "
                "} } } }",
                "has 63 bytes; HS512 needs at least 64", NULL);
    app_environment("auth.jwt.secret", "short");
    app_refused(NULL, "auth.jwt.secret: the secret has 5 bytes", "32");
    app_environment("auth.jwt.secret", SECRET "\n"); /* the line feed does not count */
    app_load(NULL);
    app_environment("auth.jwt.algorithms", "HS384");
    app_refused(NULL, "has 32 bytes; HS384 needs at least 48", NULL);
    app_environment("auth.jwt.secret", ""); /* none */
    app_environment("auth.jwt.algorithms", "HS256");
    app_load(NULL);
}

static void one_line_end_is_removed(void **state) {
    static const char *const ends[] = {"\n", "\r\n"};
    char text[256];
    for (size_t i = 0; i < COUNT(ends); i++) {
        snprintf(text, sizeof text, SECRET "%s", ends[i]);
        app_environment("auth.jwt.secret", text);
        snprintf(text, sizeof text, "one%s,two , three%s", ends[i], ends[i]);
        app_environment("api.keys", text);
        snprintf(text, sizeof text, "redis://:pass@a%s", ends[i]);
        app_environment("redis.url", text);
        snprintf(text, sizeof text, "debug%s", ends[i]);
        app_environment("log.level", text);
        snprintf(text, sizeof text, "3%s", ends[i]);
        app_environment("server.workers", text);
        app_load(NULL);
        assert_string_equal(config.jwt_secret, SECRET);
        app_strings_are(&config.api_keys, "one,two,three");
        app_strings_are(&config.redis_urls, "redis://:pass@a");
        assert_string_equal(config.log_level, "debug");
        assert_int_equal(config.workers, 3);
        const struct bh_json *jwt = bh_json_get(bh_json_get(config.tree, "auth"), "jwt");
        assert_string_equal(bh_json_str(bh_json_get(jwt, "secret")), SECRET);
    }
}

static void one_line_end_in_the_file_is_removed(void **state) {
    app_load(
        "return { auth = { jwt = { secret = ('s'):rep(32) .. '\\r\\n', jwks = '/dev/null\\n' } },\n"
        "  api = { keys = { 'one\\n', 'two\\r\\n' } }, redis = { url = 'redis://:p@a\\n' },\n"
        "  app = { text = 'a\\n' } }");
    assert_string_equal(config.jwt_secret, SECRET);
    assert_string_equal(config.jwt_jwks, "/dev/null");
    app_strings_are(&config.api_keys, "one,two");
    app_strings_are(&config.redis_urls, "redis://:p@a");
    assert_string_equal(bh_json_str(bh_json_get(bh_json_get(config.tree, "app"), "text")), "a\n");
    app_load("return { redis = { url = { 'redis://:p@a\\n', 'redis://:p@b\\r\\n' } } }");
    app_strings_are(&config.redis_urls, "redis://:p@a,redis://:p@b");
    app_environment("api.keys", "from a file\n");
    app_load("return { app = { key = os.getenv 'BELLHOP_API_KEYS',\n"
             "  none = tostring(os.getenv 'BELLHOP_NONE') } }");
    const struct bh_json *app = bh_json_get(config.tree, "app");
    assert_string_equal(bh_json_str(bh_json_get(app, "key")), "from a file");
    assert_string_equal(bh_json_str(bh_json_get(app, "none")), "nil");
}

/* The error names the source and the key, and never shows the value. */
static void control_characters_are_refused(void **state) {
    static const char *const keys[] = {"one\ntwo", "one\n\n",   "\none",   "one\r",
                                       "on\te",    "one\x1b[m", "one\x7f", "one,t\rwo"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        app_environment("api.keys", keys[i]);
        app_refused(NULL, "BELLHOP_API_KEYS: api.keys has a control character", "byte ");
    }
    app_environment("api.keys", "key");
    app_refused("return {\n  api = { keys = { 'good', 'a\\0b' } } }", "bellhop.conf.lua", NULL);
    app_refused("return {\n  api = { keys = { 'good', 'a\\1b' } } }",
                "bellhop.conf.lua:2: api.keys has a control character (byte 2 is 0x01)", NULL);
    app_refused("return { auth = { jwt = { secret = ('s'):rep(40) .. '\\n\\n' } } }",
                "auth.jwt.secret has a control character (byte 41 is 0x0a)", NULL);
    app_refused("return { redis = { url = 'redis://:pa\\nss@a' } }",
                "redis.url has a control character", NULL);
    app_refused("return { auth = { jwt = { public_key = '/a\\tb' } } }",
                "auth.jwt.public_key has a control character", NULL);
    app_refused_option("auth.jwt.secret", SECRET "\a", "auth.jwt.secret has a control character");
}

/* --- files of keys --- */

static void a_public_key_from_a_file(void **state) {
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\nabc\n";
    char text[256];
    snprintf(text, sizeof text, "return { auth = { jwt = { public_key = '%s' } } }",
             app_file("key.pem", pem));
    app_load(text);
    assert_string_equal(config.jwt_public_key, pem);
    const struct bh_json *jwt = bh_json_get(bh_json_get(config.tree, "auth"), "jwt");
    assert_string_equal(bh_json_str(bh_json_get(jwt, "public_key")), pem);
    app_load_option(NULL, "auth.jwt.public_key", pem);
    assert_string_equal(config.jwt_public_key, pem);
    app_refused_option("auth.jwt.public_key", app_file("key.pem", "no key"),
                       "key.pem: neither PEM");
    app_refused_option("auth.jwt.public_key", "/none.pem", "/none.pem: neither PEM");
}

static void a_key_set_must_be_there(void **state) {
    app_load_option(NULL, "auth.jwt.jwks", app_file("keys.json", "{}"));
    app_refused_option("auth.jwt.jwks", "/none.json", "/none.json: No such file");
}

/* --- errors --- */

static void unknown_keys(void **state) {
    app_refused("return {\n  redis = {\n    ulr = 'x' } }",
                "bellhop.conf.lua:3: unknown key redis.ulr", "redis.url");
    app_refused("return {\n\n  sevrer = {} }", "bellhop.conf.lua:3: unknown key sevrer", NULL);
    app_refused("return { auth = { secret = 'x' } }", "unknown key auth.secret", NULL);
    app_refused("return { server = { ['listen '] = {} } }", "unknown key server.listen ", NULL);
    app_refused("return { server = { workers = { n = 1 } } }", "server.workers must be", NULL);
}

static void wrong_types(void **state) {
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"return {\n\n  server = { workers = 'two' } }",
         "bellhop.conf.lua:3: server.workers must be a whole number"},
        {"return { server = { workers = 1.5 } }", "a whole number"},
        {"return { http = { body_bytes = '1' } }",
         "http.body_bytes must be a whole number of bytes"},
        {"return { http = { idle_timeout = true } }", "a number of seconds"},
        {"return { server = { dev = 1 } }", "server.dev must be true or false"},
        {"return { server = { instance = 7 } }", "server.instance must be a string"},
        {"return { server = { listen = 'a' } }", "server.listen must be a list of strings"},
        {"return { server = { listen = { 'a', 1 } } }", "a list of strings"},
        {"return { server = { listen = { a = 'b' } } }", "a list of strings"},
        {"return { redis = { url = 7 } }", "redis.url must be a URL, or a list of URLs"},
        {"return { redis = 7 }", "bellhop.conf.lua:1: redis must be a table"},
        {"return { auth = { jwt = 'x' } }", "auth.jwt must be a table"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        app_refused(cases[i].text, cases[i].part, NULL);
}

static void choices_and_bounds(void **state) {
    app_refused("return { delivery = { strategy = 'fast' } }", "delivery.strategy must be one of ",
                "local_first|redis|both|local");
    app_refused("return { delivery = { strategy = 'local_first|redis' } }", "must be one of", NULL);
    app_refused("return { tls = { min_version = '' } }", "must be one of 1.2|1.3", NULL);
    app_refused("return { server = { workers = 65 } }", "server.workers must be between 0 and 64",
                NULL);
    app_refused("return { server = { workers = -1 } }", "between 0 and 64", NULL);
    app_refused("return { websocket = { ping_interval = 0.01 } }", "between 0.05 and 86400", NULL);
    app_refused("return { http = { head_bytes = 2^20 + 1 } }", "between 256 and 1048576", NULL);
    app_refused_option("script.memory_limit", "1099511627777", "between 0 and 1099511627776");
    app_load("return { server = { workers = 64 }, http = { head_bytes = 256 } }");
    app_load("return { websocket = { ping_interval = 0.05 } }");
    assert_int_equal(config.ping_interval, 50);
}

static void files_that_are_no_configuration(void **state) {
    app_refused("return 7", "bellhop.conf.lua", NULL);
    app_refused("return { 'x' }", "must return a table of sections", NULL);
    app_refused("\nreturn {", "bellhop.conf.lua:2:", NULL);
    app_refused("return {\n app = { f = string.rep } }", "bellhop.conf.lua:2: app.f: a function",
                NULL);
    app_refused("return {\n server = {\n  drain_timeout = math.huge } }",
                "bellhop.conf.lua:3: server.drain_timeout: NaN and infinity", NULL);
    app_refused("return { 1, x = 2 }", "bellhop.conf.lua: a table must be a list", NULL);
    assert_null(config.tree);
    struct bh_config other;
    struct bh_report own = {0};
    assert_int_equal(bh_config_load(&other, "/none.lua", NULL, 0, &own), BH_EINVAL);
    assert_non_null(strstr(own.errors.items[0], "/none.lua"));
    bh_config_free(&other);
    bh_report_free(&own);
    app_load("return {}");
}

static void errors_of_other_sources(void **state) {
    app_environment("server.workers", "many");
    app_refused(NULL, "BELLHOP_SERVER_WORKERS: server.workers must be a whole number", NULL);
    app_environment("server.workers", "");
    app_refused(NULL, "BELLHOP_SERVER_WORKERS: ", NULL);
    app_environment("server.workers", "1 2");
    app_refused(NULL, "BELLHOP_SERVER_WORKERS: ", NULL);
    app_environment("server.workers", "1");
    app_refused_option("server.dev", "yes", "command line: server.dev must be true or false");
    app_refused_option("log.level", "loud", "command line: log.level must be one of debug|info");
}

static void assert_error(size_t i, const char *begin) {
    const char *error = i < report.errors.count ? report.errors.items[i] : "";
    const char *file = strstr(error, "bellhop.conf.lua");
    error = file ? file : error;
    if (strncmp(error, begin, strlen(begin)) != 0)
        fail_msg("error %zu: %s, not %s", i + 1, error, begin);
}

static void every_mistake_in_the_order_of_the_lines(void **state) {
    app_environment("http.body_bytes", "1k");
    app_refused("return {\n"
                "  websocket = { paths = { 'ws', '/a', 'b' } },\n"
                "  server = {\n"
                "    wrokers = 1,\n"
                "    listen = { 'nowhere' },\n"
                "    workers = 'two',\n"
                "  },\n"
                "  fetch = { timeout = 0 },\n"
                "}\n",
                "", NULL);
    assert_error(0, "bellhop.conf.lua:2: websocket.paths: b: ");
    assert_error(1, "bellhop.conf.lua:2: websocket.paths: ws: ");
    assert_error(2,
                 "bellhop.conf.lua:4: unknown key server.wrokers; did you mean \"server.workers\"");
    assert_error(3, "bellhop.conf.lua:5: server.listen: nowhere: ");
    assert_error(4, "bellhop.conf.lua:6: server.workers must be a whole number");
    assert_error(5, "bellhop.conf.lua:8: fetch.timeout must be between 0.05");
    assert_error(6, "BELLHOP_HTTP_BODY_BYTES: http.body_bytes must be a whole number of bytes");
    assert_int_equal(report.errors.count, 7);
    assert_int_equal(config.body_bytes, 4194304); /* the value before it stays */
}

/* Each with its place, and none with its value. */
static void mistakes_in_secrets_are_listed(void **state) {
    app_environment("auth.jwt.secret", "hunter2\n");
    app_refused("return {\n"
                "  api = { keys = { 'hunt\\ter3', 'good', 'hunter4\\n\\n' } },\n"
                "  redis = {\n"
                "    url = { 'redis://:hunt\\ter5@a', 'redis://:hunter6%0Ax@b' },\n"
                "  },\n"
                "  auth = { jwt = { algorithms = { 'HS265' } } },\n"
                "}\n",
                "BELLHOP_AUTH_JWT_SECRET: auth.jwt.secret: the secret has 7 bytes", NULL);
    app_reported("bellhop.conf.lua:2: api.keys has a control character (byte 5 is 0x09)");
    app_reported("bellhop.conf.lua:2: api.keys has a control character (byte 8 is 0x0a)");
    app_reported("bellhop.conf.lua:4: redis.url has a control character (byte 14 is 0x09)");
    app_reported("bellhop.conf.lua:6: auth.jwt.algorithms: HS265: unknown algorithm");
    assert_int_equal(report.errors.count, 5);
    for (size_t i = 0; i < report.errors.count; i++)
        assert_null(strstr(report.errors.items[i], "hunt"));
}

static void one_mistake_once(void **state) {
    app_environment("server.trusted_proxies", "10.0.0.0/40");
    app_refused("return { server = { listen = { 'proxy:127.0.0.1:1' } } }",
                "BELLHOP_SERVER_TRUSTED_PROXIES: server.trusted_proxies: 10.0.0.0/40: ", NULL);
    assert_int_equal(report.errors.count, 1);
    app_environment("server.trusted_proxies", "");
    app_refused("return { server = { listen = { 'proxy:127.0.0.1:1' } } }",
                "server.listen: proxy:127.0.0.1:1: accepts", NULL);
}

static void values_that_serve_cannot_use(void **state) {
    app_refused_option("server.instance", "a:b", "command line: server.instance: a:b: ");
    app_load_option(NULL, "server.instance", "");
    app_refused(
        "return { auth = { jwt = { algorithms = { 'HS256', 'HS265' }, secret = ('x'):rep(32) } } }",
        "bellhop.conf.lua:1: auth.jwt.algorithms: HS265: unknown algorithm; expected HS256", NULL);
    app_refused("return { auth = { jwt = { algorithms = { 'none' } } } }", "unknown algorithm",
                NULL);
}

static void algorithms_need_a_key(void **state) {
    static const char pem[] = "-----BEGIN PUBLIC KEY-----";
    app_refused(
        "return { auth = { jwt = { algorithms = { 'RS256', 'ES256' }, secret = ('x'):rep(32) } } }",
        "bellhop.conf.lua:1: auth.jwt.algorithms: ES256: no key to verify tokens: set "
        "auth.jwt.public_key or auth.jwt.jwks",
        NULL);
    assert_int_equal(report.errors.count, 2);
    app_environment("auth.jwt.public_key", pem);
    app_load("return { auth = { jwt = { algorithms = { 'RS256' } } } }");
    app_refused("return { auth = { jwt = { algorithms = { 'RS256', 'HS512' } } } }",
                "HS512: no key to verify tokens: set auth.jwt.secret", NULL);
    app_load("return { auth = { jwt = { algorithms = { 'HS512' } } }, server = { dev = true } }");
    app_refused("return { auth = { jwt = { algorithms = {} } } }",
                "bellhop.conf.lua:1: auth.jwt.algorithms: no algorithm", NULL);
    app_load("return { auth = { jwt = { algorithms = { 'HS512' } } },\n"
             "  script = { files = { 'mine.lua' } } }");
}

static void options_for_a_list_add_up(void **state) {
    static const struct bh_config_option options[] = {{"server.listen", "127.0.0.1:1"},
                                                      {"server.workers", "2"},
                                                      {"server.listen", "127.0.0.1:2,[::1]:3"},
                                                      {"server.workers", "3"}};
    struct bh_config c;
    struct bh_report r = {0};
    app_environment("server.listen", "127.0.0.1:9");
    assert_int_equal(bh_config_load(&c, NULL, options, COUNT(options), &r), 0);
    app_strings_are(&c.listen, "127.0.0.1:1,127.0.0.1:2,[::1]:3");
    assert_int_equal(c.workers, 3);
    bh_config_free(&c);
    bh_report_free(&r);
}

/* --- the table --- */

/* For the keys whose strings are checked; the others take any text. */
static const char *good_text(const char *path) {
    static const struct {
        const char *path, *text;
    } texts[] = {
        {"server.listen", "[::1]:1"},
        {"server.admin_listen", "localhost:2"},
        {"server.trusted_proxies", "unix"},
        {"websocket.paths", "/x/:id"},
        {"sse.paths", "/x/:id"},
        {"websocket.origins", "*.a.example"},
        {"api.cors_origins", "https://a.example"},
        {"fetch.allow", "10.0.0.0/8"},
        {"fetch.deny", "::1"},
        {"auth.jwt.algorithms", "HS512"},
        {"server.instance", "i1"},
        {"auth.jwt.secret", SECRET},
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        if (strcmp(texts[i].path, path) == 0)
            return texts[i].text;
    return "redis://x";
}

static const char *good_value(const struct bh_config_key *k) {
    static char number[32];
    switch (k->type) {
    case BH_CONFIG_BOOL:
        return "true";
    case BH_CONFIG_COUNT:
    case BH_CONFIG_BYTES:
    case BH_CONFIG_AUTO_BYTES:
    case BH_CONFIG_SECONDS:
        snprintf(number, sizeof number, "%.0f", k->max);
        return number;
    case BH_CONFIG_RULES:
        return "[{\"topic\":\"user:*\"}]";
    default:
        return k->choices ? "" : good_text(k->path);
    }
}

static void each_key_has_a_variable(void **state) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        const struct bh_config_key *k = &bh_config_keys[i];
        char name[BH_CONFIG_NAME_MAX];
        if (strcmp(k->path, "auth.jwt.public_key") == 0 || strcmp(k->path, "auth.jwt.jwks") == 0)
            continue; /* names of files */
        if (strcmp(k->path, "auth.jwt.algorithms") == 0)
            app_environment("auth.jwt.secret", SECRET SECRET); /* else no key */
        bh_config_environment_name(k, name);
        assert_memory_equal(name, "BELLHOP_", 8);
        setenv(name, good_value(k), 1);
        if (k->choices)
            app_refused(NULL, name, k->choices);
        else
            app_load("return { websocket = { compression_max = 0 } }");
        unsetenv(name);
    }
}

static void largest_values_are_stored_whole(void **state) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        const struct bh_config_key *k = &bh_config_keys[i];
        if (k->type != BH_CONFIG_COUNT && k->type != BH_CONFIG_BYTES &&
            k->type != BH_CONFIG_AUTO_BYTES && k->type != BH_CONFIG_SECONDS)
            continue;
        app_load_option("return { websocket = { compression_max = 0 } }", k->path, good_value(k));
        double unit = k->type == BH_CONFIG_SECONDS ? 1000 : 1;
        assert_true(*(uint64_t *)((char *)&config + k->offset) == (uint64_t)(k->max * unit));
    }
}

/* One plain sentence or more, and the sections in one piece each, which write_tree needs. */
static void each_key_is_described(void **state) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        const struct bh_config_key *k = &bh_config_keys[i];
        size_t n = strlen(k->what), section = strcspn(k->path, ".") + 1;
        if (n < 10 || k->what[n - 1] != '.' || islower((unsigned char)k->what[0]) ||
            strchr(k->what, '|'))
            fail_msg("%s: %s", k->path, k->what);
        assert_ptr_equal(bh_config_find_key(k->path), k);
        for (size_t j = i + 2; j < bh_config_key_count; j++)
            if (strncmp(bh_config_keys[j].path, k->path, section) == 0)
                assert_int_equal(strncmp(bh_config_keys[j - 1].path, k->path, section), 0);
    }
    assert_null(bh_config_find_key("server"));
    assert_null(bh_config_find_key("server.listen.x"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, app_setup, app_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_defaults),
        TEST(a_file_of_all_types),
        TEST(one_url_or_a_list),
        TEST(bytes_or_auto),
        TEST(lists_in_the_environment),
        TEST(the_last_source_wins),
        TEST(scripts_see_all_keys),
        TEST(secrets_are_as_long_as_the_hash),
        TEST(one_line_end_is_removed),
        TEST(one_line_end_in_the_file_is_removed),
        TEST(control_characters_are_refused),
        TEST(a_public_key_from_a_file),
        TEST(a_key_set_must_be_there),
        TEST(unknown_keys),
        TEST(wrong_types),
        TEST(choices_and_bounds),
        TEST(files_that_are_no_configuration),
        TEST(errors_of_other_sources),
        TEST(every_mistake_in_the_order_of_the_lines),
        TEST(mistakes_in_secrets_are_listed),
        TEST(one_mistake_once),
        TEST(values_that_serve_cannot_use),
        TEST(algorithms_need_a_key),
        TEST(options_for_a_list_add_up),
        TEST(each_key_has_a_variable),
        TEST(largest_values_are_stored_whole),
        TEST(each_key_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
