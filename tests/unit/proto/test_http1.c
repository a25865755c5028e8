/* Request heads and counted bodies: valid ones, and each error with its status; every vector whole,
 * byte by byte, and cut at random. */
#include "http1_test.h"

#include "bellhop/base/mem.h"

#define EXPECT(...)                                                                                \
    do {                                                                                           \
        static const struct http_vector vectors[] = {__VA_ARGS__};                                 \
        http_expect_all(vectors, COUNT(vectors));                                                  \
    } while (0)

static void simple_requests(void **state) {
    EXPECT(
        HTTP("GET /ws?user=42&x= HTTP/1.1\r\nHost: a.example:8080\r\n\r\n",
             "GET /ws?user=42&x= 1.1 a.example:8080 K {}|"),
        HTTP("GET / HTTP/1.1\r\nHost: [::1]:80\r\nA:\r\nB: \r\n\r\n", "GET / 1.1 [::1]:80 K {}|"),
        HTTP("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1  K {}|"),
        HTTP("HEAD /a%20b/../c;d HTTP/1.1\r\nhost:h\r\n\r\n", "HEAD /a%20b/../c;d 1.1 h K {}|"),
        HTTP("GET /?a?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?a?b 1.1 h K {}|"),
        HTTP("GET /? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /? 1.1 h K {}|"),
        HTTP("DELETE /x HTTP/1.1\r\nHost: h\r\nX: \xc3\xa4\t.\r\n\r\n", "DELETE /x 1.1 h K {}|"),
        HTTP("M-SEARCH /x HTTP/1.1\r\nHost: h\r\n\r\n", "M-SEARCH /x 1.1 h K {}|"),
        HTTP("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * 1.1 h K {}|"));
}

static void header_values_are_trimmed(void **state) {
    struct bh_slice in = BH_SLICE(GET("X-One: \t one two \t \r\nEmpty:\r\nx-one: again\r\n\r\n"));
    for (int cut = 0; cut < 2; cut++) {
        struct bh_http1 *h = bh_http1_new(&http_roomy);
        enum bh_http1_event event = BH_HTTP1_MORE;
        for (size_t i = 0, n; i < in.n; i += n) {
            size_t used;
            n = test_cut(cut, in.n - i);
            event = bh_http1_feed(h, bh_slice(in.p + i, n), &used);
        }
        assert_int_equal(event, BH_HTTP1_REQUEST);
        const struct bh_http_request *q = bh_http1_request(h);
        assert_int_equal(q->header_count, 4);
        assert_slice(q->target, "/");
        assert_slice(q->headers[0].name, "Host");
        assert_slice(q->headers[1].name, "X-One");
        assert_slice(q->headers[1].value, "one two");
        assert_slice(q->headers[2].name, "Empty");
        assert_slice(q->headers[2].value, "");
        assert_non_null(q->headers[2].value.p);
        assert_slice(q->headers[3].value, "again");
        assert_null(q->query.p);
        assert_int_equal(q->body.n, 0);
        bh_http1_free(h);
    }
}

static void targets_in_absolute_form(void **state) {
    EXPECT(HTTP("GET http://other:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n", "GET /p?q 1.1 other:1 K {}|"),
           HTTP("GET WS://other/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 other K {}|"),
           HTTP("GET https://other HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 other K {}|"),
           HTTP("GET http://other/ HTTP/1.1\r\n\r\n", "error 400|"),
           HTTP("GET http://other?q HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET http:///p HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET http://me@other/p HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET http:/other/p HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET ftp://other/p HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"));
}

static void bad_targets(void **state) {
    EXPECT(HTTP("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET /?a#b HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET a HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET * HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("OPTIONS *a HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"),
           HTTP("GET ? HTTP/1.1\r\nHost: h\r\n\r\n", "error 400|"));
}

static void bad_request_lines(void **state) {
    EXPECT(HTTP("GET /\r\n\r\n", "error 400|"), HTTP("GET\r\n\r\n", "error 400|"),
           HTTP("GET  / HTTP/1.1\r\n\r\n", "error 400|"),
           HTTP("GET /  HTTP/1.1\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/1.1 \r\n\r\n", "error 400|"),
           HTTP(" GET / HTTP/1.1\r\n\r\n", "error 400|"),
           HTTP("GET / a HTTP/1.1\r\n\r\n", "error 400|"),
           HTTP("GET / HTXP/1.1\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/11\r\n\r\n", "error 400|"),
           HTTP("GET / http/1.1\r\n\r\n", "error 400|"),
           HTTP("SOURCE / ICE/1.0\r\n\r\n", "error 400|"),
           HTTP("G@T / HTTP/1.1\r\n\r\n", "error 400|"),
           HTTP("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "error 400|"),
           HTTP("hello\r\n", "error 400|"));
}

static void methods(void **state) {
    EXPECT(HTTP("BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"),
           HTTP("GETX / HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"),
           HTTP("GE / HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"),
           HTTP("get / HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"),
           HTTP("!odd / HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"),
           HTTP("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"),
           HTTP("CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n", "error 501|"));
}

static void connect_is_checked_and_not_served(void **state) {
#define CONNECT(target) "CONNECT " target " HTTP/1.1\r\nHost: h\r\n\r\n"
    EXPECT(
        HTTP(CONNECT("h"), "error 501|"), HTTP(CONNECT("[::1]:80"), "error 501|"),
        HTTP(CONNECT("me@h:80"), "error 501|"), HTTP(CONNECT("@a@b@"), "error 501|"),
        HTTP(CONNECT("h/#x"), "error 501|"), HTTP(CONNECT("h?#|"), "error 501|"),
        HTTP(CONNECT("?"), "error 501|"), HTTP(CONNECT("http://h/"), "error 501|"),
        HTTP(CONNECT("h#x"), "error 400|"), HTTP(CONNECT("me@@h"), "error 400|"),
        HTTP(CONNECT("@@"), "error 400|"), HTTP(CONNECT("a|b"), "error 400|"),
        HTTP("CONNECT h HTTP/1.1\r\n\r\n", "error 501|"),
        HTTP("CONNECT h HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", "error 501|"),
        HTTP("CONNECT h HTTP/1.1\r\nContent-Length: x\r\n\r\n", "error 400|"),
        HTTP("CONNECT h HTTP/1.1\r\nContent-Length:\r\n\r\n", "error 400|"),
        HTTP("CONNECT h HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "error 400|"));
#undef CONNECT
}

static void versions(void **state) {
    EXPECT(HTTP("GET / HTTP/1.0\r\n\r\n", "GET / 1.0   {}|"),
           HTTP("GET / HTTP/1.2\r\nHost: h\r\n\r\n", "error 505|"),
           HTTP("GET / HTTP/2.0\r\nHost: h\r\n\r\n", "error 505|"),
           HTTP("GET / HTTP/0.9\r\nHost: h\r\n\r\n", "error 505|"),
           HTTP("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "error 505|"));
}

static void hosts(void **state) {
    EXPECT(HTTP("GET / HTTP/1.1\r\n\r\n", "error 400|"), HTTP(GET("Host: h\r\n\r\n"), "error 400|"),
           HTTP(GET("host: i\r\n\r\n"), "error 400|"),
           HTTP("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/1.1\r\nHost: me@a\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", "error 400|"),
           HTTP("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / 1.0 a  {}|"));
}

static void one_origin(void **state) {
    EXPECT(HTTP(GET("Origin: http://a\r\nOrigin: http://b\r\n\r\n"), "error 400|"),
           HTTP(GET("Origin: http://a\r\nX: y\r\norigin: http://a\r\n\r\n"), "error 400|"),
           HTTP(GET("Origin:\r\nOrigin: null\r\n\r\n"), "error 400|"));
}

static void keep_alive(void **state) {
    EXPECT(HTTP(GET("Connection: close\r\n\r\n"), "GET / 1.1 h  {}|"),
           HTTP(GET("Connection: foo, CLOSE\r\n\r\n"), "GET / 1.1 h  {}|"),
           HTTP(GET("Connection: foo\r\nConnection: close\r\n\r\n"), "GET / 1.1 h  {}|"),
           HTTP(GET("Connection: closed\r\n\r\n"), "GET / 1.1 h K {}|"),
           HTTP("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / 1.0  K {}|"),
           HTTP("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET / 1.0   {}|"));
}

static void upgrades(void **state) {
    EXPECT(
        HTTP(GET("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"),
             "GET / 1.1 h KU {}|"),
        HTTP(GET("Connection: upgrade\r\nUpgrade: h2c, websocket\r\n\r\n"), "GET / 1.1 h KU {}|"),
        HTTP(GET("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"),
             "GET / 1.1 h KU {}|"),
        HTTP(GET("Upgrade: websocket\r\n\r\n"), "GET / 1.1 h K {}|"),
        HTTP(GET("Connection: upgrade\r\n\r\n"), "GET / 1.1 h K {}|"),
        HTTP("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
             "GET / 1.0   {}|"),
        HTTP(POST("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
                  "Content-Length: 4\r\n\r\nbody") GET("\r\n"),
             "POST / 1.1 h K {body}|GET / 1.1 h K {}|"),
        HTTP(GET("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody"),
             "GET / 1.1 h K {body}|"),
        HTTP(GET("Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "0\r\n\r\n"),
             "GET / 1.1 h K {}|"));
}

/* The first frame may lie in the same bytes as the handshake. */
static void an_upgrade_takes_just_its_head(void **state) {
    struct bh_slice in = BH_SLICE(GET("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80"));
    struct bh_http1 *h = bh_http1_new(&http_roomy);
    size_t used;
    assert_int_equal(bh_http1_feed(h, in, &used), BH_HTTP1_REQUEST);
    assert_true(bh_http1_request(h)->upgrade);
    assert_int_equal(used, in.n - 2);
    bh_http1_free(h);
}

static void expectations(void **state) {
    EXPECT(HTTP(POST("Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
                "continue|POST / 1.1 h KE {abc}|"),
           HTTP(POST("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                "continue|POST / 1.1 h KE {}|"),
           HTTP(POST("Expect: 100-continue\r\n\r\n"), "POST / 1.1 h K {}|"),
           HTTP(POST("Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"), "POST / 1.1 h K {}|"),
           HTTP(POST("Expect: miracles\r\nContent-Length: 1\r\n\r\na"), "POST / 1.1 h K {a}|"),
           HTTP("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
                "POST / 1.0   {a}|"),
           HTTP(POST("Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"), "error 413|"));
}

static void counted_bodies_and_pipelines(void **state) {
    EXPECT(HTTP(POST("Content-Length: 5\r\n\r\nhello") GET("\r\n") POST("Content-Length: 0\r\n\r\n")
                    POST("\r\n"),
                "POST / 1.1 h K {hello}|GET / 1.1 h K {}|POST / 1.1 h K {}|POST / 1.1 h K {}|"),
           HTTP(POST("Content-Length: 005 \r\n\r\n\r\n\r\nx") GET("\r\n"),
                "POST / 1.1 h K {\r\n\r\nx}|GET / 1.1 h K {}|"),
           HTTP(GET("Content-Length: 2\r\n\r\nhi"), "GET / 1.1 h K {hi}|"),
           HTTP(POST("Content-Length: 5\r\n\r\nhell"), ""));
}

static void blank_lines_before_a_request(void **state) {
    EXPECT(HTTP("\r\n" GET("\r\n") "\r\n\r\n" GET("\r\n"), "GET / 1.1 h K {}|GET / 1.1 h K {}|"),
           HTTP("\r\n\r\n\r\n\r\n" GET("\r\n"), "GET / 1.1 h K {}|"),
           HTTP("\r\n\r\n\r\n\r\n\r\n", "error 400|"), HTTP("\n" GET("\r\n"), "error 400|"));
}

static void lengths_that_smuggle(void **state) {
    EXPECT(HTTP(POST("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                "error 400|"),
           HTTP(POST("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
                "error 400|"),
           HTTP(POST("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: 3, 3\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: +3\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: -3\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: 0x3\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: 3 3\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length:\r\n\r\n"), "error 400|"),
           HTTP(POST("Content-Length: \r\n\r\n"), "error 400|"),
           HTTP(POST("Content-Length: 18446744073709551616\r\n\r\n"), "error 400|"),
           HTTP(POST("Content-Length: 18446744073709551619\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: 18446744073709551610\r\n\r\n"), "error 400|"),
           HTTP(POST("Content-Length: 18446744073709551609\r\n\r\n"), "error 413|"),
           HTTP(POST("Content-Length: 99999999999999999999999999\r\n\r\n"), "error 400|"),
           HTTP(POST("Content-Length: 3\t\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length: 3 \t\r\n\r\nabc"), "error 400|"),
           HTTP(POST("Content-Length:\t 003  \r\n\r\nabc"), "POST / 1.1 h K {abc}|"),
           HTTP(POST("Content-Length: 1000000000000000000\r\n\r\n"), "error 413|"),
           HTTP("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "error 400|"));
}

static void codings_that_smuggle(void **state) {
#define CODED(value) POST("Transfer-Encoding: " value "\r\n\r\n0\r\n\r\n")
    EXPECT(HTTP(CODED("chunked"), "POST / 1.1 h K {}|"),
           HTTP(CODED("cHuNkEd \t"), "POST / 1.1 h K {}|"),
           HTTP(POST("transfer-encoding:chunked\r\n\r\n0\r\n\r\n"), "POST / 1.1 h K {}|"),
           HTTP(CODED("chunked, identity"), "error 400|"),
           HTTP(CODED("chunked, chunked"), "error 400|"),
           HTTP(CODED("chunked\r\nTransfer-Encoding: chunked"), "error 400|"),
           HTTP(CODED("chunked\r\nTransfer-Encoding: identity"), "error 400|"),
           HTTP(CODED("identity\r\nTransfer-Encoding: chunked"), "error 501|"),
           HTTP(CODED("gzip, chunked"), "error 501|"), HTTP(CODED("identity"), "error 501|"),
           HTTP(CODED("xchunked"), "error 501|"), HTTP(CODED("chunked;q=1"), "error 501|"),
           HTTP(CODED("\"chunked\""), "error 501|"), HTTP(CODED(""), "error 400|"),
           HTTP(CODED(","), "error 400|"),
           HTTP(CODED("\x0b"
                      "chunked"),
                "error 400|"),
           HTTP(POST("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), "error 400|"),
           HTTP(POST(" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "error 400|"),
           HTTP(POST("X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n"), "error 400|"),
           HTTP(POST("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), "error 400|"),
           HTTP(POST("Transfer_Encoding: chunked\r\n\r\n"), "POST / 1.1 h K {}|"));
}

static void header_lines_that_smuggle(void **state) {
    EXPECT(HTTP(GET("A : b\r\n\r\n"), "error 400|"), HTTP(GET("A b: c\r\n\r\n"), "error 400|"),
           HTTP(GET(": b\r\n\r\n"), "error 400|"), HTTP(GET("A\r\n\r\n"), "error 400|"),
           HTTP(GET("A(b): c\r\n\r\n"), "error 400|"),
           HTTP(GET("\xc3\xa4: c\r\n\r\n"), "error 400|"),
           HTTP(GET("A: b\r\n c\r\n\r\n"), "error 400|"),
           HTTP("GET / HTTP/1.1\r\n Host: h\r\n\r\n", "error 400|"),
           HTTP(GET("A: b\n\r\n"), "error 400|"), HTTP(GET("A: b\r\n\n"), "error 400|"),
           HTTP("GET / HTTP/1.1\nHost: h\n\n", "error 400|"),
           HTTP(GET("A: b\rc: d\r\n\r\n"), "error 400|"), HTTP(GET("A: b\r\r\n\r\n"), "error 400|"),
           HTTP(GET("A: b\r\n\r\r\n"), "error 400|"), HTTP(GET("A: b\0c\r\n\r\n"), "error 400|"),
           HTTP(GET("A\0: b\r\n\r\n"), "error 400|"), HTTP(GET("A: b\x1b\r\n\r\n"), "error 400|"),
           HTTP(GET("A: b\x7f\r\n\r\n"), "error 400|"), HTTP("GET /\0 HTTP/1.1\r\n", "error 400|"));
}

/* --- limits --- */

static const struct bh_http_limits tight = {.head_bytes = 64, .header_count = 3, .body_bytes = 10};

static void long_heads(void **state) {
    struct bh_bytes in = {0};
    bh_bytes_adds(&in, "GET /");
    test_repeat(&in, 'a', 64);
    http_expect_within(bh_bytes_slice(&in), &tight, "error 414|");
    bh_bytes_clear(&in);
    bh_bytes_adds(&in, GET("A: "));
    test_repeat(&in, 'a', 64 - strlen(GET("A: ") "\r\n\r\n"));
    bh_bytes_adds(&in, "\r\n\r\n");
    assert_int_equal(in.len, 64);
    http_expect_within(bh_bytes_slice(&in), &tight, "GET / 1.1 h K {}|");
    bh_bytes_clear(&in);
    bh_bytes_adds(&in, GET("A: "));
    test_repeat(&in, 'a', 100);
    http_expect_within(bh_bytes_slice(&in), &tight, "error 431|");
    bh_bytes_free(&in);
}

/* The first error decides, whatever follows. */
static void long_lines_with_control_characters(void **state) {
    struct bh_bytes in = {0};
    bh_bytes_adds(&in, "GET /");
    test_repeat(&in, 'a', 100);
    in.p[64] = '\1';
    http_expect_within(bh_bytes_slice(&in), &tight, "error 400|");
    in.p[64] = 'a';
    in.p[65] = '\1';
    http_expect_within(bh_bytes_slice(&in), &tight, "error 414|");
    bh_bytes_free(&in);
}

static void many_headers(void **state) {
    http_expect_within(BH_SLICE(GET("A: 1\r\nB: 2\r\n\r\n")), &tight, "GET / 1.1 h K {}|");
    http_expect_within(BH_SLICE(GET("A: 1\r\nB: 2\r\nC: 3\r\n\r\n")), &tight, "error 431|");
}

/* Larger than the defaults of other parsers. */
static void a_limit_above_the_librarys(void **state) {
    const struct bh_http_limits wide = {.head_bytes = 300000, .header_count = 5, .body_bytes = 1};
    struct bh_bytes in = {0}, transcript = {0};
    bh_bytes_adds(&in, GET("A: "));
    test_repeat(&in, 'a', 200000);
    bh_bytes_adds(&in, "\r\n\r\n");
    http_feed(bh_bytes_slice(&in), &wide, 0, &transcript);
    assert_bytes(&transcript, "GET / 1.1 h K {}|");
    bh_bytes_free(&in);
    bh_bytes_free(&transcript);
}

static void large_bodies(void **state) {
    http_expect_within(BH_SLICE(POST("Content-Length: 10\r\n\r\n0123456789")), &tight,
                       "POST / 1.1 h K {0123456789}|");
    http_expect_within(BH_SLICE(POST("Content-Length: 11\r\n\r\n")), &tight, "error 413|");
}

/* --- life --- */

static void an_error_is_final(void **state) {
    struct bh_http1 *h = bh_http1_new(&http_roomy);
    size_t used;
    assert_int_equal(bh_http1_feed(h, BH_SLICE("nonsense\r\n"), &used), BH_HTTP1_ERROR);
    assert_int_equal(bh_http1_feed(h, BH_SLICE(GET("\r\n")), &used), BH_HTTP1_ERROR);
    assert_int_equal(used, 0);
    bh_http1_free(h);
    bh_http1_free(NULL);
}

#define DISCARD(rest) "PUT /discard HTTP/1.1\r\nHost: h\r\n" rest

static void a_body_is_discarded(void **state) {
    EXPECT(HTTP(DISCARD("Content-Length: 3\r\n\r\nabc") GET("\r\n"),
                "head|discarded|GET / 1.1 h K {}|"),
           HTTP(DISCARD("Content-Length: 40\r\n\r\n0123456789012345678901234567890123456789")
                    GET("\r\n"),
                "head|discarded|GET / 1.1 h K {}|"),
           HTTP(DISCARD("Expect: 100-continue\r\nContent-Length: 1\r\n\r\na"), "head|discarded|"),
           HTTP(DISCARD("Content-Length: 26\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r") GET("\r\n"),
                "head|discarded|GET / 1.1 h K {}|"),
           HTTP(DISCARD("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
                    GET("\r\n"),
                "head|discarded|GET / 1.1 h K {}|"),
           HTTP(DISCARD("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n"), "head|error 400|"));
}

static void a_body_that_is_too_large_to_be_discarded(void **state) {
    EXPECT(HTTP(DISCARD("Content-Length: 41\r\n\r\n01234567890123456789012345678901234567890"),
                "head|error 413|"),
           HTTP(DISCARD("Transfer-Encoding: chunked\r\n\r\n"
                        "a\r\n0123456789\r\na\r\n0123456789\r\na\r\n0123456789\r\n"),
                "head|error 413|"));
}

static void a_request_waits_for_its_reset(void **state) {
    struct bh_http1 *h = bh_http1_new(&http_roomy);
    size_t used;
    assert_true(bh_http1_idle(h));
    assert_int_equal(bh_http1_feed(h, bh_slice(NULL, 0), &used), BH_HTTP1_MORE);
    assert_int_equal(bh_http1_feed(h, BH_SLICE("\r\n"), &used), BH_HTTP1_MORE);
    assert_true(bh_http1_idle(h));
    assert_int_equal(bh_http1_feed(h, BH_SLICE("G"), &used), BH_HTTP1_MORE);
    assert_false(bh_http1_idle(h));
    assert_true(bh_http1_held(h) > 0);
    struct bh_slice rest = BH_SLICE("ET / HTTP/1.0\r\n\r\nGET");
    assert_int_equal(bh_http1_feed(h, rest, &used), BH_HTTP1_REQUEST);
    assert_int_equal(used, rest.n - 3);
    assert_false(bh_http1_idle(h));
    assert_int_equal(bh_http1_feed(h, BH_SLICE("GET"), &used), BH_HTTP1_REQUEST);
    assert_int_equal(used, 0);
    bh_http1_reset(h);
    assert_true(bh_http1_idle(h));
    assert_int_equal(bh_http1_held(h), 0);
    bh_http1_free(h);
}

static void without_memory(void **state) {
    struct bh_bytes in = {0};
    bh_bytes_adds(&in, GET("Content-Length: 3000\r\nA: "));
    test_repeat(&in, 'a', 3000);
    bh_bytes_adds(&in, "\r\n\r\n");
    test_repeat(&in, 'b', 3000);
    bool refused = true;
    for (unsigned nth = 1; refused; nth++) {
        struct bh_bytes transcript = {0};
        bh_mem_fail_nth(nth);
        http_feed(bh_bytes_slice(&in), &http_roomy, 2, &transcript);
        bh_mem_fail_nth(0);
        refused = bh_slice_eq(bh_bytes_slice(&transcript), BH_SLICE("error 503|"));
        assert_true(refused || (nth > 2 && transcript.len > 3000));
        bh_bytes_free(&transcript);
    }
    bh_bytes_free(&in);
}

/* Mutations of a valid pipeline: any result, but the same for every cut. */
static void mutated_requests_read_alike_however_cut(void **state) {
    static const char good[] =
        GET("Connection: close\r\nX: y\r\n\r\n") POST("Content-Length: 4\r\n\r\nbody")
            POST("Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n"
                 "0\r\nT: u\r\n\r\n") "\r\n" GET("\r\n");
    for (int round = 0; round < 3000; round++) {
        struct bh_bytes transcript[3] = {{0}};
        char in[sizeof good];
        memcpy(in, good, sizeof good);
        for (unsigned flips = test_random() % 4; flips; flips--)
            in[test_random() % (sizeof good - 1)] ^= (char)(1 << test_random() % 8);
        for (int cut = 0; cut < 3; cut++)
            http_feed(bh_slice(in, sizeof good - 1), &http_roomy, cut, &transcript[cut]);
        for (int cut = 1; cut < 3; cut++)
            if (!bh_slice_eq(bh_bytes_slice(&transcript[0]), bh_bytes_slice(&transcript[cut])))
                fail_msg("%.*s\nwhole: %.*s\ncut: %.*s", (int)sizeof good - 1, in,
                         (int)transcript[0].len, transcript[0].p, (int)transcript[cut].len,
                         transcript[cut].p);
        for (int cut = 0; cut < 3; cut++)
            bh_bytes_free(&transcript[cut]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_requests),
        cmocka_unit_test(header_values_are_trimmed),
        cmocka_unit_test(targets_in_absolute_form),
        cmocka_unit_test(bad_targets),
        cmocka_unit_test(bad_request_lines),
        cmocka_unit_test(methods),
        cmocka_unit_test(connect_is_checked_and_not_served),
        cmocka_unit_test(versions),
        cmocka_unit_test(hosts),
        cmocka_unit_test(one_origin),
        cmocka_unit_test(keep_alive),
        cmocka_unit_test(upgrades),
        cmocka_unit_test(an_upgrade_takes_just_its_head),
        cmocka_unit_test(expectations),
        cmocka_unit_test(counted_bodies_and_pipelines),
        cmocka_unit_test(blank_lines_before_a_request),
        cmocka_unit_test(lengths_that_smuggle),
        cmocka_unit_test(codings_that_smuggle),
        cmocka_unit_test(header_lines_that_smuggle),
        cmocka_unit_test(long_heads),
        cmocka_unit_test(long_lines_with_control_characters),
        cmocka_unit_test(many_headers),
        cmocka_unit_test(a_limit_above_the_librarys),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(an_error_is_final),
        cmocka_unit_test(a_body_is_discarded),
        cmocka_unit_test(a_body_that_is_too_large_to_be_discarded),
        cmocka_unit_test(a_request_waits_for_its_reset),
        cmocka_unit_test(without_memory),
        cmocka_unit_test(mutated_requests_read_alike_however_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
