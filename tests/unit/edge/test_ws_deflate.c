/* test_ws_deflate.c - compression: what is compressed, once for many or with a context of its own,
 * and compressed messages that come in. */
#include "edge_client.h"

#include <stdlib.h>

static void arrive(struct test *t, const char *topic, struct bh_slice payload) {
    struct bh_topic to;
    struct bh_message parts = {.topic = &to, .opcode = BH_TEXT, .payload = payload};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &to), 0);
    struct bh_message *m = bh_message_new(&parts);
    t->sink->on_message(t->sink->ud, m);
    bh_message_unref(m);
    run(t);
}

#define DEFLATE "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

static void inflate_message(struct bh_inflater *i, struct bh_slice payload, struct bh_bytes *out) {
    int r;
    bh_inflater_begin(i);
    do
        r = bh_inflater_step(i, &payload, 1 << 20, out);
    while (r == BH_INFLATE_AGAIN);
    assert_int_equal(r, 0);
}

/* The next frame, which must be compressed, inflated. */
static void expect_inflated(struct client *c, struct bh_inflater *inflater, struct bh_slice text) {
    struct bh_slice payload;
    struct bh_bytes out = {0};
    WAIT_FOR(c->test, has_frame(c));
    size_t n = whole_frame(c, &payload);
    assert_int_equal((unsigned char)c->got.p[0], 0xc1);
    assert_true(payload.n < text.n);
    inflate_message(inflater, payload, &out);
    assert_int_equal(out.len, text.n);
    assert_memory_equal(out.p, text.p, text.n);
    bh_bytes_consume(&c->got, n);
    bh_bytes_free(&out);
}

static void setup_deflate(struct test *t, enum bh_ws_deflate_mode mode) {
    test_setup(t);
    t->config.deflate = (struct bh_ws_deflate_config){mode, 15, 6};
    t->config.deflate_threshold = 100;
}

static void test_a_broadcast_is_compressed_once(void **state) {
    struct test t;
    struct client c[4];
    char text[1000];
    setup_deflate(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    test_start(&t);
    for (int i = 0; i < 4; i++) {
        upgrade(&t, &c[i], i < 3 ? DEFLATE : "", 0);
        expect_open(&c[i], i < 3 ? "permessage-deflate; server_no_context_takeover" : NULL);
    }
    memset(text, 'c', sizeof text);
    int64_t before = count_of(BH_EDGE_COMPRESSED);
    struct bh_inflater *inflater = bh_inflater_new(15, false);
    arrive(&t, "all", bh_slice(text, sizeof text));
    for (int i = 0; i < 3; i++)
        expect_inflated(&c[i], inflater, bh_slice(text, sizeof text));
    expect_frame(&c[3], 1, bh_slice(text, sizeof text));
    assert_int_equal(count_of(BH_EDGE_COMPRESSED), before + 1);
    arrive(&t, "all", BH_SLICE("short"));
    for (int i = 0; i < 4; i++)
        expect_frame(&c[i], 1, BH_SLICE("short"));
    assert_int_equal(count_of(BH_EDGE_COMPRESSED), before + 1);
    bh_inflater_free(inflater);
    for (int i = 0; i < 4; i++)
        hang_up(&c[i]);
    test_end(&t);
}

static void test_takeover_and_broadcasts(void **state) {
    struct test t;
    struct client c[2];
    struct bh_inflater *inflaters[2];
    char text[300];
    setup_deflate(&t, BH_WS_DEFLATE_TAKEOVER);
    test_start(&t);
    for (int i = 0; i < 2; i++) {
        upgrade(&t, &c[i], DEFLATE, 0);
        expect_open(&c[i], "permessage-deflate");
        inflaters[i] = bh_inflater_new(15, true);
    }
    for (int round = 0; round < 30; round++) {
        int n = snprintf(text, sizeof text, "message %d %0*d", round * 7919, 150, round);
        arrive(&t, round % 3 ? "user:42" : "all", bh_slice(text, (size_t)n));
        for (int i = 0; i < 2; i++)
            expect_inflated(&c[i], inflaters[i], bh_slice(text, (size_t)n));
    }
    for (int i = 0; i < 2; i++) {
        bh_inflater_free(inflaters[i]);
        hang_up(&c[i]);
    }
    test_end(&t);
}

static void test_a_compressed_message_comes_in(void **state) {
    struct test t;
    struct client c;
    char text[5000];
    setup_deflate(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    test_start(&t);
    upgrade(&t, &c, DEFLATE, 0);
    expect_open(&c, "client_no_context_takeover");
    memset(text, 'd', sizeof text);
    struct bh_deflater *deflater = bh_deflater_new(15, 6);
    struct bh_inflater *inflater = bh_inflater_new(15, false);
    struct bh_buf *frame = bh_deflater_frame(deflater, 1, bh_slice(text, sizeof text), false);
    send_frame(&c, 0xc1, bh_slice(frame->data + 2, frame->len - 2));
    expect_inflated(&c, inflater, bh_slice(text, sizeof text));
    bh_buf_unref(frame);
    bh_deflater_free(deflater);
    bh_inflater_free(inflater);
    send_frame(&c, 0xc1, BH_SLICE("\xff\xff\xff\xff"));
    expect_close(&c, 1007, NULL);
    hang_up(&c);
    test_end(&t);
}

static void test_frames_that_take_over_are_dropped_together(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes text = {0};
    setup_deflate(&t, BH_WS_DEFLATE_TAKEOVER);
    t.config.on_slow = BH_SLOW_DROP_OLDEST;
    t.config.deflate.level = 1;
    test_start(&t);
    upgrade(&t, &c, DEFLATE, 4096);
    expect_open(&c, "permessage-deflate");
    uint32_t seed = 1;
    int64_t before = count_of(BH_EDGE_MESSAGES_DROPPED);
    int sent = 0;
    for (; count_of(BH_EDGE_MESSAGES_DROPPED) == before && sent < 3000; sent++) {
        bh_bytes_clear(&text);
        bh_bytes_addf(&text, "%06d|", sent);
        for (int i = 0; i < 20000; i++)
            bh_bytes_addc(&text, (char)('a' + ((seed = seed * 1103515245 + 12345) >> 24) % 26));
        arrive(&t, "user:42", bh_bytes_slice(&text));
    }
    assert_true(count_of(BH_EDGE_MESSAGES_DROPPED) > before);
    struct bh_inflater *inflater = bh_inflater_new(15, true);
    int last = -1;
    while (last < sent - 1) {
        struct bh_slice payload;
        struct bh_bytes out = {0};
        WAIT_FOR(&t, has_frame(&c));
        size_t n = whole_frame(&c, &payload);
        inflate_message(inflater, payload, &out);
        assert_int_equal(out.len, text.len);
        assert_true(atoi(out.p) > last);
        last = atoi(out.p);
        bh_bytes_consume(&c.got, n);
        bh_bytes_free(&out);
    }
    bh_inflater_free(inflater);
    bh_bytes_free(&text);
    hang_up(&c);
    test_end(&t);
}

/* The hook's choice for a connection comes before the configuration, both ways. */
static void test_a_hook_chooses(void **state) {
    static const struct {
        enum bh_ws_deflate_mode configured;
        enum bh_compression chosen;
        const char *answer;
    } cases[] = {
        {BH_WS_DEFLATE_NO_TAKEOVER, BH_COMPRESSION_OFF, NULL},
        {BH_WS_DEFLATE_TAKEOVER, BH_COMPRESSION_OFF, NULL},
        {BH_WS_DEFLATE_OFF, BH_COMPRESSION_DEFAULT, NULL},
        {BH_WS_DEFLATE_OFF, BH_COMPRESSION_TAKEOVER, "permessage-deflate\r\n"},
        {BH_WS_DEFLATE_NO_TAKEOVER, BH_COMPRESSION_TAKEOVER, "permessage-deflate\r\n"},
        {BH_WS_DEFLATE_OFF, BH_COMPRESSION_NO_TAKEOVER,
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"},
        {BH_WS_DEFLATE_TAKEOVER, BH_COMPRESSION_NO_TAKEOVER,
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test t;
        struct client c;
        char text[300];
        setup_deflate(&t, cases[i].configured);
        t.compression = cases[i].chosen;
        test_start(&t);
        upgrade(&t, &c, DEFLATE, 0);
        expect_open(&c, cases[i].answer);
        memset(text, 'e', sizeof text);
        arrive(&t, "user:42", bh_slice(text, sizeof text));
        struct bh_inflater *inflater = bh_inflater_new(15, false);
        if (cases[i].answer)
            expect_inflated(&c, inflater, bh_slice(text, sizeof text));
        else
            expect_frame(&c, 1, bh_slice(text, sizeof text));
        bh_inflater_free(inflater);
        hang_up(&c);
        test_end(&t);
    }
}

/* "Hello", and the same with reference to the message before (RFC 7692, 7.2.3.2). */
#define HELLO       bh_slice("\xf2\x48\xcd\xc9\xc9\x07\x00", 7)
#define HELLO_AGAIN bh_slice("\xf2\x00\x11\x00\x00", 5)

static void test_a_client_that_keeps_its_context(void **state) {
    struct test t;
    struct client c;
    setup_deflate(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    t.echo = true;
    test_start(&t);
    int64_t kept = count_of(BH_EDGE_CONTEXTS_KEPT), errors = count_of(BH_EDGE_PROTOCOL_ERRORS);
    upgrade(&t, &c, DEFLATE, 0);
    expect_open(&c, "client_no_context_takeover");
    send_frame(&c, 0xc1, HELLO);
    expect_frame(&c, 1, BH_SLICE("Hello"));
    send_frame(&c, 0xc1, HELLO_AGAIN);
    expect_close(&c, 1007,
                 "message refers to earlier ones, but client_no_context_takeover was agreed");
    hang_up(&c);
    assert_int_equal(count_of(BH_EDGE_CONTEXTS_KEPT), kept + 1);
    assert_int_equal(count_of(BH_EDGE_PROTOCOL_ERRORS), errors + 1);
    /* Other errors are not this one; with takeover it is none. */
    upgrade(&t, &c, DEFLATE, 0);
    expect_open(&c, "client_no_context_takeover");
    send_frame(&c, 0xc1, BH_SLICE("\xff\xff\xff\xff"));
    expect_close(&c, 1007, "message is not valid DEFLATE");
    hang_up(&c);
    t.compression = BH_COMPRESSION_TAKEOVER;
    upgrade(&t, &c, DEFLATE, 0);
    expect_open(&c, "permessage-deflate\r\n");
    for (int i = 0; i < 3; i++) {
        send_frame(&c, 0xc1, i ? HELLO_AGAIN : HELLO);
        expect_frame(&c, 1, BH_SLICE("Hello"));
    }
    hang_up(&c);
    assert_int_equal(count_of(BH_EDGE_CONTEXTS_KEPT), kept + 1);
    test_end(&t);
}

/* What is not compressed does not move the client's window, nor ours. */
static void test_large_messages_are_not_compressed(void **state) {
    for (int takeover = 0; takeover < 2; takeover++) {
        struct test t;
        struct client c;
        char text[3000];
        setup_deflate(&t, takeover ? BH_WS_DEFLATE_TAKEOVER : BH_WS_DEFLATE_NO_TAKEOVER);
        t.config.deflate_max = 2000;
        test_start(&t);
        upgrade(&t, &c, DEFLATE, 0);
        expect_open(&c, "permessage-deflate");
        struct bh_inflater *inflater = bh_inflater_new(15, takeover);
        for (int i = 0; i < 30; i++) {
            static const size_t sizes[] = {2000, 2001, 3000, 300};
            size_t n = sizes[i % 4];
            memset(text, '.', sizeof text);
            snprintf(text, sizeof text, "message %d %0*d", i * 7919, 250, i);
            arrive(&t, i % 3 ? "user:42" : "all", bh_slice(text, n));
            if (n > 2000)
                expect_frame(&c, 1, bh_slice(text, n));
            else
                expect_inflated(&c, inflater, bh_slice(text, n));
        }
        bh_inflater_free(inflater);
        hang_up(&c);
        test_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_broadcast_is_compressed_once),
        cmocka_unit_test(test_takeover_and_broadcasts),
        cmocka_unit_test(test_a_compressed_message_comes_in),
        cmocka_unit_test(test_frames_that_take_over_are_dropped_together),
        cmocka_unit_test(test_a_hook_chooses),
        cmocka_unit_test(test_a_client_that_keeps_its_context),
        cmocka_unit_test(test_large_messages_are_not_compressed),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
