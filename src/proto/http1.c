/* http1.c - the request parser.
 *
 * The states follow a request. Its head is collected line by line, and each line is checked when it
 * is complete; the whole head is parsed at once (http1_head.c), with slices into the collected
 * bytes; then the body is copied or decoded (http1_chunked.c), or dropped. Bytes of a next request
 * are not consumed. A failure is final, because the framing of the connection is lost. The struct
 * owns all memory; bh_http1_reset frees it. */
#include "bellhop/proto/http1.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "http1_chunked.h"
#include "http1_head.h"
#include "http1_line.h"

#define BLANK_LINES_MAX 4 /* before a request: old clients end a body with one */

enum state {
    IN_HEAD,
    IN_COUNTED_BODY,
    IN_CHUNKED_BODY,
    DISCARDING,
    COMPLETE,
    FAILED,
};

struct bh_http1 {
    const struct bh_http_limits *limits;
    enum state state;
    unsigned blank_lines;
    struct bh_bytes head;
    size_t line_start; /* start of the current line in head */
    size_t lines;      /* complete ones, the request line included */
    struct bh_header *headers;
    struct bh_http_request request;
    struct bh_http1_framing framing;
    struct bh_http1_chunked chunked;
    struct bh_bytes body;
    size_t discarded, discard_max; /* bytes of the wire */
    struct bh_http1_failure failure;
};

struct bh_http1 *bh_http1_new(const struct bh_http_limits *limits) {
    struct bh_http1 *h = bh_calloc(1, sizeof *h);
    h->limits = limits;
    return h;
}

void bh_http1_free(struct bh_http1 *h) {
    if (h)
        bh_http1_reset(h);
    bh_free(h);
}

void bh_http1_reset(struct bh_http1 *h) {
    bh_bytes_free(&h->head);
    bh_bytes_free(&h->body);
    bh_http1_chunked_deinit(&h->chunked);
    bh_free(h->headers);
    *h = (struct bh_http1){.limits = h->limits};
}

size_t bh_http1_held(const struct bh_http1 *h) {
    return h->head.cap + h->body.cap;
}

bool bh_http1_idle(const struct bh_http1 *h) {
    return h->state == IN_HEAD && h->head.len == 0;
}

const struct bh_http_request *bh_http1_request(const struct bh_http1 *h) {
    return &h->request;
}

void bh_http1_error(const struct bh_http1 *h, int *status, const char **why) {
    *status = h->failure.status;
    *why = h->failure.why;
}

/* --- the head --- */

static int fail_long_head(struct bh_http1 *h) {
    if (h->lines == 0)
        return bh_http1_fail(&h->failure, 414, "request line too long");
    return bh_http1_fail(&h->failure, 431, "request head too large");
}

static int end_head(struct bh_http1 *h) {
    size_t count = h->lines - 1;
    h->headers = bh_calloc(count, sizeof *h->headers);
    int r = bh_http1_parse_head(bh_slice(h->head.p, h->line_start), h->headers, count, &h->request,
                                &h->framing, &h->failure);
    if (r)
        return r;
    h->state = h->framing.chunked  ? IN_CHUNKED_BODY
               : h->framing.length ? IN_COUNTED_BODY
                                   : COMPLETE;
    return 0;
}

static int skip_blank_line(struct bh_http1 *h) {
    if (++h->blank_lines > BLANK_LINES_MAX)
        return bh_http1_fail(&h->failure, 400, "blank lines instead of a request");
    bh_bytes_free(&h->head);
    return 0;
}

static int check_line(struct bh_http1 *h, struct bh_slice line) {
    if (h->lines == 0)
        return bh_http1_check_request_line(line, &h->failure);
    if (h->lines > h->limits->header_count)
        return bh_http1_fail(&h->failure, 431, "too many headers");
    return bh_http1_check_field(line, &h->failure);
}

static int end_line(struct bh_http1 *h) {
    struct bh_slice line = bh_slice(h->head.p + h->line_start, h->head.len - h->line_start);
    if (line.n == 2)
        return h->lines ? end_head(h) : skip_blank_line(h);
    int r = check_line(h, line);
    h->line_start = h->head.len;
    h->lines++;
    return r;
}

static int read_head(struct bh_http1 *h, struct bh_slice *in) {
    while (h->state == IN_HEAD) {
        int r = bh_http1_read_line(&h->head, h->line_start, in, h->limits->head_bytes, &h->failure);
        if (r == BH_ETOOBIG)
            return fail_long_head(h);
        if (r <= 0)
            return r;
        r = end_line(h);
        if (r)
            return r;
    }
    return 0;
}

/* --- the body --- */

static int read_counted(struct bh_http1 *h, struct bh_slice *in) {
    if (h->framing.length > h->limits->body_bytes)
        return bh_http1_fail(&h->failure, 413, "body too large");
    size_t total = (size_t)h->framing.length, left = total - h->body.len;
    size_t n = left < in->n ? left : in->n;
    if (bh_bytes_try_add(&h->body, bh_slice(in->p, n), total))
        return bh_http1_fail(&h->failure, 503, "no memory for the request");
    *in = bh_slice(in->p + n, in->n - n);
    return n == left;
}

static int read_body(struct bh_http1 *h, struct bh_slice *in) {
    int r = h->state == IN_COUNTED_BODY
                ? read_counted(h, in)
                : bh_http1_chunked_feed(&h->chunked, h->limits, in, &h->body, &h->failure);
    if (r == 1) {
        h->request.body = bh_bytes_slice(&h->body);
        h->state = COMPLETE;
    }
    return r < 0 ? r : 0;
}

/* --- a body that nobody wants --- */

void bh_http1_discard(struct bh_http1 *h, size_t max) {
    struct bh_http1_framing framing = h->framing;
    bh_http1_reset(h);
    h->framing = framing;
    h->discard_max = max;
    h->state = DISCARDING;
}

static int skip_counted(const struct bh_http1 *h, struct bh_slice *in) {
    uint64_t left = h->framing.length - h->discarded;
    size_t n = left < in->n ? (size_t)left : in->n;
    *in = bh_slice(in->p + n, in->n - n);
    return n == left;
}

/* Also keeps to the framing: what looks like a next request may be a part of the body. */
static int discard(struct bh_http1 *h, struct bh_slice *in) {
    size_t before = in->n;
    int r = h->framing.chunked
                ? bh_http1_chunked_feed(&h->chunked, h->limits, in, &h->body, &h->failure)
                : skip_counted(h, in);
    bh_bytes_free(&h->body);
    h->discarded += before - in->n;
    if (r >= 0 && h->discarded > h->discard_max)
        return bh_http1_fail(&h->failure, 413, "body too large");
    return r;
}

/* --- events --- */

static enum bh_http1_event fail(struct bh_http1 *h) {
    h->state = FAILED;
    return BH_HTTP1_ERROR;
}

static enum bh_http1_event advance_discard(struct bh_http1 *h, struct bh_slice *in) {
    int r = discard(h, in);
    if (r < 0)
        return fail(h);
    if (r == 0)
        return BH_HTTP1_MORE;
    bh_http1_reset(h);
    return BH_HTTP1_DISCARDED;
}

static enum bh_http1_event advance_head(struct bh_http1 *h, struct bh_slice *in) {
    if (read_head(h, in) < 0)
        return fail(h);
    return h->state == IN_HEAD    ? BH_HTTP1_MORE
           : h->state == COMPLETE ? BH_HTTP1_REQUEST
                                  : BH_HTTP1_HEAD;
}

static enum bh_http1_event advance_body(struct bh_http1 *h, struct bh_slice *in) {
    if (read_body(h, in) < 0)
        return fail(h);
    return h->state == COMPLETE ? BH_HTTP1_REQUEST : BH_HTTP1_MORE;
}

static enum bh_http1_event advance(struct bh_http1 *h, struct bh_slice *in) {
    switch (h->state) {
    case IN_HEAD:
        return advance_head(h, in);
    case IN_COUNTED_BODY:
    case IN_CHUNKED_BODY:
        return advance_body(h, in);
    case DISCARDING:
        return advance_discard(h, in);
    case COMPLETE:
        return BH_HTTP1_REQUEST;
    default:
        return BH_HTTP1_ERROR;
    }
}

enum bh_http1_event bh_http1_feed(struct bh_http1 *h, struct bh_slice in, size_t *used) {
    struct bh_slice rest = in;
    enum bh_http1_event event = advance(h, &rest);
    *used = in.n - rest.n;
    return event;
}
