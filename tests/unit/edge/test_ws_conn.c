/* test_ws_conn.c - WebSocket connections end to end: handshake, messages, heartbeat, closing. */
#include "edge_client.h"

#include "ws/ws_conn.h"

static struct bh_message *message_for(const char *topic, struct bh_slice payload) {
    struct bh_topic to;
    struct bh_message parts = {.topic = &to, .opcode = BH_TEXT, .payload = payload};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &to), 0);
    return bh_message_new(&parts);
}

/* As if it came from the broker. */
static void arrive(struct test *t, const char *topic, struct bh_slice payload) {
    struct bh_message *m = message_for(topic, payload);
    t->sink->on_message(t->sink->ud, m);
    bh_message_unref(m);
}

/* --- the handshake --- */

static void test_handshake_and_echo(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.protocol = "chat";
    t.result_header = (struct bh_header){BH_SLICE("X-Served-By"), BH_SLICE("test")};
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws?x=1") "Sec-WebSocket-Protocol: other, chat\r\n\r\n");
    expect_text(&c, "HTTP/1.1 101");
    expect_text(&c, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    expect_text(&c, "Sec-WebSocket-Protocol: chat\r\n");
    expect_text(&c, "X-Served-By: test\r\n");
    expect_text(&c, "Bellhop-Connection: ");
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(t.last->number, id);
    expect_text(&c, id);
    assert_true(bh_slice_eq(t.last->vt->protocol(t.last), BH_SLICE("chat")));
    char ip[64];
    assert_true(bh_slice_eq(t.last->vt->ip(t.last, ip), BH_SLICE("127.0.0.1")));
    bh_bytes_clear(&c.got);
    WAIT_FOR(&t, t.opened == 1);

    send_frame(&c, 0x81, BH_SLICE("hello"));
    expect_frame(&c, 1, BH_SLICE("hello"));
    send_frame(&c, 0x82, BH_SLICE("\0\xff"));
    expect_frame(&c, 2, BH_SLICE("\0\xff"));
    send_frame(&c, 0x01, BH_SLICE("frag"));
    send_frame(&c, 0x89, BH_SLICE("ping"));
    send_frame(&c, 0x80, BH_SLICE("ment"));
    expect_frame(&c, 10, BH_SLICE("ping"));
    expect_frame(&c, 1, BH_SLICE("fragment"));
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    WAIT_FOR(&t, t.close_code == 1006);
    test_end(&t);
    WAIT_FOR(&t, t.closed == 1);
}

static void test_protocol_that_was_not_offered(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.protocol = "chat";
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_text(&c, "HTTP/1.1 101");
    assert_null(strstr(c.got.p, "Sec-WebSocket-Protocol"));
    assert_int_equal(t.last->vt->protocol(t.last).n, 0);
    hang_up(&c);
    test_end(&t);
}

static void test_bad_handshakes(void **state) {
    struct test t;
    struct client c;
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 426"},
        {"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405"},
        {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
         "Sec-WebSocket-Version: 13\r\n"},
        {"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
         "HTTP/1.1 400"},
    };
    test_begin(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dial(&t, &c);
        send_text(&c, cases[i].request);
        expect_text(&c, cases[i].answer);
        expect_text(&c, "{\"error\":{\"code\":");
        hang_up(&c);
    }
    assert_int_equal(t.opened, 0);
    test_end(&t);
}

static void test_refusal(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = NO;
    t.refuse_status = 401;
    t.refuse_body = "no token";
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_text(&c, "HTTP/1.1 401");
    expect_text(&c, "WWW-Authenticate: Bearer\r\n");
    expect_text(&c, "{\"error\":{\"code\":\"unauthorized\",\"message\":\"no token\"}}");
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    t.refuse_status = 402;
    t.refuse_body = "{\"pay\":true}";
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_text(&c, "HTTP/1.1 402");
    expect_text(&c, "\r\n\r\n{\"pay\":true}");
    hang_up(&c);
    test_end(&t);
}

static void test_refusal_is_json_once(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = NO;
    t.refuse_status = 403;
    t.refuse_body = "no";
    t.result_header = (struct bh_header){BH_SLICE("content-type"), BH_SLICE("text/html")};
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_end(&c);
    assert_non_null(memmem(c.got.p, c.got.len, "\r\nContent-Type: application/json\r\n", 34));
    assert_null(memmem(c.got.p, c.got.len, "text/html", 9));
    hang_up(&c);
    test_end(&t);
}

static void test_no_hook_and_no_dev(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.hooks.vt = NULL;
    test_start(&t);
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws?user=1") "\r\n");
    expect_text(&c, "HTTP/1.1 401");
    hang_up(&c);
    test_end(&t);
}

static void test_identity_of_a_developer(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.hooks.vt = NULL;
    t.config.dev = true;
    test_start(&t);
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws?user=a%40b&tenant=7&topic=news&topic=x%2Fy") "\r\n");
    expect_101(&c);
    arrive(&t, "user:a@b", BH_SLICE("1"));
    arrive(&t, "tenant:7", BH_SLICE("2"));
    arrive(&t, "topic:x/y", BH_SLICE("3"));
    arrive(&t, "topic:news", BH_SLICE("4"));
    arrive(&t, "all", BH_SLICE("5"));
    expect_frame(&c, 1, BH_SLICE("1"));
    expect_frame(&c, 1, BH_SLICE("2"));
    expect_frame(&c, 1, BH_SLICE("3"));
    expect_frame(&c, 1, BH_SLICE("4"));
    expect_frame(&c, 1, BH_SLICE("5"));
    send_frame(&c, 0x81, BH_SLICE("nobody listens"));
    expect_close(&c, 1008, "this server accepts no messages from clients");
    hang_up(&c);
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws?user=a%20b") "\r\n");
    expect_text(&c, "HTTP/1.1 400");
    expect_text(&c, "invalid_identity");
    hang_up(&c);
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_101(&c);
    t.config.client_messages_refused = false;
    send_frame(&c, 0x81, BH_SLICE("dropped"));
    send_frame(&c, 0x89, BH_SLICE(""));
    expect_frame(&c, 10, BH_SLICE(""));
    hang_up(&c);
    test_end(&t);
}

static void test_frames_behind_the_upgrade(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes wire = {0};
    test_begin(&t);
    t.handshake = LATER;
    dial(&t, &c);
    bh_bytes_adds(&wire, UPGRADE("/ws") "\r\n");
    add_frame_raw(&wire, 0x81, BH_SLICE("one"));
    add_frame_raw(&wire, 0x81, BH_SLICE("two"));
    size_t cut = wire.len - 4;
    send_bytes(&c, bh_slice(wire.p, cut));
    assert_int_equal(t.messages, 0);
    expect_nothing(&c);
    WAIT_FOR(&t, t.handshake_done);
    complete_handshake(&t, t.handshake_done, t.hook_ud, t.hook_handle, true);
    expect_101(&c);
    expect_frame(&c, 1, BH_SLICE("one"));
    send_bytes(&c, bh_slice(wire.p + cut, wire.len - cut));
    expect_frame(&c, 1, BH_SLICE("two"));
    assert_int_equal(t.cancelled, 0);
    bh_bytes_free(&wire);
    hang_up(&c);
    test_end(&t);
}

static void test_held_bytes_are_bounded(void **state) {
    struct test t;
    struct client c;
    char block[65536] = {0};
    test_begin(&t);
    t.handshake = LATER;
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    size_t taken = 0;
    for (int quiet = 0; quiet < 50;) {
        ssize_t n = send(c.fd, block, sizeof block, MSG_NOSIGNAL);
        taken += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        bh_loop_tick(t.loop, false);
    }
    assert_true(taken < 32u << 20); /* the kernel's buffers are full, not ours */
    hang_up(&c);
    test_end(&t);
}

static void test_handshake_takes_too_long(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = LATER;
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    WAIT_FOR(&t, t.handshake_done);
    advance(&t, 6900);
    expect_nothing(&c);
    advance(&t, 200);
    expect_text(&c, "HTTP/1.1 504");
    expect_end(&c);
    assert_true(c.ended);
    WAIT_FOR(&t, t.cancelled == 1);
    complete_handshake(&t, t.handshake_done, t.hook_ud, t.hook_handle,
                       true); /* too late; must not leak */
    hang_up(&c);
    test_end(&t);
    assert_int_equal(t.opened, 0);
}

static void test_client_disconnects_during_the_handshake(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = LATER;
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    WAIT_FOR(&t, t.handshake_done);
    hang_up(&c);
    WAIT_FOR(&t, t.cancelled == 1);
    test_end(&t);
}

static void test_the_101_waits_for_the_topics(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.shared = true;
    test_start(&t);
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_nothing(&c);
    t.sink->on_subscribed(t.sink->ud, BH_SLICE("user:42"));
    arrive(&t, "user:42", BH_SLICE("early"));
    t.sink->on_subscribed(t.sink->ud, BH_SLICE("tenant:7"));
    expect_nothing(&c);
    t.sink->on_subscribed(t.sink->ud, BH_SLICE("all"));
    expect_101(&c);
    expect_frame(&c, 1, BH_SLICE("early"));
    hang_up(&c);

    t.identity.user = BH_SLICE("43");
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 1);
    arrive(&t, "all", BH_SLICE("never seen"));
    advance(&t, 7100);
    expect_text(&c, "HTTP/1.1 503");
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 0);
    hang_up(&c);

    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 1);
    hang_up(&c);
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 0);
    test_end(&t);
}

static void test_closed_while_opening(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.shared = true;
    test_start(&t);
    dial(&t, &c);
    send_text(&c, UPGRADE("/ws") "\r\n");
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 1);
    uint32_t cursor = 0;
    struct bh_subscriber *s = bh_slots_next(&t.worker->subscribers, &cursor);
    s->vt->send(s, BH_TEXT, BH_SLICE("first"));
    s->vt->close(s, 4000, BH_SLICE("go away"));
    s->vt->close(s, 4001, BH_SLICE("twice"));
    assert_int_equal(s->vt->send(s, BH_TEXT, BH_SLICE("second")), BH_ECLOSED);
    expect_101(&c);
    expect_frame(&c, 1, BH_SLICE("first"));
    expect_close(&c, 4000, "go away");
    WAIT_FOR(&t, t.close_code == 4000);
    assert_string_equal(t.close_reason, "go away");
    send_close(&c, 4000);
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    test_end(&t);
}

static void test_pipelined_request_before_the_upgrade(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" UPGRADE("/ws") "\r\n");
    assert_int_equal(take_response(&c, &body), 200);
    expect_101(&c);
    bh_bytes_free(&body);
    hang_up(&c);
    test_end(&t);
}

/* --- messages --- */

static void test_many_frames_in_one_read(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes wire = {0};
    char text[16];
    test_begin(&t);
    open_ws(&t, &c);
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(text, sizeof text, "m%d", i);
        add_frame_raw(&wire, 0x81, bh_slice(text, (size_t)n));
    }
    send_bytes(&c, bh_bytes_slice(&wire));
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(text, sizeof text, "m%d", i);
        expect_frame(&c, 1, bh_slice(text, (size_t)n));
    }
    bh_bytes_free(&wire);
    hang_up(&c);
    test_end(&t);
}

static void test_a_frame_is_shared(void **state) {
    struct test t;
    struct client c[5];
    struct bh_bytes big = {0};
    test_begin(&t);
    for (int i = 0; i < 5; i++)
        open_ws(&t, &c[i]);
    for (int i = 0; i < 70000; i++)
        bh_bytes_addc(&big, (char)('a' + i % 26));
    arrive(&t, "user:42", BH_SLICE("small"));
    arrive(&t, "user:42", bh_bytes_slice(&big));
    run(&t);
    for (int i = 0; i < 5; i++) {
        expect_frame(&c[i], 1, BH_SLICE("small"));
        expect_frame(&c[i], 1, bh_bytes_slice(&big));
        hang_up(&c[i]);
    }
    bh_bytes_free(&big);
    test_end(&t);
}

static void test_expired_messages_are_not_sent(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    struct bh_topic to;
    struct bh_message parts = {
        .topic = &to, .opcode = BH_TEXT, .payload = BH_SLICE("old"), .expires_ms = 999999};
    bh_topic_parse(BH_SLICE("user:42"), &to);
    struct bh_message *m = bh_message_new(&parts);
    assert_int_equal(t.last->vt->deliver(t.last, m), 0);
    bh_message_unref(m);
    expect_nothing(&c);
    hang_up(&c);
    test_end(&t);
}

static void test_text_must_be_utf8(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    assert_int_equal(t.last->vt->send(t.last, BH_TEXT, BH_SLICE("\xff")), BH_EUTF8);
    assert_int_equal(t.last->vt->send(t.last, BH_BINARY, BH_SLICE("\xff")), 0);
    assert_int_equal(t.last->vt->queued(t.last), 3);
    expect_frame(&c, 2, BH_SLICE("\xff"));
    hang_up(&c);
    test_end(&t);
}

static void test_hooks_stop_reading(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    t.last->vt->read(t.last, false);
    send_frame(&c, 0x81, BH_SLICE("later"));
    assert_int_equal(t.messages, 0);
    advance(&t, 26000);
    advance(&t, 26000);
    advance(&t, 26000);
    assert_int_equal(t.closed, 0); /* silence proves nothing while the socket is not read */
    t.last->vt->read(t.last, true);
    expect_frame(&c, 1, BH_SLICE("later"));
    hang_up(&c);
    test_end(&t);
}

/* --- closing --- */

static void test_client_closes(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    send_frame(&c, 0x88,
               BH_SLICE("\x0f\xa0"
                        "bye"));
    expect_close(&c, 4000, NULL);
    WAIT_FOR(&t, t.closed == 1);
    WAIT_FOR(&t, t.close_code == 4000);
    assert_string_equal(t.close_reason, "bye");
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    open_ws(&t, &c);
    send_frame(&c, 0x88, BH_SLICE(""));
    expect_frame(&c, 8, BH_SLICE(""));
    WAIT_FOR(&t, t.close_code == 1005);
    hang_up(&c);
    open_ws(&t, &c);
    send_close(&c, 1000);
    shutdown(c.fd, SHUT_WR); /* at once: the echo must still come */
    expect_close(&c, 1000, NULL);
    hang_up(&c);
    test_end(&t);
}

static void test_server_closes(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    struct bh_subscriber *s = t.last;
    s->vt->send(s, BH_TEXT, BH_SLICE("before"));
    s->vt->close(s, 4321, BH_SLICE("enough"));
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(s->vt->send(s, BH_TEXT, BH_SLICE("after")), BH_ECLOSED);
    s->vt->close(s, 4000, BH_SLICE("again"));
    expect_frame(&c, 1, BH_SLICE("before"));
    expect_close(&c, 4321, "enough");
    send_frame(&c, 0x81, BH_SLICE("ignored"));
    send_frame(&c, 0x89, BH_SLICE("ignored"));
    expect_nothing(&c);
    assert_int_equal(t.messages, 0);
    assert_false(c.ended);
    send_close(&c, 4321);
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    test_end(&t);
}

static void test_peer_never_answers_the_close(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    t.last->vt->close(t.last, 1000, BH_SLICE(""));
    expect_close(&c, 1000, NULL);
    advance(&t, 4900);
    expect_nothing(&c);
    advance(&t, 200);
    expect_end(&c);
    hang_up(&c);
    test_end(&t);
}

static void test_close_code_that_may_not_be_sent(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    t.last->vt->close(t.last, 1006, BH_SLICE("x"));
    expect_close(&c, 1011, "x");
    hang_up(&c);
    test_end(&t);
}

static void test_violations(void **state) {
    static const struct {
        struct bh_slice bytes;
        unsigned code;
    } cases[] = {
        {BH_SLICE("\x81\x02hi"), 1002}, /* unmasked */
        {BH_SLICE("\xc1\x80"
                  "abcd"),
         1002}, /* RSV1 */
        {BH_SLICE("\x83\x80"
                  "abcd"),
         1002}, /* reserved opcode */
        {BH_SLICE("\x80\x80"
                  "abcd"),
         1002}, /* continuation of nothing */
        {BH_SLICE("\x09\x80"
                  "abcd"),
         1002},                                             /* fragmented ping */
        {BH_SLICE("\x81\x81\0\0\0\0\xff"), 1007},           /* not UTF-8 */
        {BH_SLICE("\x82\xff\0\0\0\0\x10\0\0\0abcd"), 1009}, /* too large */
    };
    struct test t;
    struct client c;
    test_begin(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_ws(&t, &c);
        send_bytes(&c, cases[i].bytes);
        expect_close(&c, cases[i].code, NULL);
        WAIT_FOR(&t, t.close_code == cases[i].code);
        WAIT_FOR(&t, t.closed == (int)i + 1);
        expect_end(&c);
        assert_true(c.ended);
        hang_up(&c);
    }
    assert_int_equal(t.messages, 0);
    test_end(&t);
}

static void test_slow_consumer(void **state) {
    struct test t;
    struct client c;
    static char payload[50000];
    test_begin(&t);
    dial_with(&t, &c, 4096);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_101(&c);
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < 1000 && t.closed == 0; i++) {
        arrive(&t, "user:42", bh_slice(payload, sizeof payload));
        run(&t);
    }
    WAIT_FOR(&t, t.closed == 1);
    WAIT_FOR(&t, t.close_code == 1008);
    assert_string_equal(t.close_reason, "slow consumer");
    /* Once it reads, every frame is complete and the last one is the close frame. */
    struct bh_bytes got = {0};
    int opcode;
    while ((opcode = take_frame(&c, &got)) == 1)
        assert_int_equal(got.len, sizeof payload);
    assert_int_equal(opcode, 8);
    assert_string_equal(got.p + 2, "slow consumer");
    bh_bytes_free(&got);
    hang_up(&c);

    dial_with(&t, &c, 4096);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_101(&c);
    for (int i = 0; i < 1000 && t.closed == 1; i++) {
        arrive(&t, "user:42", bh_slice(payload, sizeof payload));
        run(&t);
    }
    advance(&t, 5100);
    expect_end(&c);
    assert_true(c.broken); /* reset */
    hang_up(&c);
    test_end(&t);
}

static void test_one_large_message_is_no_slowness(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes big = {0};
    test_begin(&t);
    open_ws(&t, &c);
    bh_bytes_reserve(&big, 900000);
    memset(big.p, 'y', 900000);
    big.len = 900000; /* over queue_bytes */
    arrive(&t, "user:42", bh_bytes_slice(&big));
    expect_frame(&c, 1, bh_bytes_slice(&big));
    bh_bytes_free(&big);
    hang_up(&c);
    WAIT_FOR(&t, t.close_code == 1006);
    test_end(&t);
}

static void test_echo_waits_for_a_client_that_does_not_read(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes frame = {0};
    static char payload[10000];
    test_begin(&t);
    dial_with(&t, &c, 4096);
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_101(&c);
    memset(payload, 'z', sizeof payload);
    add_frame_raw(&frame, 0x81, bh_slice(payload, sizeof payload));
    size_t at = 0;
    int sent = 0;
    for (int quiet = 0; quiet < 50 && sent < 5000;) {
        ssize_t n = send(c.fd, frame.p + at, frame.len - at, MSG_NOSIGNAL);
        quiet = n > 0 ? 0 : quiet + 1;
        at += n > 0 ? (size_t)n : 0;
        if (at == frame.len) {
            at = 0;
            sent++;
        }
        bh_loop_tick(t.loop, false);
    }
    assert_int_equal(t.closed, 0); /* it was paused, not closed */
    for (int i = 0; i < sent; i++)
        expect_frame(&c, 1, bh_slice(payload, sizeof payload));
    bh_bytes_free(&frame);
    hang_up(&c);
    test_end(&t);
}

/* --- time --- */

static void test_heartbeat(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_ws(&t, &c);
    advance(&t, 25100);
    expect_frame(&c, 9, BH_SLICE(""));
    send_frame(&c, 0x8a, BH_SLICE(""));
    advance(&t, 24900);
    expect_nothing(&c);
    advance(&t, 200);
    expect_frame(&c, 9, BH_SLICE(""));
    send_frame(&c, 0x81, BH_SLICE("any byte counts"));
    expect_frame(&c, 1, BH_SLICE("any byte counts"));
    for (int i = 0; i < 10; i++) { /* traffic instead of pings */
        advance(&t, 20000);
        send_frame(&c, 0x81, BH_SLICE("x"));
        expect_frame(&c, 1, BH_SLICE("x"));
    }
    advance(&t, 25100);
    expect_frame(&c, 9, BH_SLICE(""));
    advance(&t, 7900);
    assert_int_equal(t.closed, 0);
    advance(&t, 200);
    WAIT_FOR(&t, t.closed == 1);
    WAIT_FOR(&t, t.close_code == 1006);
    expect_end(&c);
    hang_up(&c);
    test_end(&t);
}

static void test_a_long_wait_for_pongs_delays_no_ping(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.config.pong_timeout_ms = 60000;
    open_ws(&t, &c);
    for (int i = 0; i < 3; i++) {
        advance(&t, 25100);
        expect_frame(&c, 9, BH_SLICE(""));
        send_frame(&c, 0x8a, BH_SLICE(""));
    }
    advance(&t, 25100);
    expect_frame(&c, 9, BH_SLICE(""));
    advance(&t, 59000); /* no further ping while this one is not answered */
    expect_nothing(&c);
    assert_int_equal(t.closed, 0);
    advance(&t, 1100);
    WAIT_FOR(&t, t.closed == 1);
    hang_up(&c);
    test_end(&t);
}

static void test_pings_are_spread(void **state) {
    struct test t;
    struct client c[40];
    int early = 0;
    test_begin(&t);
    for (int i = 0; i < 40; i++)
        open_ws(&t, &c[i]);
    advance(&t, 12400);
    for (int i = 0; i < 40; i++) {
        expect_nothing(&c[i]);
    }
    advance(&t, 6300);
    for (int i = 0; i < 40; i++) {
        receive(&c[i]);
        early += c[i].got.len > 0;
    }
    assert_in_range(early, 5, 35);
    for (int i = 0; i < 40; i++)
        hang_up(&c[i]);
    test_end(&t);
}

static void test_expiry(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.identity.expires = TEST_WALL_MS / 1000 + 10;
    open_ws(&t, &c);
    advance(&t, 9900);
    assert_int_equal(t.closed, 0);
    advance(&t, 200);
    expect_close(&c, 4401, "expired");
    WAIT_FOR(&t, t.close_code == 4401);
    hang_up(&c);
    t.identity.expires = TEST_WALL_MS / 1000 - 10;
    open_ws(&t, &c);
    advance(&t, 10);
    expect_close(&c, 4401, "expired");
    hang_up(&c);
    test_end(&t);
}

static void test_abort(void **state) {
    struct test t;
    struct client c[3];
    test_begin(&t);
    for (int i = 0; i < 3; i++)
        open_ws(&t, &c[i]);
    bh_edge_abort(t.edge);
    WAIT_FOR(&t, t.closed == 3);
    run(&t);
    for (int i = 0; i < 3; i++) {
        expect_end(&c[i]);
        hang_up(&c[i]);
    }
    test_end(&t);
}

static void test_size(void **state) {
    /* An idle connection must stay below 1 KiB, including its hub entries. */
    print_message("sizeof(struct bh_ws_conn) = %zu\n", sizeof(struct bh_ws_conn));
    assert_true(sizeof(struct bh_ws_conn) <= 640);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_and_echo),
        cmocka_unit_test(test_protocol_that_was_not_offered),
        cmocka_unit_test(test_bad_handshakes),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_refusal_is_json_once),
        cmocka_unit_test(test_no_hook_and_no_dev),
        cmocka_unit_test(test_identity_of_a_developer),
        cmocka_unit_test(test_frames_behind_the_upgrade),
        cmocka_unit_test(test_held_bytes_are_bounded),
        cmocka_unit_test(test_handshake_takes_too_long),
        cmocka_unit_test(test_client_disconnects_during_the_handshake),
        cmocka_unit_test(test_the_101_waits_for_the_topics),
        cmocka_unit_test(test_closed_while_opening),
        cmocka_unit_test(test_pipelined_request_before_the_upgrade),
        cmocka_unit_test(test_many_frames_in_one_read),
        cmocka_unit_test(test_a_frame_is_shared),
        cmocka_unit_test(test_expired_messages_are_not_sent),
        cmocka_unit_test(test_text_must_be_utf8),
        cmocka_unit_test(test_hooks_stop_reading),
        cmocka_unit_test(test_client_closes),
        cmocka_unit_test(test_server_closes),
        cmocka_unit_test(test_peer_never_answers_the_close),
        cmocka_unit_test(test_close_code_that_may_not_be_sent),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_slow_consumer),
        cmocka_unit_test(test_one_large_message_is_no_slowness),
        cmocka_unit_test(test_echo_waits_for_a_client_that_does_not_read),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_a_long_wait_for_pongs_delays_no_ping),
        cmocka_unit_test(test_pings_are_spread),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
