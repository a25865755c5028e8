#include "http1_test.h"

const struct bh_http_limits http_roomy = {
    .head_bytes = 16384, .header_count = 100, .body_bytes = 1 << 20};

static void add_request(struct bh_bytes *to, const struct bh_http_request *q) {
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

static bool add_error(const struct bh_http1 *h, struct bh_bytes *to) {
    int status;
    const char *why;
    bh_http1_error(h, &status, &why);
    assert_true(why && strlen(why) > 5);
    bh_bytes_addf(to, "error %d|", status);
    return false;
}

/* False after an error. */
static bool on_head(struct bh_http1 *h, struct bh_bytes *to) {
    const struct bh_http_request *q = bh_http1_request(h);
    size_t used;
    assert_true(q->has_body);
    assert_int_equal(q->body.n, 0);
    if (bh_slice_eq(q->path, BH_SLICE("/discard"))) {
        bh_bytes_adds(to, "head|");
        bh_http1_discard(h, HTTP_DISCARD_MAX);
        return true;
    }
    if (bh_http1_feed(h, bh_slice(NULL, 0), &used) == BH_HTTP1_ERROR)
        return add_error(h, to);
    if (q->expect_continue)
        bh_bytes_adds(to, "continue|");
    return true;
}

/* Feeds one piece with any number of requests; false after an error. */
static bool feed_piece(struct bh_http1 *h, struct bh_slice piece, struct bh_bytes *transcript) {
    while (piece.n) {
        size_t used = 0;
        struct bh_slice exact = test_exact(piece);
        enum bh_http1_event event = bh_http1_feed(h, exact, &used);
        test_exact_free(exact);
        assert_true(used <= piece.n);
        piece = bh_slice(piece.p + used, piece.n - used);
        switch (event) {
        case BH_HTTP1_MORE:
            assert_int_equal(piece.n, 0);
            break;
        case BH_HTTP1_HEAD:
            if (!on_head(h, transcript))
                return false;
            break;
        case BH_HTTP1_DISCARDED:
            assert_true(bh_http1_idle(h));
            bh_bytes_adds(transcript, "discarded|");
            break;
        case BH_HTTP1_REQUEST:
            add_request(transcript, bh_http1_request(h));
            bh_http1_reset(h);
            assert_true(bh_http1_idle(h));
            break;
        case BH_HTTP1_ERROR:
            return add_error(h, transcript);
        }
    }
    return true;
}

void http_feed(struct bh_slice in, const struct bh_http_limits *limits, int cut,
               struct bh_bytes *transcript) {
    struct bh_http1 *h = bh_http1_new(limits);
    bool more = true;
    while (more && in.n) {
        size_t n = test_cut(cut, in.n);
        more = feed_piece(h, bh_slice(in.p, n), transcript);
        in = bh_slice(in.p + n, in.n - n);
    }
    bh_http1_free(h);
}

void http_expect_within(struct bh_slice in, const struct bh_http_limits *limits,
                        const char *expected) {
    for (int cut = 0; cut < CUTS; cut++) {
        struct bh_bytes transcript = {0};
        http_feed(in, limits, cut, &transcript);
        assert_bytes(&transcript, expected);
        bh_bytes_free(&transcript);
    }
}

void http_expect_all(const struct http_vector *vectors, size_t n) {
    for (size_t i = 0; i < n; i++)
        http_expect_within(vectors[i].in, &http_roomy, vectors[i].expected);
}
