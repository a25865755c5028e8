/* sse.c - see the header.
 *
 * Data that is empty has one line, too: a block without a data line dispatches nothing. */
#include "bellhop/proto/sse.h"

#include "bellhop/base/crypto.h"

#include <stdio.h>

#define DATA  BH_SLICE("data: ")
#define ID    BH_SLICE("id: ")
#define EVENT BH_SLICE("event: ")

#define BINARY BH_SLICE("event: binary\n")

static bool ends_line(char c) {
    return c == '\n' || c == '\r';
}

/* Cuts *rest behind its first line. False when there is none left: rest->p is NULL. */
static bool next_line(struct bh_slice *rest, struct bh_slice *line) {
    size_t n = 0;
    if (!rest->p)
        return false;
    while (n < rest->n && !ends_line(rest->p[n]))
        n++;
    *line = bh_slice(rest->p, n);
    if (n == rest->n) {
        *rest = bh_slice(NULL, 0);
        return true;
    }
    n += n + 1 < rest->n && rest->p[n] == '\r' && rest->p[n + 1] == '\n' ? 2 : 1;
    *rest = bh_slice(rest->p + n, rest->n - n);
    return true;
}

static void add_field(struct bh_bytes *out, struct bh_slice name, struct bh_slice value) {
    bh_bytes_add(out, name);
    bh_bytes_add(out, value);
    bh_bytes_addc(out, '\n');
}

static void add_text(struct bh_bytes *out, struct bh_slice data) {
    struct bh_slice line;
    data = data.p ? data : BH_SLICE("");
    bh_bytes_reserve(out, DATA.n + data.n + 1);
    while (next_line(&data, &line))
        add_field(out, DATA, line);
}

static void add_binary(struct bh_bytes *out, struct bh_slice data) {
    size_t size = bh_base64_len(data.n);
    bh_bytes_reserve(out, BINARY.n + DATA.n + size + 1);
    bh_bytes_add(out, BINARY);
    bh_bytes_add(out, DATA);
    bh_base64_encode(data, out->p + out->len);
    out->len += size;
    bh_bytes_addc(out, '\n');
}

void bh_sse_add_message(struct bh_bytes *out, bool binary, struct bh_slice payload) {
    if (binary)
        add_binary(out, payload);
    else
        add_text(out, payload);
}

static struct bh_buf *end_block(struct bh_bytes *block) {
    bh_bytes_addc(block, '\n');
    struct bh_buf *buf = bh_buf_copy(bh_bytes_slice(block));
    bh_bytes_free(block);
    return buf;
}

struct bh_buf *bh_sse_event(struct bh_slice name, struct bh_slice data, struct bh_slice id) {
    struct bh_bytes block = {0};
    add_field(&block, EVENT, name);
    add_text(&block, data);
    if (id.n)
        add_field(&block, ID, id);
    return end_block(&block);
}

struct bh_buf *bh_sse_id(struct bh_slice id) {
    struct bh_bytes block = {0};
    add_field(&block, ID, id);
    return end_block(&block);
}

struct bh_buf *bh_sse_comment(void) {
    return bh_buf_copy(BH_SLICE(":\n\n"));
}

struct bh_buf *bh_sse_retry(uint64_t ms) {
    char line[48];
    int n = snprintf(line, sizeof line, "retry: %llu\n\n", (unsigned long long)ms);
    return bh_buf_copy(bh_slice(line, (size_t)n));
}
