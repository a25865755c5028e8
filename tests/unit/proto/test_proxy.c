/* PROXY headers of both versions: their meaning, the byte at which a bad one fails, and that a
 * valid prefix always gives "more". */
#include "bellhop/proto/proxy.h"

#include "bellhop/base/error.h"
#include "proto_test.h"

#include <arpa/inet.h>

#define V2       "\r\n\r\n\0\r\nQUIT\n"
#define V4_ADDRS "\300\0\2\1\306\63\144\2\1\273\0\120" /* 192.0.2.1:443 198.51.100.2:80 */
#define LONGEST  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

/* Decodes from a block of exactly n bytes. */
static int decode(struct bh_slice in, struct bh_proxy *out) {
    const char *why = NULL;
    struct bh_slice exact = test_exact(in);
    int r = bh_proxy_decode(exact, out, &why);
    test_exact_free(exact);
    assert_int_equal(r == BH_EPROTO, why != NULL);
    assert_true(r >= 0 || r == BH_EPROTO);
    return r;
}

/* The header followed by bytes of the connection; each prefix needs more. */
static struct bh_proxy accepted(struct bh_slice header) {
    struct bh_proxy found;
    struct bh_bytes with_more = {0};
    for (size_t n = 0; n < header.n; n++)
        assert_int_equal(decode(bh_slice(header.p, n), &found), 0);
    bh_bytes_add(&with_more, header);
    bh_bytes_adds(&with_more, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(decode(bh_bytes_slice(&with_more), &found), header.n);
    assert_int_equal(decode(header, &found), header.n);
    bh_bytes_free(&with_more);
    return found;
}

/* The number of bytes after which it is refused; every longer one is too. */
static size_t refused_after(struct bh_slice in) {
    struct bh_proxy found;
    size_t first = 0;
    for (size_t n = 0; n <= in.n; n++) {
        int r = decode(bh_slice(in.p, n), &found);
        assert_true(r <= 0);
        if (r && !first)
            first = n;
        assert_int_equal(r != 0, first != 0);
    }
    return first;
}

static void assert_addresses(const struct bh_proxy *p, int family, const char *source,
                             unsigned source_port, const char *destination,
                             unsigned destination_port) {
    uint8_t s[16] = {0}, d[16] = {0};
    assert_int_equal(p->family, family);
    assert_int_equal(inet_pton(family == 4 ? AF_INET : AF_INET6, source, s), 1);
    assert_int_equal(inet_pton(family == 4 ? AF_INET : AF_INET6, destination, d), 1);
    assert_memory_equal(p->source, s, 16);
    assert_memory_equal(p->destination, d, 16);
    assert_int_equal(p->source_port, source_port);
    assert_int_equal(p->destination_port, destination_port);
}

static void assert_nobody(const struct bh_proxy *p) {
    static const struct bh_proxy none = {0};
    assert_int_equal(p->family, 0);
    assert_memory_equal(p->source, none.source, 16);
    assert_int_equal(p->source_port, 0);
}

/* --- version 1 --- */

static void lines_with_addresses(void **state) {
    struct bh_proxy p = accepted(BH_SLICE("PROXY TCP4 192.0.2.1 255.255.255.255 0 65535\r\n"));
    assert_addresses(&p, 4, "192.0.2.1", 0, "255.255.255.255", 65535);
    p = accepted(BH_SLICE("PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 80 443\r\n"));
    assert_addresses(&p, 6, "2001:db8::1", 80, "::ffff:10.0.0.1", 443);
    p = accepted(BH_SLICE("PROXY TCP6 " LONGEST " :: 65535 65535\r\n"));
    assert_addresses(&p, 6, LONGEST, 65535, "::", 65535);
    p = accepted(BH_SLICE("PROXY TCP6 1:2:3:4:5:6:7:: 1:2:3:4:5:6:7:8 1 2\r\n"));
    assert_addresses(&p, 6, "1:2:3:4:5:6:7:0", 1, "1:2:3:4:5:6:7:8", 2);
    p = accepted(BH_SLICE("PROXY TCP6 1:2:3:4:5:6:7.8.9.10 ::1:2:3:4:5:6:7 1 2\r\n"));
    assert_addresses(&p, 6, "1:2:3:4:5:6:7.8.9.10", 1, "0:1:2:3:4:5:6:7", 2);
}

static void lines_of_nobody(void **state) {
    struct bh_proxy p = accepted(BH_SLICE("PROXY UNKNOWN\r\n"));
    assert_nobody(&p);
    p = accepted(BH_SLICE("PROXY UNKNOWN " LONGEST " " LONGEST " 65535 65535\r\n"));
    assert_nobody(&p);
    p = accepted(BH_SLICE("PROXY UNKNOWN whatever, 999\r\n"));
    assert_nobody(&p);
}

static void lines_are_refused_at_their_first_bad_byte(void **state) {
    static const struct {
        struct bh_slice line;
        const char *good; /* the part that could still have become a header */
    } vectors[] = {
        {BH_SLICE("GET / HTTP/1.1\r\n"), ""},
        {BH_SLICE("\0"), ""},
        {BH_SLICE("proxy TCP4 "), ""},
        {BH_SLICE("PROXY  TCP4 "), "PROXY "},
        {BH_SLICE("PROXY\tTCP4 "), "PROXY"},
        {BH_SLICE("PROXY TCP5 "), "PROXY TCP"},
        {BH_SLICE("PROXY UDP4 "), "PROXY U"},
        {BH_SLICE("PROXY TCP44 "), "PROXY TCP4"},
        {BH_SLICE("PROXY UNKNOWNS\r\n"), "PROXY UNKNOWN"},
        {BH_SLICE("PROXY UNKNOWN\n"), "PROXY UNKNOWN"},
        {BH_SLICE("PROXY UNKNOWN a\nb\r\n"), "PROXY UNKNOWN a"},
        {BH_SLICE("PROXY UNKNOWN a\rb"), "PROXY UNKNOWN a\r"},
        {BH_SLICE("PROXY TCP4  1.2.3.4"), "PROXY TCP4 "},
        {BH_SLICE("PROXY TCP4 01.2.3.4"), "PROXY TCP4 0"},
        {BH_SLICE("PROXY TCP4 256.2.3.4"), "PROXY TCP4 25"},
        {BH_SLICE("PROXY TCP4 1..2"), "PROXY TCP4 1."},
        {BH_SLICE("PROXY TCP4 1.2.3 "), "PROXY TCP4 1.2.3"},
        {BH_SLICE("PROXY TCP4 1.2.3. "), "PROXY TCP4 1.2.3."},
        {BH_SLICE("PROXY TCP4 1.2.3.4.5 "), "PROXY TCP4 1.2.3.4"},
        {BH_SLICE("PROXY TCP4 1.2.3.4\0 "), "PROXY TCP4 1.2.3.4"},
        {BH_SLICE("PROXY TCP4 ::1 "), "PROXY TCP4 "},
        {BH_SLICE("PROXY TCP6 1.2.3.4 "), "PROXY TCP6 1"},
        {BH_SLICE("PROXY TCP6 :1 "), "PROXY TCP6 :"},
        {BH_SLICE("PROXY TCP6 1:::"), "PROXY TCP6 1::"},
        {BH_SLICE("PROXY TCP6 1::2::"), "PROXY TCP6 1::2:"},
        {BH_SLICE("PROXY TCP6 12345"), "PROXY TCP6 1234"},
        {BH_SLICE("PROXY TCP6 1:2:3:4:5:6:7:8:"), "PROXY TCP6 1:2:3:4:5:6:7:8"},
        {BH_SLICE("PROXY TCP6 1:2:3:4:5:6:7:8.9"), "PROXY TCP6 1:2:3:4:5:6:7:8"},
        {BH_SLICE("PROXY TCP6 fe80::1%lo "), "PROXY TCP6 fe80::1"},
        {BH_SLICE("PROXY TCP6 [::1] "), "PROXY TCP6 "},
        {BH_SLICE("PROXY TCP6 g::1 "), "PROXY TCP6 "},
        {BH_SLICE("PROXY TCP4 1.2.3.4\r\n"), "PROXY TCP4 1.2.3.4"},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8  1"), "PROXY TCP4 1.2.3.4 5.6.7.8 "},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 +1"), "PROXY TCP4 1.2.3.4 5.6.7.8 "},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 -1"), "PROXY TCP4 1.2.3.4 5.6.7.8 "},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 01"), "PROXY TCP4 1.2.3.4 5.6.7.8 0"},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 65536"), "PROXY TCP4 1.2.3.4 5.6.7.8 6553"},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1\r"), "PROXY TCP4 1.2.3.4 5.6.7.8 1"},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r"), "PROXY TCP4 1.2.3.4 5.6.7.8 1 "},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 "), "PROXY TCP4 1.2.3.4 5.6.7.8 1 2"},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"), "PROXY TCP4 1.2.3.4 5.6.7.8 1 2"},
        {BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rG"), "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r"},
    };
    for (size_t i = 0; i < COUNT(vectors); i++)
        assert_int_equal(refused_after(vectors[i].line), strlen(vectors[i].good) + 1);
}

static void lines_end_within_107_bytes(void **state) {
    struct bh_bytes line = {0};
    bh_bytes_adds(&line, "PROXY UNKNOWN ");
    test_repeat(&line, 'x', 105 - line.len);
    bh_bytes_adds(&line, "\r\n");
    assert_int_equal(line.len, 107);
    struct bh_proxy p = accepted(bh_bytes_slice(&line));
    assert_nobody(&p);
    line.p[105] = 'x';
    line.p[106] = '\r';
    assert_int_equal(refused_after(bh_bytes_slice(&line)), 106);
    bh_bytes_free(&line);
    assert_int_equal(refused_after(BH_SLICE("PROXY TCP6 "
                                            "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 "
                                            "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 "
                                            "65535 65535\r\n")),
                     106);
}

/* --- version 2 --- */

static void headers_with_addresses(void **state) {
    struct bh_proxy p = accepted(BH_SLICE(V2 "\x21\x11\0\14" V4_ADDRS));
    assert_addresses(&p, 4, "192.0.2.1", 443, "198.51.100.2", 80);
    p = accepted(BH_SLICE(V2 "\x21\x21\0\44"
                             "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                             "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1\377\377\0\1"));
    assert_addresses(&p, 6, "2001:db8::1", 65535, "::ffff:127.0.0.1", 1);
}

static void headers_with_tlvs(void **state) {
    struct bh_proxy p = accepted(BH_SLICE(V2 "\x21\x11\0\23" V4_ADDRS "\4\0\4abcd"));
    assert_addresses(&p, 4, "192.0.2.1", 443, "198.51.100.2", 80);
    static char longest[BH_PROXY_MAX] = V2 "\x21\x11\x0f\xf0" V4_ADDRS;
    p = accepted(bh_slice(longest, sizeof longest));
    assert_int_equal(p.family, 4);
}

static void headers_without_a_client(void **state) {
    static char unix_sockets[16 + 216] = V2 "\x21\x31\0\xd8/a";
    const struct bh_slice vectors[] = {
        BH_SLICE(V2 "\x20\0\0\0"),
        BH_SLICE(V2 "\x20\x11\0\14" V4_ADDRS),
        BH_SLICE(V2 "\x20\xff\0\3abc"), /* LOCAL: the family is to be ignored */
        BH_SLICE(V2 "\x21\0\0\0"),
        BH_SLICE(V2 "\x21\0\0\3abc"),
        BH_SLICE(V2 "\x21\1\0\0"),
        BH_SLICE(V2 "\x21\x10\0\14" V4_ADDRS),
        bh_slice(unix_sockets, sizeof unix_sockets),
    };
    for (size_t i = 0; i < COUNT(vectors); i++) {
        struct bh_proxy p = accepted(vectors[i]);
        assert_nobody(&p);
    }
}

static void headers_are_refused_at_their_first_bad_byte(void **state) {
    static const struct {
        struct bh_slice header;
        size_t after;
    } vectors[] = {
        {BH_SLICE("\r\n\r\n\r\n"), 5},
        {BH_SLICE("\r\nPROXY "), 3},
        {BH_SLICE(V2 "\x11\x11\0\14" V4_ADDRS), 13},
        {BH_SLICE(V2 "\x31\x11\0\14" V4_ADDRS), 13},
        {BH_SLICE(V2 "\x22\x11\0\14" V4_ADDRS), 13},
        {BH_SLICE(V2 "\x21\x12\0\14" V4_ADDRS), 14},
        {BH_SLICE(V2 "\x21\x32\0\14" V4_ADDRS), 14},
        {BH_SLICE(V2 "\x21\x02\0\0"), 14},
        {BH_SLICE(V2 "\x21\x13\0\14" V4_ADDRS), 14},
        {BH_SLICE(V2 "\x21\x41\0\14" V4_ADDRS), 14},
        {BH_SLICE(V2 "\x21\x11\0\13" V4_ADDRS), 16},
        {BH_SLICE(V2 "\x21\x21\0\43"), 16},
        {BH_SLICE(V2 "\x21\x31\0\xd7"), 16},
        {BH_SLICE(V2 "\x21\x11\x0f\xf1" V4_ADDRS), 16},
        {BH_SLICE(V2 "\x21\x11\x10\0"), 15},
        {BH_SLICE(V2 "\x20\0\xff\xff"), 15},
    };
    for (size_t i = 0; i < COUNT(vectors); i++)
        assert_int_equal(refused_after(vectors[i].header), vectors[i].after);
}

/* --- both --- */

/* One byte of a valid header changed: a longer prefix never contradicts a shorter one. */
static void broken_headers_stay_consistent(void **state) {
    static const struct bh_slice good[] = {
        BH_SLICE("PROXY TCP4 192.0.2.1 255.255.255.255 0 65535\r\n"),
        BH_SLICE("PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 80 443\r\n"),
        BH_SLICE("PROXY UNKNOWN a b\r\n"),
        BH_SLICE(V2 "\x21\x11\0\14" V4_ADDRS),
    };
    for (int round = 0; round < 2000; round++) {
        struct bh_slice from = good[(size_t)round % COUNT(good)];
        char *broken = (char *)test_exact(from).p;
        broken[test_random() % from.n] = (char)test_random();
        int before = 0;
        for (size_t n = 0; n <= from.n; n++) {
            struct bh_proxy found;
            int r = decode(bh_slice(broken, n), &found);
            assert_true(before == 0 ? r <= (int)n : r == before);
            before = r;
        }
        free(broken);
    }
}

static void a_refusal_leaves_the_result_alone(void **state) {
    struct bh_proxy p = {.family = 42};
    assert_int_equal(decode(BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 x"), &p), BH_EPROTO);
    assert_int_equal(decode(BH_SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1"), &p), 0);
    assert_int_equal(p.family, 42);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_with_addresses),
        cmocka_unit_test(lines_of_nobody),
        cmocka_unit_test(lines_are_refused_at_their_first_bad_byte),
        cmocka_unit_test(lines_end_within_107_bytes),
        cmocka_unit_test(headers_with_addresses),
        cmocka_unit_test(headers_with_tlvs),
        cmocka_unit_test(headers_without_a_client),
        cmocka_unit_test(headers_are_refused_at_their_first_bad_byte),
        cmocka_unit_test(broken_headers_stay_consistent),
        cmocka_unit_test(a_refusal_leaves_the_result_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
