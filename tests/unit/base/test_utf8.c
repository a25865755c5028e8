/* UTF-8: every sequence of up to four bytes against a decoder written from the definition. */
#include "bellhop/base/utf8.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

/* Decodes bit by bit and then checks that the code point needs that length. */
static size_t reference_length(const unsigned char *p, size_t n) {
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80             ? 1
                    : (p[0] & 0xe0) == 0xc0 ? 2
                    : (p[0] & 0xf0) == 0xe0 ? 3
                    : (p[0] & 0xf8) == 0xf0 ? 4
                                            : 0;
    if (length <= 1)
        return length;
    if (length > n)
        return 0;
    uint32_t code = p[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code >= smallest[length] && code <= 0x10ffff && !surrogate ? length : 0;
}

static bool reference_valid(const unsigned char *p, size_t n) {
    while (n > 0) {
        size_t length = reference_length(p, n);
        if (length == 0)
            return false;
        p += length;
        n -= length;
    }
    return true;
}

static void compare(const unsigned char *p, size_t n) {
    struct bh_slice s = bh_slice(p, n);
    if (bh_utf8_valid(s) != reference_valid(p, n) || bh_utf8_sequence(s) != reference_length(p, n))
        fail_msg("differs at %02x %02x %02x %02x, %zu bytes", p[0], p[1], p[2], p[3], n);
}

static void all_sequences_of_up_to_three_bytes(void **state) {
    for (uint32_t x = 0; x < 1u << 24; x++) {
        unsigned char p[4] = {(unsigned char)(x >> 16), (unsigned char)(x >> 8), (unsigned char)x,
                              0};
        compare(p, 3);
        if ((x & 0xff) == 0)
            compare(p, 2);
        if ((x & 0xffff) == 0)
            compare(p, 1);
    }
}

/* With four bytes, only four-byte sequences are new; both neighbours of the lead range are in, and
 * the last two bytes take each value that is or borders a bound. */
static void sequences_of_four_bytes(void **state) {
    static const unsigned char ends[] = {0x00, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f,
                                         0xa0, 0xbe, 0xbf, 0xc0, 0xc2, 0xf4, 0xff};
    for (uint32_t x = 0; x < 1u << 24; x++) {
        unsigned char p[4] = {(unsigned char)(0xef + (x >> 16) % 8), (unsigned char)(x >> 8),
                              (unsigned char)x, ends[(x >> 16) / 8 % COUNT(ends)]};
        compare(p, 4);
    }
}

static void feeds_in_pieces_like_whole(void **state) {
    static const char *const texts[] = {
        "plain text of more than eight bytes",
        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x94 and on",
        "\xf4\x8f\xbf\xbf",
        "\xed\x9f\xbf\xee\x80\x80",
        "12345678\xc3",
        "1234567\xe2\x82",
        "\xf0\x9f\x94",
        "ok until \xed\xa0\x80",
        "\xc0\x80",
        "abc\xff",
        "\xf4\x90\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        size_t n = strlen(texts[i]);
        bool valid = reference_valid((const unsigned char *)texts[i], n);
        for (size_t cut = 0; cut <= n; cut++) {
            struct bh_utf8 u = {0};
            int rc = bh_utf8_feed(&u, bh_slice(texts[i], cut));
            if (rc == 0)
                rc = bh_utf8_feed(&u, bh_slice(texts[i] + cut, n - cut));
            assert_int_equal(rc == 0 && bh_utf8_complete(&u), valid);
        }
        struct bh_utf8 u = {0};
        int rc = 0;
        for (size_t k = 0; k < n && rc == 0; k++)
            rc = bh_utf8_feed(&u, bh_slice(texts[i] + k, 1));
        assert_int_equal(rc == 0 && bh_utf8_complete(&u), valid);
    }
}

static void fails_at_the_first_bad_byte_and_for_good(void **state) {
    static const char *const doomed[] = {"\xc0", "\xed\xa0", "\xf4\x90", "\xe0\x9f",    "\xf0\x8f",
                                         "\xf5", "\x80",     "\xc3(",    "\xe2\x82\x28"};
    for (size_t i = 0; i < COUNT(doomed); i++) {
        size_t n = strlen(doomed[i]);
        struct bh_utf8 u = {0};
        assert_int_equal(bh_utf8_feed(&u, bh_slice(doomed[i], n - 1)), 0);
        assert_int_equal(bh_utf8_feed(&u, bh_slice(doomed[i] + n - 1, 1)), BH_EUTF8);
        assert_int_equal(bh_utf8_feed(&u, BH_SLICE("a")), BH_EUTF8);
        assert_false(bh_utf8_complete(&u));
    }
}

/* The word-wise path at every alignment and with the bad byte at every place. */
static void finds_one_bad_byte_anywhere(void **state) {
    char text[48];
    for (size_t start = 0; start < 8; start++) {
        for (size_t n = 0; n < 32; n++) {
            memset(text, 'a', sizeof text);
            struct bh_slice s = test_exact(bh_slice(text, start + n));
            assert_true(bh_utf8_valid(bh_slice(s.p + start, n)));
            for (size_t bad = 0; bad < n; bad++) {
                ((char *)s.p)[start + bad] = (char)0x80;
                assert_false(bh_utf8_valid(bh_slice(s.p + start, n)));
                ((char *)s.p)[start + bad] = 'a';
            }
            test_exact_free(s);
        }
    }
}

static void random_bytes_agree_with_the_reference(void **state) {
    static const unsigned char likely[] = {'a',  0x80, 0xbf, 0xc2, 0xc3, 0xe0, 0xa0, 0x9f,
                                           0xed, 0xef, 0xf0, 0x90, 0x8f, 0xf4, 0xe2, 0xff};
    for (int round = 0; round < 300000; round++) {
        unsigned char p[24];
        size_t n = test_random() % sizeof p + 1;
        for (size_t i = 0; i < n; i++)
            p[i] = test_random() % 4 ? likely[test_random() % COUNT(likely)] : 'x';
        size_t cut = test_random() % n;
        struct bh_utf8 u = {0};
        bool good = bh_utf8_feed(&u, bh_slice(p, cut)) == 0 &&
                    bh_utf8_feed(&u, bh_slice(p + cut, n - cut)) == 0 && bh_utf8_complete(&u);
        assert_int_equal(good, reference_valid(p, n));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sequences_of_up_to_three_bytes),
        cmocka_unit_test(sequences_of_four_bytes),
        cmocka_unit_test(feeds_in_pieces_like_whole),
        cmocka_unit_test(fails_at_the_first_bad_byte_and_for_good),
        cmocka_unit_test(finds_one_bad_byte_anywhere),
        cmocka_unit_test(random_bytes_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
