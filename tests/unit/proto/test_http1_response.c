/* Answers, byte for byte. */
#include "bellhop/base/error.h"
#include "bellhop/proto/http1.h"
#include "proto_test.h"

#define H(n, v)                                                                                    \
    {                                                                                              \
        {n, sizeof(n) - 1}, {                                                                      \
            v, sizeof(v) - 1                                                                       \
        }                                                                                          \
    }

/* RFC 9110's own example of a date. */
#define WALL_MS 784111777000
#define DATE    "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

static void an_answer_with_everything(void **state) {
    static const struct bh_header headers[] = {H("X-One", "1"), H("Empty", "")};
    struct bh_bytes out = {0};
    bh_bytes_adds(&out, "before|");
    assert_int_equal(bh_http_response(&out, 200, "text/plain", headers, COUNT(headers),
                                      BH_SLICE("hello"), true, false, WALL_MS),
                     0);
    assert_bytes(&out, "before|HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\n"
                       "X-One: 1\r\nEmpty: \r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"
                       "hello");
    bh_bytes_free(&out);
}

static void an_answer_with_nothing(void **state) {
    struct bh_bytes out = {0};
    assert_int_equal(
        bh_http_response(&out, 404, NULL, NULL, 0, bh_slice(NULL, 0), false, false, WALL_MS), 0);
    assert_bytes(&out, "HTTP/1.1 404 Not Found\r\n" DATE
                       "Content-Length: 0\r\nConnection: close\r\n\r\n");
    bh_bytes_free(&out);
}

static void a_head_request_gets_the_length_alone(void **state) {
    struct bh_bytes out = {0};
    assert_int_equal(
        bh_http_response(&out, 200, "text/plain", NULL, 0, BH_SLICE("hello"), true, true, WALL_MS),
        0);
    assert_bytes(&out, "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\n"
                       "Content-Length: 5\r\nConnection: keep-alive\r\n\r\n");
    bh_bytes_free(&out);
}

static void an_upgrade_that_is_required_is_named(void **state) {
    struct bh_bytes out = {0};
    bh_http_response(&out, 426, NULL, NULL, 0, BH_SLICE(""), true, false, WALL_MS);
    assert_bytes(&out, "HTTP/1.1 426 Upgrade Required\r\n" DATE
                       "Content-Length: 0\r\nUpgrade: websocket\r\n"
                       "Connection: upgrade, keep-alive\r\n\r\n");
    bh_bytes_free(&out);
}

static void answers_without_a_body(void **state) {
    struct bh_bytes out = {0};
    bh_http_response(&out, 204, "text/plain", NULL, 0, BH_SLICE("x"), true, false, WALL_MS);
    assert_bytes(&out, "HTTP/1.1 204 No Content\r\n" DATE "Connection: keep-alive\r\n\r\n");
    bh_bytes_clear(&out);
    bh_http_response(&out, 304, NULL, NULL, 0, BH_SLICE("x"), false, false, WALL_MS);
    assert_bytes(&out, "HTTP/1.1 304 Not Modified\r\n" DATE "Connection: close\r\n\r\n");
    bh_bytes_clear(&out);
    bh_http_response(&out, 100, NULL, NULL, 0, BH_SLICE("x"), true, false, WALL_MS);
    assert_bytes(&out, "HTTP/1.1 100 Continue\r\n\r\n");
    bh_bytes_free(&out);
}

static void dates(void **state) {
    static const struct {
        int64_t wall_ms;
        const char *text;
    } vectors[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {999, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {1000, "Thu, 01 Jan 1970 00:00:01 GMT"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {1735689599999, "Tue, 31 Dec 2024 23:59:59 GMT"},
        {1735689600000, "Wed, 01 Jan 2025 00:00:00 GMT"},
        {4102444799000, "Thu, 31 Dec 2099 23:59:59 GMT"},
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
    };
    for (size_t i = 0; i < COUNT(vectors); i++) {
        struct bh_bytes out = {0};
        bh_http_response(&out, 200, NULL, NULL, 0, bh_slice(NULL, 0), true, false,
                         vectors[i].wall_ms);
        bh_bytes_addc(&out, '\0');
        const char *date = strstr(out.p, "Date: ");
        assert_non_null(date);
        assert_memory_equal(date + 6, vectors[i].text, strlen(vectors[i].text));
        assert_memory_equal(date + 6 + strlen(vectors[i].text), "\r\n", 2);
        bh_bytes_free(&out);
    }
}

static void assert_refused(int status, const char *type, struct bh_header header) {
    struct bh_bytes out = {0};
    assert_int_equal(
        bh_http_response(&out, status, type, &header, 1, BH_SLICE("body"), true, false, WALL_MS),
        BH_EINVAL);
    assert_int_equal(out.len, 0);
    bh_bytes_free(&out);
}

static void headers_that_must_not_be_sent(void **state) {
    static const struct bh_header bad[] = {
        H("A", "b\r\nc: d"),
        H("A", "b\n"),
        H("A", "b\0"),
        H("A", "\x7f"),
        H("A\r\nB", "c"),
        H("A:", "b"),
        H("A b", "c"),
        H("", "b"),
        H("content-length", "1"),
        H("Transfer-Encoding", "chunked"),
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_refused(200, NULL, bad[i]);
    static const struct bh_header good = H("A", "tab\t\xc3\xa4");
    assert_refused(200, "text/plain\r\nA: b", good);
    assert_refused(99, NULL, good);
    assert_refused(600, NULL, good);
    struct bh_bytes out = {0};
    assert_int_equal(
        bh_http_response(&out, 200, NULL, &good, 1, BH_SLICE(""), true, false, WALL_MS), 0);
    bh_bytes_free(&out);
}

static void the_head_of_a_stream(void **state) {
    static const struct bh_header header = H("X-One", "1"), bad = H("X-One", "a\nb"),
                                  length = H("Content-Length", "3");
    struct bh_slice type = BH_SLICE("text/event-stream");
    struct bh_bytes out = {0};
    assert_int_equal(bh_http_stream_head(&out, type, &bad, 1, WALL_MS), BH_EINVAL);
    assert_int_equal(bh_http_stream_head(&out, type, &length, 1, WALL_MS), BH_EINVAL);
    assert_int_equal(out.len, 0);
    assert_int_equal(bh_http_stream_head(&out, type, &header, 1, WALL_MS), 0);
    assert_bytes(&out, "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/event-stream\r\n"
                       "X-One: 1\r\nConnection: close\r\n\r\n");
    bh_bytes_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_with_everything),
        cmocka_unit_test(an_answer_with_nothing),
        cmocka_unit_test(a_head_request_gets_the_length_alone),
        cmocka_unit_test(an_upgrade_that_is_required_is_named),
        cmocka_unit_test(answers_without_a_body),
        cmocka_unit_test(dates),
        cmocka_unit_test(headers_that_must_not_be_sent),
        cmocka_unit_test(the_head_of_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
