/* sse_route.h - requests for server-sent events among the others: after the built-in routes and
 * those of scripts. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_ROUTE_H
#define BELLHOP_EDGE_SSE_ROUTE_H

#include "api/routes.h"

extern const struct bh_route bh_sse_route;

/* out->route is also set for NO_METHOD. */
enum bh_route_result bh_sse_route_find(const struct bh_http_conn *c, struct bh_route_match *out);

#endif
