/* script_route.h - endpoints that scripts have: behind the built-in routes, before 404.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_SCRIPT_ROUTE_H
#define BELLHOP_EDGE_SCRIPT_ROUTE_H

#include "api/routes.h"

/* The route of every request that a script answers. */
extern const struct bh_route bh_script_route;

/* Asks the scripts; out->route is set also when only the method is wrong. */
enum bh_route_result bh_script_route_find(const struct bh_http_conn *c, struct bh_route_match *out);

#endif
