/* http1_head.h - from the bytes of a whole request head to a request. Thread: any. */
#ifndef BELLHOP_PROTO_HTTP1_HEAD_H
#define BELLHOP_PROTO_HTTP1_HEAD_H

#include "bellhop/proto/http1.h"
#include "http1_line.h"

/* The length of the body. */
struct bh_http1_framing {
    bool chunked;
    uint64_t length; /* when not chunked */
};

/* Fails for a first line that is not "METHOD target HTTP/1.x": 400, or 505 for other versions. */
int bh_http1_check_request_line(struct bh_slice line, struct bh_http1_failure *failure);

/* Parses a head whose lines have been checked, without its last, empty one. Fills in the request
 * (its body excepted) and `headers`, which has room for `count`, the number of header lines. */
int bh_http1_parse_head(struct bh_slice head, struct bh_header *headers, size_t count,
                        struct bh_http_request *request, struct bh_http1_framing *framing,
                        struct bh_http1_failure *failure);

#endif
