/* What is checked on the machine that serves: files and addresses. */
#include "app_test.h"
#include "bellhop/io/addr.h"

#include <sys/socket.h>
#include <unistd.h>

static struct bh_app_settings settings;

static int setup(void **state) {
    settings = (struct bh_app_settings){0};
    return app_setup(state);
}

static int teardown(void **state) {
    bh_app_settings_free(&settings);
    return app_teardown(state);
}

static int init(const char *text, bool may_be_in_use) {
    app_load(text);
    bh_app_settings_free(&settings);
    return bh_app_settings_init(&settings, &config, "i1", may_be_in_use, &report);
}

static void the_defaults(void **state) {
    assert_int_equal(init("return { server = { listen = { '127.0.0.1:0' } } }", false), 0);
    assert_int_equal(settings.edge.listen_count, 1);
    assert_int_equal(settings.redis.count, 0);
    assert_null(settings.tls);
}

static void every_file(void **state) {
    assert_int_equal(init("return {\n"
                          "  server = { listen = { '127.0.0.1:0' } },\n"
                          "  fetch = { ca_file = '/none/ca.pem' },\n"
                          "  tls = { certificates = { '/none/c.pem' } },\n"
                          "  redis = { url = 'rediss://a?ca=/none/r.pem' },\n"
                          "}\n",
                          false),
                     BH_EINVAL);
    app_reported("bellhop.conf.lua:3: fetch.ca_file: /none/ca.pem: ");
    app_reported("bellhop.conf.lua:4: tls.certificates: /none/c.pem: ");
    app_reported("bellhop.conf.lua:5: redis.url: /none/r.pem: ");
    assert_int_equal(report.errors.count, 3);
}

static void an_address_of_another_machine(void **state) {
    init("return { server = { listen = { '203.0.113.7:0' }, admin_listen = { '/none/s' } } }",
         true);
    app_reported("bellhop.conf.lua:1: server.listen: 203.0.113.7:0: address not available");
    app_reported("bellhop.conf.lua:1: server.admin_listen: unix:/none/s: no such directory");
}

static void an_address_in_use(void **state) {
    struct bh_addr at;
    char text[256], address[BH_ADDR_TEXT_MAX];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bh_addr_parse(BH_SLICE("127.0.0.1:0"), &at, NULL);
    assert_int_equal(bind(fd, &at.sa, at.len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, &at.sa, &at.len), 0);
    bh_addr_format(&at, address);
    snprintf(text, sizeof text, "return { server = { listen = { '%s' } } }", address);
    assert_int_equal(init(text, true), 0);
    assert_int_equal(init(text, false), BH_EINVAL);
    app_reported(": the address is in use");
    close(fd);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_defaults),
        TEST(every_file),
        TEST(an_address_of_another_machine),
        TEST(an_address_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
