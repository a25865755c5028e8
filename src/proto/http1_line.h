/* http1_line.h - the lines that HTTP/1.1 heads, chunk sizes and trailers are made of. Thread: any.
 */
#ifndef BELLHOP_PROTO_HTTP1_LINE_H
#define BELLHOP_PROTO_HTTP1_LINE_H

#include "bellhop/base/buf.h"

/* Why a request is refused. */
struct bh_http1_refusal {
    int status;
    const char *why;
};

/* Fills it in and returns BH_EPROTO. */
int bh_http1_refuse(struct bh_http1_refusal *refusal, int status, const char *why);

/* Moves bytes from *in to the end of `to`, up to and with the next LF. 1 when that came, and before
 * it a CR and no other; 0 when *in is used up; BH_ETOOBIG when `to` would exceed `most` bytes;
 * BH_EPROTO with a refusal for control characters and bare CR or LF. `start` is where the line
 * begins in `to`. */
int bh_http1_take_line(struct bh_bytes *to, size_t start, struct bh_slice *in, size_t most,
                       struct bh_http1_refusal *refusal);

/* True for a non-empty token of RFC 9110 section 5.6.2. */
bool bh_http1_is_token(struct bh_slice s);
/* Refuses a line that is no "name: value", and one that continues the line before. */
int bh_http1_check_field(struct bh_slice line, struct bh_http1_refusal *refusal);
/* True when a field's value holds no control character except a tab. */
bool bh_http1_is_value(struct bh_slice s);

#endif
