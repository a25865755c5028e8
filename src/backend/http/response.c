/* response.c - collects the response in the call until it is complete.
 *
 * libcurl passes whole header lines, also those of intermediate responses (100 Continue, a redirect
 * that is followed): a status line discards what was collected before it. Head and body are checked
 * against their limits before a byte is stored. Trailers, which follow the body, are ignored.
 * Thread: the loop's, inside libcurl. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "internal.h"

#define HEAD_MAX ((size_t)64 * 1024)

/* libcurl ends the transfer when a callback returns less than it was given. */
static size_t abort_transfer(struct bh_http_call *c, int error, const char *why) {
    c->error = error;
    c->why = why;
    return CURL_WRITEFUNC_ERROR;
}

static void add_field(struct bh_http_call *c, struct bh_slice name, struct bh_slice value) {
    if ((c->field_count & (c->field_count - 1)) == 0) {
        size_t cap = c->field_count ? 2 * c->field_count : 1;
        c->fields = bh_realloc(c->fields, cap * sizeof *c->fields);
    }
    c->fields[c->field_count++] =
        (struct bh_http_field){c->head.len, name.n, c->head.len + name.n, value.n};
    for (size_t i = 0; i < name.n; i++) {
        char b = name.p[i];
        bh_bytes_addc(&c->head, b >= 'A' && b <= 'Z' ? (char)(b | 0x20) : b);
    }
    bh_bytes_add(&c->head, value);
}

static struct bh_slice without_line_end(struct bh_slice line) {
    while (line.n && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    return line;
}

size_t bh_http_on_head(char *data, size_t size, size_t count, void *ud) {
    struct bh_http_call *c = ud;
    struct bh_slice line = without_line_end(bh_slice(data, size * count)), name;
    if (bh_slice_starts(line, BH_SLICE("HTTP/"))) {
        bh_bytes_clear(&c->head);
        bh_bytes_clear(&c->answer);
        c->field_count = 0;
    }
    /* Each line counts, also an empty one. */
    if (c->head.len + line.n + c->field_count * 32 > HEAD_MAX)
        return abort_transfer(c, BH_ETOOBIG, "the headers of the response are too large");
    if (c->answer.len == 0 && memchr(line.p, ':', line.n) && bh_slice_split(&line, ':', &name))
        add_field(c, bh_slice_trim(name), bh_slice_trim(line));
    return size * count;
}

size_t bh_http_on_body(char *data, size_t size, size_t count, void *ud) {
    struct bh_http_call *c = ud;
    size_t n = size * count;
    if (n > c->max_bytes - c->answer.len)
        return abort_transfer(c, BH_ETOOBIG, "response too large");
    if (bh_bytes_try_reserve(&c->answer, n))
        return abort_transfer(c, BH_ENOMEM, "out of memory");
    bh_bytes_add(&c->answer, bh_slice(data, n));
    return n;
}

struct bh_header *bh_http_response_headers(const struct bh_http_call *c) {
    struct bh_header *headers = bh_calloc(c->field_count + 1, sizeof *headers);
    for (size_t i = 0; i < c->field_count; i++) {
        const struct bh_http_field *f = &c->fields[i];
        headers[i].name = bh_slice(c->head.p + f->name, f->name_len);
        headers[i].value = bh_slice(c->head.p + f->value, f->value_len);
    }
    return headers;
}

void bh_http_response_free(struct bh_http_call *c) {
    bh_bytes_free(&c->head);
    bh_bytes_free(&c->answer);
    bh_free(c->fields);
}
