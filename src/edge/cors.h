/* cors.h - web pages that may use the API (Fetch standard, CORS protocol), and pages that may not.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_CORS_H
#define BELLHOP_EDGE_CORS_H

#include "api/routes.h"
#include "http/http_conn.h"

/* Sets the headers that every answer to this request has for the browser. route NULL: none. */
void bh_cors_prepare(struct bh_http_conn *c, const struct bh_route *route);
/* Prepares as well. True when the request was answered: a preflight, or a page that is not allowed
 * here. allow: the methods of the path ("": no path); NULL when the request has an endpoint, which
 * then answers a preflight itself. */
bool bh_cors_answer(struct bh_http_conn *c, const struct bh_route *route, const char *allow);

#endif
