/* http1_chunked.c - a strict decoder of chunked bodies.
 *
 * Parsers that take any two bytes for the CR LF after a chunk, or any number of extension bytes,
 * have been used to smuggle requests. So each line is checked like a header's. Extensions and
 * trailers are read, counted against limits->head_bytes, and dropped. */
#include "http1_chunked.h"

#include "bellhop/base/error.h"

#define CRLF          2
#define SIZE_DIGITS   16
#define SIZE_LINE_MAX (SIZE_DIGITS + CRLF)

void bh_http1_chunked_deinit(struct bh_http1_chunked *c) {
    bh_bytes_free(&c->line);
}

static int fail_size(struct bh_http1_failure *failure) {
    return bh_http1_fail(failure, 400, "malformed chunk size");
}

/* "1a;name=value": the extension is ignored. */
static int read_size(struct bh_http1_chunked *c, size_t room, struct bh_http1_failure *failure) {
    struct bh_slice line = bh_slice(c->line.p, c->line.len - CRLF);
    size_t digits = 0;
    uint64_t size = 0;
    for (int digit; digits < line.n && (digit = bh_hex_digit(line.p[digits])) >= 0; digits++)
        size = digits < SIZE_DIGITS ? size << 4 | (uint64_t)digit : size;
    if (digits == 0 || digits > SIZE_DIGITS || (digits < line.n && line.p[digits] != ';'))
        return fail_size(failure);
    if (size > room)
        return bh_http1_fail(failure, 413, "body too large");
    c->extras += line.n - digits;
    c->left = size;
    c->state = size ? BH_CHUNK_DATA : BH_CHUNK_TRAILER;
    return 0;
}

static int read_trailer(struct bh_http1_chunked *c, const struct bh_http_limits *limits,
                        struct bh_http1_failure *failure) {
    if (c->line.len == CRLF)
        return 1;
    c->extras += c->line.len;
    if (++c->trailers > limits->header_count)
        return bh_http1_fail(failure, 431, "too many trailers");
    return bh_http1_check_field(bh_bytes_slice(&c->line), failure);
}

static int read_data(struct bh_http1_chunked *c, const struct bh_http_limits *limits,
                     struct bh_slice *in, struct bh_bytes *body, struct bh_http1_failure *failure) {
    size_t n = c->left < in->n ? (size_t)c->left : in->n;
    if (bh_bytes_try_add(body, bh_slice(in->p, n), limits->body_bytes))
        return bh_http1_fail(failure, 503, "no memory for the request");
    *in = bh_slice(in->p + n, in->n - n);
    c->left -= n;
    if (c->left == 0)
        c->state = BH_CHUNK_END;
    return 0;
}

/* The largest length of the current line. */
static size_t line_max(const struct bh_http1_chunked *c, const struct bh_http_limits *limits) {
    size_t extras = c->extras < limits->head_bytes ? limits->head_bytes - c->extras : 0;
    return c->state == BH_CHUNK_END ? CRLF : SIZE_LINE_MAX + extras;
}

static int fail_long_line(const struct bh_http1_chunked *c, struct bh_http1_failure *failure) {
    if (c->state == BH_CHUNK_END)
        return bh_http1_fail(failure, 400, "chunk longer than its size");
    return bh_http1_fail(failure, 431, "chunk extensions or trailers too large");
}

static int end_line(struct bh_http1_chunked *c, const struct bh_http_limits *limits, size_t room,
                    struct bh_http1_failure *failure) {
    if (c->state == BH_CHUNK_TRAILER)
        return read_trailer(c, limits, failure);
    if (c->state == BH_CHUNK_SIZE)
        return read_size(c, room, failure);
    c->state = BH_CHUNK_SIZE;
    return 0;
}

static int read_line(struct bh_http1_chunked *c, const struct bh_http_limits *limits,
                     struct bh_slice *in, size_t room, struct bh_http1_failure *failure) {
    int r = bh_http1_read_line(&c->line, 0, in, line_max(c, limits), failure);
    if (r == BH_ETOOBIG)
        return fail_long_line(c, failure);
    if (r <= 0)
        return r;
    r = end_line(c, limits, room, failure);
    bh_bytes_clear(&c->line);
    return r;
}

int bh_http1_chunked_feed(struct bh_http1_chunked *c, const struct bh_http_limits *limits,
                          struct bh_slice *in, struct bh_bytes *body,
                          struct bh_http1_failure *failure) {
    int r = 0;
    while (r == 0 && in->n) {
        if (c->state == BH_CHUNK_DATA)
            r = read_data(c, limits, in, body, failure);
        else
            r = read_line(c, limits, in, limits->body_bytes - body->len, failure);
    }
    return r;
}
