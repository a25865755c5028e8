/* script_route.h - the HTTP endpoints of scripts: after the built-in routes, before 404.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_SCRIPT_ROUTE_H
#define BELLHOP_EDGE_SCRIPT_ROUTE_H

#include "api/routes.h"

/* The route of every request that a script answers. */
extern const struct bh_route bh_script_route;

/* Looks the request up in the scripts' routes; out->route is also set for NO_METHOD. */
enum bh_route_result bh_script_route_find(const struct bh_http_conn *c, struct bh_route_match *out);

#endif
