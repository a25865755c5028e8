/* test_url.c - valid and invalid Redis URLs. */
#include "unit_test.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

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
    "redis://:hunter2%01@h",
    "redis://:hunter2%0a%0a@h",
    "redis://:hun%0ater2@h",
    "redis://:hunter2%7f@h",
    "redis://joe%0d:hunter2@h",
    "redis+sentinel://a/m?sentinel_password=hunter2%09",
    "redis://:hunter2@",
    "redis://:hunter2@h:99999",
    "unix://",
    "unix://run/redis.sock",
    "unix://joe@/run/r",
    "unix:///run/%00",
    "unix:///0123456789012345678901234567890123456789012345678901234567890123456789"
    "012345678901234567890123456789012345678901234567890123456789",
    "rediss://:hunter2@",
    "rediss://h?ca=",
    "rediss://h?key=/k",
    "rediss://h?ca=/a%",
    "redis://h?ca=/a",
    "redis://h?sentinel_password=hunter2",
    "redis://h?db=1&",
    "redis+sentinel://",
    "redis+sentinel:///m",
    "redis+sentinel://:hunter2@/m",
    "redis+sentinel://a",
    "redis+sentinel://a/",
    "redis+sentinel://a//1",
    "redis+sentinel://a/m/x",
    "redis+sentinel://a/m/1/2",
    "redis+sentinel://a,/m",
    "redis+sentinel://,a/m",
    "redis+sentinel://a:0/m",
    "redis+sentinel://a:99999/m",
    "redis+sentinel://a%2cb/m",
    "redis+sentinel://a%2fb/m",
    "redis+sentinel://a%/m",
    "redis+sentinel://a/m%00",
    "redis+sentinel://a/m?sentinel_user=hunter2",
    "redis+sentinel://a/m?sentinel_password=hunter2%",
    "redis+cluster://",
    "redis+cluster:///",
    "redis+cluster://:hunter2@",
    "redis+cluster://a,",
    "redis+cluster://,a",
    "redis+cluster://a,,b",
    "redis+cluster://a:0",
    "redis+cluster://a:65536",
    "redis+cluster://a,b:x",
    "redis+cluster://::1",
    "redis+cluster://a/1",
    "redis+cluster://a/0/0",
    "redis+cluster://a/x",
    "redis+cluster://a?db=1",
    "redis+cluster://a?sentinel_password=hunter2",
    "redis+cluster://a?ca=/x",
    "redis+cluster://a%2cb",
    "redis+cluster://hunter2@a",
    "redis+cluster://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a",
    "redis+sentinel://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a/m",
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

/* The password is often the content of a file, and some tool has encoded it whole. */
static void test_line_end_of_a_password(void **state) {
    static const char *const urls[] = {
        "redis+sentinel://joe:pw%0A@a/m?sentinel_user=su&sentinel_password=sp%0a",
        "redis+sentinel://joe%0A:pw%0D%0A@a/m?sentinel_user=su%0a&sentinel_password=sp%0d%0a",
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct bh_redis_config c;
        const char *why;
        assert_int_equal(bh_redis_config_parse(bh_slice_cstr(urls[i]), &c, &why), 0);
        assert_string_equal(c.user, "joe");
        assert_string_equal(c.password, "pw");
        assert_string_equal(c.sentinel_user, "su");
        assert_string_equal(c.sentinel_password, "sp");
        bh_redis_config_deinit(&c);
    }
}

/* --- TLS --- */

static void test_tls(void **state) {
    struct bh_redis_config c;
    const char *why;
    assert_int_equal(bh_redis_config_parse(BH_SLICE("rediss://:pw@redis.example:6380/2?ca=%2fetc/a"
                                                    "%26b.pem&cert=/c.pem&key=/k.pem"),
                                           &c, &why),
                     0);
    assert_true(c.tls);
    assert_string_equal(c.host, "redis.example");
    assert_int_equal(c.port, 6380);
    assert_int_equal(c.database, 2);
    assert_string_equal(c.password, "pw");
    assert_string_equal(c.ca_file, "/etc/a&b.pem");
    assert_string_equal(c.cert_file, "/c.pem");
    assert_string_equal(c.key_file, "/k.pem");
    bh_redis_config_deinit(&c);
    assert_int_equal(bh_redis_config_parse(BH_SLICE("rediss://h"), &c, &why), 0);
    assert_true(c.tls);
    assert_null(c.ca_file);
    assert_int_equal(c.port, 6379);
    bh_redis_config_deinit(&c);
}

static void test_no_insecure_tls(void **state) {
    struct bh_redis_config c;
    const char *why;
    assert_int_equal(bh_redis_config_parse(BH_SLICE("rediss://h?insecure=1"), &c, &why), BH_EINVAL);
    assert_non_null(strstr(why, "ca="));
}

static void test_files_are_checked(void **state) {
    struct bh_redis_config c;
    const char *why;
    char *error;
    bh_redis_config_parse(BH_SLICE("rediss://:hunter2@h?ca=/nonexistent.pem"), &c, &why);
    assert_int_equal(bh_redis_config_check(&c, &error), BH_EINVAL);
    assert_non_null(strstr(error, "/nonexistent.pem"));
    assert_null(strstr(error, "hunter2"));
    bh_free(error);
    bh_redis_config_deinit(&c);
    bh_redis_config_parse(BH_SLICE("redis://h"), &c, &why);
    assert_int_equal(bh_redis_config_check(&c, &error), 0);
    bh_redis_config_deinit(&c);
}

/* --- Sentinel --- */

static const struct {
    const char *url, *sentinels, *master, *user, *password, *sentinel_user, *sentinel_password;
    unsigned database;
    bool tls;
} sentinels[] = {
    {"redis+sentinel://a/m", "a:26379", "m", NULL, NULL, NULL, NULL, 0, false},
    {"redis+sentinel://a,b:5,10.0.0.1:6/my-master/3", "a:26379,b:5,10.0.0.1:6", "my-master", NULL,
     NULL, NULL, NULL, 3, false},
    {"redis+sentinel://[::1],[::2]:7/m/", "[::1]:26379,[::2]:7", "m", NULL, NULL, NULL, NULL, 0,
     false},
    {"redis+sentinel://joe:p%40,w@a,b/m%20x?sentinel_password=s%26w&db=2", "a:26379,b:26379", "m x",
     "joe", "p@,w", NULL, "s&w", 2, false},
    {"REDISS+SENTINEL://a/m?sentinel_user=u&sentinel_password=p&ca=/x", "a:26379", "m", NULL, NULL,
     "u", "p", 0, true},
};

static void test_sentinels(void **state) {
    for (size_t i = 0; i < sizeof sentinels / sizeof *sentinels; i++) {
        struct bh_redis_config c;
        const char *why;
        if (bh_redis_config_parse(bh_slice_cstr(sentinels[i].url), &c, &why) != 0)
            fail_msg("%s: %s", sentinels[i].url, why);
        same(c.sentinels, sentinels[i].sentinels);
        same(c.master, sentinels[i].master);
        same(c.user, sentinels[i].user);
        same(c.password, sentinels[i].password);
        same(c.sentinel_user, sentinels[i].sentinel_user);
        same(c.sentinel_password, sentinels[i].sentinel_password);
        assert_int_equal(c.database, sentinels[i].database);
        assert_int_equal(c.tls, sentinels[i].tls);
        assert_null(c.host);
        assert_null(c.unix_path);
        bh_redis_config_deinit(&c);
    }
}

/* --- a cluster --- */

static const struct {
    const char *url, *cluster, *user, *password, *ca;
    bool tls;
} clusters[] = {
    {"redis+cluster://a", "a:6379", NULL, NULL, NULL, false},
    {"redis+cluster://a/", "a:6379", NULL, NULL, NULL, false},
    {"redis+cluster://a,b:5,[::1],[::2]:7/0", "a:6379,b:5,[::1]:6379,[::2]:7", NULL, NULL, NULL,
     false},
    {"redis+cluster://joe:p%40,w@a,b?db=0", "a:6379,b:6379", "joe", "p@,w", NULL, false},
    {"REDISS+CLUSTER://:pw@a:1?ca=/x", "a:1", NULL, "pw", "/x", true},
};

static void test_clusters(void **state) {
    for (size_t i = 0; i < sizeof clusters / sizeof *clusters; i++) {
        struct bh_redis_config c;
        const char *why;
        if (bh_redis_config_parse(bh_slice_cstr(clusters[i].url), &c, &why) != 0)
            fail_msg("%s: %s", clusters[i].url, why);
        same(c.cluster, clusters[i].cluster);
        same(c.user, clusters[i].user);
        same(c.password, clusters[i].password);
        same(c.ca_file, clusters[i].ca);
        assert_int_equal(c.tls, clusters[i].tls);
        assert_false(c.sharded);
        assert_null(c.host);
        assert_null(c.sentinels);
        assert_null(c.master);
        assert_int_equal(c.database, 0);
        bh_redis_config_deinit(&c);
    }
}

/* Each truncated or changed URL is accepted or rejected, without a leak (the sanitizers check). */
static void cut_and_change(struct bh_slice whole) {
    char text[256];
    struct bh_redis_config c;
    const char *why;
    for (size_t n = 0; n <= whole.n; n++)
        for (int change = 0; change < 8; change++) {
            memcpy(text, whole.p, whole.n);
            if (change && n < whole.n)
                text[n] = "\0%@:/,]&"[change];
            struct bh_slice exact = test_exact(bh_slice(text, change ? whole.n : n));
            if (bh_redis_config_parse(exact, &c, &why) != 0)
                assert_null(strstr(why, "hunter2"));
            test_exact_free(exact);
            bh_redis_config_deinit(&c);
        }
}

static void test_cut_and_changed(void **state) {
    cut_and_change(
        BH_SLICE("rediss+sentinel://joe:hunter2@a%41,[::1]:7/m%20/3?sentinel_user=hunter2&"
                 "sentinel_password=hunter2&ca=/a&cert=/b&key=/c&db=1&db=2&ca=/twice"));
    cut_and_change(BH_SLICE("rediss+cluster://joe:hunter2@a%41,[::1]:7/0?ca=/a&db=0&db=2"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_line_end_of_a_password),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_no_insecure_tls),
        cmocka_unit_test(test_files_are_checked),
        cmocka_unit_test(test_sentinels),
        cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_cut_and_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
