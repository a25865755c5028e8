/* test_script_route.c - the answers of script endpoints, which cannot override a built-in route. */
#include "edge_client.h"

static const struct bh_header plain[] = {{BH_SLICE("Content-Type"), BH_SLICE("text/plain")},
                                         {BH_SLICE("X-Mine"), BH_SLICE("yes")}};

static void begin(struct test *t, struct client *c) {
    test_setup(t);
    t->hooks.present |= BH_HOOK_HTTP;
    t->response = (struct bh_response){200, plain, 2, BH_SLICE("hello")};
    test_start(t);
    dial(t, c);
}

static void end(struct test *t, struct client *c) {
    if (c->fd >= 0)
        hang_up(c);
    test_end(t);
}

/* Sends a request; returns the whole response as text. */
static const char *ask(struct client *c, const char *request) {
    struct bh_slice body;
    bh_bytes_clear(&c->got);
    send_text(c, request);
    WAIT_FOR(c->test, has_response(c));
    assert_int_equal(whole_response(c, &body), c->got.len);
    return c->got.p;
}

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define HEAD(path) "HEAD " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_answers(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    const char *answer = ask(&c, "POST /mine/7?a=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
                                 "\r\nbody");
    assert_string_equal(t.asked, "POST /mine/7 body");
    assert_has(answer, "HTTP/1.1 200 OK\r\n");
    assert_has(answer, "\r\nContent-Type: text/plain\r\n");
    assert_has(answer, "\r\nX-Mine: yes\r\n");
    assert_has(answer, "\r\nContent-Length: 5\r\n");
    assert_has(answer, "\r\nConnection: keep-alive\r\n");
    assert_has(answer, "\r\n\r\nhello");
    t.response = (struct bh_response){.status = 204};
    answer = ask(&c, GET("/mine"));
    assert_has(answer, "HTTP/1.1 204 ");
    assert_null(strstr(answer, "Content-"));
    end(&t, &c);
}

static void test_head_has_no_body(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    send_text(&c, HEAD("/mine"));
    expect_text(&c, "\r\n\r\n");
    assert_has(c.got.p, "\r\nContent-Length: 5\r\n");
    assert_null(strstr(c.got.p, "hello"));
    assert_string_equal(t.asked, "HEAD /mine ");
    end(&t, &c);
}

static void test_where_it_is_asked(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    assert_has(ask(&c, GET("/healthz")), "ok");
    assert_has(ask(&c, GET("/none")), "HTTP/1.1 404 ");
    assert_has(ask(&c, GET("/api/users/mine")), "HTTP/1.1 401 ");
    assert_string_equal(t.asked, "");
    const char *answer = ask(&c, "DELETE /mine HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_has(answer, "HTTP/1.1 405 ");
    assert_has(answer, "\r\nAllow: GET, HEAD, POST\r\n");
    assert_string_equal(t.asked, "");
    assert_has(ask(&c, GET("/api/mine")), "hello"); /* without a key */
    end(&t, &c);
}

static void test_before_the_demo_page(void **state) {
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.dev = true;
    t.hooks.present |= BH_HOOK_HTTP;
    t.response = (struct bh_response){.status = 200, .body = BH_SLICE("hello")};
    test_start(&t);
    dial(&t, &c);
    assert_has(ask(&c, GET("/")), "<html");
    t.page = BH_SLICE("/");
    assert_has(ask(&c, GET("/")), "hello");
    end(&t, &c);
}

static void test_without_endpoints(void **state) {
    struct test t;
    struct client c;
    test_begin(&t);
    dial(&t, &c);
    assert_has(ask(&c, GET("/mine")), "HTTP/1.1 404 ");
    end(&t, &c);
}

static void test_invalid_responses(void **state) {
    static const struct bh_header bad[] = {
        {BH_SLICE("content-length"), BH_SLICE("1")},
        {BH_SLICE("Transfer-Encoding"), BH_SLICE("chunked")},
        {BH_SLICE("Connection"), BH_SLICE("close")},
    };
    static const int statuses[] = {0, 101, 199, 600};
    struct test t;
    struct client c;
    begin(&t, &c);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        t.response = (struct bh_response){200, &bad[i], 1, BH_SLICE("hello")};
        const char *answer = ask(&c, GET("/mine"));
        assert_has(answer, "HTTP/1.1 500 ");
        assert_has(answer, "\"code\":\"internal_error\"");
        assert_null(strstr(answer, "hello"));
    }
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        t.response = (struct bh_response){.status = statuses[i]};
        assert_has(ask(&c, GET("/mine")), "HTTP/1.1 500 ");
    }
    const struct bh_header split = {BH_SLICE("X-A"), BH_SLICE("1\r\nX-B: 2")};
    t.response = (struct bh_response){200, &split, 1, BH_SLICE("hello")};
    assert_null(strstr(ask(&c, GET("/mine")), "X-B"));
    end(&t, &c);
}

static void test_body_limit(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    send_text(&c, "POST /mine HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n");
    expect_text(&c, "HTTP/1.1 413 ");
    assert_string_equal(t.asked, "");
    end(&t, &c);
}

static void test_later(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    t.http = LATER;
    send_text(&c, GET("/mine"));
    WAIT_FOR(&t, t.respond);
    send_text(&c, GET("/healthz")); /* waits until the first is answered */
    expect_nothing(&c);
    t.respond(t.hook_ud, t.hook_handle, &t.response);
    expect_text(&c, "hello");
    expect_text(&c, "ok\n");
    assert_int_equal(t.cancelled, 0);
    t.respond(t.hook_ud, t.hook_handle, &t.response); /* the request is over */
    run_idle(&t);
    receive(&c);
    assert_int_equal(times(c.got.p, "hello"), 1);
    end(&t, &c);
}

static void test_client_disconnects(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    t.http = LATER;
    send_text(&c, GET("/healthz") GET("/mine"));
    WAIT_FOR(&t, t.respond);
    shutdown(c.fd, SHUT_WR);
    WAIT_FOR(&t, t.cancelled == 1);
    expect_end(&c);
    assert_has(c.got.p, "ok\n");
    t.respond(t.hook_ud, t.hook_handle, &t.response);
    run(&t);
    assert_int_equal(t.cancelled, 1);
    end(&t, &c);
}

static void test_client_is_cut_off(void **state) {
    struct test t;
    struct client c;
    struct linger now = {1, 0};
    begin(&t, &c);
    t.http = LATER;
    send_text(&c, GET("/mine"));
    WAIT_FOR(&t, t.respond);
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    hang_up(&c);
    assert_int_equal(t.cancelled, 1);
    end(&t, &c);
}

static void on_drained(void *ud) {
    ((struct test *)ud)->drained = true;
}

static void test_draining_lets_it_finish(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    t.http = LATER;
    send_text(&c, GET("/mine"));
    WAIT_FOR(&t, t.respond);
    bh_edge_drain(t.edge, &(struct bh_edge_drain){.on_drained = on_drained, .ud = &t});
    run_idle(&t);
    assert_false(t.drained);
    assert_int_equal(t.cancelled, 0);
    t.respond(t.hook_ud, t.hook_handle, &t.response);
    expect_text(&c, "hello");
    assert_has(c.got.p, "\r\nConnection: close\r\n");
    expect_end(&c);
    hang_up(&c);
    WAIT_FOR(&t, t.drained);
    end(&t, &c);
}

static void test_cors(void **state) {
    static const struct bh_slice origins[] = {BH_SLICE("https://app.example")};
    static const struct bh_header own[] = {
        {BH_SLICE("Access-Control-Allow-Origin"), BH_SLICE("*")}};
    struct test t;
    struct client c;
    test_setup(&t);
    t.config.cors = origins;
    t.config.cors_count = 1;
    t.hooks.present |= BH_HOOK_HTTP;
    t.response = (struct bh_response){200, plain, 2, BH_SLICE("hello")};
    test_start(&t);
    dial(&t, &c);
#define FROM "Host: x\r\nOrigin: https://app.example\r\n"
    const char *answer = ask(&c, "GET /mine HTTP/1.1\r\n" FROM "\r\n");
    assert_has(answer, "\r\nAccess-Control-Allow-Origin: https://app.example\r\n");
    answer =
        ask(&c, "OPTIONS /mine HTTP/1.1\r\n" FROM "Access-Control-Request-Method: GET\r\n\r\n");
    assert_has(answer, "HTTP/1.1 204 ");
    assert_has(answer, "\r\nAccess-Control-Allow-Methods: GET, HEAD, POST\r\n");
    answer = ask(&c, "OPTIONS /api/users/1 HTTP/1.1\r\n" FROM
                     "Access-Control-Request-Method: GET\r\n\r\n");
    assert_has(answer, "\r\nAccess-Control-Allow-Methods: GET, POST, DELETE\r\n");
    answer =
        ask(&c, "OPTIONS /none HTTP/1.1\r\n" FROM "Access-Control-Request-Method: GET\r\n\r\n");
    assert_has(answer, "HTTP/1.1 404 ");
    t.response = (struct bh_response){200, own, 1, BH_SLICE("hello")};
    answer = ask(&c, "GET /mine HTTP/1.1\r\n" FROM "\r\n");
    assert_int_equal(times(answer, "Access-Control-Allow-Origin"), 1);
    assert_has(answer, "Access-Control-Allow-Origin: *");
    end(&t, &c);
}

static void test_own_challenge(void **state) {
    static const struct bh_header basic[] = {{BH_SLICE("WWW-Authenticate"), BH_SLICE("Basic")}};
    struct test t;
    struct client c;
    begin(&t, &c);
    t.response = (struct bh_response){401, basic, 1, bh_slice(NULL, 0)};
    assert_int_equal(times(ask(&c, GET("/mine")), "WWW-Authenticate"), 1);
    t.response = (struct bh_response){.status = 401};
    assert_has(ask(&c, GET("/mine")), "WWW-Authenticate: Bearer\r\n");
    end(&t, &c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_where_it_is_asked),
        cmocka_unit_test(test_before_the_demo_page),
        cmocka_unit_test(test_without_endpoints),
        cmocka_unit_test(test_invalid_responses),
        cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_later),
        cmocka_unit_test(test_client_disconnects),
        cmocka_unit_test(test_client_is_cut_off),
        cmocka_unit_test(test_draining_lets_it_finish),
        cmocka_unit_test(test_cors),
        cmocka_unit_test(test_own_challenge),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
