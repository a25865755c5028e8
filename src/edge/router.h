/* router.h - from method and path to an endpoint. A static table; no state; any thread. */
#ifndef BELLHOP_EDGE_ROUTER_H
#define BELLHOP_EDGE_ROUTER_H

#include "bellhop/base/slice.h"

struct bh_http_conn;

struct bh_route {
    const char *method;
    const char *prefix; /* the whole path when suffix is NULL */
    const char *suffix; /* what stands between the two is the parameter */
    void (*endpoint)(struct bh_http_conn *c);
    bool guarded;  /* needs a key or a hook's consent */
    bool dev_only; /* not there otherwise */
    bool slashes;  /* the parameter may hold '/' */
};

enum bh_route_result { BH_ROUTE_FOUND, BH_ROUTE_NO_PATH, BH_ROUTE_NO_METHOD };

struct bh_route_match {
    const struct bh_route *route; /* NULL unless found */
    struct bh_slice param;        /* still encoded; p NULL: none */
    char allow[64];               /* for NO_METHOD: "GET, HEAD" */
};

/* HEAD finds what GET would. */
enum bh_route_result bh_route_find(struct bh_slice method, struct bh_slice path, bool dev,
                                   struct bh_route_match *out);

#endif
