/* test_limits.c - limits for hostile and slow clients: rates, quotas, full queues, origins, the
 * PROXY protocol. */
#include "edge_client.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void arrive(struct test *t, const char *topic, struct bh_slice payload) {
    struct bh_topic to;
    struct bh_message parts = {.topic = &to, .opcode = BH_TEXT, .payload = payload};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &to), 0);
    struct bh_message *m = bh_message_new(&parts);
    t->sink->on_message(t->sink->ud, m);
    bh_message_unref(m);
    run(t);
}

/* --- rates --- */

static void test_messages_are_throttled_and_none_is_lost(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes burst = {0};
    char text[16];
    test_setup(&t);
    t.config.messages_per_second = 10;
    test_start(&t);
    upgrade(&t, &c, "", 0);
    expect_open(&c, NULL);
    int64_t before = count_of(BH_EDGE_LIMIT_MESSAGE_RATE);
    for (int i = 0; i < 100; i++)
        add_frame_raw(&burst, 0x81, bh_slice(text, (size_t)sprintf(text, "m%d", i)));
    send_bytes(&c, bh_bytes_slice(&burst));
    run_idle(&t);
    assert_int_equal(t.messages, 11); /* a second's worth, and the first one above it */
    assert_true(count_of(BH_EDGE_LIMIT_MESSAGE_RATE) > before);
    for (int second = 0; second < 4; second++)
        advance(&t, 1000);
    assert_in_range(t.messages, 40, 60);
    for (int second = 0; second < 10; second++)
        advance(&t, 1000);
    WAIT_FOR(&t, t.messages == 100);
    for (int i = 0; i < 100; i++)
        expect_frame(&c, 1, bh_slice(text, (size_t)sprintf(text, "m%d", i)));
    send_close(&c, 1000);
    expect_close(&c, 1000, NULL);
    bh_bytes_free(&burst);
    hang_up(&c);
    test_end(&t);
}

static void test_close_while_throttled(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes burst = {0};
    test_setup(&t);
    t.config.messages_per_second = 10;
    test_start(&t);
    upgrade(&t, &c, "", 0);
    expect_open(&c, NULL);
    t.echo = false;
    for (int i = 0; i < 30; i++)
        add_frame_raw(&burst, 0x81, BH_SLICE("x"));
    add_frame_raw(&burst, 0x88, BH_SLICE("\x03\xe8"));
    send_bytes(&c, bh_bytes_slice(&burst));
    run_idle(&t);
    assert_int_equal(t.messages, 11);
    t.last->vt->close(t.last, 4000, BH_SLICE("enough"));
    expect_close(&c, 4000, "enough");
    expect_end(&c); /* its close frame was held, and is read */
    assert_int_equal(t.messages, 11);
    bh_bytes_free(&burst);
    hang_up(&c);
    test_end(&t);
}

static void test_bytes_are_throttled(void **state) {
    struct test t;
    struct client c;
    static char payload[8000];
    test_setup(&t);
    t.config.bytes_per_second = 10000;
    test_start(&t);
    upgrade(&t, &c, "", 0);
    expect_open(&c, NULL);
    t.echo = false;
    int64_t before = count_of(BH_EDGE_LIMIT_BYTE_RATE);
    memset(payload, 'b', sizeof payload);
    for (int i = 0; i < 5; i++)
        send_frame(&c, 0x82, bh_slice(payload, sizeof payload));
    assert_true(count_of(BH_EDGE_LIMIT_BYTE_RATE) > before);
    assert_true(t.messages < 5);
    for (int second = 0; second < 8 && t.messages < 5; second++)
        advance(&t, 1000);
    WAIT_FOR(&t, t.messages == 5);
    hang_up(&c);
    test_end(&t);
}

static void test_ping_flood(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes burst = {0};
    test_setup(&t);
    t.config.control_per_second = 20;
    test_start(&t);
    upgrade(&t, &c, "", 0);
    expect_open(&c, NULL);
    int64_t before = count_of(BH_EDGE_LIMIT_CONTROL_RATE);
    for (int i = 0; i < 20; i++)
        add_frame_raw(&burst, 0x89, BH_SLICE("p"));
    send_bytes(&c, bh_bytes_slice(&burst));
    for (int i = 0; i < 20; i++)
        expect_frame(&c, 10, BH_SLICE("p"));
    advance(&t, 1000);
    send_bytes(&c, bh_bytes_slice(&burst));
    send_bytes(&c, bh_bytes_slice(&burst));
    for (int i = 0; i < 21; i++)
        expect_frame(&c, 10, BH_SLICE("p"));
    expect_close(&c, 1008, "too many pings or pongs");
    assert_int_equal(count_of(BH_EDGE_LIMIT_CONTROL_RATE), before + 1);
    bh_bytes_free(&burst);
    hang_up(&c);
    test_end(&t);
}

/* --- quotas --- */

static void test_connections_of_a_user_and_of_a_tenant(void **state) {
    struct test t;
    struct client c[4];
    test_setup(&t);
    t.config.connections_per_user = 2;
    t.config.connections_per_tenant = 3;
    test_start(&t);
    for (int i = 0; i < 2; i++) {
        upgrade(&t, &c[i], "", 0);
        expect_open(&c[i], NULL);
    }
    upgrade(&t, &c[2], "", 0);
    expect_text(&c[2], "HTTP/1.1 429 ");
    expect_text(&c[2], "user");
    hang_up(&c[2]);
    t.identity.user = BH_SLICE("43");
    upgrade(&t, &c[2], "", 0);
    expect_open(&c[2], NULL);
    upgrade(&t, &c[3], "", 0);
    expect_text(&c[3], "HTTP/1.1 429 ");
    expect_text(&c[3], "tenant");
    hang_up(&c[3]);
    hang_up(&c[0]);
    WAIT_FOR(&t, t.closed == 1);
    upgrade(&t, &c[3], "", 0); /* one is free again, and the refused one of 43 was released */
    expect_open(&c[3], NULL);
    for (int i = 1; i < 4; i++)
        hang_up(&c[i]);
    test_end(&t);
}

static void test_connections_of_an_address(void **state) {
    struct test t;
    struct client c[3];
    test_setup(&t);
    t.config.connections_per_ip = 2;
    test_start(&t);
    upgrade(&t, &c[0], "", 0);
    expect_open(&c[0], NULL);
    dial(&t, &c[1]);
    int64_t before = count_of(BH_EDGE_LIMIT_PER_IP);
    connect_only(&t, &c[2], 0);
    expect_text(&c[2], "HTTP/1.1 429 ");
    expect_end(&c[2]);
    assert_int_equal(count_of(BH_EDGE_LIMIT_PER_IP), before + 1);
    let_go(&c[2]);
    hang_up(&c[0]); /* a WebSocket releases it, too */
    dial(&t, &c[0]);
    send_text(&c[0], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(&c[0], "HTTP/1.1 200 ");
    hang_up(&c[0]);
    hang_up(&c[1]);
    test_end(&t);
}

/* --- full queues --- */

/* Fills the queue of a client that does not read with numbered messages; how many. */
static int overfill(struct test *t, struct client *c, size_t size, enum bh_edge_metric until) {
    struct bh_bytes payload = {0};
    int64_t before = count_of(until);
    int n = 0;
    bh_bytes_reserve(&payload, size);
    for (; n < 3000 && count_of(until) < before + 20; n++) {
        memset(payload.p, '.', size);
        payload.len = size;
        sprintf(payload.p, "%06d", n);
        payload.p[6] = '|';
        arrive(t, "user:42", bh_bytes_slice(&payload));
    }
    bh_bytes_free(&payload);
    assert_true(count_of(until) >= before + 20);
    return n;
}

static void test_drop_newest(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes got = {0};
    test_setup(&t);
    t.config.on_slow = BH_SLOW_DROP_NEWEST;
    test_start(&t);
    upgrade(&t, &c, "", 4096);
    expect_open(&c, NULL);
    int sent = overfill(&t, &c, 20000, BH_EDGE_MESSAGES_DROPPED);
    int expected = 0;
    while (expected < sent - 20) { /* the first ones, in order */
        assert_int_equal(take_frame(&c, &got), 1);
        assert_int_equal(got.len, 20000);
        assert_int_equal(atoi(got.p), expected++);
    }
    assert_int_equal(t.closed, 0);
    arrive(&t, "user:42", BH_SLICE("after"));
    expect_frame(&c, 1, BH_SLICE("after"));
    bh_bytes_free(&got);
    hang_up(&c);
    test_end(&t);
}

static void test_drop_oldest(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes got = {0};
    test_setup(&t);
    t.config.on_slow = BH_SLOW_DROP_OLDEST;
    test_start(&t);
    upgrade(&t, &c, "", 4096);
    expect_open(&c, NULL);
    int sent = overfill(&t, &c, 20000, BH_EDGE_MESSAGES_DROPPED);
    int last = -1, frames = 0;
    while (last < sent - 1) { /* in order, complete, up to the last one */
        assert_int_equal(take_frame(&c, &got), 1);
        assert_int_equal(got.len, 20000);
        assert_true(atoi(got.p) > last);
        last = atoi(got.p);
        frames++;
    }
    assert_int_equal(frames, sent - 20);
    assert_int_equal(t.closed, 0);
    bh_bytes_free(&got);
    hang_up(&c);
    test_end(&t);
}

static void test_the_hook_decides_for_slow_clients(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.hooks.present |= BH_HOOK_SLOW;
    t.slow = BH_SLOW_DROP_NEWEST;
    test_start(&t);
    upgrade(&t, &c, "", 4096);
    expect_open(&c, NULL);
    overfill(&t, &c, 20000, BH_EDGE_MESSAGES_DROPPED);
    assert_int_equal(t.asked_slow, 20);
    t.slow = BH_SLOW_CLOSE;
    char big[20000] = {0};
    arrive(&t, "user:42", bh_slice(big, sizeof big));
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(t.close_code, 1008);
    hang_up(&c);
    test_end(&t);
}

/* --- browsers --- */

static void test_origins(void **state) {
    static const struct bh_slice origins[] = {BH_SLICE("https://app.example"),
                                              BH_SLICE("*.wild.example")};
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.origins = origins;
    t.config.origin_count = 2;
    t.config.origin_required = true;
    test_start(&t);
    upgrade(&t, &c, "Origin: https://app.example\r\n", 0);
    expect_open(&c, NULL);
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    static const char *const bad[] = {"", "Origin: https://evil.example\r\n",
                                      "Origin: https://app.example.evil\r\n", "Origin: null\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t before = count_of(BH_EDGE_LIMIT_ORIGIN);
        t.handshake_done = NULL;
        upgrade(&t, &c, bad[i], 0);
        expect_text(&c, "HTTP/1.1 403 ");
        assert_null(t.handshake_done); /* the policy was not asked */
        assert_int_equal(count_of(BH_EDGE_LIMIT_ORIGIN), before + 1);
        hang_up(&c);
    }
    test_end(&t);
}

static void test_cors(void **state) {
    static const struct bh_slice origins[] = {BH_SLICE("https://admin.example")};
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.cors = origins;
    t.config.cors_count = 1;
    test_start(&t);
    dial(&t, &c);
    send_text(&c, "OPTIONS /api/broadcast HTTP/1.1\r\nHost: x\r\nOrigin: https://admin.example\r\n"
                  "Access-Control-Request-Method: POST\r\n\r\n");
    expect_text(&c, "\r\n\r\n");
    assert_has(c.got.p, "HTTP/1.1 204 ");
    assert_has(c.got.p, "Access-Control-Allow-Origin: https://admin.example\r\n");
    assert_has(c.got.p, "Access-Control-Allow-Methods: GET, POST, DELETE\r\n");
    assert_has(c.got.p, "Authorization");
    assert_has(c.got.p, "Vary: Origin\r\n");
    bh_bytes_clear(&c.got);
    send_text(&c, "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nOrigin: https://admin.example\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 1\r\n\r\nx");
    expect_text(&c, "HTTP/1.1 200 ");
    assert_has(c.got.p, "Access-Control-Allow-Origin: https://admin.example\r\n");
    bh_bytes_clear(&c.got);
    send_text(&c, "OPTIONS /api/broadcast HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n"
                  "Access-Control-Request-Method: POST\r\n\r\n");
    expect_text(&c, "HTTP/1.1 403 ");
    assert_null(strstr(c.got.p, "Access-Control"));
    hang_up(&c);
    test_end(&t);
}

static void test_pages_and_a_development_server(void **state) {
    static const struct bh_slice origins[] = {BH_SLICE("localhost:*")};
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.dev = true;
    t.config.origins = origins;
    t.config.origin_count = 1;
    test_start(&t);
    static const struct {
        const char *origin;
        const char *status;
    } cases[] = {{"", "200"},
                 {"Origin: http://localhost:3000\r\n", "200"},
                 {"Origin: https://evil.example\r\n", "403"},
                 {"Origin: null\r\n", "403"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dial(&t, &c);
        send_text(&c, "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n");
        send_text(&c, cases[i].origin);
        send_text(&c, "\r\nx");
        expect_text(&c, "HTTP/1.1 ");
        assert_memory_equal(c.got.p + 9, cases[i].status, 3);
        hang_up(&c);
    }
    upgrade(&t, &c, "", 0);
    expect_open(&c, NULL);
    hang_up(&c);
    static const char *const pages[] = {"Origin: https://evil.example\r\n", "Origin: null\r\n"};
    for (size_t i = 0; i < 2; i++) {
        upgrade(&t, &c, pages[i], 0);
        expect_text(&c, "HTTP/1.1 403 ");
        hang_up(&c);
    }
    test_end(&t);
}

/* --- proxies --- */

static struct bh_cidr loopback(void) {
    struct bh_cidr net;
    const char *why;
    assert_int_equal(bh_cidr_parse(BH_SLICE("127.0.0.0/8"), &net, &why), 0);
    return net;
}

static void test_proxy_protocol(void **state) {
    struct bh_cidr trusted = loopback();
    struct test t;
    struct client c;
    test_setup(&t);
    t.proxy = true;
    t.config.trusted = &trusted;
    t.config.trusted_count = 1;
    test_start(&t);
    dial(&t, &c);
    send_text(&c, "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n" UPGRADE("/ws") "\r\n");
    expect_open(&c, NULL);
    assert_string_equal(t.peer_ip, "203.0.113.7");
    hang_up(&c);
    dial(&t, &c); /* in pieces */
    for (const char *p = "PROXY TCP6 2001:db8::7 ::1 4711 80\r\n"; *p; p++)
        send_bytes(&c, bh_slice(p, 1));
    send_text(&c, UPGRADE("/ws") "\r\n");
    expect_open(&c, NULL);
    assert_string_equal(t.peer_ip, "2001:db8::7");
    hang_up(&c);
    dial(&t, &c);
    send_text(&c, "PROXY UNKNOWN\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(&c, "HTTP/1.1 200 ");
    hang_up(&c);
    int64_t before = count_of(BH_EDGE_LIMIT_PROXY);
    dial(&t, &c);
    send_text(&c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_end(&c);
    assert_int_equal(count_of(BH_EDGE_LIMIT_PROXY), before + 1);
    hang_up(&c);
    dial(&t, &c); /* never sends a header */
    advance(&t, 9100);
    expect_end(&c);
    hang_up(&c);
    test_end(&t);
}

static void test_proxy_protocol_from_an_untrusted_address(void **state) {
    struct bh_cidr trusted = loopback();
    struct test t;
    struct client c;
    trusted.net.bytes[0] = 10;
    test_setup(&t);
    t.proxy = true;
    t.config.trusted = &trusted;
    t.config.trusted_count = 1;
    test_start(&t);
    int64_t before = count_of(BH_EDGE_LIMIT_PROXY);
    connect_only(&t, &c, 0); /* closed before dial would see it */
    expect_end(&c);
    assert_int_equal(count_of(BH_EDGE_LIMIT_PROXY), before + 1);
    let_go(&c);
    test_end(&t);
}

static void test_addresses_behind_a_proxy_are_counted(void **state) {
    struct bh_cidr trusted = loopback();
    struct test t;
    struct client c[3];
    test_setup(&t);
    t.config.trusted = &trusted;
    t.config.trusted_count = 1;
    t.config.connections_per_ip = 1;
    test_start(&t);
    upgrade(&t, &c[0], "X-Forwarded-For: 203.0.113.1\r\n", 0);
    expect_open(&c[0], NULL);
    upgrade(&t, &c[1], "X-Forwarded-For: 203.0.113.1\r\n", 0);
    expect_text(&c[1], "HTTP/1.1 429 ");
    hang_up(&c[1]);
    upgrade(&t, &c[1], "X-Forwarded-For: 203.0.113.2\r\n", 0);
    expect_open(&c[1], NULL);
    hang_up(&c[0]);
    WAIT_FOR(&t, t.closed == 1);
    upgrade(&t, &c[2], "X-Forwarded-For: 203.0.113.1\r\n", 0);
    expect_open(&c[2], NULL);
    hang_up(&c[1]);
    hang_up(&c[2]);
    test_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_are_throttled_and_none_is_lost),
        cmocka_unit_test(test_close_while_throttled),
        cmocka_unit_test(test_bytes_are_throttled),
        cmocka_unit_test(test_ping_flood),
        cmocka_unit_test(test_connections_of_a_user_and_of_a_tenant),
        cmocka_unit_test(test_connections_of_an_address),
        cmocka_unit_test(test_drop_newest),
        cmocka_unit_test(test_drop_oldest),
        cmocka_unit_test(test_the_hook_decides_for_slow_clients),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_cors),
        cmocka_unit_test(test_pages_and_a_development_server),
        cmocka_unit_test(test_proxy_protocol),
        cmocka_unit_test(test_proxy_protocol_from_an_untrusted_address),
        cmocka_unit_test(test_addresses_behind_a_proxy_are_counted),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
