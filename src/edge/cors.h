/* cors.h - web pages that use the API (Fetch standard, CORS protocol), and those that may not.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_CORS_H
#define BELLHOP_EDGE_CORS_H

#include "http/http_conn.h"

#define BH_CORS_HEADERS_MAX 2

/* True when the request was answered: a preflight, or a page that has no business here. The route
 * is known; allow: the methods that the path takes ("": no path), NULL when the request has found
 * its endpoint, which then answers a preflight itself. */
bool bh_cors_answer(struct bh_http_conn *c, const char *allow);
/* What the answer to any request has to say to the browser; how many headers. */
size_t bh_cors_headers(const struct bh_http_conn *c, struct bh_header out[BH_CORS_HEADERS_MAX]);

#endif
