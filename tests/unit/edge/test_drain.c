/* test_drain.c - what newcomers get while the instance drains, and how many close when. */
#include "edge_client.h"

#define MANY      230
#define SPREAD_MS 10000
#define PUBLISH                                                                                    \
    "POST /api/users/1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first-key\r\n"        \
    "Content-Length: 2\r\n\r\n"
#define BATCH                                                                                      \
    "POST /api/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first-key\r\n"                 \
    "Content-Length: 2\r\n\r\n[]"

static void on_drained(void *ud) {
    ((struct test *)ud)->drained = true;
}

static void drain(struct test *t, size_t websockets, uint64_t spread_ms) {
    struct bh_edge_drain how = {websockets, spread_ms, on_drained, t};
    bh_edge_drain(t->edge, &how);
}

static void assert_too_late(struct client *c) {
    struct bh_bytes body = {0};
    assert_int_equal(take_response(c, &body), 503);
    assert_has((const char *)body.p, "\"code\":\"shutting_down\"");
    expect_end(c);
    assert_true(c->ended);
    hang_up(c);
    bh_bytes_free(&body);
}

static void test_newcomers_are_refused(void **state) {
    struct test t;
    struct client one, many, socket, ready, ws;
    struct bh_bytes body = {0};
    test_begin(&t);
    struct client *clients[] = {&one, &many, &socket, &ready};
    for (size_t i = 0; i < 4; i++) {
        dial(&t, clients[i]);
        send_text(clients[i], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(take_response(clients[i], &body), 200);
    }
    open_ws(&t, &ws);
    bh_node_set_stopping(t.node);
    bh_edge_refuse(t.edge);
    send_text(&one, PUBLISH "hi");
    assert_too_late(&one);
    send_text(&many, BATCH);
    assert_too_late(&many);
    assert_int_equal(t.publishes, 0);
    send_text(&socket, UPGRADE("/ws") "\r\n");
    assert_int_equal(take_response(&socket, &body), 503);
    hang_up(&socket);
    send_text(&ready, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(&ready, "onnection: close");
    expect_text(&ready, "the instance is shutting down");
    hang_up(&ready);
    expect_nothing(&ws);
    assert_false(ws.ended);
    hang_up(&ws);
    bh_bytes_free(&body);
    test_end(&t);
}

/* Before the drain: load balancers shall use other connections, and may come again. */
static void test_not_ready_but_serving(void **state) {
    struct test t;
    struct client c, ws;
    test_begin(&t);
    dial(&t, &c);
    bh_node_set_stopping(t.node);
    send_text(&c, PUBLISH "hi");
    expect_text(&c, "HTTP/1.1 200");
    expect_text(&c, "onnection: close");
    expect_end(&c);
    hang_up(&c);
    open_ws(&t, &ws);
    hang_up(&ws);
    test_end(&t);
}

static void test_a_publish_under_way_is_accepted(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, PUBLISH "h");
    run_idle(&t);
    drain(&t, 0, 0);
    send_text(&c, "i");
    expect_text(&c, "HTTP/1.1 200");
    expect_text(&c, "onnection: close");
    hang_up(&c);
    WAIT_FOR(&t, t.drained);
    test_end(&t);
}

static void test_requests_are_answered_at_the_end(void **state) {
    struct test t;
    struct client c, upgrade;
    test_begin(&t);
    t.publish_later = true;
    t.handshake = LATER;
    dial(&t, &c);
    send_text(&c, "POST /api/users/1/messages?strategy=redis HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 2\r\n\r\nhi");
    dial(&t, &upgrade);
    send_text(&upgrade, UPGRADE("/ws") "\r\n");
    WAIT_FOR(&t, t.publishes == 1 && t.handshake_done);
    bh_edge_abort(t.edge);
    assert_too_late(&c);
    expect_text(&upgrade, "HTTP/1.1 503");
    hang_up(&upgrade);
    t.published(t.published_ud, t.published_handle, 0, 1, NULL);
    test_end(&t);
}

static void open_many(struct test *t, struct client *c) {
    for (int i = 0; i < MANY; i++)
        open_ws(t, &c[i]);
}

static void end_many(struct test *t, struct client *c) {
    for (int i = 0; i < MANY; i++) {
        expect_close(&c[i], 1001, NULL);
        let_go(&c[i]);
    }
    WAIT_FOR(t, t->drained);
    test_end(t);
}

static void test_few_close_at_once(void **state) {
    static struct client c[MANY];
    struct test t;
    test_begin(&t);
    open_many(&t, c);
    drain(&t, BH_EDGE_DRAIN_AT_ONCE, SPREAD_MS);
    assert_int_equal(t.closed, MANY);
    end_many(&t, c);
}

static void test_many_close_over_a_while(void **state) {
    static struct client c[MANY];
    struct test t;
    int before = BH_EDGE_DRAIN_AT_ONCE;
    test_begin(&t);
    t.config.close_timeout_ms = 2 * SPREAD_MS;
    open_many(&t, c);
    drain(&t, MANY, SPREAD_MS);
    assert_int_equal(t.closed, BH_EDGE_DRAIN_AT_ONCE);
    for (int i = 1; i <= 10; i++) {
        advance(&t, SPREAD_MS / 10);
        run(&t);
        assert_in_range(t.closed - before, 2, 4);
        before = t.closed;
    }
    assert_int_equal(t.closed, MANY);
    end_many(&t, c);
}

/* Another worker has as many. */
static void test_workers_share_what_closes_at_once(void **state) {
    static struct client c[MANY];
    struct test t;
    test_begin(&t);
    open_many(&t, c);
    drain(&t, (size_t)2 * MANY, SPREAD_MS);
    assert_int_equal(t.closed, BH_EDGE_DRAIN_AT_ONCE / 2);
    for (int i = 0; i < 20; i++) /* those that leave by themselves are not waited for */
        let_go(&c[MANY - 1 - i]);
    WAIT_FOR(&t, t.closed == BH_EDGE_DRAIN_AT_ONCE / 2 + 20);
    advance(&t, SPREAD_MS);
    run(&t);
    assert_int_equal(t.closed, MANY);
    for (int i = 0; i < MANY - 20; i++)
        let_go(&c[i]);
    WAIT_FOR(&t, t.drained);
    test_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newcomers_are_refused),
        cmocka_unit_test(test_not_ready_but_serving),
        cmocka_unit_test(test_a_publish_under_way_is_accepted),
        cmocka_unit_test(test_requests_are_answered_at_the_end),
        cmocka_unit_test(test_few_close_at_once),
        cmocka_unit_test(test_many_close_over_a_while),
        cmocka_unit_test(test_workers_share_what_closes_at_once),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
