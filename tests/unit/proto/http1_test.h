/* Feeding bytes to a bh_http1 and writing down what came of them. A request is told as
 * "METHOD path?query 1.minor host flags {body}|" with the flags K(eep-alive), U(pgrade),
 * E(xpect), an interim event as "continue|", an error as "error STATUS|". */
#ifndef BELLHOP_TESTS_UNIT_PROTO_HTTP1_TEST_H
#define BELLHOP_TESTS_UNIT_PROTO_HTTP1_TEST_H

#include "bellhop/proto/http1.h"
#include "proto_test.h"

static const struct bh_http_limits http_roomy = {
    .head_bytes = 16384, .header_count = 100, .body_bytes = 1 << 20};

static inline void http_tell(struct bh_bytes *to, const struct bh_http_request *q) {
    struct bh_slice method = q->method, path = q->path, query = q->query, host = q->host;
    bh_bytes_addf(to, "%.*s %.*s", BH_SLICE_ARG(method), BH_SLICE_ARG(path));
    if (query.p)
        bh_bytes_addf(to, "?%.*s", BH_SLICE_ARG(query));
    bh_bytes_addf(to, " 1.%d %.*s ", q->minor, BH_SLICE_ARG(host));
    bh_bytes_addf(to, "%s%s%s {", q->keep_alive ? "K" : "", q->upgrade ? "U" : "",
                  q->expect_continue ? "E" : "");
    bh_bytes_add(to, q->body);
    bh_bytes_adds(to, "}|");
}

/* Feeds one piece, however many requests it holds; false after an error. */
static inline bool http_feed_piece(struct bh_http1 *h, struct bh_slice piece,
                                   struct bh_bytes *told) {
    while (piece.n) {
        size_t used = 0;
        char *copy = test_exact(piece.p, piece.n);
        enum bh_http1_event event = bh_http1_feed(h, bh_slice(copy, piece.n), &used);
        free(copy);
        assert_true(used <= piece.n);
        piece = bh_slice(piece.p + used, piece.n - used);
        int status;
        const char *why;
        switch (event) {
        case BH_HTTP1_MORE:
            assert_int_equal(piece.n, 0);
            break;
        case BH_HTTP1_CONTINUE:
            bh_bytes_adds(told, "continue|");
            break;
        case BH_HTTP1_REQUEST:
            http_tell(told, bh_http1_request(h));
            bh_http1_reset(h);
            assert_true(bh_http1_idle(h));
            break;
        case BH_HTTP1_ERROR:
            bh_http1_error(h, &status, &why);
            assert_true(why && strlen(why) > 5);
            bh_bytes_addf(told, "error %d|", status);
            return false;
        }
    }
    return true;
}

static inline void http_feed(struct bh_slice in, const struct bh_http_limits *limits, int cut,
                             struct bh_bytes *told) {
    struct bh_http1 *h = bh_http1_new(limits);
    bool more = true;
    while (more && in.n) {
        size_t n = test_cut(cut, in.n);
        more = http_feed_piece(h, bh_slice(in.p, n), told);
        in = bh_slice(in.p + n, in.n - n);
    }
    bh_http1_free(h);
}

static inline void http_expect_within(struct bh_slice in, const struct bh_http_limits *limits,
                                      const char *expected) {
    for (int cut = 0; cut < CUTS; cut++) {
        struct bh_bytes told = {0};
        http_feed(in, limits, cut, &told);
        assert_bytes(&told, expected);
        bh_bytes_free(&told);
    }
}

struct http_vector {
    struct bh_slice in;
    const char *expected;
};

/* {bytes, transcript} */
#define HTTP(in, expected)                                                                         \
    { {"" in, sizeof(in) - 1}, expected }

static inline void http_expect_all(const struct http_vector *vectors, size_t n) {
    for (size_t i = 0; i < n; i++)
        http_expect_within(vectors[i].in, &http_roomy, vectors[i].expected);
}

#define GET(rest)  "GET / HTTP/1.1\r\nHost: h\r\n" rest
#define POST(rest) "POST / HTTP/1.1\r\nHost: h\r\n" rest

#endif
