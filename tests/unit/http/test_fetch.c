/* test_fetch.c - requests as they reach a server, and its responses. */
#include "http_test.h"

static int setup(void **state) {
    struct test_env *w = malloc(sizeof *w);
    test_env_open(w, NULL);
    w->server.answer = OK_ANSWER;
    test_env_start(w);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    test_env_close(*state);
    free(*state);
    return 0;
}

static const char *last(struct test_env *w) {
    bh_bytes_addc(&w->server.last, '\0');
    w->server.last.len--;
    return w->server.last.p;
}

#define FETCH(w, ...) test_fetch(w, &(struct bh_fetch_request){__VA_ARGS__})
#define WITH(name_, value_)                                                                        \
    .headers = &(struct bh_header){BH_SLICE(name_), BH_SLICE(value_)}, .header_count = 1

static void test_get(void **state) {
    struct test_env *w = *state;
    w->server.answer = "HTTP/1.1 201 Fine\r\nContent-Length: 5\r\nX-One: 1\r\nSet-Cookie: a=1\r\n"
                       "SET-COOKIE:  b=2 \r\nEmpty:\r\n\r\nhello";
    struct test_result *r = FETCH(w, .url = test_plain(w, "/a?b=c#d"));
    assert_int_equal(r->error, 0);
    assert_int_equal(r->status, 201);
    assert_slice(bh_bytes_slice(&r->body), "hello");
    assert_string_equal(r->headers.p,
                        "content-length=5\nx-one=1\nset-cookie=a=1\nset-cookie=b=2\nempty=\n");
    assert_int_equal(strncmp(last(w), "GET /a?b=c HTTP/1.1\r\n", 21), 0);
    assert_contains(last(w), "User-Agent: bellhop/");
    assert_null(strstr(last(w), "Content-"));
}

static void test_post(void **state) {
    struct test_env *w = *state;
    char big[3 << 20];
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"), .body = BH_SLICE("a\0b"),
                                  .has_body = true, WITH("Content-Type", "application/json"));
    assert_int_equal(r->status, 200);
    assert_contains(last(w), "POST / HTTP/1.1\r\n");
    assert_contains(last(w), "Content-Length: 3\r\n");
    assert_contains(last(w), "Content-Type: application/json\r\n");
    assert_memory_equal(w->server.last.p + w->server.last.len - 3, "a\0b", 3);

    memset(big, 'x', sizeof big);
    r = FETCH(w, .url = test_plain(w, "/"), .body = bh_slice(big, sizeof big), .has_body = true);
    assert_int_equal(r->status, 200);
    assert_null(strstr(last(w), "Expect"));
    assert_null(strstr(last(w), "Content-Type"));
    assert_memory_equal(w->server.last.p + w->server.last.len - sizeof big, big, sizeof big);
}

static void test_methods(void **state) {
    struct test_env *w = *state;
    static const struct {
        const char *method;
        bool body;
        const char *expected;
        const char *length;
    } cases[] = {{"PUT", true, "PUT / ", "Content-Length: 1"},
                 {"PATCH", true, "PATCH / ", "Content-Length: 1"},
                 {"DELETE", false, "DELETE / ", NULL},
                 {"DELETE", true, "DELETE / ", "Content-Length: 1"},
                 {"GET", true, "GET / ", "Content-Length: 1"},
                 {"PUT", false, "PUT / ", "Content-Length: 0"},
                 {"POST", false, "POST / ", "Content-Length: 0"},
                 {"OPTIONS", false, "OPTIONS / ", NULL},
                 {"M-SEARCH", false, "M-SEARCH / ", NULL}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct test_result *r =
            FETCH(w, .url = test_plain(w, "/"), .method = bh_slice_cstr(cases[i].method),
                  .body = BH_SLICE("x"), .has_body = cases[i].body);
        assert_int_equal(r->status, 200);
        assert_int_equal(strncmp(last(w), cases[i].expected, strlen(cases[i].expected)), 0);
        if (cases[i].length)
            assert_contains(last(w), cases[i].length);
        else
            assert_null(strstr(last(w), "Content-Length"));
    }
}

static void test_head(void **state) {
    struct test_env *w = *state;
    w->server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"), .method = BH_SLICE("HEAD"));
    assert_int_equal(r->status, 200);
    assert_int_equal(r->body.len, 0);
    assert_contains(r->headers.p, "content-length=99999999\n");
}

static void test_bodies_of_other_forms(void **state) {
    struct test_env *w = *state;
    w->server.answer =
        "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 200 OK\r\n"
        "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n3\r\nabc\r\n2\r\nde\r\n"
        "0\r\nX-Late: 1\r\n\r\n";
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"));
    assert_slice(bh_bytes_slice(&r->body), "abcde");
    assert_null(strstr(r->headers.p, "x-early"));
    assert_null(strstr(r->headers.p, "x-late"));
    w->server.answer = "HTTP/1.1 204 No Content\r\n\r\n";
    r = FETCH(w, .url = test_plain(w, "/"));
    assert_int_equal(r->status, 204);
    w->server.answer = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
    w->server.closes = true;
    r = FETCH(w, .url = test_plain(w, "/"));
    assert_slice(bh_bytes_slice(&r->body), "until the end");
}

static void test_headers(void **state) {
    struct test_env *w = *state;
    struct bh_header headers[] = {{BH_SLICE("X-A"), BH_SLICE("1")},
                                  {BH_SLICE("X-A"), BH_SLICE("2\t3")},
                                  {BH_SLICE("Authorization"), BH_SLICE("Bearer t")},
                                  {BH_SLICE("Host"), BH_SLICE("other")},
                                  {BH_SLICE("User-Agent"), BH_SLICE("mine")},
                                  {BH_SLICE("X-Empty"), BH_SLICE("")}};
    FETCH(w, .url = test_plain(w, "/"), .headers = headers, .header_count = COUNT(headers));
    assert_contains(last(w), "X-A: 1\r\nX-A: 2\t3\r\nAuthorization: Bearer t\r\n");
    assert_contains(last(w), "Host: other\r\n");
    assert_contains(last(w), "User-Agent: mine\r\n");
    assert_contains(last(w), "X-Empty:\r\n");
}

static void test_what_is_refused(void **state) {
    struct test_env *w = *state;
    struct bh_header many[101];
    struct bh_slice url = test_plain(w, "/"), get = {0};
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = (struct bh_header){BH_SLICE("x"), BH_SLICE("y")};
    const struct {
        struct bh_fetch_request request;
        const char *why;
    } cases[] = {
        {{.url = url, WITH("X-A", "1\r\nX-B: 2")}, "headers: X-A: a line break"},
        {{.url = url, WITH("X-A", "1\nX-B: 2")}, "headers: X-A: a line break"},
        {{.url = url, WITH("X-A", "1\0002")}, "headers: X-A: a line break"},
        {{.url = url, WITH("X-A\r\nX-B", "1")}, "headers: invalid name"},
        {{.url = url, WITH("X-A:", "1")}, "headers: invalid name"},
        {{.url = url, WITH("", "1")}, "headers: invalid name"},
        {{.url = url, WITH("Content-Length", "1")}, "headers: Content-Length cannot be set"},
        {{.url = url, WITH("TRANSFER-ENCODING", "x")}, "cannot be set"},
        {{.url = url, .headers = many, .header_count = COUNT(many)}, "headers: more than 100"},
        {{.url = url, .method = BH_SLICE("get")}, "method: only capital"},
        {{.url = url, .method = BH_SLICE("GET / HTTP/1.1\r\nX:")}, "method: only capital"},
        {{.url = url, .method = BH_SLICE("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}, "method: only capital"},
        {{.url = url, .method = BH_SLICE("CONNECT")}, "method: CONNECT"},
        {{.url = url, .method = BH_SLICE("HEAD"), .has_body = true}, "body: not allowed with HEAD"},
        {{.url = url, .method = BH_SLICE("PUT"), .redirects = 1}, "follow: only"},
        {{.url = url, .redirects = 11}, "follow: at most"},
        {{.url = url, .max_bytes = BH_FETCH_BYTES_MAX + 1}, "max_bytes: at most"},
        {{.url = BH_SLICE("ftp://127.0.0.1/")}, "URL: only http and https"},
        {{.url = BH_SLICE("file:///etc/passwd")}, "URL: "},
        {{.url = BH_SLICE("127.0.0.1/x")}, "URL: not an absolute"},
        {{.url = BH_SLICE("http://")}, "URL: not an absolute"},
        {{.url = get}, "URL: not an absolute"},
        {{.url = BH_SLICE("http://a b/")}, "URL: not an absolute"},
        {{.url = BH_SLICE("http://127.0.0.1/a b")}, "URL: not an absolute"},
        {{.url = BH_SLICE("http://127.0.0.1/\r\nX: y")}, "URL: control"},
        {{.url = BH_SLICE("http://127.0.0.1/\0")}, "URL: control"},
        {{.url = BH_SLICE("http://127.0.0.1:99999/")}, "URL: not an absolute"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned number = test_send_request(w, &cases[i].request);
        assert_int_equal(w->handles[number], 0);
        assert_int_equal(w->results[number].calls, 1); /* at once */
        assert_int_equal(w->results[number].error, BH_EINVAL);
        if (!strstr(w->results[number].why, cases[i].why))
            fail_msg("%zu: %s", i, w->results[number].why);
    }
    bh_loop_tick(w->loop, false);
    assert_int_equal(w->server.accepted, 0);
}

static void test_keep_alive(void **state) {
    struct test_env *w = *state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(FETCH(w, .url = test_plain(w, "/"))->status, 200);
    assert_int_equal(w->server.requests, 20);
    assert_int_equal(w->server.accepted, 1);
    /* a connection that the server has closed is not used, or the request is sent again */
    test_server_drop_all(&w->server);
    assert_int_equal(FETCH(w, .url = test_plain(w, "/"))->status, 200);
    assert_int_equal(w->server.accepted, 2);
}

/* --- redirects --- */

static struct bh_slice go_round(struct test_server *s, struct bh_slice request) {
    static char answer[256];
    const char *to = "/next";
    if (bh_slice_starts(request, BH_SLICE("GET /end ")))
        return BH_SLICE(OK_ANSWER);
    if (memmem(request.p, request.n, " /twice ", 8))
        to = "/end";
    if (memmem(request.p, request.n, " /ftp ", 6))
        to = "ftp://127.0.0.1/";
    if (memmem(request.p, request.n, " /nowhere ", 10))
        to = "http://u:secret@127.0.0.1:1/";
    int n = snprintf(
        answer, sizeof answer,
        "HTTP/1.1 302 Found\r\nLocation: %s\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\nhop", to);
    return bh_slice(answer, (size_t)n);
}

static void test_redirects(void **state) {
    struct test_env *w = *state;
    w->server.write = go_round;
    struct test_result *r = FETCH(w, .url = test_plain(w, "/twice"));
    assert_int_equal(r->status, 302);
    assert_slice(bh_bytes_slice(&r->body), "hop");
    assert_contains(r->headers.p, "location=/end\n");
    r = FETCH(w, .url = test_plain(w, "/twice"), .redirects = 1);
    assert_int_equal(r->status, 200);
    assert_slice(bh_bytes_slice(&r->body), "ok");
    assert_null(strstr(r->headers.p, "x-hop"));
    /* a POST becomes a GET without its body */
    r = FETCH(w, .url = test_plain(w, "/twice"), .redirects = 1, .has_body = true,
              .body = BH_SLICE("data"));
    assert_int_equal(r->status, 200);
    assert_int_equal(strncmp(last(w), "GET /end ", 9), 0);
    r = FETCH(w, .url = test_plain(w, "/for-ever"), .redirects = 3);
    assert_int_equal(r->error, BH_EPROTO);
    assert_string_equal(r->why, "too many redirects");
    r = FETCH(w, .url = test_plain(w, "/ftp"), .redirects = 3);
    assert_int_equal(r->error, BH_EPROTO);
    assert_contains(r->why, "other than http and https");
    r = FETCH(w, .url = test_plain(w, "/nowhere"), .redirects = 3);
    assert_int_equal(r->error, BH_EUNAVAIL);
    assert_string_equal(r->why, "could not connect to 127.0.0.1: Connection refused");
}

/* --- failures --- */

static void test_no_connection(void **state) {
    struct test_env *w = *state;
    struct test_result *r = FETCH(w, .url = BH_SLICE("http://127.0.0.1:1/"));
    assert_int_equal(r->error, BH_EUNAVAIL);
    assert_string_equal(r->why, "could not connect to 127.0.0.1: Connection refused");
    r = FETCH(w, .url = BH_SLICE("http://name.invalid/"));
    assert_int_equal(r->error, BH_EUNAVAIL);
    assert_string_equal(r->why, "could not resolve host name.invalid");
}

static void test_broken_answers(void **state) {
    struct test_env *w = *state;
    w->server.closes = true;
    w->server.answer = "";
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"));
    assert_int_equal(r->error, BH_EIO);
    assert_contains(r->why, "connection lost: ");
    w->server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour";
    r = FETCH(w, .url = test_plain(w, "/"));
    assert_int_equal(r->error, BH_EIO);
    w->server.answer = "this is no HTTP\r\n\r\n";
    r = FETCH(w, .url = test_plain(w, "/"));
    assert_true(r->error == BH_EPROTO || r->error == BH_EIO);
}

static void test_response_too_large(void **state) {
    struct test_env *w = *state;
    w->server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"), .max_bytes = 10);
    assert_int_equal(r->error, 0);
    r = FETCH(w, .url = test_plain(w, "/"), .max_bytes = 9);
    assert_int_equal(r->error, BH_ETOOBIG);
    assert_string_equal(r->why, "response too large");
    /* chunked, so the length is unknown */
    w->server.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n";
    r = FETCH(w, .url = test_plain(w, "/"), .max_bytes = 5);
    assert_int_equal(r->error, BH_ETOOBIG);
}

static struct bh_slice many_headers(struct test_server *s, struct bh_slice request) {
    static char answer[40000];
    size_t n = (size_t)snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 3000; i++)
        n += (size_t)snprintf(answer + n, sizeof answer - n, "a%d:\r\n", i);
    n += (size_t)snprintf(answer + n, sizeof answer - n, "\r\n");
    return bh_slice(answer, n);
}

static void test_headers_too_large(void **state) {
    struct test_env *w = *state;
    w->server.write = many_headers;
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"));
    assert_int_equal(r->error, BH_ETOOBIG);
    assert_contains(r->why, "headers");
}

static void test_no_memory_for_the_body(void **state) {
    struct test_env *w = *state;
    bh_mem_fail_nth(1);
    struct test_result *r = FETCH(w, .url = test_plain(w, "/"));
    bh_mem_fail_nth(0);
    assert_int_equal(r->error, BH_ENOMEM);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_get),
        TEST(test_post),
        TEST(test_methods),
        TEST(test_head),
        TEST(test_bodies_of_other_forms),
        TEST(test_headers),
        TEST(test_what_is_refused),
        TEST(test_keep_alive),
        TEST(test_redirects),
        TEST(test_no_connection),
        TEST(test_broken_answers),
        TEST(test_response_too_large),
        TEST(test_headers_too_large),
        TEST(test_no_memory_for_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
