/* router.h - from method and path to a built-in route. No state; any thread. */
#ifndef BELLHOP_EDGE_ROUTER_H
#define BELLHOP_EDGE_ROUTER_H

#include "api/routes.h"

/* HEAD finds what GET would. dev: routes with BH_ROUTE_DEV, too. */
enum bh_route_result bh_route_find(struct bh_slice method, struct bh_slice path, bool dev,
                                   struct bh_route_match *out);

#endif
