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

/* Feeds one piece with any number of requests; false after an error. */
static bool feed_piece(struct bh_http1 *h, struct bh_slice piece, struct bh_bytes *transcript) {
    while (piece.n) {
        size_t used = 0;
        struct bh_slice exact = test_exact(piece);
        enum bh_http1_event event = bh_http1_feed(h, exact, &used);
        test_exact_free(exact);
        assert_true(used <= piece.n);
        piece = bh_slice(piece.p + used, piece.n - used);
        int status;
        const char *why;
        switch (event) {
        case BH_HTTP1_MORE:
            assert_int_equal(piece.n, 0);
            break;
        case BH_HTTP1_CONTINUE:
            bh_bytes_adds(transcript, "continue|");
            break;
        case BH_HTTP1_REQUEST:
            add_request(transcript, bh_http1_request(h));
            bh_http1_reset(h);
            assert_true(bh_http1_idle(h));
            break;
        case BH_HTTP1_ERROR:
            bh_http1_error(h, &status, &why);
            assert_true(why && strlen(why) > 5);
            bh_bytes_addf(transcript, "error %d|", status);
            return false;
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
