/* routes.h - what a route is, and the table of the built-in ones. Immutable; any thread. */
#ifndef BELLHOP_EDGE_ROUTES_H
#define BELLHOP_EDGE_ROUTES_H

#include "bellhop/base/slice.h"

struct bh_http_conn;

enum bh_route_flag {
    BH_ROUTE_GUARDED = 1 << 0, /* needs an API key, or on_api accepts the request */
    BH_ROUTE_DEV = 1 << 1,     /* exists only with --dev, behind those of scripts */
    BH_ROUTE_SLASHES = 1 << 2, /* the parameter may contain '/' */
    BH_ROUTE_BODY = 1 << 3,    /* the endpoint reads the body; others do not wait for it */
    BH_ROUTE_OPS = 1 << 4,     /* health and metrics, which addresses for administration have */
    BH_ROUTE_PUBLISH = 1 << 5, /* refused while the instance drains */
    BH_ROUTE_ENTRY = 1 << 6,   /* one more segment follows, which the endpoint reads */
    BH_ROUTE_LATE = 1 << 7,    /* a script may have an endpoint of this path, which comes first */
};

struct bh_route {
    const char *method;
    const char *prefix; /* the whole path when suffix is NULL */
    const char *suffix; /* the parameter is between prefix and suffix */
    void (*endpoint)(struct bh_http_conn *c);
    unsigned flags; /* set of enum bh_route_flag */
};

enum bh_route_result { BH_ROUTE_FOUND, BH_ROUTE_NO_PATH, BH_ROUTE_NO_METHOD };

struct bh_route_match {
    const struct bh_route *route; /* NULL for NO_PATH */
    struct bh_slice param;        /* still encoded; p NULL: none */
    char allow[64];               /* for NO_METHOD: "GET, HEAD" */
};

/* Exact paths come before patterns: POST /api/users/online is the bulk lookup, while GET of the
 * same path asks for a user called "online". */
extern const struct bh_route bh_api_routes[];
extern const size_t bh_api_route_count;

#endif
