/* sse_request.h - from a request for server-sent events to a link.
 *
 * EventSource comes back by itself, but only after an answer of 200: every other status ends it for
 * good. So what will pass (limits, a drain, a failed hook, Redis away) is answered with 200,
 * `retry` and the end; what is about this client (400, 401, 403) by its status. Thread: the
 * worker's. */
#ifndef BELLHOP_EDGE_SSE_REQUEST_H
#define BELLHOP_EDGE_SSE_REQUEST_H

#include "http/http_conn.h"

/* Is the request's path one for server-sent events? */
bool bh_sse_has_path(const struct bh_http_conn *c);
/* GET or HEAD. Answers the request, now or later, or hands the socket to a link of
 * c->server->sse. */
void bh_sse_begin(struct bh_http_conn *c);
/* The connection is over connections_max: the client shall come back later. */
void bh_sse_refuse_full(struct bh_http_conn *c);

#endif
