/* From configuration keys to the Redis nodes; an error never contains a part of a URL. */
#include "app_test.h"

static struct bh_app_redis redis;

static int setup(void **state) {
    redis = (struct bh_app_redis){0};
    return app_setup(state);
}

static int teardown(void **state) {
    bh_app_redis_free(&redis);
    return app_teardown(state);
}

static void read_config(void) {
    bh_app_redis_free(&redis);
    bh_app_redis_config(&config, "i1", &redis, &report);
}

static void loaded(const char *text) {
    app_load(text);
    read_config();
    if (report.errors.count)
        fail_msg("refused: %s", report.errors.items[0]);
}

static void tells_no_url(void) {
    for (size_t i = 0; i < report.errors.count; i++)
        if (strstr(report.errors.items[i], "hunter2") ||
            strstr(report.errors.items[i], "secret.example"))
            fail_msg("tells a part of the URL: %s", report.errors.items[i]);
}

static void refused(const char *text, const char *part) {
    app_refused(text, part, NULL);
    tells_no_url();
}

static void none(void **state) {
    loaded(NULL);
    assert_int_equal(redis.count, 0);
    assert_null(redis.tracking.key_prefix);
    assert_int_equal(redis.tracking.lease_ms, 300000);
    assert_int_equal(redis.tracking.debounce_ms, 3000);
}

static void a_node_has_all_settings(void **state) {
    loaded("return {\n"
           "  redis = { url = 'redis://me:hunter2@secret.example:7000/3', channel_prefix = 'n:',\n"
           "    connect_timeout = 1, command_timeout = 2, probe_interval = 3,\n"
           "    publish_queue = 4, publish_wait = 6 },\n"
           "  tracking = { lease = 7, debounce = 8, key_prefix = 'k:' },\n"
           "}\n");
    assert_int_equal(redis.count, 1);
    const struct bh_redis_config *node = &redis.nodes[0];
    assert_string_equal(node->host, "secret.example");
    assert_int_equal(node->port, 7000);
    assert_string_equal(node->user, "me");
    assert_string_equal(node->password, "hunter2");
    assert_int_equal(node->database, 3);
    assert_string_equal(node->channel_prefix, "n:");
    assert_string_equal(node->instance, "i1");
    assert_int_equal(node->connect_timeout_ms, 1000);
    assert_int_equal(node->command_timeout_ms, 2000);
    assert_int_equal(node->probe_ms, 3000);
    assert_int_equal(node->publish_queue, 4);
    assert_int_equal(node->publish_wait_ms, 6000);
    assert_int_equal(redis.tracking.lease_ms, 7000);
    assert_int_equal(redis.tracking.debounce_ms, 8000);
    assert_string_equal(redis.tracking.key_prefix, "k:");
}

static void several_nodes(void **state) {
    loaded("return { redis = { url = { 'redis://a', 'unix:///s', 'redis+sentinel://x,y/main' },\n"
           "  command_timeout = 2 } }");
    assert_int_equal(redis.count, 3);
    assert_string_equal(redis.nodes[0].host, "a");
    assert_string_equal(redis.nodes[1].unix_path, "/s");
    assert_string_equal(redis.nodes[2].master, "main");
    for (size_t i = 0; i < redis.count; i++)
        assert_int_equal(redis.nodes[i].command_timeout_ms, 2000);
}

static void a_cluster(void **state) {
    loaded("return { redis = { url = 'redis+cluster://a,b:7000', command_timeout = 2 } }");
    assert_int_equal(redis.count, 1);
    assert_string_equal(redis.nodes[0].cluster, "a:6379,b:7000");
    assert_int_equal(redis.nodes[0].command_timeout_ms, 2000);
    refused("return { redis = { url = 'redis+cluster://:hunter2@secret.example/1' } }",
            "redis.url: a Redis Cluster has database 0 only");
    refused("return { redis = { url = { 'redis+cluster://secret.example', 'redis://b' } } }",
            "redis.url: a Redis Cluster must be the only URL");
    refused("return { redis = { url = { 'redis://b', 'rediss+cluster://secret.example' } } }",
            "redis.url: a Redis Cluster must be the only URL");
}

/* All keys of a prefix are touched by one script. */
static void a_prefix_in_a_cluster_has_a_hash_tag(void **state) {
    static const char *const bad[] = {"ws:", "{}:", "ws}{:", "{ws"}, *const good[] = {"{ws}:",
                                                                                      "a{b}"};
    char text[256];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(
            text, sizeof text,
            "return { redis = { url = 'redis+cluster://a' }, tracking = { key_prefix = '%s' } }",
            bad[i]);
        refused(text, "tracking.key_prefix: on a Redis Cluster it must contain a hash tag");
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(
            text, sizeof text,
            "return { redis = { url = 'redis+cluster://a' }, tracking = { key_prefix = '%s' } }",
            good[i]);
        loaded(text);
        assert_string_equal(redis.tracking.key_prefix, good[i]);
    }
    loaded("return { redis = { url = 'redis+cluster://a' } }");
    loaded("return { redis = { url = { 'redis://a', 'redis://b' } }, tracking = { key_prefix = "
           "'ws:' } }");
}

static void bad_urls(void **state) {
    refused("return { redis = { url = 'http://:hunter2@secret.example' } }", "redis.url: ");
    refused("return { redis = { url = { 'redis://a', 'redis://:hunter2@secret.example:none' } } }",
            "redis.url, URL 2 of 2: ");
    app_load("return { redis = { url = 'rediss://:hunter2@secret.example?ca=/none.pem' } }");
    read_config();
    app_reported("bellhop.conf.lua:1: redis.url: ");
    tells_no_url();
    refused("return { redis = { url = { 'redis://secret.example', 'redis://b',\n"
            "  'redis://:hunter2@secret.example:6379/0' } } }",
            "redis.url: URLs 1 and 3 are the same node");
}

static void too_much(void **state) {
    char text[1024], prefix[66];
    memset(prefix, 'p', sizeof prefix - 1);
    prefix[65] = '\0';
    snprintf(text, sizeof text, "return { redis = { channel_prefix = '%s' } }", prefix);
    refused(text, "must not be longer than 64 bytes");
    snprintf(text, sizeof text, "return { tracking = { key_prefix = '%s' } }", prefix);
    refused(text, "must not be longer than 64 bytes");
    refused("return { redis = { channel_prefix = '{n}:' } }", "must not contain { or }");
    refused("return { redis = { channel_prefix = 'n}' } }", "must not contain { or }");
    loaded("return { tracking = { key_prefix = '{ws}:' } }");
    loaded("return { tracking = { key_prefix = '' } }");
    assert_null(redis.tracking.key_prefix);
    prefix[64] = '\0';
    snprintf(text, sizeof text, "return { tracking = { key_prefix = '%s' } }", prefix);
    loaded(text);
    refused("local urls = {}\n"
            "for i = 1, 17 do urls[i] = 'redis://h' .. i end\n"
            "return { redis = { url = urls } }",
            "redis.url has 17 URLs; the maximum is 16");
    loaded("local urls = {}\n"
           "for i = 1, 16 do urls[i] = 'redis://h' .. i end\n"
           "return { redis = { url = urls } }");
    assert_int_equal(redis.count, BH_SHARDS_MAX);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(none),
        TEST(a_node_has_all_settings),
        TEST(several_nodes),
        TEST(bad_urls),
        TEST(too_much),
        TEST(a_cluster),
        TEST(a_prefix_in_a_cluster_has_a_hash_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
