/* http1_line.h - the lines of HTTP/1.1 heads, chunk sizes and trailers. Thread: any. */
#ifndef BELLHOP_PROTO_HTTP1_LINE_H
#define BELLHOP_PROTO_HTTP1_LINE_H

#include "bellhop/base/buf.h"

/* Why a request failed. */
struct bh_http1_failure {
    int status;
    const char *why;
};

/* Fills it in and returns BH_EPROTO. */
int bh_http1_fail(struct bh_http1_failure *failure, int status, const char *why);

/* Moves bytes from *in to the end of `to`, up to and including the next LF. 1 when the line is
 * complete; 0 when *in is used up; BH_ETOOBIG when `to` would exceed `most` bytes; BH_EPROTO with
 * *failure for control characters and a bare CR or LF. `start` is where the line begins in `to`. */
int bh_http1_read_line(struct bh_bytes *to, size_t start, struct bh_slice *in, size_t most,
                       struct bh_http1_failure *failure);

/* True for a non-empty token of RFC 9110 section 5.6.2. */
bool bh_http1_is_token(struct bh_slice s);
/* Fails for a line that is not "name: value", and for a continuation of the previous line. */
int bh_http1_check_field(struct bh_slice line, struct bh_http1_failure *failure);
/* True when a field's value has no control character except tab. */
bool bh_http1_is_value(struct bh_slice s);

#endif
