/* Streams of client frames and the transcript of their events: each stream whole, byte by byte, and
 * cut at random. */
#include "bellhop/proto/ws_message.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "ws_message_test.h"

/* Also frees the stream. */
static void expect_within(struct bh_bytes *stream, const struct bh_ws_limits *limits,
                          const char *expected) {
    for (int cut = 0; cut < CUTS; cut++) {
        struct bh_bytes transcript = {0};
        read_cut(bh_bytes_slice(stream), limits, PLAIN, cut, &transcript);
        assert_bytes(&transcript, expected);
        bh_bytes_free(&transcript);
    }
    bh_bytes_free(stream);
}

static void expect(struct bh_bytes *stream, const char *expected) {
    expect_within(stream, &roomy, expected);
}

/* --- messages --- */

static void whole_messages(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("hello"));
    add_frame(&s, FIN | BH_WS_BINARY, BH_SLICE("\xff\xfe"));
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_BINARY, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x8e\x89"));
    expect(&s, "text hello|binary \xff\xfe|text |binary |"
               "text gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x8e\x89|");
}

static void messages_of_all_length_forms(void **state) {
    static const size_t lengths[] = {125, 126, 127, 128, 65535, 65536, 70001};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct bh_bytes data = {0}, s = {0}, expected = {0};
        for (size_t k = 0; k < lengths[i]; k++)
            bh_bytes_addc(&data, (char)('a' + k % 26));
        add_frame(&s, FIN | BH_WS_TEXT, bh_bytes_slice(&data));
        add_frame(&s, FIN | BH_WS_BINARY, bh_bytes_slice(&data));
        bh_bytes_adds(&expected, "text ");
        add_data(&expected, bh_bytes_slice(&data));
        bh_bytes_adds(&expected, "|binary ");
        add_data(&expected, bh_bytes_slice(&data));
        bh_bytes_add(&expected, bh_slice("|", 2));
        expect(&s, expected.p);
        bh_bytes_free(&expected);
        bh_bytes_free(&data);
    }
}

/* A whole frame is returned in place. */
static void a_whole_frame_is_not_copied(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("where it lies"));
    struct bh_ws_reader r;
    bh_ws_reader_init(&r, false, NULL);
    unsigned char *in = (unsigned char *)s.p;
    size_t n = s.len;
    struct bh_ws_event e;
    bh_ws_reader_next(&r, &roomy, &in, &n, &e);
    assert_ptr_equal(e.data.p, s.p + 6);
    assert_null(r.partial);
    assert_int_equal(n, 0);
    bh_ws_reader_deinit(&r);
    bh_bytes_free(&s);
}

static void fragments(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, BH_WS_TEXT, BH_SLICE("one "));
    add_frame(&s, BH_WS_CONTINUATION, BH_SLICE(""));
    add_frame(&s, BH_WS_CONTINUATION, BH_SLICE("two "));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("three"));
    add_frame(&s, BH_WS_BINARY, BH_SLICE(""));
    add_frame(&s, BH_WS_CONTINUATION, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("after"));
    expect(&s, "text one two three|binary |text after|");
}

static void control_frames_between_fragments(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, BH_WS_TEXT, BH_SLICE("be"));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping me"));
    add_frame(&s, BH_WS_CONTINUATION, BH_SLICE("twe"));
    add_frame(&s, FIN | BH_WS_PONG, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("en"));
    expect(&s, "ping ping me|pong |ping |text between|");
}

static void the_longest_control_frame(void **state) {
    struct bh_bytes s = {0}, data = {0}, expected = {0};
    test_repeat(&data, '\xfe', 125);
    add_frame(&s, FIN | BH_WS_PING, bh_bytes_slice(&data));
    bh_bytes_addf(&expected, "ping %.*s|", BH_SLICE_ARG(bh_bytes_slice(&data)));
    bh_bytes_addc(&expected, '\0');
    expect(&s, expected.p);
    bh_bytes_free(&data);
    bh_bytes_free(&expected);
}

/* --- order --- */

static void a_continuation_of_nothing(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("what?"));
    expect(&s, "error 1002|");
    add_frame(&s, BH_WS_CONTINUATION, BH_SLICE("what?"));
    expect(&s, "error 1002|");
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("done"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("what?"));
    expect(&s, "text done|error 1002|");
    add_frame(&s, BH_WS_TEXT, BH_SLICE("a"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("b"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("c"));
    expect(&s, "text ab|error 1002|");
}

static void a_new_message_inside_a_fragmented_one(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, BH_WS_TEXT, BH_SLICE("a"));
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("b"));
    expect(&s, "error 1002|");
    add_frame(&s, BH_WS_TEXT, BH_SLICE(""));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("!"));
    add_frame(&s, BH_WS_BINARY, BH_SLICE("b"));
    expect(&s, "ping !|error 1002|");
}

static void bad_headers(void **state) {
    static const uint8_t firsts[] = {0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f, 0x08, 0x09, 0x0a};
    for (size_t i = 0; i < COUNT(firsts); i++) {
        struct bh_bytes s = {0};
        add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("good"));
        add_frame(&s, firsts[i], BH_SLICE("bad"));
        expect(&s, "text good|error 1002|");
    }
    struct bh_bytes s = {0};
    bh_bytes_add(&s, bh_slice("\x81\x03"
                              "abc",
                              5));
    expect(&s, "error 1002|");
    bh_bytes_add(&s, bh_slice("\x89\xfe\x00\x7e", 4));
    expect(&s, "error 1002|");
}

/* --- text --- */

static void text_that_is_not_utf8(void **state) {
    static const char *const bad[] = {"\x80",
                                      "\xc0\xaf",
                                      "\xc1\xbf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80",
                                      "good \xff",
                                      "\xe2\x28\xa1",
                                      "\xfe",
                                      "\xc3",
                                      "\xf0\x9f\x8e",
                                      "cut off \xe2\x82",
                                      "\xce\xba\xed\xbf",
                                      "\xf5",
                                      "\xe0\x9f\xbf",
                                      "\xf0\x8f\xbf\xbf"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_slice text = bh_slice_cstr(bad[i]);
        struct bh_bytes s = {0};
        add_frame(&s, FIN | BH_WS_TEXT, text);
        expect(&s, "error 1007|");
        for (size_t cut = 0; cut <= text.n; cut++) {
            add_frame(&s, BH_WS_TEXT, bh_slice(text.p, cut));
            add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(text.p + cut, text.n - cut));
            expect(&s, "error 1007|");
        }
        add_frame(&s, FIN | BH_WS_BINARY, text);
        struct bh_bytes expected = {0};
        bh_bytes_addf(&expected, "binary %s|", bad[i]);
        bh_bytes_addc(&expected, '\0');
        expect(&s, expected.p);
        bh_bytes_free(&expected);
    }
}

static void characters_cut_by_fragments(void **state) {
    struct bh_slice text = BH_SLICE("\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\x89.");
    for (size_t one = 0; one <= text.n; one++)
        for (size_t two = one; two <= text.n; two++) {
            struct bh_bytes s = {0};
            add_frame(&s, BH_WS_TEXT, bh_slice(text.p, one));
            add_frame(&s, FIN | BH_WS_PING, BH_SLICE("\xff"));
            add_frame(&s, BH_WS_CONTINUATION, bh_slice(text.p + one, two - one));
            add_frame(&s, FIN | BH_WS_CONTINUATION, bh_slice(text.p + two, text.n - two));
            add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("next"));
            expect(&s, "ping \xff|text \xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\x89.|text next|");
        }
}

/* The frame claims more bytes than ever come. */
static void the_first_bad_byte_of_an_unfinished_frame(void **state) {
    struct bh_bytes s = {0};
    add_claim(&s, FIN | BH_WS_TEXT, 1000, BH_SLICE("good so far \xc3"));
    expect(&s, "");
    add_claim(&s, FIN | BH_WS_TEXT, 1000, BH_SLICE("good so far \xff"));
    expect(&s, "error 1007|");
    add_claim(&s, FIN | BH_WS_TEXT, 1000, BH_SLICE("good so far \xed\xa0"));
    expect(&s, "error 1007|");
    add_frame(&s, BH_WS_TEXT, BH_SLICE("\xf4"));
    add_claim(&s, BH_WS_CONTINUATION, 1000, BH_SLICE("\x90"));
    expect(&s, "error 1007|");
}

/* --- close --- */

static void close_frames(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_CLOSE, BH_SLICE(""));
    expect(&s, "close 1005 |");
    add_close(&s, 1000, "");
    expect(&s, "close 1000 |");
    add_close(&s, 4999, "good bye");
    expect(&s, "close 4999 good bye|");
    add_frame(&s, BH_WS_TEXT, BH_SLICE("unfinished"));
    add_close(&s, 1001, "\xe2\x82\xac");
    expect(&s, "close 1001 \xe2\x82\xac|");
}

static void bad_close_frames(void **state) {
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_CLOSE, BH_SLICE("\x03"));
    expect(&s, "error 1002|");
    add_close(&s, 1000, "\xc3");
    expect(&s, "error 1007|");
    add_close(&s, 1000, "bad \xed\xa0\x80");
    expect(&s, "error 1007|");
}

static void every_close_code(void **state) {
    for (unsigned code = 0; code <= 65535; code++) {
        struct bh_bytes s = {0}, transcript = {0};
        char expected[32];
        bool valid = bh_ws_close_code_valid(code);
        snprintf(expected, sizeof expected, valid ? "close %u |" : "error 1002|", code);
        add_close(&s, code, "");
        read_cut(bh_bytes_slice(&s), &roomy, PLAIN, (int)(code % 3), &transcript);
        assert_bytes(&transcript, expected);
        bh_bytes_free(&s);
        bh_bytes_free(&transcript);
    }
}

static void nothing_comes_after_the_end(void **state) {
    struct bh_bytes s = {0};
    add_close(&s, 1000, "bye");
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("late"));
    add_close(&s, 1000, "bye");
    expect(&s, "close 1000 bye|");
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("\xff"));
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("late"));
    bh_bytes_adds(&s, "bytes that are not a frame");
    expect(&s, "error 1007|");
}

/* --- limits --- */

static void messages_at_the_limit(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 10, .fragments = 1000};
    struct bh_bytes s = {0};
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("0123456789"));
    add_frame(&s, BH_WS_TEXT, BH_SLICE("01234"));
    add_frame(&s, BH_WS_CONTINUATION, BH_SLICE("5678"));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("control frames do not count"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("9"));
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("0123456789"));
    expect_within(&s, &limits,
                  "text 0123456789|ping control frames do not count|text 0123456789|"
                  "text 0123456789|");
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("0123456789a"));
    expect_within(&s, &limits, "error 1009|");
    add_frame(&s, BH_WS_TEXT, BH_SLICE("0123456789"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("a"));
    expect_within(&s, &limits, "error 1009|");
}

/* The header alone is enough, also where lengths would overflow. */
static void lengths_are_refused_at_the_header(void **state) {
    static const uint64_t lengths[] = {(1 << 20) + 1, UINT32_MAX, 1ull << 32, INT64_MAX};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct bh_bytes s = {0};
        add_claim(&s, FIN | BH_WS_BINARY, lengths[i], BH_SLICE(""));
        expect(&s, "error 1009|");
        add_frame(&s, BH_WS_BINARY, BH_SLICE("some"));
        add_claim(&s, FIN | BH_WS_CONTINUATION, lengths[i], BH_SLICE(""));
        expect(&s, "error 1009|");
        const struct bh_ws_limits none = {.message_bytes = UINT64_MAX, .fragments = 1000};
        add_frame(&s, BH_WS_BINARY, BH_SLICE("some"));
        add_claim(&s, FIN | BH_WS_CONTINUATION, lengths[i], BH_SLICE("more"));
        expect_within(&s, &none, "");
    }
}

static void limits_that_shrink_inside_a_message(void **state) {
    const struct bh_ws_limits small = {.message_bytes = 3, .fragments = 1000};
    struct bh_bytes s = {0}, transcript = {0};
    struct bh_ws_reader r;
    bh_ws_reader_init(&r, false, NULL);
    add_frame(&s, BH_WS_TEXT, BH_SLICE("0123456789"));
    feed(&r, &roomy, bh_bytes_slice(&s), &transcript);
    bh_bytes_clear(&s);
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("a"));
    feed(&r, &small, bh_bytes_slice(&s), &transcript);
    assert_bytes(&transcript, "error 1009|");
    bh_ws_reader_deinit(&r);
    bh_bytes_free(&s);
    bh_bytes_free(&transcript);
}

static void fragments_at_the_limit(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 100, .fragments = 3};
    for (int extra = 0; extra < 2; extra++) {
        struct bh_bytes s = {0};
        add_frame(&s, BH_WS_TEXT, BH_SLICE("a"));
        add_frame(&s, BH_WS_CONTINUATION, BH_SLICE("b"));
        if (extra)
            add_frame(&s, BH_WS_CONTINUATION, BH_SLICE(""));
        add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("c"));
        add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("d"));
        expect_within(&s, &limits, extra ? "error 1008|" : "text abc|text d|");
    }
}

/* --- memory --- */

static void expect_unfinished(const struct bh_ws_reader *r, size_t received, bool in_message) {
    assert_true(bh_ws_reader_awaits(r));
    assert_int_equal(bh_ws_reader_received(r), received);
    assert_int_equal(bh_ws_reader_in_message(r), in_message);
    assert_in_range(bh_ws_reader_held(r), received + 1, 2 * received + 1000);
}

static void what_an_unfinished_message_holds(void **state) {
    struct bh_ws_reader r;
    struct bh_bytes stream = {0}, transcript = {0};
    static char payload[5000];
    bh_ws_reader_init(&r, false, NULL);
    assert_int_equal(bh_ws_reader_held(&r), 0);
    assert_false(bh_ws_reader_awaits(&r));
    add_frame(&stream, BH_WS_BINARY, bh_slice(payload, sizeof payload));
    feed(&r, &roomy, bh_slice(stream.p, 1), &transcript); /* a part of the header */
    expect_unfinished(&r, 0, false);
    feed(&r, &roomy, bh_slice(stream.p + 1, 1007), &transcript);
    expect_unfinished(&r, 1000, true);
    feed(&r, &roomy, bh_slice(stream.p + 1008, stream.len - 1008), &transcript);
    expect_unfinished(&r, 5000, true); /* between two fragments */
    bh_bytes_clear(&stream);
    add_frame(&stream, FIN | BH_WS_PING, BH_SLICE("ping"));
    feed(&r, &roomy, bh_slice(stream.p, stream.len - 1), &transcript);
    expect_unfinished(&r, 5000, true);
    feed(&r, &roomy, bh_slice(stream.p + stream.len - 1, 1), &transcript);
    bh_bytes_clear(&stream);
    add_frame(&stream, FIN | BH_WS_CONTINUATION, BH_SLICE(""));
    feed(&r, &roomy, bh_bytes_slice(&stream), &transcript);
    assert_int_equal(bh_ws_reader_held(&r), 0);
    assert_false(bh_ws_reader_awaits(&r) || bh_ws_reader_in_message(&r));
    bh_ws_reader_deinit(&r);
    bh_bytes_free(&stream);
    bh_bytes_free(&transcript);
}

static void an_idle_reader_owns_nothing(void **state) {
    struct bh_bytes s = {0}, transcript = {0};
    struct bh_ws_reader r;
    bh_ws_reader_init(&r, false, NULL);
    add_frame(&s, FIN | BH_WS_TEXT, BH_SLICE("cut"));
    add_frame(&s, BH_WS_BINARY, BH_SLICE("frag"));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping"));
    add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("ments"));
    add_frame(&s, FIN | BH_WS_PING, BH_SLICE("cut ping"));
    for (size_t i = 0; i < s.len; i++)
        feed(&r, &roomy, bh_slice(s.p + i, 1), &transcript);
    assert_bytes(&transcript, "text cut|ping ping|binary fragments|ping cut ping|");
    assert_null(r.partial);
    bh_ws_reader_deinit(&r);
    bh_bytes_free(&s);
    bh_bytes_free(&transcript);
}

static void an_ended_reader_owns_nothing(void **state) {
    for (int close = 0; close < 2; close++) {
        struct bh_bytes s = {0}, transcript = {0};
        struct bh_ws_reader r;
        bh_ws_reader_init(&r, false, NULL);
        add_frame(&s, BH_WS_TEXT, BH_SLICE("unfinished"));
        if (close)
            add_close(&s, 1000, "bye");
        else
            add_frame(&s, BH_WS_CONTINUATION, BH_SLICE("\xff"));
        for (size_t i = 0; i < s.len; i++)
            feed(&r, &roomy, bh_slice(s.p + i, 1), &transcript);
        assert_bytes(&transcript, close ? "close 1000 bye|" : "error 1007|");
        assert_null(r.partial);
        bh_ws_reader_deinit(&r);
        bh_bytes_free(&s);
        bh_bytes_free(&transcript);
    }
}

/* Each allocation that a peer sizes fails in turn. */
static void without_memory(void **state) {
    struct bh_bytes s = {0}, data = {0};
    test_repeat(&data, 'x', 5000);
    add_frame(&s, BH_WS_TEXT, bh_bytes_slice(&data));
    add_frame(&s, FIN | BH_WS_CONTINUATION, bh_bytes_slice(&data));
    bool refused = true;
    for (unsigned nth = 1; refused; nth++) {
        struct bh_bytes transcript = {0};
        bh_mem_fail_nth(nth);
        read_cut(bh_bytes_slice(&s), &roomy, PLAIN, 2, &transcript);
        bh_mem_fail_nth(0);
        refused = bh_slice_eq(bh_bytes_slice(&transcript), BH_SLICE("error 1011|"));
        assert_true(refused || bh_slice_starts(bh_bytes_slice(&transcript), BH_SLICE("text ")));
        assert_true(refused || nth > 2);
        bh_bytes_free(&transcript);
    }
    bh_bytes_free(&s);
    bh_bytes_free(&data);
}

/* --- noise --- */

/* Mutations of a valid stream: any events, but the same for every cut. */
static void mutated_streams_read_alike_however_cut(void **state) {
    const struct bh_ws_limits limits = {.message_bytes = 300, .fragments = 4};
    for (int round = 0; round < 3000; round++) {
        struct bh_bytes s = {0}, transcript[3] = {{0}};
        add_frame(&s, BH_WS_TEXT, BH_SLICE("some text \xc3\xa4 "));
        add_frame(&s, FIN | BH_WS_PING, BH_SLICE("ping"));
        add_frame(&s, FIN | BH_WS_CONTINUATION, BH_SLICE("and \xe2\x82\xac the end"));
        add_frame(&s, FIN | BH_WS_BINARY, BH_SLICE("\x01\x02\x03"));
        add_close(&s, 1000, "bye");
        for (unsigned flips = test_random() % 4; flips; flips--)
            s.p[test_random() % s.len] ^= (char)(1 << test_random() % 8);
        for (int cut = 0; cut < 3; cut++)
            read_cut(bh_bytes_slice(&s), &limits, PLAIN, cut, &transcript[cut]);
        for (int cut = 0; cut < 3; cut++)
            assert_true(
                bh_slice_eq(bh_bytes_slice(&transcript[0]), bh_bytes_slice(&transcript[cut])));
        for (int cut = 0; cut < 3; cut++)
            bh_bytes_free(&transcript[cut]);
        bh_bytes_free(&s);
    }
}

/* --- frames out --- */

static void assert_frame(struct bh_buf *frame, const char *bytes, size_t n) {
    assert_int_equal(frame->len, n);
    assert_memory_equal(frame->data, bytes, n);
    bh_buf_unref(frame);
}

static void frames_of_ours(void **state) {
    assert_frame(bh_ws_frame_new(BH_WS_TEXT, BH_SLICE("hi")), "\x81\x02hi", 4);
    assert_frame(bh_ws_frame_new(BH_WS_PONG, bh_slice(NULL, 0)), "\x8a\x00", 2);
    struct bh_bytes data = {0};
    test_repeat(&data, 'x', 70000);
    struct bh_buf *frame = bh_ws_frame_new(BH_WS_BINARY, bh_bytes_slice(&data));
    assert_int_equal(frame->len, 70010);
    assert_memory_equal(frame->data, "\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70", 10);
    assert_memory_equal(frame->data + 10, data.p, 70000);
    bh_buf_unref(frame);
    bh_bytes_free(&data);
}

static void close_frames_of_ours(void **state) {
    assert_frame(bh_ws_close_frame_new(1000, BH_SLICE("bye")),
                 "\x88\x05\x03\xe8"
                 "bye",
                 7);
    assert_frame(bh_ws_close_frame_new(4999, bh_slice(NULL, 0)), "\x88\x02\x13\x87", 4);
    static const unsigned unsendable[] = {0, 999, 1004, 1005, 1006, 1015, 5000, 66536};
    for (size_t i = 0; i < COUNT(unsendable); i++)
        assert_frame(bh_ws_close_frame_new(unsendable[i], BH_SLICE("bye")), "\x88\x00", 2);
    assert_frame(bh_ws_close_frame_new(1000, BH_SLICE("ok \xff no")), "\x88\x05\x03\xe8ok ", 7);
}

/* Two-byte characters, begun at both parities: one of them would be cut in the middle. */
static void long_close_reasons_end_between_characters(void **state) {
    for (size_t lead = 0; lead < 2; lead++) {
        struct bh_bytes reason = {0};
        test_repeat(&reason, '-', lead);
        for (int i = 0; i < 100; i++)
            bh_bytes_adds(&reason, "\xc3\xa4");
        struct bh_buf *frame = bh_ws_close_frame_new(1001, bh_bytes_slice(&reason));
        size_t kept = lead ? 123 : 122;
        assert_int_equal(frame->len, 2 + 2 + kept);
        assert_int_equal(frame->data[1], 2 + kept);
        assert_memory_equal(frame->data + 4, reason.p, kept);
        bh_buf_unref(frame);
        bh_bytes_free(&reason);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_messages),
        cmocka_unit_test(messages_of_all_length_forms),
        cmocka_unit_test(a_whole_frame_is_not_copied),
        cmocka_unit_test(fragments),
        cmocka_unit_test(control_frames_between_fragments),
        cmocka_unit_test(the_longest_control_frame),
        cmocka_unit_test(a_continuation_of_nothing),
        cmocka_unit_test(a_new_message_inside_a_fragmented_one),
        cmocka_unit_test(bad_headers),
        cmocka_unit_test(text_that_is_not_utf8),
        cmocka_unit_test(characters_cut_by_fragments),
        cmocka_unit_test(the_first_bad_byte_of_an_unfinished_frame),
        cmocka_unit_test(close_frames),
        cmocka_unit_test(bad_close_frames),
        cmocka_unit_test(every_close_code),
        cmocka_unit_test(nothing_comes_after_the_end),
        cmocka_unit_test(messages_at_the_limit),
        cmocka_unit_test(lengths_are_refused_at_the_header),
        cmocka_unit_test(limits_that_shrink_inside_a_message),
        cmocka_unit_test(fragments_at_the_limit),
        cmocka_unit_test(what_an_unfinished_message_holds),
        cmocka_unit_test(an_idle_reader_owns_nothing),
        cmocka_unit_test(an_ended_reader_owns_nothing),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(mutated_streams_read_alike_however_cut),
        cmocka_unit_test(frames_of_ours),
        cmocka_unit_test(close_frames_of_ours),
        cmocka_unit_test(long_close_reasons_end_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
