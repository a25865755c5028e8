/* http1.h - HTTP/1.1: requests from bytes, responses to bytes.
 *
 * Heads are collected within limits, checked strictly and parsed into a struct bh_http_request.
 * Requests are parsed one at a time: pipelined bytes stay with the caller until it has answered. A
 * body, chunked or with a Content-Length, is delivered whole, up to a limit, or dropped: the caller
 * sees the head first. Requests that could be used for smuggling fail with 400: Content-Length with
 * Transfer-Encoding, two Content-Lengths, a missing or second Host in HTTP/1.1, obsolete line
 * folding, NUL or bare CR or LF in a header; so do those with two Origins. Memory: the size of the
 * head and the body, at most their limits; none between requests. No sockets, no clock. Thread:
 * any, one owner. */
#ifndef BELLHOP_PROTO_HTTP1_H
#define BELLHOP_PROTO_HTTP1_H

#include "bellhop/base/buf.h"
#include "bellhop/base/header.h"

#include <stdbool.h>
#include <stdint.h>

struct bh_http_limits {
    size_t head_bytes;   /* request line and headers; also chunk extensions and trailers; 16 KiB */
    size_t header_count; /* default 100 */
    size_t body_bytes;   /* default 1 MiB + some */
};

/* Slices point into the parser's memory and live until the next _reset or _discard. */
struct bh_http_request {
    struct bh_slice method; /* "GET" */
    struct bh_slice target; /* as sent: "/ws?user=42"; absolute-form is reduced to its path */
    struct bh_slice path;   /* "/ws", not decoded */
    struct bh_slice query;  /* "user=42", without '?' */
    struct bh_slice host;   /* of an absolute-form target, otherwise of the Host header */
    const struct bh_header *headers; /* names as sent */
    size_t header_count;
    struct bh_slice body; /* empty until all of it has come */
    uint64_t length;      /* Content-Length; 0: no body, or a chunked one */
    bool has_body;
    uint8_t minor;        /* HTTP/1.minor */
    bool keep_alive;      /* as the client asks */
    bool upgrade;         /* HTTP/1.1, Connection: upgrade, Upgrade: websocket, and no body */
    bool expect_continue; /* HTTP/1.1 and a body */
};

struct bh_http1; /* opaque; heap, only while a connection speaks HTTP */

enum bh_http1_event {
    BH_HTTP1_MORE,      /* all bytes consumed, the request is not complete */
    BH_HTTP1_HEAD,      /* the head is complete, and a body follows: feed, or _discard, then feed */
    BH_HTTP1_REQUEST,   /* *request is complete; feed again only after _reset */
    BH_HTTP1_DISCARDED, /* the rest of a request has been dropped; feed the next one */
    BH_HTTP1_ERROR,     /* answer with the status of bh_http1_error, then close */
};

struct bh_http1 *bh_http1_new(const struct bh_http_limits *limits); /* limits must outlive it */
void bh_http1_free(struct bh_http1 *h);
/* Feeds bytes; *used is how many were consumed (for REQUEST: up to the end of this request; for an
 * upgrade: up to the end of its head). On ERROR bh_http1_error gives the status (400, 413, 414,
 * 431, 501, 503 without memory, 505) and a sentence for the answer and the log. */
enum bh_http1_event bh_http1_feed(struct bh_http1 *h, struct bh_slice in, size_t *used);
const struct bh_http_request *bh_http1_request(const struct bh_http1 *h);
void bh_http1_error(const struct bh_http1 *h, int *status, const char **why);
/* Ready for the next request; frees the memory of the last one. */
void bh_http1_reset(struct bh_http1 *h);
/* After HEAD: frees the request. Its body is dropped as it comes, up to `max` bytes of the wire:
 * more is an ERROR. */
void bh_http1_discard(struct bh_http1 *h, size_t max);
/* Bytes of memory of the request. */
size_t bh_http1_held(const struct bh_http1 *h);
/* True while no byte of a next request has arrived. */
bool bh_http1_idle(const struct bh_http1 *h);

/* --- request helpers --- */

/* The first header with this name (case-insensitive), or an empty slice with p == NULL. */
struct bh_slice bh_http_header(const struct bh_header *headers, size_t count, struct bh_slice name);
/* Iterates the elements of a comma-separated header over all its lines; *at starts zeroed. Elements
 * are trimmed and never empty. */
struct bh_http_list {
    size_t line;
    struct bh_slice rest;
};
bool bh_http_next_element(const struct bh_header *headers, size_t count, struct bh_slice name,
                          struct bh_http_list *at, struct bh_slice *element);
/* True when a comma-separated header has this token, in any of its lines, ignoring case. */
bool bh_http_has_token(const struct bh_header *headers, size_t count, struct bh_slice name,
                       struct bh_slice token);
/* The first query argument (or cookie) with this name, still encoded; p == NULL when absent. Names
 * are compared as sent. */
struct bh_slice bh_http_arg(struct bh_slice query, struct bh_slice name);
struct bh_slice bh_http_cookie(const struct bh_header *headers, size_t count, struct bh_slice name);
/* Iterates query arguments: *rest starts as the query. */
bool bh_http_next_arg(struct bh_slice *rest, struct bh_slice *name, struct bh_slice *value);

/* --- responses --- */

const char *bh_http_reason(int status);
/* Appends status line, Date, given headers, Content-Length, Connection (of 426 with Upgrade:
 * websocket), and the body. 1xx, 204 and
 * 304 have neither body nor length. BH_EINVAL, and nothing appended, when a name is not a token or
 * is Content-Length or Transfer-Encoding, a value has control characters, or the status is not
 * 100..599. content_type NULL: none. head_only is for HEAD: the length without the body. */
int bh_http_response(struct bh_bytes *out, int status, const char *content_type,
                     const struct bh_header *headers, size_t header_count, struct bh_slice body,
                     bool keep_alive, bool head_only, int64_t wall_ms);
/* The head of a 200 whose body is written by the caller and ends with the connection, so that
 * clients of HTTP/1.0 can read it, too. BH_EINVAL as above. */
int bh_http_stream_head(struct bh_bytes *out, struct bh_slice content_type,
                        const struct bh_header *headers, size_t header_count, int64_t wall_ms);

#endif
