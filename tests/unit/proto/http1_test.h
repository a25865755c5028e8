/* http1_test.h - feeding bytes to a bh_http1 and recording the events as a transcript. A request is
 * "METHOD path?query 1.minor host flags {body}|" with the flags K(eep-alive), U(pgrade),
 * E(xpect); an interim event is "continue|", an error "error STATUS|". The body of a request to
 * "/discard" is discarded: "head|discarded|". */
#ifndef BELLHOP_TESTS_UNIT_PROTO_HTTP1_TEST_H
#define BELLHOP_TESTS_UNIT_PROTO_HTTP1_TEST_H

#include "bellhop/proto/http1.h"
#include "proto_test.h"

extern const struct bh_http_limits http_roomy;

#define HTTP_DISCARD_MAX 40

/* Feeds all of `in`, cut in this way, up to the first error. */
void http_feed(struct bh_slice in, const struct bh_http_limits *limits, int cut,
               struct bh_bytes *transcript);
/* The same transcript for every cut. */
void http_expect_within(struct bh_slice in, const struct bh_http_limits *limits,
                        const char *expected);

struct http_vector {
    struct bh_slice in;
    const char *expected;
};

/* {bytes, transcript} */
#define HTTP(in, expected)                                                                         \
    { {"" in, sizeof(in) - 1}, expected }

void http_expect_all(const struct http_vector *vectors, size_t n);

#define GET(rest)  "GET / HTTP/1.1\r\nHost: h\r\n" rest
#define POST(rest) "POST / HTTP/1.1\r\nHost: h\r\n" rest

#endif
