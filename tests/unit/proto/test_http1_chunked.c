/* Chunked bodies: sizes, extensions, trailers, and smuggling between them. */
#include "http1_test.h"

#include "bellhop/base/mem.h"

#define CHUNKED(rest) POST("Transfer-Encoding: chunked\r\n\r\n" rest)
#define EXPECT(...)                                                                                \
    do {                                                                                           \
        static const struct http_vector vectors[] = {__VA_ARGS__};                                 \
        http_expect_all(vectors, COUNT(vectors));                                                  \
    } while (0)

static void chunks(void **state) {
    EXPECT(HTTP(CHUNKED("0\r\n\r\n") GET("\r\n"), "POST / 1.1 h K {}|GET / 1.1 h K {}|"),
           HTTP(CHUNKED("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n") GET("\r\n"),
                "POST / 1.1 h K {hello world}|GET / 1.1 h K {}|"),
           HTTP(CHUNKED("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
                "POST / 1.1 h K {01234567890123456789}|"),
           HTTP(CHUNKED("0000000000000002\r\n\r\n\r\n000\r\n\r\n"), "POST / 1.1 h K {\r\n}|"),
           HTTP(CHUNKED("1\r\na\r\n"), ""));
}

static void extensions_and_trailers_are_dropped(void **state) {
    EXPECT(HTTP(CHUNKED("1;a=b;c=\"d\"\r\nx\r\n0;last\r\nA: b\r\nHost: other\r\n\r\n") GET("\r\n"),
                "POST / 1.1 h K {x}|GET / 1.1 h K {}|"));
}

static void sizes_that_smuggle(void **state) {
    EXPECT(HTTP(CHUNKED("\r\n"), "error 400|"), HTTP(CHUNKED("x\r\n"), "error 400|"),
           HTTP(CHUNKED("0x1\r\na\r\n"), "error 400|"), HTTP(CHUNKED("+1\r\na\r\n"), "error 400|"),
           HTTP(CHUNKED("-1\r\na\r\n"), "error 400|"), HTTP(CHUNKED(" 1\r\na\r\n"), "error 400|"),
           HTTP(CHUNKED("1 \r\na\r\n"), "error 400|"), HTTP(CHUNKED("1 ;x\r\na\r\n"), "error 400|"),
           HTTP(CHUNKED(";x\r\n"), "error 400|"), HTTP(CHUNKED("1\na\r\n"), "error 400|"),
           HTTP(CHUNKED("1;x\na\r\n"), "error 400|"), HTTP(CHUNKED("1;\rx\r\na"), "error 400|"),
           HTTP(CHUNKED("1;\0x\r\na"), "error 400|"), HTTP(CHUNKED("1,2\r\na"), "error 400|"),
           HTTP(CHUNKED("FFFFFFFFFFFFFFFF\r\n"), "error 413|"),
           HTTP(CHUNKED("10000000000000001\r\na\r\n"), "error 400|"),
           HTTP(CHUNKED("00000000000000001\r\na\r\n"), "error 400|"));
}

static void what_follows_a_chunk(void **state) {
    EXPECT(HTTP(CHUNKED("1\r\naXX0\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("1\r\nab\r\n0\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("1\r\na\n0\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("1\r\na\r\r\n0\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("1\r\na0\r\n\r\n"), "error 400|"));
}

static void bad_trailers(void **state) {
    EXPECT(HTTP(CHUNKED("0\r\nA : b\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("0\r\nA\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("0\r\nGET / HTTP/1.1\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("0\r\nA: b\r\n c\r\n\r\n"), "error 400|"),
           HTTP(CHUNKED("0\r\nA: b\n\r\n"), "error 400|"), HTTP(CHUNKED("0\r\n\n"), "error 400|"));
}

/* --- limits --- */

static const struct bh_http_limits tight = {.head_bytes = 100, .header_count = 3, .body_bytes = 10};

static void large_bodies(void **state) {
    http_expect_within(BH_SLICE(CHUNKED("5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")), &tight,
                       "POST / 1.1 h K {0123456789}|");
    http_expect_within(BH_SLICE(CHUNKED("b\r\n")), &tight, "error 413|");
    http_expect_within(BH_SLICE(CHUNKED("5\r\n01234\r\n6\r\n")), &tight, "error 413|");
}

static void long_extensions(void **state) {
    struct bh_bytes in = {0};
    bh_bytes_adds(&in, CHUNKED("1;"));
    test_repeat(&in, 'x', 200);
    http_expect_within(bh_bytes_slice(&in), &tight, "error 431|");
    bh_bytes_clear(&in);
    bh_bytes_adds(&in, CHUNKED(""));
    for (int i = 0; i < 4; i++) {
        bh_bytes_adds(&in, "1;");
        test_repeat(&in, 'x', 30);
        bh_bytes_adds(&in, "\r\na\r\n");
    }
    http_expect_within(bh_bytes_slice(&in), &tight, "error 431|");
    bh_bytes_free(&in);
}

static void long_and_many_trailers(void **state) {
    struct bh_bytes in = {0};
    bh_bytes_adds(&in, CHUNKED("0\r\nA: "));
    test_repeat(&in, 'x', 200);
    http_expect_within(bh_bytes_slice(&in), &tight, "error 431|");
    bh_bytes_free(&in);
    http_expect_within(BH_SLICE(CHUNKED("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n")), &tight,
                       "POST / 1.1 h K {}|");
    http_expect_within(BH_SLICE(CHUNKED("0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n")), &tight,
                       "error 431|");
}

static void without_memory(void **state) {
    static const char in[] = CHUNKED("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    bool refused = true;
    for (unsigned nth = 1; refused; nth++) {
        struct bh_bytes transcript = {0};
        bh_mem_fail_nth(nth);
        http_feed(bh_slice(in, sizeof in - 1), &http_roomy, 0, &transcript);
        bh_mem_fail_nth(0);
        refused = bh_slice_eq(bh_bytes_slice(&transcript), BH_SLICE("error 503|"));
        if (!refused)
            assert_bytes(&transcript, "POST / 1.1 h K {hello world}|");
        assert_true(refused || nth > 2);
        bh_bytes_free(&transcript);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks),
        cmocka_unit_test(extensions_and_trailers_are_dropped),
        cmocka_unit_test(sizes_that_smuggle),
        cmocka_unit_test(what_follows_a_chunk),
        cmocka_unit_test(bad_trailers),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(long_extensions),
        cmocka_unit_test(long_and_many_trailers),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
