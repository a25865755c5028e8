/* router.h - from method and path to a built-in route. No state; any thread. */
#ifndef BELLHOP_EDGE_ROUTER_H
#define BELLHOP_EDGE_ROUTER_H

#include "api/routes.h"

#define BH_ROUTES_LATE (BH_ROUTE_DEV | BH_ROUTE_LATE)

/* HEAD finds what GET would. late: routes with these flags of BH_ROUTES_LATE, too. */
enum bh_route_result bh_route_find(struct bh_slice method, struct bh_slice path, unsigned late,
                                   struct bh_route_match *out);

#endif
