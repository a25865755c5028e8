/* sse_route.c - see the header. */
#include "sse_route.h"

#include "sse/sse_request.h"

#include <stdio.h>

const struct bh_route bh_sse_route = {.method = "GET", .endpoint = bh_sse_begin};

enum bh_route_result bh_sse_route_find(const struct bh_http_conn *c, struct bh_route_match *out) {
    struct bh_slice method = bh_http_conn_request(c)->method;
    *out = (struct bh_route_match){0};
    if (!bh_sse_has_path(c))
        return BH_ROUTE_NO_PATH;
    out->route = &bh_sse_route;
    if (bh_slice_eq(method, BH_SLICE("GET")) || bh_slice_eq(method, BH_SLICE("HEAD")))
        return BH_ROUTE_FOUND;
    snprintf(out->allow, sizeof out->allow, "GET, HEAD");
    return BH_ROUTE_NO_METHOD;
}
