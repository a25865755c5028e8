/* Both parsers of request heads, http_parser and ours, over the same stream: the same events after
 * the same bytes, the same requests and the same status of an error. Ours also cut in pieces, and
 * at every byte.
 *
 * One difference is meant: a CONNECT whose last field is an empty Content-Length is malformed
 * (400); http_parser looks at an empty length only when another field follows. */
#include "bellhop/proto/http1.h"
#include "fuzz.h"
#include "http1_head.h"

static const struct bh_http_limits choices[] = {
    {.head_bytes = 16384, .header_count = 100, .body_bytes = 1 << 20},
    {.head_bytes = 256, .header_count = 4, .body_bytes = 16},
    {.head_bytes = 1024, .header_count = 20, .body_bytes = 0},
};

static void record_request(const struct bh_http_request *q, struct bh_bytes *transcript) {
    fuzz_record(transcript, "\nrequest", q->method);
    fuzz_record(transcript, "target", q->target);
    fuzz_record(transcript, "path", q->path);
    fuzz_record(transcript, "query", q->query);
    fuzz_record(transcript, "host", q->host);
    bh_bytes_addf(transcript, " 1.%d %d%d%d %d%d", q->minor, q->keep_alive, q->upgrade,
                  q->expect_continue, q->query.p != NULL, q->host.p != NULL);
    for (size_t i = 0; i < q->header_count; i++) {
        CHECK(q->headers[i].name.p && q->headers[i].value.p);
        fuzz_record(transcript, "name", q->headers[i].name);
        fuzz_record(transcript, "value", q->headers[i].value);
    }
    fuzz_record(transcript, "body", q->body);
}

/* Events with the number of bytes consumed so far. False after an error. */
static bool feed_piece(struct bh_http1 *h, struct bh_slice piece, size_t *total,
                       struct bh_bytes *transcript) {
    while (piece.n) {
        size_t used = 0;
        char *copy = fuzz_exact(piece);
        enum bh_http1_event event = bh_http1_feed(h, bh_slice(copy, piece.n), &used);
        free(copy);
        piece = bh_slice(piece.p + used, piece.n - used);
        *total += used;
        int status = 0;
        const char *why = NULL;
        if (event == BH_HTTP1_MORE)
            continue;
        if (event == BH_HTTP1_ERROR) {
            bh_http1_error(h, &status, &why);
            CHECK(why && *why);
            bh_bytes_addf(transcript, "\nerror %d", status);
            return false;
        }
        bh_bytes_addf(transcript, "\n%d at %zu", event, *total);
        if (event == BH_HTTP1_CONTINUE)
            continue;
        record_request(bh_http1_request(h), transcript);
        bh_http1_reset(h);
    }
    return true;
}

/* Returns the number of bytes consumed. */
static size_t feed(struct bh_slice in, const struct bh_http_limits *limits, struct fuzz_cuts *cuts,
                   bool by_library, struct bh_bytes *transcript) {
    bh_http1_by_library = by_library;
    struct bh_http1 *h = bh_http1_new(limits);
    size_t total = 0;
    bool more = true;
    while (more && in.n)
        more =
            feed_piece(h, fuzz_bytes(&in, cuts ? fuzz_cut(cuts, in.n) : in.n), &total, transcript);
    bh_http1_free(h);
    return total;
}

static bool contains(struct bh_slice s, const char *text) {
    return s.n && memmem(s.p, s.n, text, strlen(text));
}

/* The input may have the difference that is meant: it is enough that it looks so. */
static bool may_differ(struct bh_slice in, struct bh_slice library, struct bh_slice ours) {
    return contains(in, "CONNECT ") && contains(library, "\nerror 501") &&
           contains(ours, "\nerror 400");
}

static bool ends_with_empty_length(struct bh_slice in) {
    struct bh_slice line, before = {0};
    while (bh_slice_split(&in, '\n', &line)) {
        struct bh_slice name, value = before;
        if (line.n == 1 && line.p[0] == '\r' && bh_slice_split(&value, ':', &name) && value.p &&
            bh_slice_caseeq(name, BH_SLICE("Content-Length")) &&
            bh_slice_trim(bh_slice(value.p, value.n - 1)).n == 0)
            return true;
        before = line;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    const struct bh_http_limits *limits = &choices[fuzz_byte(&in) % COUNT(choices)];
    struct fuzz_cuts cuts = fuzz_cuts(fuzz_byte(&in)), single = fuzz_cuts(0);
    struct bh_bytes library = {0}, whole = {0}, cut = {0}, bytes = {0};
    size_t used = feed(in, limits, NULL, true, &library);
    CHECK(feed(in, limits, NULL, false, &whole) == used);
    feed(in, limits, &cuts, false, &cut);
    feed(in, limits, &single, false, &bytes);
    if (!may_differ(in, bh_bytes_slice(&library), bh_bytes_slice(&whole)) ||
        !ends_with_empty_length(in))
        fuzz_check_same(&library, &whole);
    fuzz_check_same(&whole, &cut);
    fuzz_check_same(&whole, &bytes);
    bh_bytes_free(&library);
    bh_bytes_free(&whole);
    bh_bytes_free(&cut);
    bh_bytes_free(&bytes);
    return 0;
}
