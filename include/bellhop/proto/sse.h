/* sse.h - server-sent events as bytes (HTML standard, 9.2), for clients with EventSource.
 *
 * An event is a block of lines. Its data may have no line break in it, so each line of the data is
 * a line of the block: the client joins them with LF, whatever the break was (LF, CR, CRLF). Our
 * lines end in LF, in UTF-8, which the caller has checked. Bit 3 of the first byte is set for all
 * but messages, as in the opcode of a WebSocket frame. Thread: any. */
#ifndef BELLHOP_PROTO_SSE_H
#define BELLHOP_PROTO_SSE_H

#include "bellhop/base/buf.h"

/* A message: without a name, or `event: binary` and base64. id: what the client sends back as
 * Last-Event-ID; empty: no such line. */
struct bh_buf *bh_sse_message(bool binary, struct bh_slice payload, struct bh_slice id);
/* An event of the server's own. id as above. */
struct bh_buf *bh_sse_notice(struct bh_slice name, struct bh_slice data, struct bh_slice id);
/* The id alone: it is remembered, and nothing is dispatched. */
struct bh_buf *bh_sse_id(struct bh_slice id);
/* A comment, which keeps the connection alive. */
struct bh_buf *bh_sse_comment(void);
/* When the client shall come back after the connection has ended. */
struct bh_buf *bh_sse_retry(uint64_t ms);

#endif
