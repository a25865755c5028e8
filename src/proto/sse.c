/* sse.c - see the header.
 *
 * Sizes are computed first, so that a block is one allocation of its exact size, which is shared by
 * many queues. Data that is empty has one line, too: a block without a data line dispatches
 * nothing.
 *
 * What is a message begins with `data` or `event`, the rest with `id`, ':' or an empty line: the
 * out-queue tells by the first byte what it may drop (edge/client/outq.h). */
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

static struct bh_slice not_null(struct bh_slice s) {
    return s.p ? s : BH_SLICE("");
}

static size_t field_size(struct bh_slice name, struct bh_slice value) {
    return name.n + value.n + 1;
}

static size_t data_size(struct bh_slice data) {
    struct bh_slice line;
    size_t size = 0;
    data = not_null(data);
    while (next_line(&data, &line))
        size += field_size(DATA, line);
    return size;
}

static char *put(char *at, struct bh_slice s) {
    bh_slice_pack(&at, s);
    return at;
}

static char *put_field(char *at, struct bh_slice name, struct bh_slice value) {
    at = put(put(at, name), value);
    *at = '\n';
    return at + 1;
}

static char *put_data(char *at, struct bh_slice data) {
    struct bh_slice line;
    data = not_null(data);
    while (next_line(&data, &line))
        at = put_field(at, DATA, line);
    return at;
}

static char *put_id(char *at, struct bh_slice id) {
    return id.n ? put_field(at, ID, id) : at;
}

static size_t id_size(struct bh_slice id) {
    return id.n ? field_size(ID, id) : 0;
}

static struct bh_buf *text(struct bh_slice payload, struct bh_slice id) {
    struct bh_buf *b = bh_buf_new(data_size(payload) + id_size(id) + 1);
    *put_id(put_data((char *)b->data, payload), id) = '\n';
    return b;
}

static struct bh_buf *binary(struct bh_slice payload, struct bh_slice id) {
    size_t size = bh_base64_len(payload.n);
    struct bh_buf *b = bh_buf_new(BINARY.n + DATA.n + size + 1 + id_size(id) + 1);
    char *at = put(put((char *)b->data, BINARY), DATA);
    bh_base64_encode(payload, at);
    at += size;
    *at = '\n';
    *put_id(at + 1, id) = '\n';
    return b;
}

struct bh_buf *bh_sse_message(bool is_binary, struct bh_slice payload, struct bh_slice id) {
    return is_binary ? binary(payload, id) : text(payload, id);
}

/* Without an id it begins with an empty line, which the client skips. */
struct bh_buf *bh_sse_notice(struct bh_slice name, struct bh_slice data, struct bh_slice id) {
    size_t first = id.n ? id_size(id) : 1;
    struct bh_buf *b = bh_buf_new(first + field_size(EVENT, name) + data_size(data) + 1);
    char *at = (char *)b->data;
    if (!id.n)
        *at = '\n';
    at = id.n ? put_id(at, id) : at + 1;
    *put_data(put_field(at, EVENT, name), data) = '\n';
    return b;
}

struct bh_buf *bh_sse_id(struct bh_slice id) {
    struct bh_buf *b = bh_buf_new(id_size(id) + 1);
    *put_id((char *)b->data, id) = '\n';
    return b;
}

struct bh_buf *bh_sse_comment(void) {
    return bh_buf_copy(BH_SLICE(":\n\n"));
}

struct bh_buf *bh_sse_retry(uint64_t ms) {
    char line[48];
    int n = snprintf(line, sizeof line, "\nretry: %llu\n\n", (unsigned long long)ms);
    return bh_buf_copy(bh_slice(line, (size_t)n));
}
