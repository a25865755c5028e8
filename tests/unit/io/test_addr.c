/* Addresses: text to sockaddr and back, with hostile text. */
#include "io_test.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

static void round_trips(void **state) {
    static const char *const pairs[][2] = {
        {"127.0.0.1:8080", "127.0.0.1:8080"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"[::1]:8080", "[::1]:8080"},
        {"[2001:DB8:0:0::5]:1", "[2001:db8::5]:1"},
        {"[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]:80"},
        {":8080", "[::]:8080"},
        {"[127.0.0.1]:9", "127.0.0.1:9"},
        {"unix:/run/bellhop.sock", "unix:/run/bellhop.sock"},
        {"/run/bellhop.sock", "unix:/run/bellhop.sock"},
        {"/with:colon:80", "unix:/with:colon:80"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct bh_addr a = test_addr(pairs[i][0]);
        char text[BH_ADDR_TEXT_MAX];
        bh_addr_format(&a, text);
        assert_string_equal(text, pairs[i][1]);
    }
}

static void refuses_what_is_not_an_address(void **state) {
    static const char *const bad[] = {
        "",
        ":",
        "8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0:80",
        "256.0.0.1:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[[::1]]:80",
        "[::1%lo]:80",
        "localhost:80",
        "example.org:80",
        "unix:",
        "unix:relative",
        "unix:@name",
        "./sock",
        "127.0.0.1:99999999999999999999",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333:4444:5555:6666:7777:80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bh_addr a;
        const char *why = NULL;
        assert_int_equal(bh_addr_parse(bh_slice_cstr(bad[i]), &a, &why), BH_EINVAL);
        assert_non_null(why);
        assert_int_equal(bh_addr_parse(bh_slice_cstr(bad[i]), &a, NULL), BH_EINVAL);
    }
    struct bh_addr a;
    assert_int_equal(bh_addr_parse(bh_slice(NULL, 0), &a, NULL), BH_EINVAL);
    assert_int_equal(bh_addr_parse(BH_SLICE("127.0.0.1\0:80"), &a, NULL), BH_EINVAL);
    assert_int_equal(bh_addr_parse(BH_SLICE("/a\0b"), &a, NULL), BH_EINVAL);
}

static void slices_need_no_terminator(void **state) {
    struct bh_addr a;
    char text[BH_ADDR_TEXT_MAX];
    assert_int_equal(bh_addr_parse(bh_slice("127.0.0.1:80801", 13), &a, NULL), 0);
    bh_addr_format(&a, text);
    assert_string_equal(text, "127.0.0.1:808");
}

static void the_longest_path(void **state) {
    char path[200];
    struct bh_addr a;
    char text[BH_ADDR_TEXT_MAX];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    assert_int_equal(bh_addr_parse(bh_slice(path, 108), &a, NULL), BH_EINVAL);
    assert_int_equal(bh_addr_parse(bh_slice(path, 107), &a, NULL), 0);
    bh_addr_format(&a, text);
    assert_int_equal(strlen(text), 5 + 107);
}

static void splits_names_too(void **state) {
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {
        {"localhost:6379", "localhost", 6379},
        {"a.example.org:80", "a.example.org", 80},
        {"[::1]:80", "::1", 80},
        {":8080", "", 8080},
        {"x_y-z:0", "x_y-z", 0},
    };
    struct bh_slice host;
    uint16_t port;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(bh_addr_split(bh_slice_cstr(good[i].text), &host, &port), 0);
        assert_true(bh_slice_eq(host, bh_slice_cstr(good[i].host)));
        assert_int_equal(port, good[i].port);
    }
    static const char *const bad[] = {"",           "host",   "host:",     "a:b:80",
                                      "host:65536", "a b:1",  "a\n:80",    "[::1:80",
                                      "a/b:80",     "\x7f:1", "\xc3\xa4:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(bh_addr_split(bh_slice_cstr(bad[i]), &host, &port), BH_EINVAL);
}

static void shows_the_host_alone(void **state) {
    static const char *const pairs[][2] = {
        {"10.1.2.3:80", "10.1.2.3"}, {"[::1]:80", "::1"}, {"[::ffff:10.1.2.3]:80", "10.1.2.3"},
        {"/run/x", "unix"},          {":80", "::"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct bh_addr a = test_addr(pairs[i][0]);
        char text[BH_ADDR_TEXT_MAX];
        bh_addr_format_ip(&a, text);
        assert_string_equal(text, pairs[i][1]);
    }
}

static void knows_loopback(void **state) {
    static const char *const loopback[] = {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1",
                                           "[::ffff:127.0.0.1]:1", "/run/x"};
    static const char *const other[] = {"0.0.0.0:1",           "128.0.0.1:1", "[::]:1",      ":1",
                                        "[::ffff:10.0.0.1]:1", "[fe80::1]:1", "10.127.0.1:1"};
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++) {
        struct bh_addr a = test_addr(loopback[i]);
        assert_true(bh_addr_is_loopback(&a));
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct bh_addr a = test_addr(other[i]);
        assert_false(bh_addr_is_loopback(&a));
    }
    struct bh_addr none = {0};
    assert_false(bh_addr_is_loopback(&none));
}

static void what_the_kernel_reports_for_unix_sockets(void **state) {
    char text[BH_ADDR_TEXT_MAX];
    struct bh_addr a = {.len = sizeof(sa_family_t)}; /* unnamed: no path at all */
    a.sa.sa_family = AF_UNIX;
    memset((char *)&a.storage + sizeof(sa_family_t), 'x', 64);
    bh_addr_format(&a, text);
    assert_string_equal(text, "unix:");

    struct sockaddr_un *un = (struct sockaddr_un *)&a.storage;
    memcpy(un->sun_path, "\0abc", 4); /* abstract */
    a.len = offsetof(struct sockaddr_un, sun_path) + 4;
    bh_addr_format(&a, text);
    assert_string_equal(text, "unix:@abc");

    memset(un->sun_path, 'p', sizeof un->sun_path); /* all 108 bytes, no NUL */
    a.len = sizeof *un;
    bh_addr_format(&a, text);
    assert_int_equal(strlen(text), 5 + 108);
    bh_addr_format_ip(&a, text);
    assert_string_equal(text, "unix");
    assert_int_equal(bh_addr_port(&a), 0);

    struct bh_addr none = {0};
    bh_addr_format(&none, text);
    assert_string_equal(text, "?");
    bh_addr_format_ip(&none, text);
    assert_string_equal(text, "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(refuses_what_is_not_an_address),
        cmocka_unit_test(slices_need_no_terminator),
        cmocka_unit_test(the_longest_path),
        cmocka_unit_test(splits_names_too),
        cmocka_unit_test(shows_the_host_alone),
        cmocka_unit_test(knows_loopback),
        cmocka_unit_test(what_the_kernel_reports_for_unix_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
