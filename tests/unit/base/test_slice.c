/* Slices: comparing, trimming, splitting, numbers, percent-decoding. */
#include "bellhop/base/slice.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

static void null_and_empty_are_equal(void **state) {
    assert_true(bh_slice_eq(bh_slice(NULL, 0), BH_SLICE("")));
    assert_true(bh_slice_eq(bh_slice_cstr(NULL), bh_slice_cstr("")));
    assert_true(bh_slice_starts(bh_slice(NULL, 0), bh_slice(NULL, 0)));
    assert_true(bh_slice_caseeq(bh_slice(NULL, 0), BH_SLICE("")));
}

static void compares_all_bytes(void **state) {
    assert_true(bh_slice_eq(bh_slice("a\0b", 3), bh_slice("a\0b", 3)));
    assert_false(bh_slice_eq(bh_slice("a\0b", 3), bh_slice("a\0c", 3)));
    assert_false(bh_slice_eq(BH_SLICE("ab"), BH_SLICE("a")));
    assert_true(bh_slice_starts(BH_SLICE("user:42"), BH_SLICE("user:")));
    assert_false(bh_slice_starts(BH_SLICE("user"), BH_SLICE("user:")));
}

static void ignores_the_case_of_ascii_only(void **state) {
    assert_true(bh_slice_caseeq(BH_SLICE("Upgrade-Z"), BH_SLICE("uPGRADE-z")));
    assert_false(bh_slice_caseeq(BH_SLICE("@"), BH_SLICE("`"))); /* differ in bit 5 only */
    assert_false(bh_slice_caseeq(BH_SLICE("["), BH_SLICE("{")));
    assert_false(bh_slice_caseeq(BH_SLICE("\xc4"), BH_SLICE("\xe4")));
    assert_false(bh_slice_caseeq(BH_SLICE("ab"), BH_SLICE("abc")));
}

static void trims_blanks_and_tabs(void **state) {
    assert_slice(bh_slice_trim(BH_SLICE(" \t a b\t ")), "a b");
    assert_slice(bh_slice_trim(BH_SLICE(" \t ")), "");
    assert_slice(bh_slice_trim(BH_SLICE("\na\r")), "\na\r");
    assert_slice(bh_slice_trim(bh_slice(NULL, 0)), "");
}

static void splits_and_keeps_empty_parts(void **state) {
    static const char *const parts[] = {"a", "", "bc", ""};
    struct bh_slice rest = BH_SLICE("a,,bc,"), part;
    for (size_t i = 0; i < COUNT(parts); i++) {
        assert_true(bh_slice_split(&rest, ',', &part));
        assert_slice(part, parts[i]);
    }
    assert_false(bh_slice_split(&rest, ',', &part));
    assert_false(bh_slice_split(&rest, ',', &part));
}

static void an_empty_text_is_one_part_and_null_is_none(void **state) {
    struct bh_slice rest = BH_SLICE(""), part;
    assert_true(bh_slice_split(&rest, ',', &part));
    assert_slice(part, "");
    assert_false(bh_slice_split(&rest, ',', &part));
    rest = bh_slice(NULL, 0);
    assert_false(bh_slice_split(&rest, ',', &part));
}

static void reads_numbers(void **state) {
    uint64_t n = 7;
    assert_int_equal(bh_slice_u64(BH_SLICE("0"), 10, &n), 0);
    assert_true(n == 0);
    assert_int_equal(bh_slice_u64(BH_SLICE("0010"), 10, &n), 0);
    assert_true(n == 10);
    assert_int_equal(bh_slice_u64(BH_SLICE("18446744073709551615"), UINT64_MAX, &n), 0);
    assert_true(n == UINT64_MAX);
}

static void refuses_numbers_beyond_max(void **state) {
    uint64_t n = 7;
    static const char *const big[] = {"11", "18446744073709551616", "18446744073709551620",
                                      "99999999999999999999", "184467440737095516150"};
    for (size_t i = 0; i < COUNT(big); i++)
        assert_int_equal(bh_slice_u64(bh_slice_cstr(big[i]), i ? UINT64_MAX : 10, &n), BH_ETOOBIG);
    assert_true(n == 7);
}

static void refuses_what_is_no_number(void **state) {
    uint64_t n = 7;
    static const char *const bad[] = {
        "", "+1", "-1", " 1", "1 ", "0x1", "1.0", "1e3", "a", "99999999999999999999x", "\xd9\xa1"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(bh_slice_u64(bh_slice_cstr(bad[i]), UINT64_MAX, &n), BH_EINVAL);
    assert_int_equal(bh_slice_u64(bh_slice("1\0", 2), UINT64_MAX, &n), BH_EINVAL);
    assert_true(n == 7);
}

static void assert_decodes(const char *text, bool plus, const char *expected, int n) {
    struct bh_slice s = test_exact(bh_slice_cstr(text));
    char *out = malloc(s.n + 1);
    assert_int_equal(bh_slice_urldecode(s, plus, out), n);
    if (n > 0)
        assert_memory_equal(out, expected, (size_t)n);
    free(out);
    test_exact_free(s);
}

static void decodes_percent_escapes(void **state) {
    assert_decodes("a%20b%2Fc%2f", false, "a b/c/", 6);
    assert_decodes("%00", false, "\0", 1);
    assert_decodes("%ff%C3%a9", false, "\xff\xc3\xa9", 3);
    assert_decodes("a+b", true, "a b", 3);
    assert_decodes("a+b", false, "a+b", 3);
    assert_decodes("%2B", true, "+", 1);
    assert_decodes("%2525", false, "%25", 3);
    assert_decodes("", false, "", 0);
}

static void refuses_bad_escapes(void **state) {
    static const char *const bad[] = {"%", "%4", "a%", "%zz", "%4g", "%g4", "%%41", "% 1", "%+1"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_decodes(bad[i], false, NULL, BH_EINVAL);
}

static void assert_chomps(const char *text, size_t n) {
    struct bh_slice s = test_exact(bh_slice_cstr(text)), rest = bh_slice_chomp(s);
    assert_ptr_equal(rest.p, s.p);
    assert_int_equal(rest.n, n);
    test_exact_free(s);
}

static void chomps_one_line_end(void **state) {
    assert_chomps("", 0);
    assert_chomps("a", 1);
    assert_chomps("a\n", 1);
    assert_chomps("a\r\n", 1);
    assert_chomps("a\n\n", 2);
    assert_chomps("a\r\n\r\n", 3);
    assert_chomps("a\r", 2);
    assert_chomps("a\n\r", 3);
    assert_chomps("a\nb", 3);
    assert_chomps("\n", 0);
    assert_chomps("\r\n", 0);
    assert_int_equal(bh_slice_chomp(bh_slice(NULL, 0)).n, 0);
}

static void finds_control_bytes(void **state) {
    assert_int_equal(bh_slice_control(bh_slice(NULL, 0)), 0);
    for (int c = 0; c < 256; c++) {
        char text[] = {' ', '~', (char)c, '\0'};
        struct bh_slice s = test_exact(bh_slice(text, 3));
        assert_int_equal(bh_slice_control(s), c < 0x20 || c == 0x7f ? 2 : 3);
        test_exact_free(s);
    }
}

static void knows_hexadecimal_digits(void **state) {
    static const char digits[] = "0123456789abcdef";
    for (int c = -128; c < 128; c++) {
        const char *at = c > 0 ? memchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c, 16) : NULL;
        assert_int_equal(bh_hex_digit((char)c), at ? at - digits : -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_and_empty_are_equal),
        cmocka_unit_test(compares_all_bytes),
        cmocka_unit_test(ignores_the_case_of_ascii_only),
        cmocka_unit_test(trims_blanks_and_tabs),
        cmocka_unit_test(splits_and_keeps_empty_parts),
        cmocka_unit_test(an_empty_text_is_one_part_and_null_is_none),
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(refuses_numbers_beyond_max),
        cmocka_unit_test(refuses_what_is_no_number),
        cmocka_unit_test(decodes_percent_escapes),
        cmocka_unit_test(refuses_bad_escapes),
        cmocka_unit_test(chomps_one_line_end),
        cmocka_unit_test(finds_control_bytes),
        cmocka_unit_test(knows_hexadecimal_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
