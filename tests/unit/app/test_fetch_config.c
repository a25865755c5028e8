/* From configuration keys to the settings of the scripts' HTTP client. */
#include "app_test.h"

static struct bh_app_fetch fetch;

static int setup(void **state) {
    fetch = (struct bh_app_fetch){0};
    return app_setup(state);
}

static int teardown(void **state) {
    bh_app_fetch_free(&fetch);
    return app_teardown(state);
}

static void loaded(const char *text) {
    app_load(text);
    bh_app_fetch_free(&fetch);
    bh_app_fetch_config(&config, &fetch, &report);
    if (report.errors.count)
        fail_msg("refused: %s", report.errors.items[0]);
}

static void refused(const char *text, const char *part) {
    app_load(text);
    bh_app_fetch_free(&fetch);
    bh_app_fetch_config(&config, &fetch, &report);
    app_reported(part);
}

static void each_setting_is_the_one_of_its_key(void **state) {
    loaded("return { fetch = { timeout = 1, connect_timeout = 2, max_bytes = 3, per_host = 4,\n"
           "  total = 5, queue = 6, proxy = 'http://p:1', no_proxy = 'a,b',\n"
           "  allow = { '10.0.0.0/8', '::1' }, deny = { '10.1.0.0/16' } } }");
    assert_int_equal(fetch.config.timeout_ms, 1000);
    assert_int_equal(fetch.config.connect_timeout_ms, 2000);
    assert_int_equal(fetch.config.max_bytes, 3);
    assert_int_equal(fetch.config.per_host, 4);
    assert_int_equal(fetch.config.total, 5);
    assert_int_equal(fetch.config.queue, 6);
    assert_string_equal(fetch.config.proxy, "http://p:1");
    assert_string_equal(fetch.config.no_proxy, "a,b");
    assert_string_equal(fetch.config.ca_file, "");
    assert_int_equal(fetch.config.allow_count, 2);
    assert_int_equal(fetch.config.allow[0].bits, 8);
    assert_int_equal(fetch.config.allow[1].bits, 128);
    assert_int_equal(fetch.config.deny_count, 1);
    assert_int_equal(fetch.config.deny[0].bits, 16);
}

static void the_defaults(void **state) {
    loaded(NULL);
    assert_int_equal(fetch.config.timeout_ms, 5000);
    assert_int_equal(fetch.config.max_bytes, 1024 * 1024);
    assert_int_equal(fetch.config.allow_count + fetch.config.deny_count, 0);
}

static void bad_ranges(void **state) {
    app_refused("return { fetch = { allow = { '10.0.0.0/8', 'localhost' } } }",
                "fetch.allow: localhost: ", NULL);
    app_refused("return { fetch = { deny = { '::1/129' } } }", "fetch.deny: ::1/129: ", NULL);
}

static void the_file_of_authorities(void **state) {
    char text[256];
    refused("return { fetch = { ca_file = '/none.pem' } }",
            "bellhop.conf.lua:1: fetch.ca_file: /none.pem");
    snprintf(text, sizeof text, "return { fetch = { ca_file = '%s' } }", app_file("ca.pem", "x\n"));
    refused(text, "ca.pem");
    app_file("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    loaded(text);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(each_setting_is_the_one_of_its_key),
        TEST(the_defaults),
        TEST(bad_ranges),
        TEST(the_file_of_authorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
