/* test_sse_request.c - which requests become SSE links, and what the others are answered: by status
 * if it is about this client, by 200 and `retry` if it will pass. */
#include "edge_client.h"

#include <stdlib.h>

#define GET(target) "GET " target " HTTP/1.1\r\nHost: x\r\n"

static void ask(struct test *t, struct client *c, const char *request) {
    dial(t, c);
    send_text(c, request);
    send_text(c, "\r\n");
}

/* --- accepted --- */

static void test_the_head(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.result_header = (struct bh_header){BH_SLICE("X-Served-By"), BH_SLICE("test")};
    ask(&t, &c, GET("/sse/chat?x=1"));
    expect_text(&c, "\r\n\r\nretry: ");
    WAIT_FOR(&t, t.opened == 1);
    assert_has(c.got.p, "HTTP/1.1 200 OK\r\n");
    assert_has(c.got.p, "Content-Type: text/event-stream\r\n");
    assert_has(c.got.p, "Cache-Control: no-cache, no-transform\r\n");
    assert_has(c.got.p, "X-Accel-Buffering: no\r\n");
    assert_has(c.got.p, "X-Served-By: test\r\n");
    assert_has(c.got.p, "Connection: close\r\n");
    assert_null(strstr(c.got.p, "Content-Length"));
    assert_null(strstr(c.got.p, "Transfer-Encoding"));
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(t.last->number, id);
    assert_has(c.got.p, id);
    assert_string_equal(t.asked, "app=chat;");
    int retry = atoi(strstr(c.got.p, "retry: ") + 7);
    assert_true(retry >= 1000 && retry <= 3000);
    hang_up(&c);
    WAIT_FOR(&t, t.closed == 1);
    test_end(&t);
}

static void test_headers_that_cannot_be_sent(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.result_header = (struct bh_header){BH_SLICE("X-Bad"), BH_SLICE("a\r\nb")};
    ask(&t, &c, GET("/sse"));
    expect_text(&c, "retry: ");
    assert_null(strstr(c.got.p, "X-Bad"));
    assert_has(c.got.p, "X-Accel-Buffering: no\r\n");
    hang_up(&c);
    test_end(&t);
}

static void test_http_1_0(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    send_text(&c, "GET /sse HTTP/1.0\r\n\r\n");
    expect_text(&c, "\r\n\r\nretry: ");
    hang_up(&c);
    test_end(&t);
}

static void test_pipelined_behind_another_request(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    ask(&t, &c, GET("/healthz") "\r\n" GET("/sse"));
    expect_text(&c, "text/event-stream");
    expect_text(&c, "retry: ");
    assert_true(strstr(c.got.p, "Content-Length") < strstr(c.got.p, "text/event-stream"));
    hang_up(&c);
    test_end(&t);
}

/* What GET is answered with, without a link. */
static void test_head_request(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    ask(&t, &c, "HEAD /sse HTTP/1.1\r\nHost: x\r\n");
    expect_end(&c);
    assert_has(c.got.p, "HTTP/1.1 200 OK\r\n");
    assert_has(c.got.p, "Content-Type: text/event-stream\r\n");
    assert_has(c.got.p, "Connection: close\r\n\r\n");
    assert_null(strstr(c.got.p, "retry"));
    assert_null(strstr(c.got.p, "Content-Length"));
    assert_int_equal(t.opened + t.closed, 0);
    hang_up(&c);

    t.handshake = NO;
    t.refuse_status = 403;
    ask(&t, &c, "HEAD /sse HTTP/1.1\r\nHost: x\r\n");
    expect_text(&c, "HTTP/1.1 403 ");
    hang_up(&c);
    test_end(&t);
}

static void test_a_client_that_leaves_before_the_answer(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = LATER;
    ask(&t, &c, GET("/sse"));
    WAIT_FOR(&t, t.handshake_done);
    hang_up(&c);
    WAIT_FOR(&t, t.cancelled == 1);
    complete_handshake(&t, t.handshake_done, t.hook_ud, t.hook_handle, true); /* must not leak */
    test_end(&t);
}

static void test_the_head_waits_for_the_topics(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.shared = true;
    test_start(&t);
    ask(&t, &c, GET("/sse"));
    expect_nothing(&c);
    uint32_t cursor = 0;
    struct bh_subscriber *s = bh_slots_next(&t.worker->subscribers, &cursor);
    s->vt->send(s, BH_TEXT, BH_SLICE("early"));
    expect_nothing(&c);
    t.sink->on_subscribed(t.sink->ud, BH_SLICE("user:42"));
    t.sink->on_subscribed(t.sink->ud, BH_SLICE("tenant:7"));
    t.sink->on_subscribed(t.sink->ud, BH_SLICE("all"));
    expect_text(&c, "data: early\n\n");
    assert_int_equal(strncmp(c.got.p, "HTTP/1.1 200", 12), 0);
    hang_up(&c);
    test_end(&t);
}

/* By a hook or by the API: the client is told all the same. */
static void test_closed_while_opening(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.shared = true;
    test_start(&t);
    ask(&t, &c, GET("/sse"));
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 1);
    uint32_t cursor = 0;
    struct bh_subscriber *s = bh_slots_next(&t.worker->subscribers, &cursor);
    s->vt->send(s, BH_TEXT, BH_SLICE("first"));
    s->vt->close(s, 4500, BH_SLICE("go away"));
    assert_int_equal(s->vt->send(s, BH_TEXT, BH_SLICE("second")), BH_ECLOSED);
    expect_text(&c, "data: first\n\nevent: close\ndata: 4500 go away\n\nretry: ");
    expect_end(&c);
    assert_int_equal(strncmp(c.got.p, "HTTP/1.1 200", 12), 0);
    hang_up(&c);
    test_end(&t);
    assert_int_equal(t.opened, 0);
}

/* --- refused for good --- */

static void test_what_is_malformed(void **state) {
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {GET("/sse?since=nonsense"), "HTTP/1.1 400 "},
        {GET("/sse?since=1.AAAAAAAAAAA:1-9007199254740993"), "HTTP/1.1 400 "},
        {GET("/sse?since=%zz"), "HTTP/1.1 400 "},
        {GET("/sse?topic="), "HTTP/1.1 400 "},
        {GET("/sse?topic=a%0Ab"), "HTTP/1.1 400 "},
        {GET("/sse") "Last-Event-ID: 1.x\r\n", "HTTP/1.1 400 "},
        {GET("/sse?since=1.") "Last-Event-ID: 2.AAAAAAAAAAA:1-1\r\n", "HTTP/1.1 400 "},
        {"POST /sse HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", "HTTP/1.1 405 "},
        {GET("/sse/a/b"), "HTTP/1.1 404 "},
        {GET("/ssee"), "HTTP/1.1 404 "},
    };
    struct test t;
    struct client c;
    test_begin(&t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(&t, &c, cases[i].request);
        expect_text(&c, cases[i].answer);
        hang_up(&c);
    }
    char many[8192] = "GET /sse?";
    for (int i = 0; i < 65; i++)
        sprintf(many + strlen(many), "topic=t%d&", i);
    ask(&t, &c, strcat(many, " HTTP/1.1\r\nHost: x\r\n"));
    expect_text(&c, "HTTP/1.1 400 ");
    hang_up(&c);
    test_end(&t);
    assert_int_equal(t.opened, 0);
}

static void test_positions_that_are_well_formed(void **state) {
    static const char *const requests[] = {
        GET("/sse?since="),
        GET("/sse?since=1."),
        GET("/sse?since=1.AAAAAAAAAAA:1-1"),
        GET("/sse?since=1.AAAAAAAAAAA:1-1") "Last-Event-ID: 1.BBBBBBBBBBA:7-0\r\n",
        GET("/sse") "Last-Event-ID: \r\n",
    };
    struct test t;
    struct client c;
    test_begin(&t);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        ask(&t, &c, requests[i]);
        expect_text(&c, "HTTP/1.1 200 ");
        hang_up(&c);
    }
    test_end(&t);
}

static void test_what_the_hook_refuses_for_good(void **state) {
    static const int statuses[] = {401, 403, 404, 302};
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = NO;
    t.refuse_body = "no such token";
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        int64_t before = count_of(BH_EDGE_SSE_REFUSED_RIGHTS);
        char status[16];
        snprintf(status, sizeof status, "HTTP/1.1 %d ", statuses[i]);
        t.refuse_status = statuses[i];
        ask(&t, &c, GET("/sse"));
        expect_text(&c, "no such token");
        assert_has(c.got.p, status);
        assert_int_equal(count_of(BH_EDGE_SSE_REFUSED_RIGHTS), before + 1);
        hang_up(&c);
    }
    test_end(&t);
}

static void test_no_hook(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.hooks.present = 0;
    test_start(&t);
    ask(&t, &c, GET("/sse?user=1"));
    expect_text(&c, "HTTP/1.1 401 ");
    hang_up(&c);
    test_end(&t);
}

static void test_a_developer(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.hooks.present = BH_HOOK_OPEN;
    t.config.dev = true;
    test_start(&t);
    ask(&t, &c, "GET /sse?user=1&topic=news&topic=a%2Fb HTTP/1.1\r\nHost: localhost\r\n");
    expect_text(&c, "retry: ");
    WAIT_FOR(&t, t.opened == 1);
    assert_true(bh_slice_eq(t.last->identity->user, BH_SLICE("1")));
    assert_int_equal(t.last->link_count, 4); /* user, all, and two topics */
    hang_up(&c);
    ask(&t, &c, "GET /sse?user=%ff HTTP/1.1\r\nHost: localhost\r\n");
    expect_text(&c, "HTTP/1.1 400 ");
    hang_up(&c);
    test_end(&t);
}

/* --- refused for now --- */

/* 200, when to come back, and the end of the answer. */
static void expect_later(struct client *c, enum bh_edge_metric reason, int64_t before) {
    struct bh_bytes body = {0};
    assert_int_equal(take_response(c, &body), 200);
    assert_int_equal(strncmp(body.p, "retry: ", 7), 0);
    int retry = atoi(body.p + 7);
    assert_true(retry >= 2000 && retry <= 10000);
    assert_int_equal(count_of(reason), before + 1);
    bh_bytes_free(&body);
}

static void test_a_hook_that_fails(void **state) {
    static const int statuses[] = {429, 500, 503, 504};
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = NO;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        int64_t before = count_of(BH_EDGE_SSE_REFUSED_FAILED);
        t.refuse_status = statuses[i];
        ask(&t, &c, GET("/sse"));
        expect_later(&c, BH_EDGE_SSE_REFUSED_FAILED, before);
        hang_up(&c);
    }
    test_end(&t);
}

static void test_a_hook_that_takes_too_long(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    t.handshake = LATER;
    int64_t before = count_of(BH_EDGE_SSE_REFUSED_FAILED);
    ask(&t, &c, GET("/sse"));
    WAIT_FOR(&t, t.handshake_done);
    advance(&t, 6900);
    expect_nothing(&c);
    advance(&t, 200);
    expect_later(&c, BH_EDGE_SSE_REFUSED_FAILED, before);
    WAIT_FOR(&t, t.cancelled == 1);
    hang_up(&c);
    test_end(&t);
}

static void test_topics_that_do_not_become_live(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.shared = true;
    test_start(&t);
    int64_t before = count_of(BH_EDGE_SSE_REFUSED_FAILED);
    ask(&t, &c, GET("/sse"));
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 1);
    advance(&t, 7100);
    expect_later(&c, BH_EDGE_SSE_REFUSED_FAILED, before);
    WAIT_FOR(&t, bh_node_connection_count(t.node) == 0);
    hang_up(&c);
    test_end(&t);
}

static void test_a_drain(void **state) {
    struct test t;
    struct client waiting, opening, other;
    test_begin(&t);
    dial(&t, &waiting);
    t.handshake = LATER;
    ask(&t, &opening, GET("/sse"));
    WAIT_FOR(&t, t.handshake_done);
    dial(&t, &other);
    int64_t before = count_of(BH_EDGE_SSE_REFUSED_DRAINING);
    bh_edge_refuse(t.edge);
    expect_later(&opening, BH_EDGE_SSE_REFUSED_DRAINING, before);
    send_text(&waiting, GET("/sse") "\r\n");
    expect_later(&waiting, BH_EDGE_SSE_REFUSED_DRAINING, before + 1);
    expect_end(&waiting);
    hang_up(&waiting);
    hang_up(&opening);
    hang_up(&other);
    test_end(&t);
}

static void test_quotas(void **state) {
    struct test t;
    struct client c[2];
    test_setup(&t);
    t.config.connections_per_user = 1;
    test_start(&t);
    ask(&t, &c[0], GET("/sse"));
    expect_text(&c[0], "retry: ");
    int64_t before = count_of(BH_EDGE_SSE_REFUSED_LIMIT);
    ask(&t, &c[1], GET("/sse"));
    expect_later(&c[1], BH_EDGE_SSE_REFUSED_LIMIT, before);
    hang_up(&c[0]); /* releases it */
    send_text(&c[1], GET("/sse") "\r\n");
    expect_text(&c[1], "retry: ");
    WAIT_FOR(&t, t.opened == 2);
    hang_up(&c[1]);
    test_end(&t);
}

static void test_connections_max(void **state) {
    struct test t;
    struct client c[2];
    test_setup(&t);
    t.config.connections_max = 1;
    test_start(&t);
    dial(&t, &c[0]);
    int64_t before = count_of(BH_EDGE_SSE_REFUSED_LIMIT);
    ask(&t, &c[1], GET("/sse"));
    expect_later(&c[1], BH_EDGE_SSE_REFUSED_LIMIT, before);
    expect_end(&c[1]);
    let_go(&c[1]);
    hang_up(&c[0]);
    test_end(&t);
}

/* --- browsers --- */

static void begin_with_origins(struct test *t) {
    static const struct bh_slice origins[] = {BH_SLICE("https://app.example")};
    static const struct bh_slice cors[] = {BH_SLICE("https://admin.example")};
    test_setup(t);
    t->config.origins = origins;
    t->config.cors = cors;
    t->config.origin_count = t->config.cors_count = 1;
    t->config.origin_required = true;
    test_start(t);
}

static void test_origins(void **state) {
    struct test t;
    struct client c;
    begin_with_origins(&t);
    ask(&t, &c, GET("/sse")); /* a page of this server sends no Origin */
    expect_text(&c, "retry: ");
    assert_has(c.got.p, "Vary: Origin\r\n");
    assert_null(strstr(c.got.p, "Access-Control"));
    hang_up(&c);
    ask(&t, &c, GET("/sse") "Origin: https://app.example\r\n");
    expect_text(&c, "retry: ");
    assert_has(c.got.p, "Access-Control-Allow-Origin: https://app.example\r\n");
    assert_has(c.got.p, "Access-Control-Allow-Credentials: true\r\n");
    hang_up(&c);
    ask(&t, &c, GET("/sse") "Origin: https://admin.example\r\n");
    expect_text(&c, "retry: ");
    assert_has(c.got.p, "Access-Control-Allow-Origin: https://admin.example\r\n");
    assert_null(strstr(c.got.p, "Allow-Credentials"));
    hang_up(&c);
    int64_t before = count_of(BH_EDGE_SSE_REFUSED_ORIGIN);
    ask(&t, &c, GET("/sse") "Origin: https://evil.example\r\n");
    expect_text(&c, "HTTP/1.1 403 ");
    assert_null(strstr(c.got.p, "Access-Control"));
    assert_int_equal(count_of(BH_EDGE_SSE_REFUSED_ORIGIN), before + 1);
    hang_up(&c);
    test_end(&t);
    assert_int_equal(t.opened, 3);
}

/* Refusals, too: else a page could not read when to come back. */
static void test_refusals_have_the_headers(void **state) {
    struct test t;
    struct client c;
    begin_with_origins(&t);
    t.handshake = NO;
    t.refuse_status = 503;
    ask(&t, &c, GET("/sse") "Origin: https://app.example\r\n");
    expect_text(&c, "retry: ");
    assert_has(c.got.p, "Access-Control-Allow-Origin: https://app.example\r\n");
    hang_up(&c);
    test_end(&t);
}

static void test_preflight(void **state) {
    struct test t;
    struct client c;
    begin_with_origins(&t);
    ask(&t, &c,
        "OPTIONS /sse HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\n"
        "Access-Control-Request-Method: GET\r\n");
    expect_text(&c, "HTTP/1.1 204 ");
    assert_has(c.got.p, "Access-Control-Allow-Origin: https://app.example\r\n");
    assert_has(c.got.p, "Last-Event-ID");
    hang_up(&c);
    ask(&t, &c,
        "OPTIONS /sse HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n"
        "Access-Control-Request-Method: GET\r\n");
    expect_text(&c, "HTTP/1.1 403 ");
    hang_up(&c);
    test_end(&t);
}

static void test_without_configured_origins(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    ask(&t, &c, GET("/sse") "Origin: https://any.example\r\n"); /* whose page gets to see nothing */
    expect_text(&c, "retry: ");
    assert_null(strstr(c.got.p, "Access-Control"));
    hang_up(&c);
    test_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_head),
        cmocka_unit_test(test_headers_that_cannot_be_sent),
        cmocka_unit_test(test_http_1_0),
        cmocka_unit_test(test_pipelined_behind_another_request),
        cmocka_unit_test(test_head_request),
        cmocka_unit_test(test_a_client_that_leaves_before_the_answer),
        cmocka_unit_test(test_the_head_waits_for_the_topics),
        cmocka_unit_test(test_closed_while_opening),
        cmocka_unit_test(test_what_is_malformed),
        cmocka_unit_test(test_positions_that_are_well_formed),
        cmocka_unit_test(test_what_the_hook_refuses_for_good),
        cmocka_unit_test(test_no_hook),
        cmocka_unit_test(test_a_developer),
        cmocka_unit_test(test_a_hook_that_fails),
        cmocka_unit_test(test_a_hook_that_takes_too_long),
        cmocka_unit_test(test_topics_that_do_not_become_live),
        cmocka_unit_test(test_a_drain),
        cmocka_unit_test(test_quotas),
        cmocka_unit_test(test_connections_max),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_refusals_have_the_headers),
        cmocka_unit_test(test_preflight),
        cmocka_unit_test(test_without_configured_origins),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
