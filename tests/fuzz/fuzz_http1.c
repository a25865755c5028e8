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

struct feeder {
    struct bh_http1 *parser;
    const struct bh_http_limits *limits;
    struct bh_bytes *transcript;
    bool discarding;
};

/* Of a discarded body only that it failed: where it exceeds the limit depends on the cuts. */
static bool record_error(struct feeder *f) {
    int status = 0;
    const char *why = NULL;
    bh_http1_error(f->parser, &status, &why);
    check_status(status);
    if (f->discarding)
        bh_bytes_adds(f->transcript, "\nnot discarded");
    else
        bh_bytes_addf(f->transcript, "\nerror %d %s", status, why);
    return false;
}

/* One body in two is discarded. False after an error. */
static bool on_head(struct feeder *f) {
    const struct bh_http_request *q = bh_http1_request(f->parser);
    size_t used;
    CHECK(q->has_body && q->body.n == 0);
    check_request(q, f->limits);
    fuzz_record(f->transcript, "\nhead", q->target);
    f->discarding = q->target.n % 2 == 0;
    if (f->discarding)
        bh_http1_discard(f->parser, f->limits->body_bytes);
    else if (bh_http1_feed(f->parser, bh_slice(NULL, 0), &used) == BH_HTTP1_ERROR)
        return record_error(f);
    return true;
}

/* One piece with any number of requests; false after an error. */
static bool feed_piece(struct feeder *f, struct bh_slice piece) {
    while (piece.n) {
        size_t used = 0;
        char *copy = fuzz_exact(piece);
        enum bh_http1_event event = bh_http1_feed(f->parser, bh_slice(copy, piece.n), &used);
        free(copy);
        CHECK(used <= piece.n);
        piece = bh_slice(piece.p + used, piece.n - used);
        switch (event) {
        case BH_HTTP1_MORE:
            CHECK(piece.n == 0);
            break;
        case BH_HTTP1_HEAD:
            if (!on_head(f))
                return false;
            break;
        case BH_HTTP1_DISCARDED:
            CHECK(bh_http1_idle(f->parser));
            bh_bytes_adds(f->transcript, "\ndiscarded");
            f->discarding = false;
            break;
        case BH_HTTP1_REQUEST:
            check_request(bh_http1_request(f->parser), f->limits);
            record_request(bh_http1_request(f->parser), f->transcript);
            bh_http1_reset(f->parser);
            CHECK(bh_http1_idle(f->parser));
            break;
        case BH_HTTP1_ERROR:
            return record_error(f);
        }
    }
    return true;
}

static void feed(struct bh_slice in, const struct bh_http_limits *limits, struct fuzz_cuts *cuts,
                 struct bh_bytes *transcript) {
    struct feeder f = {bh_http1_new(limits), limits, transcript, false};
    bool more = true;
    while (more && in.n)
        more = feed_piece(&f, fuzz_bytes(&in, cuts ? fuzz_cut(cuts, in.n) : in.n));
    bh_http1_free(f.parser);
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
