/* test_http_conn.c - HTTP connections end to end: keep-alive, pipelining, deadlines, errors. */
#include "edge_client.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_keep_alive(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    test_begin(&t);
    dial(&t, &c);
    for (int i = 0; i < 3; i++) {
        send_text(&c, GET("/healthz"));
        assert_int_equal(take_response(&c, &body), 200);
        assert_string_equal(body.p, "ok\n");
    }
    assert_false(c.ended);
    send_text(&c, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(take_response(&c, &body), 200);
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    bh_bytes_free(&body);
    test_end(&t);
}

static void test_byte_by_byte(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    for (const char *p = GET("/healthz") GET("/nothing"); *p; p++) {
        assert_int_equal(send(c.fd, p, 1, MSG_NOSIGNAL), 1);
        run(&t);
    }
    expect_text(&c, "HTTP/1.1 200");
    expect_text(&c, "HTTP/1.1 404");
    expect_text(&c, "{\"error\":{\"code\":\"not_found\"");
    hang_up(&c);
    test_end(&t);
}

static void test_pipelining_keeps_order(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes wire = {0}, body = {0};
    test_begin(&t);
    t.publish_later = true;
    dial(&t, &c);
    bh_bytes_adds(
        &wire, GET("/healthz") "POST /api/users/1/messages?strategy=redis HTTP/1.1\r\nHost: x\r\n"
                               "Authorization: bearer second-key\r\nContent-Length: 2\r\n\r\nhi");
    for (int i = 0; i < 200; i++)
        bh_bytes_adds(&wire, i % 2 ? GET("/healthz") : GET("/nothing"));
    send_bytes(&c, bh_bytes_slice(&wire));
    assert_int_equal(take_response(&c, &body), 200);
    WAIT_FOR(&t, t.publishes == 1);
    expect_nothing(&c);
    t.published(t.published_ud, t.published_handle, 0, 3, NULL);
    assert_int_equal(take_response(&c, &body), 200);
    assert_has(body.p, "\"status\":\"published\",\"instances\":2,\"local\":0}");
    for (int i = 0; i < 200; i++)
        assert_int_equal(take_response(&c, &body), i % 2 ? 200 : 404);
    bh_bytes_free(&wire);
    bh_bytes_free(&body);
    hang_up(&c);
    test_end(&t);
}

static void test_pipelined_flood_of_a_client_that_does_not_read(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    test_begin(&t);
    dial_with(&t, &c, 4096);
    for (int i = 0; i < 3000; i++) {
        if (send(c.fd, GET("/metrics"), sizeof GET("/metrics") - 1, MSG_NOSIGNAL) < 0)
            break;
        bh_loop_tick(t.loop, false);
    }
    run(&t);
    assert_int_equal(take_response(&c, &body), 200);
    hang_up(&c);
    bh_bytes_free(&body);
    test_end(&t);
}

static void test_head(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_text(&c, "HTTP/1.1 200");
    expect_text(&c, "Content-Length: 3");
    assert_null(strstr(c.got.p, "ok"));
    hang_up(&c);
    test_end(&t);
}

static void test_wrong_method(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    expect_text(&c, "HTTP/1.1 405");
    expect_text(&c, "Allow: GET, HEAD\r\n");
    assert_false(c.ended);
    hang_up(&c);
    test_end(&t);
}

static void test_continue(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "POST /api/users/1/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 5\r\n\r\n");
    expect_text(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    bh_bytes_clear(&c.got);
    send_text(&c, "hello");
    expect_text(&c, "HTTP/1.1 200");
    hang_up(&c);
    test_end(&t);
}

static void test_invalid_bytes_get_an_answer_and_a_fin(void **state) {
    struct test t;
    struct client c;
    static const char *const bad[] = {"\x16\x03\x01\x02\x00\x01\xfc\x03\x03 not http\r\n\r\n",
                                      "GET /healthz HTTP/1.1\r\n\r\n",
                                      "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n"};
    test_begin(&t);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dial(&t, &c);
        send_text(&c, bad[i]);
        send_text(&c, GET("/healthz"));
        expect_text(&c, "HTTP/1.1 400");
        expect_text(&c, "{\"error\":{\"code\":\"bad_request\"");
        assert_int_equal(times(c.got.p, "HTTP/1.1"), 1);
        expect_end(&c);
        assert_true(c.ended);
        assert_false(c.broken);
        hang_up(&c);
    }
    test_end(&t);
}

static void test_too_large(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes wire = {0};
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "POST /api/broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nabc");
    expect_text(&c, "HTTP/1.1 413");
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    dial(&t, &c);
    bh_bytes_adds(&wire, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ");
    for (int i = 0; i < 9000; i++)
        bh_bytes_addc(&wire, 'a');
    send_bytes(&c, bh_bytes_slice(&wire));
    expect_text(&c, "HTTP/1.1 431");
    hang_up(&c);
    bh_bytes_free(&wire);
    test_end(&t);
}

static void test_slow_loris(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    advance(&t, 9000);
    send_text(&c, "GET /healthz HTTP/1.1\r\nHo");
    for (int i = 0; i < 9; i++) {
        advance(&t, 1000);
        send_text(&c, "s");
    }
    expect_nothing(&c);
    advance(&t, 1100);
    expect_text(&c, "HTTP/1.1 408");
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    test_end(&t);
}

static void test_idle_connections_are_closed(void **state) {
    struct test t;
    struct client c, used;
    struct bh_bytes body = {0};
    test_begin(&t);
    dial(&t, &c);
    dial(&t, &used);
    advance(&t, 5000);
    send_text(&used, GET("/healthz"));
    assert_int_equal(take_response(&used, &body), 200);
    send_text(&c, "\r\n"); /* is no request */
    advance(&t, 5100);
    expect_end(&c);
    advance(&t, 49000);
    expect_nothing(&used);
    advance(&t, 6000);
    expect_end(&used);
    assert_true(used.ended);
    hang_up(&c);
    hang_up(&used);
    bh_bytes_free(&body);
    test_end(&t);
}

static void test_lingering_ends(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "nonsense\r\n\r\n");
    expect_end(&c);
    assert_true(c.ended);
    for (int i = 0; i < 5; i++) { /* still read, and discarded */
        assert_true(send(c.fd, "x", 1, MSG_NOSIGNAL) == 1);
        run_idle(&t);
    }
    advance(&t, 5100);
    WAIT_FOR(&t, send(c.fd, "x", 1, MSG_NOSIGNAL) < 0);
    hang_up(&c);
    test_end(&t);
}

static void test_client_half_closes_and_still_gets_its_answer(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.publish_later = true;
    dial(&t, &c);
    send_text(&c, "POST /api/users/1/messages?strategy=redis HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer first-key\r\nContent-Length: 2\r\n\r\nhi");
    shutdown(c.fd, SHUT_WR);
    WAIT_FOR(&t, t.publishes == 1);
    run_idle(&t);
    t.published(t.published_ud, t.published_handle, 0, -1, NULL);
    expect_text(&c, "HTTP/1.1 200");
    expect_end(&c);
    assert_true(c.ended);
    hang_up(&c);
    test_end(&t);
}

static void test_limit_of_connections(void **state) {
    struct test t;
    struct client c[3];
    struct bh_bytes body = {0};
    test_setup(&t);
    t.config.connections_max = 2;
    test_start(&t);
    for (int i = 0; i < 3; i++)
        dial(&t, &c[i]);
    send_text(&c[2], GET("/nothing"));
    expect_text(&c[2], "HTTP/1.1 503");
    expect_text(&c[2], "too_many_connections");
    expect_end(&c[2]);
    assert_true(c[2].ended);
    send_text(&c[1], GET("/healthz"));
    assert_int_equal(take_response(&c[1], &body), 200);
    hang_up(&c[2]);
    hang_up(&c[1]);
    dial(&t, &c[1]);
    send_text(&c[1], GET("/healthz"));
    assert_int_equal(take_response(&c[1], &body), 200);
    hang_up(&c[1]);
    hang_up(&c[0]);
    bh_bytes_free(&body);
    test_end(&t);
}

static void on_drained(void *ud) {
    struct test *t = ud;
    assert_false(t->drained);
    t->drained = true;
}

static void test_drain(void **state) {
    struct test t;
    struct client idle, busy, ws;
    test_begin(&t);
    t.publish_later = true;
    dial(&t, &idle);
    dial(&t, &busy);
    open_ws(&t, &ws);
    send_text(&busy, "POST /api/users/1/messages?strategy=redis HTTP/1.1\r\nHost: x\r\n"
                     "Authorization: Bearer first-key\r\nContent-Length: 2\r\n\r\nhi");
    WAIT_FOR(&t, t.publishes == 1);
    bh_edge_drain(t.edge, &(struct bh_edge_drain){.on_drained = on_drained, .ud = &t});
    expect_end(&idle);
    assert_true(idle.ended);
    expect_close(&ws, 1001, NULL);
    WAIT_FOR(&t, t.close_code == 1001);
    send_close(&ws, 1001);
    hang_up(&ws);
    assert_false(t.drained);
    t.published(t.published_ud, t.published_handle, 0, 1, NULL);
    expect_text(&busy, "HTTP/1.1 200");
    expect_text(&busy, "onnection: close");
    hang_up(&busy);
    WAIT_FOR(&t, t.drained);
    struct client late = {.test = &t, .fd = socket(AF_INET, SOCK_STREAM, 0)};
    const struct bh_addr *a = bh_edge_address(t.edge, 0);
    assert_int_not_equal(connect(late.fd, &a->sa, a->len), 0);
    hang_up(&late);
    hang_up(&idle);
    test_end(&t);
}

static void test_drain_without_connections(void **state) {
    struct test t;
    test_begin(&t);
    bh_edge_drain(t.edge, &(struct bh_edge_drain){.on_drained = on_drained, .ud = &t});
    WAIT_FOR(&t, t.drained);
    test_end(&t);
}

static void test_operators_paths(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, GET("/readyz"));
    assert_int_equal(take_response(&c, &body), 200);
    assert_has(body.p, "\"ready\":true");
    t.publish_error = BH_EUNAVAIL;
    send_text(&c, GET("/readyz"));
    assert_int_equal(take_response(&c, &body), 503);
    assert_has(body.p, "\"reason\":\"as the test says\"");
    send_text(&c, GET("/metrics"));
    expect_text(&c, "text/plain; version=0.0.4");
    assert_int_equal(take_response(&c, &body), 200);
    assert_has(body.p, "# TYPE bellhop_edge_connections gauge");
    assert_has(body.p, "bellhop_edge_http_requests_total{class=\"5xx\"} ");
    send_text(&c, GET("/"));
    assert_int_equal(take_response(&c, &body), 404);
    t.config.dev = true;
    send_text(&c, GET("/"));
    assert_int_equal(take_response(&c, &body), 200);
    assert_has(body.p, "<");
    hang_up(&c);
    bh_bytes_free(&body);
    test_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_pipelining_keeps_order),
        cmocka_unit_test(test_pipelined_flood_of_a_client_that_does_not_read),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_wrong_method),
        cmocka_unit_test(test_continue),
        cmocka_unit_test(test_invalid_bytes_get_an_answer_and_a_fin),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_slow_loris),
        cmocka_unit_test(test_idle_connections_are_closed),
        cmocka_unit_test(test_lingering_ends),
        cmocka_unit_test(test_client_half_closes_and_still_gets_its_answer),
        cmocka_unit_test(test_limit_of_connections),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_without_connections),
        cmocka_unit_test(test_operators_paths),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
