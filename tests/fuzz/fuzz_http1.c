/* HTTP requests, several in a row. Every cut of the stream gives the same requests and the same
 * error; the requests are within the limits and consistent. */
#include "bellhop/proto/http1.h"
#include "fuzz.h"

static const struct bh_http_limits choices[] = {
    {.head_bytes = 16384, .header_count = 100, .body_bytes = 1 << 20},
    {.head_bytes = 256, .header_count = 4, .body_bytes = 16},
    {.head_bytes = 1024, .header_count = 20, .body_bytes = 0},
    {.head_bytes = 64, .header_count = 1, .body_bytes = 300},
};

static void check_status(int status) {
    static const int lawful[] = {400, 413, 414, 431, 501, 503, 505};
    for (size_t i = 0; i < COUNT(lawful); i++)
        if (status == lawful[i])
            return;
    CHECK(!"a status that the contract does not name");
}

static void check_request(const struct bh_http_request *q, const struct bh_http_limits *limits) {
    CHECK(q->method.n && q->target.n && q->path.n);
    CHECK(fuzz_is_one_line(q->target) && fuzz_is_one_line(q->host));
    CHECK(!fuzz_holds_any(q->target, " #", 2));
    CHECK(q->path.p[0] == '/' || bh_slice_eq(q->path, BH_SLICE("*")));
    CHECK(q->header_count <= limits->header_count);
    CHECK(q->body.n <= limits->body_bytes);
    CHECK(q->minor <= 1);
    CHECK(!q->upgrade || (q->minor == 1 && q->body.n == 0));
    CHECK(!q->expect_continue || q->minor == 1);
    for (size_t i = 0; i < q->header_count; i++) {
        struct bh_slice name = q->headers[i].name, value = q->headers[i].value;
        CHECK(name.n && fuzz_is_one_line(name) && fuzz_is_one_line(value));
        CHECK(!fuzz_holds_any(name, ": \t", 3));
        CHECK(bh_http_header(q->headers, q->header_count, name).p);
    }
}

static void record_arguments(struct bh_slice query, struct bh_bytes *transcript) {
    struct bh_slice rest = query, name, value;
    while (bh_http_next_arg(&rest, &name, &value)) {
        char *decoded = malloc(value.n + 1);
        int n = bh_slice_urldecode(value, true, decoded);
        fuzz_record(transcript, "arg", name);
        fuzz_record(transcript, "value", n < 0 ? BH_SLICE("bad") : bh_slice(decoded, (size_t)n));
        free(decoded);
        CHECK(bh_http_arg(query, name).p);
    }
}

static void record_request(const struct bh_http_request *q, struct bh_bytes *transcript) {
    fuzz_record(transcript, "\nrequest", q->method);
    fuzz_record(transcript, "target", q->target);
    fuzz_record(transcript, "path", q->path);
    fuzz_record(transcript, "query", q->query);
    fuzz_record(transcript, "host", q->host);
    bh_bytes_addf(transcript, " 1.%d %d%d%d", q->minor, q->keep_alive, q->upgrade,
                  q->expect_continue);
    for (size_t i = 0; i < q->header_count; i++) {
        fuzz_record(transcript, "name", q->headers[i].name);
        fuzz_record(transcript, "value", q->headers[i].value);
    }
    struct bh_http_list at = {0};
    struct bh_slice element;
    while (bh_http_next_element(q->headers, q->header_count, BH_SLICE("Accept"), &at, &element)) {
        CHECK(element.n);
        fuzz_record(transcript, "accept", element);
    }
    fuzz_record(transcript, "cookie",
                bh_http_cookie(q->headers, q->header_count, BH_SLICE("token")));
    record_arguments(q->query, transcript);
    fuzz_record(transcript, "body", q->body);
}

/* One piece with any number of requests; false after an error. */
static bool feed_piece(struct bh_http1 *h, const struct bh_http_limits *limits,
                       struct bh_slice piece, struct bh_bytes *transcript) {
    while (piece.n) {
        size_t used = 0;
        char *copy = fuzz_exact(piece);
        enum bh_http1_event event = bh_http1_feed(h, bh_slice(copy, piece.n), &used);
        free(copy);
        CHECK(used <= piece.n);
        piece = bh_slice(piece.p + used, piece.n - used);
        int status = 0;
        const char *why = NULL;
        switch (event) {
        case BH_HTTP1_MORE:
            CHECK(piece.n == 0);
            break;
        case BH_HTTP1_CONTINUE:
            bh_bytes_adds(transcript, "\ncontinue");
            break;
        case BH_HTTP1_REQUEST:
            check_request(bh_http1_request(h), limits);
            record_request(bh_http1_request(h), transcript);
            bh_http1_reset(h);
            CHECK(bh_http1_idle(h));
            break;
        case BH_HTTP1_ERROR:
            bh_http1_error(h, &status, &why);
            check_status(status);
            bh_bytes_addf(transcript, "\nerror %d %s", status, why);
            return false;
        }
    }
    return true;
}

static void feed(struct bh_slice in, const struct bh_http_limits *limits, struct fuzz_cuts *cuts,
                 struct bh_bytes *transcript) {
    struct bh_http1 *h = bh_http1_new(limits);
    bool more = true;
    while (more && in.n)
        more =
            feed_piece(h, limits, fuzz_bytes(&in, cuts ? fuzz_cut(cuts, in.n) : in.n), transcript);
    bh_http1_free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    const struct bh_http_limits *limits = &choices[fuzz_byte(&in) % COUNT(choices)];
    struct fuzz_cuts cuts = fuzz_cuts(fuzz_byte(&in));
    struct bh_bytes whole = {0}, cut = {0};
    feed(in, limits, NULL, &whole);
    feed(in, limits, &cuts, &cut);
    fuzz_check_same(&whole, &cut);
    bh_bytes_free(&whole);
    bh_bytes_free(&cut);
    return 0;
}
