/* test_memory.c - the memory budget and the deadline of messages, end to end. */
#include "edge_client.h"
#include "unit_test.h"

#include "bellhop/base/budget.h"

#define KIB 1024

static void begin(struct test *t, size_t budget) {
    test_setup(t);
    t->config.message_timeout_ms = 30000;
    test_start(t);
    bh_budget_set_limit(budget);
}

/* Nothing stays charged. */
static void end(struct test *t) {
    test_end(t);
    bh_budget_set_limit(0);
    bh_budget_settle();
    assert_int_equal(bh_budget_used(), 0);
}

static size_t used(enum bh_budget_kind kind) {
    bh_budget_settle();
    return (size_t)bh_budget_used_by(kind);
}

static void open_as(struct test *t, struct client *c, const char *user) {
    t->identity.user = bh_slice_cstr(user);
    open_ws(t, c);
}

static struct bh_slice bytes(size_t n) {
    static char payload[2048 * KIB];
    memset(payload, 'x', sizeof payload);
    return bh_slice(payload, n);
}

/* The payload of a frame of so many KiB: the bytes up to `to`, with the header before the first. */
static void send_span(struct client *c, uint8_t first, size_t kib, size_t from, size_t to) {
    struct bh_bytes frame = {0};
    add_frame_raw(&frame, first, bytes(kib * KIB));
    size_t head = frame.len - kib * KIB, skip = from ? head + from : 0;
    send_bytes(c, bh_slice(frame.p + skip, head + to - skip));
    bh_bytes_free(&frame);
}

static void send_part(struct client *c, uint8_t first, size_t kib, size_t n) {
    send_span(c, first, kib, 0, n);
}

static void send_rest(struct client *c, uint8_t first, size_t kib, size_t from) {
    send_span(c, first, kib, from, kib * KIB);
}

static bool serves(struct client *c) {
    send_frame(c, 0x81, BH_SLICE("hello"));
    expect_frame(c, 1, BH_SLICE("hello"));
    return true;
}

/* --- what is charged --- */

static void an_unfinished_message(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    open_ws(&t, &c);
    assert_int_equal(used(BH_BUDGET_MESSAGES), 0);
    send_part(&c, 0x82, 500, 300 * KIB);
    assert_in_range(used(BH_BUDGET_MESSAGES), 300 * KIB, 600 * KIB);
    send_rest(&c, 0x82, 500, 300 * KIB);
    expect_frame(&c, 2, bytes(500 * KIB));
    assert_int_equal(used(BH_BUDGET_MESSAGES), 0);
    send_part(&c, 0x82, 500, 300 * KIB);
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(used(BH_BUDGET_MESSAGES), 0);
    end(&t);
}

static void fragments(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    t.echo = false;
    open_ws(&t, &c);
    send_frame(&c, 0x02, bytes(200 * KIB));
    assert_in_range(used(BH_BUDGET_MESSAGES), 200 * KIB, 400 * KIB);
    send_frame(&c, 0x80, bytes(1));
    WAIT_FOR(&t, t.messages == 1);
    assert_int_equal(used(BH_BUDGET_MESSAGES), 0);
    hang_up(&c);
    end(&t);
}

static void arrive(struct test *t, const char *topic, struct bh_slice payload) {
    struct bh_topic to;
    struct bh_message parts = {.topic = &to, .opcode = BH_TEXT, .payload = payload};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &to), 0);
    struct bh_message *m = bh_message_new(&parts);
    t->sink->on_message(t->sink->ud, m);
    bh_message_unref(m);
    run(t);
}

static void dial_slow(struct test *t, struct client *c, const char *user) {
    t->identity.user = bh_slice_cstr(user);
    dial_with(t, c, 4096);
    send_text(c, UPGRADE("/ws") "\r\n");
    expect_101(c);
}

/* The same frames wait for both, and are counted once. */
static void a_shared_queue(void **state) {
    struct test t;
    struct client one, two;
    begin(&t, 0);
    t.config.queue_bytes = 16 << 20;
    dial_slow(&t, &one, "1");
    dial_slow(&t, &two, "2");
    for (int i = 0; i < 20; i++) /* more than the kernel takes */
        arrive(&t, "all", bytes(200 * KIB));
    size_t waiting = t.last->vt->queued(t.last);
    assert_true(waiting > 1000 * KIB);
    assert_in_range(used(BH_BUDGET_QUEUES), waiting, waiting + waiting / 3);
    hang_up(&one);
    hang_up(&two);
    run_idle(&t);
    assert_int_equal(used(BH_BUDGET_QUEUES), 0);
    end(&t);
}

static void a_body(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    dial(&t, &c);
    send_text(&c, "POST /api/users/1/messages HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 512000\r\n\r\n");
    send_bytes(&c, bytes(300 * KIB));
    assert_in_range(used(BH_BUDGET_BODIES), 300 * KIB, 600 * KIB);
    send_bytes(&c, bytes(200 * KIB));
    expect_text(&c, "HTTP/1.1 200");
    run_idle(&t);
    assert_int_equal(used(BH_BUDGET_BODIES), 0);
    hang_up(&c);
    end(&t);
}

/* --- the budget is exceeded --- */

static void the_oldest_message_of_the_largest(void **state) {
    struct test t;
    struct client large[3], small, idle;
    int64_t before = count_of(BH_EDGE_LIMIT_MEMORY);
    begin(&t, 1600 * KIB);
    open_as(&t, &idle, "large");
    open_as(&t, &small, "small");
    send_part(&small, 0x82, 300, 250 * KIB);
    for (int i = 0; i < 3; i++) {
        open_as(&t, &large[i], "large");
        send_part(&large[i], 0x82, 500, 499 * KIB);
        advance(&t, 10);
    }
    expect_close(&large[0], 1013, "the server is short of memory");
    assert_int_equal(t.closed, 1);
    assert_int_equal(count_of(BH_EDGE_LIMIT_MEMORY), before + 1);
    send_rest(&small, 0x82, 300, 250 * KIB);
    expect_frame(&small, 2, bytes(300 * KIB));
    send_rest(&large[1], 0x82, 500, 499 * KIB);
    expect_frame(&large[1], 2, bytes(500 * KIB));
    assert_true(serves(&idle));
    for (int i = 0; i < 3; i++)
        hang_up(&large[i]);
    hang_up(&small);
    hang_up(&idle);
    end(&t);
}

/* What it still sends is dropped, not kept. */
static void a_closed_one_holds_nothing(void **state) {
    struct test t;
    struct client c;
    begin(&t, 300 * KIB);
    open_ws(&t, &c);
    send_part(&c, 0x82, 1024, 400 * KIB);
    expect_close(&c, 1013, NULL);
    assert_in_range(used(BH_BUDGET_MESSAGES), 0, KIB); /* the frame's header */
    send_rest(&c, 0x82, 1024, 400 * KIB);
    assert_in_range(used(BH_BUDGET_MESSAGES), 0, KIB);
    send_close(&c, 1013);
    expect_end(&c);
    assert_false(c.broken);
    hang_up(&c);
    end(&t);
}

static void a_client_that_does_not_read(void **state) {
    struct test t;
    struct client slow, other;
    begin(&t, 600 * KIB);
    t.config.queue_bytes = 1 << 20;
    open_as(&t, &other, "1");
    dial_slow(&t, &slow, "2");
    for (int i = 0; i < 30 && t.closed == 0; i++)
        arrive(&t, "user:2", bytes(200 * KIB));
    WAIT_FOR(&t, t.closed == 1);
    assert_int_equal(t.close_code, 1013);
    WAIT_FOR(&t, used(BH_BUDGET_QUEUES) < 300 * KIB);
    assert_true(serves(&other));
    hang_up(&slow);
    hang_up(&other);
    end(&t);
}

static void new_bodies_are_refused(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    int64_t before = count_of(BH_EDGE_LIMIT_MEMORY);
    begin(&t, 1000 * KIB);
    bh_budget_charge(BH_BUDGET_MESSAGES, 900 * KIB); /* of another worker */
    dial(&t, &c);
    send_text(&c, "POST /api/users/1/messages HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 200000\r\n\r\n");
    expect_text(&c, "HTTP/1.1 503");
    expect_text(&c, "\r\nRetry-After: 1\r\n");
    expect_text(&c, "{\"error\":{\"code\":\"overloaded\"");
    assert_int_equal(count_of(BH_EDGE_LIMIT_MEMORY), before + 1);
    hang_up(&c);
    dial(&t, &c);
    send_text(&c, "POST /api/users/1/messages HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 2\r\n\r\nhi"
                  "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(take_response(&c, &body), 200); /* there is room for it */
    assert_int_equal(take_response(&c, &body), 200);
    bh_budget_charge(BH_BUDGET_MESSAGES, 200 * KIB);
    send_text(&c, "POST /api/users/1/messages HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 2\r\n\r\nhi"
                  "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(take_response(&c, &body), 503);
    assert_int_equal(take_response(&c, &body), 200); /* a request without a body */
    bh_budget_charge(BH_BUDGET_MESSAGES, -1100 * KIB);
    bh_bytes_free(&body);
    hang_up(&c);
    end(&t);
}

static void a_body_under_way_ends(void **state) {
    struct test t;
    struct client c[2];
    begin(&t, 1500 * KIB);
    t.hooks.present |= BH_HOOK_HTTP;
    t.response.status = 200;
    for (int i = 0; i < 2; i++) {
        dial(&t, &c[i]);
        send_text(&c[i], "POST /mine HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "100000\r\n");
        send_bytes(&c[i], bytes(700 * KIB));
        advance(&t, 10);
    }
    expect_text(&c[0], "HTTP/1.1 503");
    expect_text(&c[0], "\r\nRetry-After: 1\r\n");
    send_bytes(&c[1], bytes(324 * KIB));
    send_text(&c[1], "\r\n0\r\n\r\n");
    expect_text(&c[1], "HTTP/1.1 200");
    for (int i = 0; i < 2; i++)
        hang_up(&c[i]);
    end(&t);
}

/* Its body is held as long as a script takes to answer. */
static void a_request_that_waits_is_answered(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    begin(&t, 1000 * KIB);
    t.hooks.present |= BH_HOOK_HTTP;
    t.http = LATER;
    dial(&t, &c);
    send_text(&c, "POST /mine HTTP/1.1\r\nHost: x\r\nContent-Length: 716800\r\n\r\n");
    send_bytes(&c, bytes(700 * KIB));
    send_text(&c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_nothing(&c);
    bh_budget_charge(BH_BUDGET_MESSAGES, 500 * KIB); /* of another worker */
    advance(&t, 200);
    assert_int_equal(take_response(&c, &body), 503);
    assert_int_equal(take_response(&c, &body), 200); /* the connection goes on */
    assert_int_equal(t.cancelled, 1);
    assert_int_equal(used(BH_BUDGET_BODIES), 0);
    bh_budget_charge(BH_BUDGET_MESSAGES, -500 * KIB);
    bh_bytes_free(&body);
    hang_up(&c);
    end(&t);
}

/* --- the deadline of a message --- */

static void a_message_that_stands_still(void **state) {
    struct test t;
    struct client c;
    int64_t before = count_of(BH_EDGE_LIMIT_MESSAGE_TIME);
    begin(&t, 0);
    t.config.ping_interval_ms = 0;
    open_ws(&t, &c);
    send_part(&c, 0x82, 500, 300 * KIB);
    for (int s = 0; s < 29; s++) {
        send_bytes(&c, bytes(1)); /* a byte now and then */
        advance(&t, 1000);
    }
    assert_int_equal(t.closed, 0);
    advance(&t, 1100);
    expect_close(&c, 1008, "message not completed in time");
    assert_int_equal(count_of(BH_EDGE_LIMIT_MESSAGE_TIME), before + 1);
    assert_in_range(used(BH_BUDGET_MESSAGES), 0, KIB);
    hang_up(&c);
    end(&t);
}

static void a_slow_message_that_gets_on(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes got = {0};
    begin(&t, 0);
    open_ws(&t, &c);
    for (size_t s = 1; s < 100; s++) { /* the pong can only follow it */
        send_span(&c, 0x82, 1000, (s - 1) * 10 * KIB, s * 10 * KIB);
        advance(&t, 1000);
    }
    assert_int_equal(t.closed, 0);
    assert_int_equal(take_frame(&c, &got), 9);
    expect_nothing(&c); /* no other ping */
    send_rest(&c, 0x82, 1000, 990 * KIB);
    expect_frame(&c, 2, bytes(1000 * KIB));
    send_frame(&c, 0x8a, BH_SLICE(""));
    assert_true(serves(&c));
    bh_bytes_free(&got);
    hang_up(&c);
    end(&t);
}

/* Bytes of a message are no sign of life for the heartbeat. */
static void it_is_pinged_all_the_same(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    open_ws(&t, &c);
    send_part(&c, 0x82, 500, 1);
    for (int s = 0; s < 26; s++) {
        send_bytes(&c, bytes(100));
        advance(&t, 1000);
    }
    expect_frame(&c, 9, BH_SLICE(""));
    hang_up(&c);
    end(&t);
}

/* A message in fragments stands still, and its client answers pings. */
static void pongs_do_not_help(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    open_ws(&t, &c);
    send_frame(&c, 0x02, bytes(1000));
    for (int s = 0; s < 29; s++) {
        send_frame(&c, 0x8a, BH_SLICE(""));
        advance(&t, 1000);
    }
    assert_int_equal(t.closed, 0);
    advance(&t, 1100);
    expect_close(&c, 1008, "message not completed in time");
    hang_up(&c);
    end(&t);
}

static void many_messages_one_after_the_other(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    t.echo = false;
    open_ws(&t, &c);
    send_part(&c, 0x82, 1, 500); /* whenever the loop looks, one is unfinished */
    for (int s = 0; s < 100; s++) {
        struct bh_bytes wire = {0};
        bh_bytes_add(&wire, bytes(524));
        add_frame_raw(&wire, 0x82, bytes(KIB));
        send_bytes(&c, bh_slice(wire.p, wire.len - 524));
        bh_bytes_free(&wire);
        advance(&t, 1000);
        assert_int_equal(t.messages, s + 1);
    }
    assert_int_equal(t.closed, 0);
    hang_up(&c);
    end(&t);
}

static void a_paused_client_is_not_blamed(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    t.config.ping_interval_ms = 0;
    open_ws(&t, &c);
    send_part(&c, 0x82, 500, 1000);
    t.last->vt->read(t.last, false);
    advance(&t, 100000);
    advance(&t, 100000);
    assert_int_equal(t.closed, 0);
    t.last->vt->read(t.last, true);
    advance(&t, 31000);
    advance(&t, 31000);
    expect_close(&c, 1008, NULL);
    hang_up(&c);
    end(&t);
}

static void without_a_deadline(void **state) {
    struct test t;
    struct client c;
    begin(&t, 0);
    t.config.ping_interval_ms = 0;
    test_end(&t);
    test_setup(&t);
    t.config.ping_interval_ms = 0;
    test_start(&t);
    open_ws(&t, &c);
    send_part(&c, 0x82, 500, 1000);
    advance(&t, 10000000);
    assert_int_equal(t.closed, 0);
    hang_up(&c);
    end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unfinished_message),
        cmocka_unit_test(fragments),
        cmocka_unit_test(a_shared_queue),
        cmocka_unit_test(a_body),
        cmocka_unit_test(the_oldest_message_of_the_largest),
        cmocka_unit_test(a_closed_one_holds_nothing),
        cmocka_unit_test(a_client_that_does_not_read),
        cmocka_unit_test(new_bodies_are_refused),
        cmocka_unit_test(a_body_under_way_ends),
        cmocka_unit_test(a_request_that_waits_is_answered),
        cmocka_unit_test(a_message_that_stands_still),
        cmocka_unit_test(a_slow_message_that_gets_on),
        cmocka_unit_test(it_is_pinged_all_the_same),
        cmocka_unit_test(pongs_do_not_help),
        cmocka_unit_test(many_messages_one_after_the_other),
        cmocka_unit_test(a_paused_client_is_not_blamed),
        cmocka_unit_test(without_a_deadline),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
