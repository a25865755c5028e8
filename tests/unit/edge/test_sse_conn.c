/* test_sse_conn.c - SSE links end to end: messages, heartbeat, expiry, slow clients, closing. */
#include "edge_client.h"

#include "sse/sse_conn.h"
#include "ws/ws_conn.h"

#include <stdlib.h>

#define REQUEST "GET /sse HTTP/1.1\r\nHost: x\r\n\r\n"
#define ID      "id: 1.\n"

/* As if it came from the broker. offset 0: without a position. */
static void arrive_at(struct test *t, const char *topic, enum bh_opcode opcode, uint64_t offset,
                      struct bh_slice payload) {
    struct bh_topic name;
    struct bh_message parts = {.opcode = (uint8_t)opcode,
                               .topic = &name,
                               .payload = payload,
                               .position = {offset ? 1 : 0, offset}};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &name), 0);
    struct bh_message *m = bh_message_new(&parts);
    t->sink->on_message(t->sink->ud, m);
    bh_message_unref(m);
}

static void arrive(struct test *t, const char *topic, struct bh_slice payload) {
    arrive_at(t, topic, BH_TEXT, 0, payload);
}

/* Until it is recovered; then `got` is empty. */
static void open_link(struct test *t, struct client *c, int receive_buffer) {
    int before = t->opened;
    dial_with(t, c, receive_buffer);
    send_text(c, REQUEST);
    expect_text(c, ID "\n");
    WAIT_FOR(t, t->opened == before + 1);
    bh_bytes_clear(&c->got);
}

static void expect_exactly(struct client *c, const char *text) {
    expect_text(c, text);
    assert_string_equal(c->got.p, text);
    bh_bytes_clear(&c->got);
}

/* --- messages --- */

static void test_messages(void **state) {
    struct test t;
    struct client c;
    char ip[64];
    test_begin(&t);
    open_link(&t, &c, 0);
    assert_true(bh_slice_eq(t.last->vt->protocol(t.last), BH_SLICE("sse")));
    assert_true(bh_slice_eq(t.last->vt->ip(t.last, ip), BH_SLICE("127.0.0.1")));
    arrive(&t, "user:42", BH_SLICE("one"));
    expect_exactly(&c, "data: one\n\n");
    arrive(&t, "tenant:7", BH_SLICE("two\nlines\r\nor three"));
    expect_exactly(&c, "data: two\ndata: lines\ndata: or three\n\n");
    arrive(&t, "all", BH_SLICE(""));
    expect_exactly(&c, "data: \n\n");
    arrive_at(&t, "user:42", BH_BINARY, 0, BH_SLICE("\0\xff"));
    expect_exactly(&c, "event: binary\ndata: AP8=\n\n");
    assert_int_equal(t.last->vt->send(t.last, BH_TEXT, BH_SLICE("sent")), 0);
    expect_exactly(&c, "data: sent\n\n");
    assert_int_equal(t.last->vt->send(t.last, BH_BINARY, BH_SLICE("\n")), 0);
    expect_exactly(&c, "event: binary\ndata: Cg==\n\n");
    assert_int_equal(t.last->vt->send(t.last, BH_TEXT, BH_SLICE("\xff")), BH_EUTF8);
    expect_nothing(&c);
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(t.close_code, 1006);
    test_end(&t);
}

static void test_expired_messages(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_link(&t, &c, 0);
    struct bh_topic name;
    struct bh_message parts = {.opcode = BH_TEXT,
                               .topic = &name,
                               .payload = BH_SLICE("late"),
                               .expires_ms = bh_clock_ms()};
    assert_int_equal(bh_topic_parse(BH_SLICE("user:42"), &name), 0);
    struct bh_message *m = bh_message_new(&parts);
    assert_int_equal(t.last->vt->deliver(t.last, m), 0);
    bh_message_unref(m);
    expect_nothing(&c);
    hang_up(&c);
    test_end(&t);
}

static void test_links_share_events(void **state) {
    struct test t;
    struct client c[3];
    test_begin(&t);
    for (int i = 0; i < 3; i++)
        open_link(&t, &c[i], 0);
    arrive(&t, "user:42", BH_SLICE("for all of them"));
    for (int i = 0; i < 3; i++)
        expect_exactly(&c[i], "data: for all of them\n\n");
    for (int i = 0; i < 3; i++)
        hang_up(&c[i]);
    test_end(&t);
}

static void test_metrics(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    int64_t open = count_of(BH_EDGE_SSE_CONNECTIONS), opened = count_of(BH_EDGE_SSE_OPENED),
            closed = count_of(BH_EDGE_SSE_CLOSED), events = count_of(BH_EDGE_SSE_EVENTS),
            bytes = count_of(BH_EDGE_SSE_BYTES_OUT), websockets = count_of(BH_EDGE_CONNECTIONS);
    open_link(&t, &c, 0);
    assert_int_equal(count_of(BH_EDGE_SSE_CONNECTIONS), open + 1);
    assert_int_equal(count_of(BH_EDGE_CONNECTIONS), websockets);
    arrive(&t, "user:42", BH_SLICE("one"));
    expect_exactly(&c, "data: one\n\n");
    assert_int_equal(count_of(BH_EDGE_SSE_EVENTS), events + 1);
    assert_true(count_of(BH_EDGE_SSE_BYTES_OUT) > bytes + 200);
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(count_of(BH_EDGE_SSE_CONNECTIONS), open);
    assert_int_equal(count_of(BH_EDGE_SSE_OPENED), opened + 1);
    assert_int_equal(count_of(BH_EDGE_SSE_CLOSED), closed + 1);
    test_end(&t);
}

/* --- what the client is told --- */

static void test_gaps_and_rewinds(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_link(&t, &c, 0);
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "expired");
    expect_exactly(&c, "event: gap\ndata: user:42\n" ID "\n");
    t.last->vt->rewound(t.last, BH_SLICE("all"));
    expect_exactly(&c, "event: rewind\ndata: all\n" ID "\n");
    hang_up(&c);
    test_end(&t);
}

/* --- slow clients --- */

/* Messages with positions to a client that does not read, until `until` has grown by 20; how many.
 */
static int overfill(struct test *t, enum bh_edge_metric until) {
    static char payload[20000];
    int64_t before = count_of(until);
    int n = 0;
    memset(payload, '.', sizeof payload);
    while (n < 3000 && count_of(until) < before + 20 && !t->closed) {
        n++;
        sprintf(payload, "%06d", n);
        payload[6] = '|';
        arrive_at(t, "user:42", BH_TEXT, (uint64_t)n, bh_slice(payload, sizeof payload));
        bh_loop_tick(t->loop, false);
    }
    assert_true(count_of(until) >= before + 20 || t->closed);
    return n;
}

static const char *event(const struct client *c, const char *text) {
    const char *at = strstr(c->got.p, text);
    if (!at)
        fail_msg("no \"%s\"", text);
    return at;
}

static void test_drop_newest(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.on_slow = BH_SLOW_DROP_NEWEST;
    test_start(&t);
    open_link(&t, &c, 4096);
    int sent = overfill(&t, BH_EDGE_MESSAGES_DROPPED);
    expect_text(&c, "event: gap\ndata: user:42\n" ID "\n"); /* as soon as there is room */
    assert_int_equal(times(c.got.p, "data: 0"), sent - 20);
    arrive_at(&t, "user:42", BH_TEXT, (uint64_t)sent + 1, BH_SLICE("after"));
    expect_text(&c, "data: after\n" ID "\n");
    assert_int_equal(times(c.got.p, "event: gap"), 1);
    assert_int_equal(t.closed, 0);
    hang_up(&c);
    test_end(&t);
}

/* The ids of what stays would cover what is dropped, so all of it goes, and the gap comes before
 * the next message. */
static void test_drop_oldest(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.on_slow = BH_SLOW_DROP_OLDEST;
    test_start(&t);
    open_link(&t, &c, 4096);
    int sent = overfill(&t, BH_EDGE_MESSAGES_DROPPED);
    char last[32];
    sprintf(last, "data: %06d|", sent);
    expect_text(&c, last);
    const char *gap = event(&c, "event: gap\ndata: user:42\n" ID "\n");
    assert_true(gap < event(&c, last));
    assert_int_equal(times(c.got.p, "event: gap"), 1);
    int before = -1;
    for (const char *at = c.got.p; (at = strstr(at, "data: 0")); at++) {
        assert_true(atoi(at + 6) > before);
        before = atoi(at + 6);
    }
    assert_int_equal(t.closed, 0);
    hang_up(&c);
    test_end(&t);
}

static void test_close_slow(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.on_slow = BH_SLOW_CLOSE;
    test_start(&t);
    open_link(&t, &c, 4096);
    for (int i = 0; i < 100 && !t.closed; i++)
        overfill(&t, BH_EDGE_MESSAGES_OUT);
    assert_int_equal(t.closed, 1);
    assert_int_equal(t.close_code, 1008);
    expect_end(&c);
    assert_true(c.broken); /* reset: what the kernel holds would take its time */
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
    open_link(&t, &c, 4096);
    overfill(&t, BH_EDGE_MESSAGES_DROPPED);
    assert_int_equal(t.asked_slow, 20);
    t.slow = BH_SLOW_CLOSE;
    char big[20000] = {0};
    arrive(&t, "user:42", bh_slice(big, sizeof big));
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(t.close_code, 1008);
    hang_up(&c);
    test_end(&t);
}

static void test_a_queue_of_its_own(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.on_slow = BH_SLOW_DROP_NEWEST;
    t.config.queue_bytes = 64u << 20;
    t.identity.limits.queue_bytes = 1024;
    test_start(&t);
    open_link(&t, &c, 4096);
    overfill(&t, BH_EDGE_MESSAGES_DROPPED);
    assert_true(t.last->vt->queued(t.last) < 30000);
    hang_up(&c);
    test_end(&t);
}

/* --- heartbeat, expiry, the end --- */

static void test_heartbeat(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_link(&t, &c, 0);
    advance(&t, 25000);
    expect_exactly(&c, ":\n\n");
    advance(&t, 24000);
    expect_nothing(&c);
    advance(&t, 1100);
    expect_exactly(&c, ":\n\n");
    assert_int_equal(t.closed, 0);
    hang_up(&c);
    test_end(&t);
}

static void test_no_heartbeat(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.ping_interval_ms = 0;
    test_start(&t);
    open_link(&t, &c, 0);
    advance(&t, 1000000);
    expect_nothing(&c);
    hang_up(&c);
    test_end(&t);
}

static void test_a_queue_that_does_not_move(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.on_slow = BH_SLOW_DROP_NEWEST;
    test_start(&t);
    open_link(&t, &c, 4096);
    overfill(&t, BH_EDGE_MESSAGES_DROPPED);
    int64_t before = count_of(BH_EDGE_HALF_OPEN);
    for (int i = 0; i < 4 && !t.closed; i++)
        advance(&t, 20000);
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(count_of(BH_EDGE_HALF_OPEN), before + 1);
    hang_up(&c);
    test_end(&t);
}

static void test_expiry(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.identity.expires = TEST_WALL_MS / 1000 + 60;
    test_start(&t);
    open_link(&t, &c, 0);
    advance(&t, 59000);
    assert_int_equal(t.closed, 0);
    bh_bytes_clear(&c.got);
    advance(&t, 1100);
    expect_text(&c, "event: close\ndata: 4401 expired\n\nretry: ");
    expect_end(&c);
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(t.close_code, 4401);
    hang_up(&c);
    test_end(&t);
}

static void test_closed_by_the_application(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_link(&t, &c, 0);
    struct bh_subscriber *s = t.last;
    s->vt->close(s, 4510, BH_SLICE("another device"));
    s->vt->close(s, 4511, BH_SLICE("twice"));
    assert_int_equal(s->vt->send(s, BH_TEXT, BH_SLICE("too late")), BH_ECLOSED);
    expect_text(&c, "retry: ");
    expect_end(&c);
    assert_int_equal(strncmp(c.got.p, "event: close\ndata: 4510 another device\n\nretry: ", 47), 0);
    assert_int_equal(t.close_code, 4510);
    hang_up(&c);
    test_end(&t);
    assert_int_equal(t.closed, 1);
}

/* It does not end its side: the link is dropped after a while. */
static void test_a_client_that_does_not_leave(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_link(&t, &c, 0);
    int64_t sockets = count_of(BH_EDGE_SOCKETS);
    t.last->vt->close(t.last, 4000, BH_SLICE(""));
    expect_end(&c);
    assert_int_equal(count_of(BH_EDGE_SOCKETS), sockets);
    advance(&t, 5100);
    WAIT_FOR(&t, count_of(BH_EDGE_SOCKETS) == sockets - 1);
    let_go(&c);
    test_end(&t);
}

static void test_a_client_that_talks(void **state) {
    struct test t;
    struct client c;
    char some[4000];
    memset(some, 'x', sizeof some);
    test_begin(&t);
    open_link(&t, &c, 0);
    for (int i = 0; i < 4; i++)
        send_bytes(&c, bh_slice(some, sizeof some));
    arrive(&t, "user:42", BH_SLICE("ignored so far"));
    expect_exactly(&c, "data: ignored so far\n\n");
    send_bytes(&c, bh_slice(some, sizeof some));
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(t.close_code, 1008);
    hang_up(&c);
    test_end(&t);
}

static void on_drained(void *ud) {
    ((struct test *)ud)->drained = true;
}

static void test_a_drain_spreads_the_ends(void **state) {
    struct test t;
    struct client c[4];
    test_begin(&t);
    for (int i = 0; i < 4; i++)
        open_link(&t, &c[i], 0);
    struct bh_edge_drain how = {2 * BH_EDGE_DRAIN_AT_ONCE, 10000, on_drained, &t};
    bh_node_set_stopping(t.node);
    bh_edge_drain(t.edge, &how);
    run(&t);
    assert_int_equal(t.closed, 2); /* the share of these four */
    advance(&t, 5000);
    assert_int_equal(t.closed, 3);
    advance(&t, 5000);
    assert_int_equal(t.closed, 4);
    assert_int_equal(t.close_code, 1001);
    for (int i = 0; i < 4; i++) {
        expect_text(&c[i], "retry: ");
        expect_end(&c[i]);
        assert_null(strstr(c[i].got.p, "event: close"));
        int retry = atoi(strstr(c[i].got.p, "retry: ") + 7);
        assert_true(retry >= 2000 && retry <= 10000);
    }
    for (int i = 0; i < 4; i++)
        hang_up(&c[i]);
    WAIT_FOR(&t, t.drained);
    test_end(&t);
}

static void test_an_abort(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    open_link(&t, &c, 0);
    test_end(&t);
    assert_int_equal(t.closed, 1);
    let_go(&c);
}

static void test_an_idle_link_is_not_larger_than_an_idle_websocket(void **state) {
    assert_true(sizeof(struct bh_sse_conn) <= sizeof(struct bh_ws_conn));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_expired_messages),
        cmocka_unit_test(test_links_share_events),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_gaps_and_rewinds),
        cmocka_unit_test(test_drop_newest),
        cmocka_unit_test(test_drop_oldest),
        cmocka_unit_test(test_close_slow),
        cmocka_unit_test(test_the_hook_decides_for_slow_clients),
        cmocka_unit_test(test_a_queue_of_its_own),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_no_heartbeat),
        cmocka_unit_test(test_a_queue_that_does_not_move),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_closed_by_the_application),
        cmocka_unit_test(test_a_client_that_does_not_leave),
        cmocka_unit_test(test_a_client_that_talks),
        cmocka_unit_test(test_a_drain_spreads_the_ends),
        cmocka_unit_test(test_an_abort),
        cmocka_unit_test(test_an_idle_link_is_not_larger_than_an_idle_websocket),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
