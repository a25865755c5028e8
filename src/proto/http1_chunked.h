/* http1_chunked.h - the chunked transfer coding (RFC 9112 section 7.1), bytes in, body out.
 * Embed it, zero-initialise it. Thread: any, one owner. */
#ifndef BELLHOP_PROTO_HTTP1_CHUNKED_H
#define BELLHOP_PROTO_HTTP1_CHUNKED_H

#include "bellhop/proto/http1.h"
#include "http1_line.h"

struct bh_http1_chunked {
    enum {
        BH_CHUNK_SIZE,
        BH_CHUNK_DATA,
        BH_CHUNK_END,
        BH_CHUNK_TRAILER,
    } state;
    struct bh_bytes line; /* the current one */
    uint64_t left;        /* data bytes missing in the current chunk */
    size_t extras;        /* bytes of extensions and trailers so far */
    size_t trailers;      /* lines */
};

void bh_http1_chunked_deinit(struct bh_http1_chunked *c);
/* Takes bytes from *in and adds data to `body`. 1 at the end of the body, 0 when *in is used up,
 * BH_EPROTO with *failure. */
int bh_http1_chunked_feed(struct bh_http1_chunked *c, const struct bh_http_limits *limits,
                          struct bh_slice *in, struct bh_bytes *body,
                          struct bh_http1_failure *failure);

#endif
