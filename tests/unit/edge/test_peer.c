/* test_peer.c - the client's address from X-Forwarded-For, and when it is believed. */
#include "unit_test.h"

#include "http/peer.h"

static struct bh_cidr trusted[2]; /* 10.0.0.0/8, 2001:db8::/32 */

static int set_up(void **state) {
    const char *why;
    return bh_cidr_parse(BH_SLICE("10.0.0.0/8"), &trusted[0], &why) ||
           bh_cidr_parse(BH_SLICE("2001:db8::/32"), &trusted[1], &why);
}

/* The lines are separate headers; NULL ends them. */
static struct bh_peer find(const char *from, const char *first, const char *second) {
    struct bh_header headers[3] = {{BH_SLICE("Host"), BH_SLICE("x")}};
    struct bh_http_request request = {.headers = headers, .header_count = 1};
    const char *lines[] = {first, second};
    for (int i = 0; i < 2; i++)
        if (lines[i])
            headers[request.header_count++] = (struct bh_header){
                BH_SLICE("x-forwarded-for"), test_exact(bh_slice_cstr(lines[i]))};
    struct bh_ip ip;
    struct bh_peer peer;
    assert_int_equal(bh_ip_parse(bh_slice_cstr(from), &ip), 0);
    bh_peer_find(&ip, &request, trusted, 2, &peer);
    for (size_t i = 1; i < request.header_count; i++)
        test_exact_free(headers[i].value);
    return peer;
}

static void expect(const char *from, const char *first, const char *second, const char *ip) {
    char text[BH_ADDR_TEXT_MAX];
    struct bh_peer peer = find(from, first, second);
    bh_ip_format(&peer.ip, text);
    assert_string_equal(text, ip);
    assert_int_equal(peer.forwarded, strcmp(from, ip) != 0);
}

static void test_untrusted_addresses_are_not_believed(void **state) {
    expect("192.0.2.9", "203.0.113.5", NULL, "192.0.2.9");
    expect("192.0.2.9", NULL, NULL, "192.0.2.9");
}

static void test_the_last_untrusted_address_counts(void **state) {
    expect("10.0.0.1", "203.0.113.5", NULL, "203.0.113.5");
    expect("10.0.0.1", "1.1.1.1, 203.0.113.5", NULL, "203.0.113.5");
    expect("10.0.0.1", "1.1.1.1, 203.0.113.5, 10.0.0.7", NULL, "203.0.113.5");
    expect("10.0.0.1", "1.1.1.1", "203.0.113.5 ,10.0.0.7", "203.0.113.5");
    expect("10.0.0.1", "203.0.113.5", "10.0.0.7", "203.0.113.5");
    expect("10.0.0.1", "10.0.0.6, 10.0.0.7", NULL, "10.0.0.6"); /* all are trusted */
    expect("10.0.0.1", NULL, NULL, "10.0.0.1");
}

static void test_forms(void **state) {
    expect("10.0.0.1", "203.0.113.5:4711", NULL, "203.0.113.5");
    expect("10.0.0.1", "2001:db9::5", NULL, "2001:db9::5");
    expect("10.0.0.1", "[2001:db9::5]", NULL, "2001:db9::5");
    expect("10.0.0.1", "[2001:db9::5]:443", NULL, "2001:db9::5");
    expect("10.0.0.1", "::ffff:203.0.113.5", NULL, "203.0.113.5");
    expect("2001:db8::1", " 203.0.113.5 , , ", NULL, "203.0.113.5");
}

static void test_an_invalid_element_ends_the_walk(void **state) {
    expect("10.0.0.1", "203.0.113.5, unknown", NULL, "10.0.0.1");
    expect("10.0.0.1", "203.0.113.5, garbage, 10.0.0.7", NULL, "10.0.0.7");
    expect("10.0.0.1", "", NULL, "10.0.0.1");
    expect("10.0.0.1", ",,,", NULL, "10.0.0.1");
    expect("10.0.0.1", "[", NULL, "10.0.0.1");
    expect("10.0.0.1", ":", NULL, "10.0.0.1");
    expect("10.0.0.1", "203.0.113.5\r\nX: y", NULL, "10.0.0.1");
}

static void test_https(void **state) {
    struct bh_header header = {BH_SLICE("X-Forwarded-Proto"), BH_SLICE("https")};
    struct bh_http_request request = {.headers = &header, .header_count = 1};
    struct bh_ip ip;
    struct bh_peer peer;
    bh_ip_parse(BH_SLICE("10.1.1.1"), &ip);
    bh_peer_find(&ip, &request, trusted, 2, &peer);
    assert_true(peer.https);
    bh_ip_parse(BH_SLICE("11.1.1.1"), &ip);
    bh_peer_find(&ip, &request, trusted, 2, &peer);
    assert_false(peer.https);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_untrusted_addresses_are_not_believed),
        cmocka_unit_test(test_the_last_untrusted_address_counts),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_an_invalid_element_ends_the_walk),
        cmocka_unit_test(test_https),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
