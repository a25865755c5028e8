/* test_url.c - Redis URLs, lawful and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"

static const struct {
    const char *url, *host, *path, *user, *password;
    unsigned port, database;
} good[] = {
    {"redis://localhost", "localhost", NULL, NULL, NULL, 6379, 0},
    {"redis://localhost/", "localhost", NULL, NULL, NULL, 6379, 0},
    {"REDIS://localhost:7000", "localhost", NULL, NULL, NULL, 7000, 0},
    {"redis://10.0.0.1:6380/3", "10.0.0.1", NULL, NULL, NULL, 6380, 3},
    {"redis://h/2", "h", NULL, NULL, NULL, 6379, 2},
    {"redis://h?db=4", "h", NULL, NULL, NULL, 6379, 4},
    {"redis://[::1]:6380/1", "::1", NULL, NULL, NULL, 6380, 1},
    {"redis://[fe80::1]", "fe80::1", NULL, NULL, NULL, 6379, 0},
    {"redis://:secret@h:1", "h", NULL, NULL, "secret", 1, 0},
    {"redis://joe:secret@h", "h", NULL, "joe", "secret", 6379, 0},
    {"redis://joe:@h", "h", NULL, "joe", "", 6379, 0},
    {"redis://:@h", "h", NULL, NULL, NULL, 6379, 0},
    {"redis://joe%40x:p%3aw%2F%25@h/0", "h", NULL, "joe@x", "p:w/%", 6379, 0},
    {"redis://joe:a@b:c@h:2", "h", NULL, "joe", "a@b:c", 2, 0},
    {"redis://:a+b@h", "h", NULL, NULL, "a+b", 6379, 0},
    {"unix:///run/redis.sock", NULL, "/run/redis.sock", NULL, NULL, 6379, 0},
    {"unix:///run/my%20redis.sock?db=5", NULL, "/run/my redis.sock", NULL, NULL, 6379, 5},
    {"unix://joe:pw@/run/r", NULL, "/run/r", "joe", "pw", 6379, 0},
    {"unix://:pw@/run/r", NULL, "/run/r", NULL, "pw", 6379, 0},
};

static void same(const char *a, const char *b) {
    if (a && b)
        assert_string_equal(a, b);
    else
        assert_ptr_equal(a, b);
}

static void test_good(void **state) {
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct bh_redis_config c;
        const char *why = NULL;
        if (bh_redis_config_parse(bh_slice_cstr(good[i].url), &c, &why) != 0)
            fail_msg("%s: %s", good[i].url, why);
        same(c.host, good[i].host);
        same(c.unix_path, good[i].path);
        same(c.user, good[i].user);
        same(c.password, good[i].password);
        assert_int_equal(c.port, good[i].port);
        assert_int_equal(c.database, good[i].database);
        assert_string_equal(c.channel_prefix, "notification:");
        assert_int_equal(c.connect_timeout_ms, 5000);
        assert_int_equal(c.command_timeout_ms, 5000);
        assert_int_equal(c.probe_ms, 2000);
        assert_int_equal(c.backoff_min_ms, 50);
        assert_int_equal(c.backoff_max_ms, 5000);
        bh_redis_config_deinit(&c);
        bh_redis_config_deinit(&c);
    }
}

static const char *const bad[] = {
    "",
    "redis",
    "redis:/",
    "redis://",
    "redis:///1",
    "http://h",
    "localhost:6379",
    "redis://h:",
    "redis://h:0",
    "redis://h:65536",
    "redis://h:-1",
    "redis://h:x",
    "redis://::1",
    "redis://[::1",
    "redis://::1]",
    "redis://[]",
    "redis://h/x",
    "redis://h/-1",
    "redis://h/1/2",
    "redis://h/99999999999999999999",
    "redis://h?x=1",
    "redis://h?db=",
    "redis://h?db=1&x=2",
    "redis://hunter2@h",
    "redis://:hunter2%@h",
    "redis://:hunter2%zz@h",
    "redis://:hunter2%00@h",
    "redis://h%00",
    "redis://:hunter2@",
    "redis://:hunter2@h:99999",
    "unix://",
    "unix://run/redis.sock",
    "unix://joe@/run/r",
    "unix:///run/%00",
    "unix:///0123456789012345678901234567890123456789012345678901234567890123456789"
    "012345678901234567890123456789012345678901234567890123456789",
    "rediss://:hunter2@h",
};

static void test_bad(void **state) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bh_redis_config c;
        const char *why = NULL;
        if (bh_redis_config_parse(bh_slice_cstr(bad[i]), &c, &why) != BH_EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
        assert_null(strstr(why, "hunter2"));
        bh_redis_config_deinit(&c);
    }
}

static void test_tls_is_refused_by_name(void **state) {
    struct bh_redis_config c;
    const char *why;
    assert_int_equal(bh_redis_config_parse(BH_SLICE("rediss://h"), &c, &why), BH_EINVAL);
    assert_non_null(strstr(why, "TLS"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_tls_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
