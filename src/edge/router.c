/* router.c - the table of what this server answers.
 *
 * A path is compared as it was sent; only the one parameter of a route is decoded, by the
 * connection. Exact paths stand before patterns, so POST /api/users/online is the bulk question
 * while GET of the same path asks for a user called "online". */
#include "router.h"

#include "api/endpoints.h"
#include "bellhop/edge/edge.h"

#include <stdio.h>

static const struct bh_route routes[] = {
    {"GET", "/healthz", NULL, bh_ops_healthz, false, false, false},
    {"GET", "/readyz", NULL, bh_ops_readyz, false, false, false},
    {"GET", "/metrics", NULL, bh_ops_metrics, false, false, false},
    {"GET", "/", NULL, bh_demo_page, false, true, false},
    {"POST", "/api/publish", NULL, bh_api_batch, true, false, false},
    {"POST", "/api/reload", NULL, bh_api_reload, true, false, false},
    {"POST", "/api/broadcast", NULL, bh_api_broadcast, true, false, false},
    {"POST", "/api/users/online", NULL, bh_api_users_online, true, false, false},
    {"POST", "/api/users/", "/messages", bh_api_user_message, true, false, false},
    {"DELETE", "/api/users/", "/connections", bh_api_disconnect, true, false, false},
    {"GET", "/api/users/", "", bh_api_user, true, false, false},
    {"POST", "/api/tenants/", "/messages", bh_api_tenant_message, true, false, false},
    {"GET", "/api/tenants/", "", bh_api_tenant, true, false, false},
    {"POST", "/api/topics/", "/messages", bh_api_topic_message, true, false, true},
};

static bool matches(const struct bh_route *r, struct bh_slice path, struct bh_slice *param) {
    struct bh_slice prefix = bh_slice_cstr(r->prefix);
    *param = bh_slice(NULL, 0);
    if (!r->suffix)
        return bh_slice_eq(path, prefix);
    struct bh_slice suffix = bh_slice_cstr(r->suffix);
    if (path.n <= prefix.n + suffix.n || !bh_slice_starts(path, prefix) ||
        memcmp(path.p + path.n - suffix.n, suffix.p, suffix.n) != 0)
        return false;
    *param = bh_slice(path.p + prefix.n, path.n - prefix.n - suffix.n);
    return r->slashes || !memchr(param->p, '/', param->n);
}

static void allow(struct bh_route_match *m, const char *method) {
    size_t n = strlen(m->allow);
    snprintf(m->allow + n, sizeof m->allow - n, "%s%s", n ? ", " : "", method);
    if (strcmp(method, "GET") == 0)
        allow(m, "HEAD");
}

bool bh_edge_has_path(struct bh_slice path) {
    struct bh_route_match match;
    return bh_route_find(BH_SLICE("GET"), path, false, &match) != BH_ROUTE_NO_PATH;
}

enum bh_route_result bh_route_find(struct bh_slice method, struct bh_slice path, bool dev,
                                   struct bh_route_match *out) {
    *out = (struct bh_route_match){0};
    struct bh_slice wanted = bh_slice_eq(method, BH_SLICE("HEAD")) ? BH_SLICE("GET") : method;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const struct bh_route *r = &routes[i];
        if ((r->dev_only && !dev) || !matches(r, path, &out->param))
            continue;
        if (bh_slice_eq(wanted, bh_slice_cstr(r->method))) {
            out->route = r;
            return BH_ROUTE_FOUND;
        }
        allow(out, r->method);
    }
    return out->allow[0] ? BH_ROUTE_NO_METHOD : BH_ROUTE_NO_PATH;
}
