/* Compressed messages through the reader: alone, in fragments, among plain ones, and hostile; each
 * stream whole, byte by byte, and cut at random, for clients that take over and for those that do
 * not. */
#include "bellhop/base/mem.h"
#include "bellhop/proto/ws_deflate.h"
#include "ws_message_test.h"

/* The examples of RFC 7692: "Hello", and the same with reference to the message before. */
#define HELLO       "\xf2\x48\xcd\xc9\xc9\x07"
#define HELLO_BYTES bh_slice(HELLO, 7)
#define AGAIN_BYTES bh_slice("\xf2\x00\x11\x00\x00", 5)

/* In steps as they are, and suspended after each byte, and after some. */
static void expect_with(struct bh_bytes *stream, const struct bh_ws_limits *limits,
                        enum compression how, const char *expected) {
    bool is_long = stream->len > 3000;
    const size_t steps[] = {0, is_long ? 1000 : 1, is_long ? 333 : 3};
    for (int cut = 0; cut < CUTS; cut++)
        for (size_t i = 0; i < COUNT(steps); i++) {
            struct bh_bytes transcript = {0};
            bh_inflate_step_in(steps[i]);
            read_cut(bh_bytes_slice(stream), limits, how, cut, &transcript);
            bh_inflate_step_in(0);
            assert_bytes(&transcript, expected);
            bh_bytes_free(&transcript);
        }
}

/* Also frees the stream. */
static void expect_within(struct bh_bytes *stream, const struct bh_ws_limits *limits,
                          const char *expected) {
    expect_with(stream, limits, NO_TAKEOVER, expected);
    expect_with(stream, limits, TAKEOVER, expected);
    bh_bytes_free(stream);
}

static void expect(struct bh_bytes *stream, const char *expected) {
    expect_within(stream, &roomy, expected);
}

/* --- messages --- */

static void whole_messages(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
    add_frame(&s, FIN | RSV1 | BH_WS_BINARY, HELLO_BYTES);
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, bh_slice("\x00", 1));
    add_frame(&s, FIN | RSV1 | BH_WS_BINARY, bh_slice("\x00", 1));
    add_compressed(&s, BH_WS_TEXT, BH_SLICE("gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x8e\x89"));
    add_compressed(&s, BH_WS_BINARY, BH_SLICE("\xff\xfe"));
    expect(&s, "text Hello|binary Hello|text |binary |"
               "text gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x8e\x89|binary \xff\xfe|");
}

static void compressed_among_plain(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("plain"));
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
    add_frame(&s, BH_WS_BINARY, HELLO_BYTES);
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("."));
    add_frame(&s, RSV1 | BH_WS_TEXT, BH_SLICE(HELLO));
    add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice("\x00", 1));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping"));
    add_frame(&s, FIN | BH_WS_BINARY, BH_SLICE("\xff"));
    add_frame(&s, FIN | RSV1 | BH_WS_BINARY, HELLO_BYTES);
    add_frame(&s, BH_WS_TEXT, BH_SLICE("a"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("b"));
    add_close(&s, 1000, "bye");
    struct bh_bytes expected = {0};
    bh_bytes_adds(&expected, "text plain|text Hello|binary " HELLO);
    bh_bytes_add(&expected, bh_slice("\x00", 1));
    bh_bytes_adds(&expected, ".|text Hello|ping ping|binary \xff|binary Hello|text ab|"
                             "close 1000 bye|");
    for (int cut = 0; cut < CUTS; cut++) {
        struct bh_bytes transcript = {0};
        read_cut(bh_bytes_slice(&s), &roomy, cut % 2 ? TAKEOVER : NO_TAKEOVER, cut, &transcript);
        assert_true(bh_slice_eq(bh_bytes_slice(&transcript), bh_bytes_slice(&expected)));
        bh_bytes_free(&transcript);
    }
    bh_bytes_free(&expected);
    bh_bytes_free(&s);
}

/* Cut into three frames at every place, control frames in between. */
static void fragments(void **state) {
    const char *payload = HELLO;
    for (size_t one = 0; one <= 7; one++)
        for (size_t two = one; two <= 7; two++) {
            struct bh_bytes s = {0};
            add_frame(&s, RSV1 | BH_WS_TEXT, bh_slice(payload, one));
            add_frame(&s, FIN | BH_WS_PING, BH_SLICE("\xff"));
            add_frame(&s, BH_WS_CONTINUATION, bh_slice(payload + one, two - one));
            add_frame(&s, FIN | BH_WS_PONG, BH_SLICE(""));
            add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(payload + two, 7 - two));
            add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
            expect(&s, "ping \xff|pong |text Hello|text Hello|");
        }
}

static void takeover(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("is not in the window"));
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, AGAIN_BYTES);
    add_frame(&s, RSV1 | BH_WS_BINARY, bh_slice(AGAIN_BYTES.p, 3));
    add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(AGAIN_BYTES.p + 3, 2));
    expect_with(&s, &roomy, TAKEOVER,
                "text Hello|text is not in the window|text Hello|binary Hello|");
    expect_with(&s, &roomy, NO_TAKEOVER,
                "text Hello|text is not in the window|error 1007 context|");
    bh_bytes_free(&s);
}

static void long_messages(void **state) {
    static const size_t lengths[] = {126, 1000, 16384, 16385, 70001, 300000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct bh_bytes data = {0}, s = {0}, expected = {0};
        while (data.len < lengths[i])
            bh_bytes_addc(&data, (char)('a' + test_random() % 26));
        add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
        bh_bytes_adds(&expected, "text ");
        add_data(&expected, bh_bytes_slice(&data));
        bh_bytes_add(&expected, bh_slice("|", 2));
        expect(&s, expected.p);
        bh_bytes_free(&expected);
        bh_bytes_free(&data);
    }
}

/* --- refusals --- */

static void reserved_bits_in_the_wrong_place(void **state) {
    static const uint8_t firsts[] = {
        FIN | RSV1 | BH_WS_CLOSE,
        FIN | RSV1 | BH_WS_PING,
        FIN | RSV1 | BH_WS_PONG,
        FIN | RSV1,
        RSV1,
        FIN | RSV1 | 0x20 | BH_WS_TEXT,
        FIN | 0x20 | BH_WS_TEXT,
        FIN | 0x10 | BH_WS_TEXT,
        FIN | RSV1 | 0x10 | BH_WS_BINARY,
    };
    for (size_t i = 0; i < COUNT(firsts); i++) {
        struct bh_bytes s = {0};
        add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
        add_frame(&s, firsts[i], HELLO_BYTES);
        expect(&s, "text Hello|error 1002|");
    }
    for (int compressed = 0; compressed < 2; compressed++) {
        struct bh_bytes s = {0};
        add_frame(&s, compressed ? RSV1 | BH_WS_TEXT : BH_WS_TEXT, BH_SLICE("\x02"));
        add_frame(&s, FIN | RSV1 | BH_WS_CONTINUATION, BH_SLICE("\x01"));
        expect(&s, "error 1002|");
        add_frame(&s, compressed ? RSV1 | BH_WS_TEXT : BH_WS_TEXT, BH_SLICE("\x02"));
        add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
        expect(&s, "error 1002|");
    }
}

static void compression_that_was_not_agreed_on(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("plain"));
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
    for (int cut = 0; cut < CUTS; cut++) {
        struct bh_bytes transcript = {0};
        read_cut(bh_bytes_slice(&s), &roomy, PLAIN, cut, &transcript);
        assert_bytes(&transcript, "text plain|error 1002|");
        bh_bytes_free(&transcript);
    }
    bh_bytes_free(&s);
}

static void what_is_no_deflate(void **state) {
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        {"", 0},
        {"Hello", 5},
        {HELLO, 6},
        {HELLO "\x00 and more", 16},
        {"\xf3\x48\xcd\xc9\xc9\x07\x00", 7},
        {"\x06", 1},
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        for (size_t cut = 0; cut <= bad[i].n; cut++) {
            struct bh_bytes s = {0};
            add_frame(&s, RSV1 | BH_WS_TEXT, bh_slice(bad[i].p, cut));
            add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(bad[i].p + cut, bad[i].n - cut));
            add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("late"));
            expect(&s, "error 1007|");
            add_frame(&s, FIN | RSV1 | BH_WS_BINARY, bh_slice(bad[i].p, bad[i].n));
            expect(&s, "error 1007|");
        }
}

static void text_that_is_not_utf8(void **state) {
    static const char *const bad[] = {"\x80", "good \xff", "cut off \xe2\x82", "\xed\xa0\x80"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_bytes s = {0}, expected = {0};
        add_compressed(&s, BH_WS_BINARY, bh_slice_cstr(bad[i]));
        add_compressed(&s, BH_WS_TEXT, bh_slice_cstr(bad[i]));
        bh_bytes_addf(&expected, "binary %s|error 1007|", bad[i]);
        bh_bytes_addc(&expected, '\0');
        expect(&s, expected.p);
        bh_bytes_free(&expected);
    }
}

/* Plain text still fails at its first bad byte. */
static void plain_text_is_checked_as_it_comes(void **state) {
    struct bh_bytes s = {0};
    add_claim(&s, FIN | BH_WS_TEXT, 1000, BH_SLICE("good so far \xff"));
    expect(&s, "error 1007|");
    /* Compressed bytes are no text. */
    add_claim(&s, FIN | RSV1 | BH_WS_TEXT, 1000, BH_SLICE("\xff\xff\xff"));
    expect(&s, "");
}

/* --- limits --- */

static void messages_at_the_limit(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 1000, .fragments = 3};
    struct bh_bytes s = {0}, data = {0}, expected = {0};
    test_repeat(&data, 'x', 1000);
    add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
    bh_bytes_adds(&expected, "text ");
    add_data(&expected, bh_bytes_slice(&data));
    bh_bytes_add(&expected, BH_SLICE("|text Hello|\0"));
    expect_within(&s, &limits, expected.p);
    bh_bytes_addc(&data, 'x');
    add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    expect_within(&s, &limits, "error 1009|");
    bh_bytes_free(&expected);
    bh_bytes_free(&data);
}

static void a_bomb(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 10000, .fragments = 3};
    struct bh_bytes s = {0}, data = {0}, payload = {0};
    test_repeat(&data, '\0', 8 << 20);
    compress(&payload, bh_bytes_slice(&data));
    assert_true(payload.len < 10000);
    add_frame(&s, FIN | RSV1 | BH_WS_BINARY, bh_bytes_slice(&payload));
    expect_within(&s, &limits, "error 1009|");
    add_frame(&s, RSV1 | BH_WS_BINARY, bh_bytes_slice(&payload));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE(""));
    expect_within(&s, &limits, "error 1009|");
    bh_bytes_free(&payload);
    bh_bytes_free(&data);
}

/* Before the message is complete: as it is sent, and in the number of its frames. */
static void limits_of_what_is_gathered(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 10, .fragments = 3};
    struct bh_bytes s = {0};
    add_claim(&s, FIN | RSV1 | BH_WS_BINARY, 11, BH_SLICE(""));
    expect_within(&s, &limits, "error 1009|");
    add_frame(&s, RSV1 | BH_WS_BINARY, HELLO_BYTES);
    add_claim(&s, FIN | BH_WS_CONTINUATION, 4, BH_SLICE(""));
    expect_within(&s, &limits, "error 1009|");
    for (int i = 0; i < 4; i++)
        add_frame(&s, i ? BH_WS_CONTINUATION : RSV1 | BH_WS_BINARY, BH_SLICE("\x02"));
    expect_within(&s, &limits, "error 1008|");
}

/* --- memory --- */

/* The frame is inflated from the input; the result is valid until the next call. */
static void an_idle_reader_owns_nothing(void **state) {
    struct bh_inflaters inflaters;
    bh_inflaters_init(&inflaters, NULL);
    const struct bh_ws_limits limits = {1 << 20, 1000, &inflaters};
    for (size_t step = 1; step < 20; step++) {
        struct bh_bytes s = {0}, transcript = {0};
        struct bh_ws_reader r;
        bh_ws_reader_init(&r, true, NULL);
        add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
        add_frame(&s, RSV1 | BH_WS_TEXT, bh_slice(HELLO, 3));
        add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(HELLO "\0" + 3, 4));
        for (size_t i = 0; i < s.len; i += step)
            feed(&r, &limits, bh_slice(s.p + i, s.len - i < step ? s.len - i : step), &transcript);
        assert_bytes(&transcript, "text Hello|text Hello|");
        assert_null(r.partial);
        bh_ws_reader_deinit(&r);
        bh_bytes_free(&s);
        bh_bytes_free(&transcript);
    }
    bh_inflaters_deinit(&inflaters);
}

static void a_message_is_lent(void **state) {
    struct bh_inflater *inflater = bh_inflater_new(15, true);
    struct bh_bytes s = {0};
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, AGAIN_BYTES);
    add_frame(&s, FIN | RSV1 | BH_WS_TEXT, AGAIN_BYTES);
    struct bh_ws_reader r;
    bh_ws_reader_init(&r, true, inflater);
    unsigned char *in = (unsigned char *)s.p;
    size_t n = s.len;
    struct bh_ws_event e;
    for (int i = 0; i < 3; i++) {
        bh_ws_reader_next(&r, &roomy, &in, &n, &e);
        assert_slice(e.data, "Hello");
        assert_non_null(r.partial);
        if (i == 0) {
            bh_ws_reader_release(&r);
            assert_null(r.partial);
        }
    }
    /* Ending in between frees it, too. */
    bh_ws_reader_deinit(&r);
    assert_null(r.partial);
    assert_int_equal(n, 0);
    bh_bytes_free(&s);
    bh_inflater_free(inflater);
}

static void without_memory(void **state) {
    struct bh_bytes s = {0}, data = {0};
    for (int i = 0; i < 60000; i++)
        bh_bytes_addc(&data, (char)('a' + test_random() % 26));
    add_compressed(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    bool refused = true;
    for (unsigned nth = 1; refused; nth++) {
        struct bh_bytes transcript = {0};
        bh_mem_fail_nth(nth);
        read_cut(bh_bytes_slice(&s), &roomy, NO_TAKEOVER, 2, &transcript);
        bh_mem_fail_nth(0);
        refused = bh_slice_eq(bh_bytes_slice(&transcript), BH_SLICE("error 1011|"));
        assert_true(refused || bh_slice_starts(bh_bytes_slice(&transcript), BH_SLICE("text ")));
        assert_true(refused || nth > 3);
        bh_bytes_free(&transcript);
    }
    bh_bytes_free(&s);
    bh_bytes_free(&data);
}

/* --- noise --- */

static void mutated_streams_read_alike_however_cut(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 300, .fragments = 4};
    for (int round = 0; round < 2000; round++) {
        struct bh_bytes s = {0}, transcript[3] = {{0}};
        add_frame(&s, FIN | RSV1 | BH_WS_TEXT, HELLO_BYTES);
        add_frame(&s, RSV1 | BH_WS_TEXT, bh_slice(AGAIN_BYTES.p, 2));
        add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping"));
        add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(AGAIN_BYTES.p + 2, 3));
        add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("plain \xe2\x82\xac"));
        add_compressed(&s, BH_WS_BINARY, BH_SLICE("binary binary binary binary"));
        add_close(&s, 1000, "bye");
        for (unsigned flips = test_random() % 4; flips; flips--)
            s.p[test_random() % s.len] ^= (char)(1 << test_random() % 8);
        for (int cut = 0; cut < 3; cut++) {
            bh_inflate_step_in((size_t)cut * 2);
            read_cut(bh_bytes_slice(&s), &limits, TAKEOVER, cut, &transcript[cut]);
            bh_inflate_step_in(0);
            assert_true(
                bh_slice_eq(bh_bytes_slice(&transcript[0]), bh_bytes_slice(&transcript[cut])));
        }
        for (int cut = 0; cut < 3; cut++)
            bh_bytes_free(&transcript[cut]);
        bh_bytes_free(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_messages),
        cmocka_unit_test(compressed_among_plain),
        cmocka_unit_test(fragments),
        cmocka_unit_test(takeover),
        cmocka_unit_test(long_messages),
        cmocka_unit_test(reserved_bits_in_the_wrong_place),
        cmocka_unit_test(compression_that_was_not_agreed_on),
        cmocka_unit_test(what_is_no_deflate),
        cmocka_unit_test(text_that_is_not_utf8),
        cmocka_unit_test(plain_text_is_checked_as_it_comes),
        cmocka_unit_test(messages_at_the_limit),
        cmocka_unit_test(a_bomb),
        cmocka_unit_test(limits_of_what_is_gathered),
        cmocka_unit_test(an_idle_reader_owns_nothing),
        cmocka_unit_test(a_message_is_lent),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(mutated_streams_read_alike_however_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
