/* Sets of addresses: their text, hostile text, and which addresses they contain. */
#include "io_test.h"

#include "bellhop/io/cidr.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Parses from a block of exactly its size. */
static int parse(const char *text, size_t n, struct bh_cidr *out) {
    const char *why = "untouched";
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    int r = bh_cidr_parse(bh_slice(copy, n), out, &why);
    free(copy);
    assert_int_equal(r != 0, why != NULL);
    return r;
}

static struct bh_cidr cidr(const char *text) {
    struct bh_cidr c;
    assert_int_equal(parse(text, strlen(text), &c), 0);
    return c;
}

static struct bh_ip ip(const char *text) {
    struct bh_ip out;
    assert_int_equal(bh_ip_parse(bh_slice_cstr(text), &out), 0);
    return out;
}

static bool is_in(const char *set, const char *address) {
    struct bh_cidr c = cidr(set);
    struct bh_ip who = ip(address);
    return bh_cidr_contains(&c, &who);
}

static void addresses_round_trip(void **state) {
    static const char *const pairs[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"::1", "::1"},
        {"2001:DB8:0:0::5", "2001:db8::5"},
        {"::ffff:10.0.0.1", "10.0.0.1"},
        {"::ffff:a00:1", "10.0.0.1"},
        {"::10.0.0.1", "::10.0.0.1"},
        {"::", "::"},
        {"64:ff9b::1.2.3.4", "64:ff9b::102:304"},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct bh_ip a = ip(pairs[i][0]), b = ip(pairs[i][1]);
        char text[BH_ADDR_TEXT_MAX];
        bh_ip_format(&a, text);
        assert_string_equal(text, pairs[i][1]);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void what_is_no_address_is_refused(void **state) {
    static const char *const bad[] = {
        "",
        "unix",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.04",
        "256.1.1.1",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4:80",
        "[::1]",
        "::1]",
        "fe80::1%lo",
        ":::",
        "1::2::3",
        "12345::",
        "0x1.2.3.4",
        "localhost",
        "1.2.3.4/8",
        "::ffff:1.2.3",
        "1111:2222:3333:4444:5555:6666:7777:8888:9999",
        "0000:0000:0000:0000:0000:ffff:255.255.255.2555",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_ip out;
        assert_int_equal(bh_ip_parse(bh_slice_cstr(bad[i]), &out), BH_EINVAL);
    }
    struct bh_ip out;
    assert_int_equal(bh_ip_parse(bh_slice(NULL, 0), &out), BH_EINVAL);
    assert_int_equal(bh_ip_parse(BH_SLICE("1.2.3.4\0"), &out), BH_EINVAL);
    assert_int_equal(bh_ip_parse(bh_slice("1.2.3.45", 7), &out), 0);
    assert_int_equal(out.bytes[3], 4);
}

static void of_socket_addresses_and_back(void **state) {
    static const char *const pairs[][2] = {
        {"192.0.2.1:80", "192.0.2.1:80"},
        {"[2001:db8::1]:80", "[2001:db8::1]:80"},
        {"[::ffff:192.0.2.1]:80", "192.0.2.1:80"},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct bh_addr from = test_addr(pairs[i][0]), to;
        struct bh_ip middle;
        char text[BH_ADDR_TEXT_MAX];
        bh_ip_of(&from, &middle);
        bh_ip_to_addr(&middle, 80, &to);
        bh_addr_format(&to, text);
        assert_string_equal(text, pairs[i][1]);
        struct bh_addr parsed = test_addr(text);
        assert_int_equal(to.len, parsed.len);
    }
}

static void unix_sockets_are_in_unix_alone(void **state) {
    struct bh_addr path = test_addr("/run/a"), nothing = {0};
    struct bh_ip from_path, from_nothing;
    struct bh_cidr all_unix = cidr("unix"), all_v4 = cidr("0.0.0.0/0"), all_v6 = cidr("::/0");
    char text[BH_ADDR_TEXT_MAX];
    bh_ip_of(&path, &from_path);
    bh_ip_format(&from_path, text);
    assert_string_equal(text, "unix");
    assert_true(bh_cidr_contains(&all_unix, &from_path));
    assert_false(bh_cidr_contains(&all_v4, &from_path));
    assert_false(bh_cidr_contains(&all_v6, &from_path));
    assert_false(is_in("unix", "0.0.0.0"));
    bh_ip_of(&nothing, &from_nothing);
    assert_false(bh_cidr_contains(&all_unix, &from_nothing));
}

static void who_is_in(void **state) {
    assert_true(is_in("10.0.0.0/8", "10.255.255.255"));
    assert_false(is_in("10.0.0.0/8", "11.0.0.0"));
    assert_true(is_in("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(is_in("192.0.2.1", "192.0.2.1"));
    assert_false(is_in("192.0.2.1", "192.0.2.0"));
    assert_true(is_in("0.0.0.0/0", "255.255.255.255"));
    assert_false(is_in("0.0.0.0/0", "::1"));
    assert_true(is_in("::/0", "ffff::"));
    assert_false(is_in("::/0", "::ffff:1.2.3.4"));
    assert_false(is_in("::/0", "1.2.3.4"));
    assert_true(is_in("2001:db8::/33", "2001:db8:7fff::"));
    assert_false(is_in("2001:db8::/33", "2001:db8:8000::"));
    assert_true(is_in("172.16.0.0/12", "172.31.0.1"));
    assert_false(is_in("172.16.0.0/12", "172.32.0.1"));
}

static void mapped_sets_are_ipv4(void **state) {
    struct bh_cidr c = cidr("::ffff:10.0.0.0/104");
    assert_int_equal(c.net.family, 4);
    assert_int_equal(c.bits, 8);
    assert_true(is_in("::ffff:0.0.0.0/96", "1.2.3.4"));
    assert_true(is_in("::ffff:1.2.3.4", "1.2.3.4"));
}

/* Each length: the last address of the net is in it, the next one is not. */
static void every_prefix_length(void **state) {
    for (unsigned bits = 0; bits <= 128; bits++) {
        struct bh_cidr c = {.net = {.family = 6, .bytes = {0x20}}, .bits = (uint8_t)bits};
        struct bh_ip inside = c.net;
        for (unsigned i = 0; i < 128; i++)
            inside.bytes[i / 8] ^= i >= bits && i > 3 ? 0x80 >> i % 8 : 0;
        assert_true(bh_cidr_contains(&c, &inside));
        for (unsigned i = 0; i < bits; i++) {
            struct bh_ip outside = inside;
            outside.bytes[i / 8] ^= 0x80 >> i % 8;
            assert_false(bh_cidr_contains(&c, &outside));
        }
    }
}

static void one_of_many(void **state) {
    struct bh_cidr list[] = {cidr("unix"), cidr("10.0.0.0/8"), cidr("::1")};
    struct bh_ip a = ip("10.1.1.1"), b = ip("::1"), other = ip("::2");
    assert_true(bh_cidr_any(list, COUNT(list), &a));
    assert_true(bh_cidr_any(list, COUNT(list), &b));
    assert_false(bh_cidr_any(list, COUNT(list), &other));
    assert_false(bh_cidr_any(NULL, 0, &a));
}

static void what_is_no_set_is_refused(void **state) {
    static const char *const bad[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/-1",
        "10.0.0.0/8 ",
        "10.0.0.0 /8",
        "10.0.0.0//8",
        "10.0.0.0/8/8",
        "10.0.0.1/8",
        "10.0.0.0/255.0.0.0",
        "::/129",
        "::1/127",
        "2001:db8::1/32",
        "10.0.0/8",
        "unix/0",
        "Unix",
        "unix:/a",
        "*",
        "all",
        "::ffff:10.0.0.0/8",
        "::ffff:10.0.0.1/104",
        "10.0.0.0/00",
        "10.0.0.0/18446744073709551624",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_cidr c;
        assert_int_equal(parse(bad[i], strlen(bad[i]), &c), BH_EINVAL);
        assert_int_equal(bh_cidr_parse(bh_slice_cstr(bad[i]), &c, NULL), BH_EINVAL);
    }
    struct bh_cidr c;
    assert_int_equal(bh_cidr_parse(bh_slice(NULL, 0), &c, NULL), BH_EINVAL);
    assert_int_equal(parse("10.0.0.0\0/8", 11, &c), BH_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_round_trip),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(of_socket_addresses_and_back),
        cmocka_unit_test(unix_sockets_are_in_unix_alone),
        cmocka_unit_test(who_is_in),
        cmocka_unit_test(mapped_sets_are_ipv4),
        cmocka_unit_test(every_prefix_length),
        cmocka_unit_test(one_of_many),
        cmocka_unit_test(what_is_no_set_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
