/* test_bodies.c - requests with bodies: what is decided by the head, and what becomes of the body.
 */
#include "edge_client.h"

#include "edge_private.h"
#include "http/http_conn.h"

#include <sys/socket.h>

#define KEY                 "Authorization: Bearer first-key\r\n"
#define EXPECT              "Expect: 100-continue\r\n"
#define CHUNKED             "Transfer-Encoding: chunked\r\n"
#define POST(path, headers) "POST " path " HTTP/1.1\r\nHost: x\r\n" headers "\r\n"
#define GET(path)           "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static void begin(struct test *t, struct client *c) {
    test_setup(t);
    t->hooks.present |= BH_HOOK_HTTP;
    t->response = (struct bh_response){.status = 200, .body = BH_SLICE("hello")};
    test_start(t);
    dial(t, c);
}

static void end(struct test *t, struct client *c) {
    hang_up(c);
    test_end(t);
}

static void begin_with_hook(struct test *t, struct client *c) {
    begin(t, c);
    t->hooks.present |= BH_HOOK_API;
    t->api = LATER;
}

static void decide(struct test *t, bool yes) {
    t->allowed(t->hook_ud, t->hook_handle, yes, yes ? 0 : 403, bh_slice(NULL, 0));
    run(t);
}

/* The only connection there is. */
static const struct bh_http_conn *server_side(const struct test *t) {
    return BH_CONTAINER_OF(t->edge->http.conns.next, struct bh_http_conn, node);
}

/* --- decided by the head --- */

/* None of them sends a byte of its body. */
static void test_answers_before_the_body(void **state) {
    static const struct {
        const char *head, *status;
    } cases[] = {
        {POST("/api/broadcast", "Content-Length: 1000000\r\n"), "401"},
        {POST("/api/broadcast", CHUNKED), "401"},
        {POST("/api/broadcast", "Authorization: Bearer x\r\nContent-Length: 1\r\n"), "401"},
        {POST("/api/nothing", KEY "Content-Length: 1000000\r\n"), "404"},
        {POST("/api/nothing", KEY "Content-Length: 99999999\r\n"), "404"},
        {POST("/api/nothing", KEY CHUNKED), "404"},
        {POST("/api/users/42", KEY "Content-Length: 1000000\r\n"), "405"},
        {POST("/api/broadcast", "Content-Length: 99999999\r\n"), "413"},
        {POST("/api/broadcast", KEY EXPECT "Content-Length: 99999999\r\n"), "413"},
        {POST("/ws", "Content-Length: 1000000\r\n"), "405"},
        {POST("/mine", "Content-Length: 99999999\r\n"), "413"},
        {"PUT /mine HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", "405"},
        {"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", "200"},
        {"GET /api/users/42 HTTP/1.1\r\nHost: x\r\n" KEY "Content-Length: 1000000\r\n\r\n", "200"},
    };
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    begin(&t, &c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hang_up(&c);
        dial(&t, &c);
        send_text(&c, cases[i].head);
        expect_text(&c, "HTTP/1.1 ");
        if (strncmp(c.got.p + 9, cases[i].status, 3) != 0)
            fail_msg("%s instead of %s for %s", c.got.p, cases[i].status, cases[i].head);
        take_response(&c, &body);
    }
    assert_string_equal(t.asked, "");
    bh_bytes_free(&body);
    end(&t, &c);
}

static void test_no_continue_for_a_refusal(void **state) {
    static const char *const heads[] = {
        POST("/api/broadcast", EXPECT "Content-Length: 5\r\n"),
        POST("/api/broadcast", EXPECT CHUNKED),
        POST("/api/nothing", KEY EXPECT "Content-Length: 5\r\n"),
        POST("/api/users/42", KEY EXPECT "Content-Length: 5\r\n"),
        POST("/api/broadcast", KEY EXPECT "Content-Length: 99999999\r\n"),
    };
    struct test t;
    struct client c;
    begin(&t, &c);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        hang_up(&c);
        dial(&t, &c);
        send_text(&c, heads[i]);
        expect_text(&c, "HTTP/1.1 4");
        assert_has(c.got.p, "\r\nConnection: close\r\n");
        expect_end(&c); /* what follows may be the body, or not */
        assert_null(strstr(c.got.p, "100 Continue"));
    }
    end(&t, &c);
}

static void test_a_script_gets_the_whole_body(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    send_text(&c, POST("/mine", EXPECT "Content-Length: 8\r\n"));
    expect_text(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(t.asked, "");
    send_text(&c, "all ");
    assert_string_equal(t.asked, "");
    send_text(&c, "of it");
    expect_text(&c, "hello");
    assert_string_equal(t.asked, "POST /mine all of i");
    end(&t, &c);
}

/* --- a hook that waits --- */

static void test_continue_follows_the_yes(void **state) {
    struct test t;
    struct client c;
    begin_with_hook(&t, &c);
    send_text(&c, POST("/api/broadcast?strategy=redis", EXPECT "Content-Length: 5\r\n"));
    WAIT_FOR(&t, t.allowed);
    expect_nothing(&c);
    decide(&t, true);
    expect_text(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    bh_bytes_clear(&c.got);
    send_text(&c, "hello");
    expect_text(&c, "HTTP/1.1 200 ");
    assert_int_equal(t.publishes, 1);
    t.allowed = NULL;
    bh_bytes_clear(&c.got);
    send_text(&c, POST("/api/broadcast?strategy=redis", EXPECT "Content-Length: 5\r\n"));
    WAIT_FOR(&t, t.allowed);
    decide(&t, false);
    expect_text(&c, "HTTP/1.1 403 ");
    assert_null(strstr(c.got.p, "100 Continue"));
    expect_end(&c);
    end(&t, &c);
}

static void test_a_body_waits_for_the_hook(void **state) {
    struct test t;
    struct client c;
    static char body[1 << 20];
    memset(body, 'b', sizeof body);
    begin_with_hook(&t, &c);
    send_text(&c, POST("/api/broadcast?strategy=redis", "Content-Length: 2000000\r\n"));
    WAIT_FOR(&t, t.allowed);
    for (size_t sent = 0, patience = 0; sent < sizeof body && patience < 200; patience++) {
        ssize_t n = send(c.fd, body + sent, sizeof body - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        run_idle(&t);
        assert_true(server_side(&t)->in.len < 100000);
        if (sent == sizeof body || n < 0)
            break;
    }
    assert_int_equal(server_side(&t)->state, BH_HTTP_CONN_PAUSED);
    advance(&t, 60000); /* the hook's time is not the client's */
    assert_false(c.ended);
    decide(&t, true);
    assert_int_equal(server_side(&t)->state, BH_HTTP_CONN_READING);
    hang_up(&c);
    assert_int_equal(t.publishes, 0);
    dial(&t, &c);
    t.allowed = NULL;
    send_text(
        &c, POST("/api/broadcast?strategy=redis", "Content-Length: 5\r\n") "hello" GET("/healthz"));
    WAIT_FOR(&t, t.allowed);
    expect_nothing(&c);
    decide(&t, true);
    expect_text(&c, "HTTP/1.1 200 ");
    expect_text(&c, "ok\n");
    assert_int_equal(t.publishes, 1);
    end(&t, &c);
}

static void test_the_deadline_of_a_body(void **state) {
    struct test t;
    struct client c;
    begin(&t, &c);
    send_text(&c, POST("/api/broadcast", KEY "Content-Length: 9\r\n"));
    advance(&t, 6000); /* counts from the first byte of the request */
    send_text(&c, "a");
    expect_nothing(&c);
    advance(&t, 4100);
    expect_text(&c, "HTTP/1.1 408 ");
    expect_end(&c);
    hang_up(&c);
    t.hooks.present |= BH_HOOK_API;
    t.api = LATER;
    dial(&t, &c);
    send_text(&c, POST("/api/broadcast", "Content-Length: 9\r\n"));
    WAIT_FOR(&t, t.allowed);
    advance(&t, 30000);
    decide(&t, true);
    advance(&t, 9000);
    expect_nothing(&c);
    advance(&t, 1100);
    expect_text(&c, "HTTP/1.1 408 ");
    end(&t, &c);
}

/* --- after the answer --- */

static void test_a_short_rest_is_dropped(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes wire = {0}, body = {0};
    begin(&t, &c);
    bh_bytes_adds(&wire, POST("/api/broadcast", "Content-Length: 31\r\n") GET("/mine"));
    bh_bytes_adds(&wire, GET("/healthz"));
    bh_bytes_adds(&wire, POST("/api/nothing", CHUNKED) "3\r\nabc\r\n0\r\n\r\n");
    bh_bytes_adds(&wire, GET("/readyz"));
    for (int whole = 0; whole < 2; whole++) {
        for (size_t i = 0; i < wire.len; i += whole ? wire.len : 1)
            send_bytes(&c, whole ? bh_bytes_slice(&wire) : bh_slice(wire.p + i, 1));
        assert_int_equal(take_response(&c, &body), 401);
        assert_int_equal(take_response(&c, &body), 200);
        assert_string_equal(body.p, "ok\n");
        assert_int_equal(take_response(&c, &body), 404);
        assert_int_equal(take_response(&c, &body), 200);
        assert_has(body.p, "ready");
        assert_string_equal(t.asked, "");
    }
    bh_bytes_free(&wire);
    bh_bytes_free(&body);
    end(&t, &c);
}

/* It is read, so that the client gets to the answer, and dropped. */
static void test_a_long_rest_ends_the_connection(void **state) {
    static const char *const heads[] = {POST("/api/broadcast", "Content-Length: 1000000\r\n"),
                                        POST("/api/broadcast", CHUNKED) "ffff\r\n"};
    static char rest[300000];
    struct test t;
    struct client c;
    memset(rest, 'b', sizeof rest);
    begin(&t, &c);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        hang_up(&c);
        dial(&t, &c);
        send_text(&c, heads[i]);
        send_bytes(&c, bh_slice(rest, sizeof rest));
        assert_int_equal(server_side(&t)->in.len, 0);
        expect_text(&c, "HTTP/1.1 401 ");
        expect_end(&c);
        assert_true(c.ended);
        assert_int_equal(times(c.got.p, "HTTP/1.1"), 1);
    }
    end(&t, &c);
}

static void test_a_rest_that_does_not_come(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    begin(&t, &c);
    send_text(&c, POST("/api/broadcast", "Content-Length: 10\r\n") "12345");
    assert_int_equal(take_response(&c, &body), 401);
    advance(&t, 9000);
    expect_nothing(&c);
    advance(&t, 1100);
    expect_end(&c);
    assert_int_equal(c.got.len, 0); /* one request, one answer */
    assert_true(c.ended);
    hang_up(&c);
    dial(&t, &c);
    send_text(&c, POST("/api/broadcast", CHUNKED) "not a size\r\n");
    expect_text(&c, "HTTP/1.1 401 ");
    expect_end(&c);
    assert_int_equal(times(c.got.p, "HTTP/1.1"), 1);
    hang_up(&c);
    dial(&t, &c);
    send_text(&c, POST("/api/broadcast", "Content-Length: 10\r\n") "12345");
    assert_int_equal(take_response(&c, &body), 401);
    shutdown(c.fd, SHUT_WR);
    expect_end(&c);
    assert_true(c.ended);
    bh_bytes_free(&body);
    end(&t, &c);
}

static void on_drained(void *ud) {
    ((struct test *)ud)->drained = true;
}

static void test_a_drain_does_not_wait_for_a_rest(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes body = {0};
    begin(&t, &c);
    send_text(&c, POST("/api/broadcast", "Content-Length: 10\r\n") "12345");
    assert_int_equal(take_response(&c, &body), 401);
    bh_edge_drain(t.edge, &(struct bh_edge_drain){.on_drained = on_drained, .ud = &t});
    expect_end(&c);
    hang_up(&c);
    WAIT_FOR(&t, t.drained);
    bh_bytes_free(&body);
    test_end(&t);
}

static void test_a_chunked_body_that_grows_too_large(void **state) {
    static char chunk[1 << 20];
    struct test t;
    struct client c;
    memset(chunk, 'c', sizeof chunk);
    begin(&t, &c);
    send_text(&c, POST("/api/broadcast", KEY CHUNKED));
    for (int i = 0; i < 2; i++) {
        send_text(&c, "100000\r\n");
        send_bytes(&c, bh_slice(chunk, sizeof chunk));
        send_text(&c, "\r\n");
    }
    send_text(&c, "1\r\n");
    expect_text(&c, "HTTP/1.1 413 ");
    expect_end(&c);
    assert_int_equal(t.publishes, 0);
    end(&t, &c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_before_the_body),
        cmocka_unit_test(test_no_continue_for_a_refusal),
        cmocka_unit_test(test_a_script_gets_the_whole_body),
        cmocka_unit_test(test_continue_follows_the_yes),
        cmocka_unit_test(test_a_body_waits_for_the_hook),
        cmocka_unit_test(test_the_deadline_of_a_body),
        cmocka_unit_test(test_a_short_rest_is_dropped),
        cmocka_unit_test(test_a_long_rest_ends_the_connection),
        cmocka_unit_test(test_a_rest_that_does_not_come),
        cmocka_unit_test(test_a_drain_does_not_wait_for_a_rest),
        cmocka_unit_test(test_a_chunked_body_that_grows_too_large),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
