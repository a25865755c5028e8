/* sse.h - server-sent events as bytes (HTML standard, 9.2), for clients with EventSource.
 *
 * An event is a block of lines that ends with an empty one. Its data may have no line break in it,
 * so each line of the data is a line of the block: the client joins them with LF, whatever the
 * break was (LF, CR, CRLF). Our lines end in LF, in UTF-8, which the caller has checked. Thread:
 * any. */
#ifndef BELLHOP_PROTO_SSE_H
#define BELLHOP_PROTO_SSE_H

#include "bellhop/base/buf.h"

/* Appends the lines of a message: data without a name of an event, or `event: binary` and base64.
 * The caller may add `id: ` and must add the empty line. */
void bh_sse_add_message(struct bh_bytes *out, bool binary, struct bh_slice payload);
/* An event of the server's own. id: what the client sends back as Last-Event-ID; empty: none. */
struct bh_buf *bh_sse_event(struct bh_slice name, struct bh_slice data, struct bh_slice id);
/* The id alone: the client remembers it, and nothing is dispatched. */
struct bh_buf *bh_sse_id(struct bh_slice id);
/* A comment, which keeps the connection alive. */
struct bh_buf *bh_sse_comment(void);
/* When the client shall come back after the connection has ended. */
struct bh_buf *bh_sse_retry(uint64_t ms);

#endif
