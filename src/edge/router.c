/* router.c - matches a request against the table of built-in routes.
 *
 * A path is compared as it was sent; dispatch.c decodes the parameter. */
#include "router.h"

#include "bellhop/edge/edge.h"

#include <stdio.h>

static struct bh_slice without_last_segment(struct bh_slice path) {
    size_t n = path.n;
    while (n > 0 && path.p[n - 1] != '/')
        n--;
    return n < path.n ? bh_slice(path.p, n) : bh_slice("", 0);
}

static bool matches(const struct bh_route *r, struct bh_slice path, struct bh_slice *param) {
    struct bh_slice prefix = bh_slice_cstr(r->prefix);
    if (r->flags & BH_ROUTE_ENTRY)
        path = without_last_segment(path);
    *param = bh_slice(NULL, 0);
    if (!r->suffix)
        return bh_slice_eq(path, prefix);
    struct bh_slice suffix = bh_slice_cstr(r->suffix);
    if (path.n <= prefix.n + suffix.n || !bh_slice_starts(path, prefix) ||
        memcmp(path.p + path.n - suffix.n, suffix.p, suffix.n) != 0)
        return false;
    *param = bh_slice(path.p + prefix.n, path.n - prefix.n - suffix.n);
    return r->flags & BH_ROUTE_SLASHES || !memchr(param->p, '/', param->n);
}

static void allow(struct bh_route_match *m, const char *method) {
    size_t n = strlen(m->allow);
    snprintf(m->allow + n, sizeof m->allow - n, "%s%s", n ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        allow(m, "HEAD");
}

bool bh_edge_has_path(struct bh_slice path) {
    struct bh_route_match match;
    return bh_route_find(BH_SLICE("GET"), path, 0, &match) != BH_ROUTE_NO_PATH;
}

enum bh_route_result bh_route_find(struct bh_slice method, struct bh_slice path, unsigned late,
                                   struct bh_route_match *out) {
    *out = (struct bh_route_match){0};
    struct bh_slice wanted = bh_slice_eq(method, BH_SLICE("HEAD")) ? BH_SLICE("GET") : method;
    for (size_t i = 0; i < bh_api_route_count; i++) {
        const struct bh_route *r = &bh_api_routes[i];
        if (r->flags & BH_ROUTES_LATE & ~late || !matches(r, path, &out->param))
            continue;
        if (bh_slice_eq(wanted, bh_slice_cstr(r->method))) {
            out->route = r;
            return BH_ROUTE_FOUND;
        }
        allow(out, r->method);
    }
    return out->allow[0] ? BH_ROUTE_NO_METHOD : BH_ROUTE_NO_PATH;
}
