/* dispatch.c - from the head of a request to the code that answers it.
 *
 * With --dev a request under a foreign name is refused first (limits/dev_host.h). Then, in this
 * order: an upgrade, a built-in route, a script's route, server-sent events, a late route (with
 * --dev those for developers, too).
 * A script is asked only about paths that no built-in route has, so it can override none. CORS
 * comes before the endpoint; between the two the length of the body, then authorization: only then
 * is the body read. The ops of http/ are put together here,
 * so http/ knows neither the API nor WebSockets. Thread: the worker's. */
#include "dispatch.h"

#include "api/script_route.h"
#include "auth.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "cors.h"
#include "edge_private.h"
#include "http/http_excess.h"
#include "http/preface.h"
#include "limits/dev_host.h"
#include "limits/edge_metrics.h"
#include "router.h"
#include "sse/sse_request.h"
#include "sse_route.h"
#include "ws/upgrade.h"

static void begin_upgrade(struct bh_http_conn *c) {
    bh_cors_prepare(c, NULL);
    bh_upgrade_begin(c, &BH_CONTAINER_OF(c->server, struct bh_edge, http)->ws);
}

/* A parameter that cannot be decoded, or is too long, becomes an invalid id, which the endpoint
 * refuses. */
static void decode_param(struct bh_http_conn *c, struct bh_slice param) {
    char decoded[3 * BH_HTTP_PARAM_MAX], *at = c->param_bytes;
    int n = param.n <= sizeof decoded ? bh_slice_urldecode(param, false, decoded) : BH_ETOOBIG;
    if (n > BH_HTTP_PARAM_MAX || n == BH_ETOOBIG)
        c->param = param;
    else
        c->param = bh_slice_pack(&at, bh_slice(decoded, n > 0 ? (size_t)n : 0));
}

static bool has_ops(struct bh_slice path) {
    struct bh_route_match match;
    return bh_route_find(BH_SLICE("GET"), path, 0, &match) == BH_ROUTE_FOUND &&
           match.route->flags & BH_ROUTE_OPS;
}

/* The routes for developers come last, so the scripts' paths are the same with --dev; and those
 * that scripts may have had before there was one. */
static enum bh_route_result find_route(const struct bh_http_conn *c, struct bh_route_match *match) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    enum bh_route_result found = bh_route_find(r->method, r->path, 0, match);
    if (c->listener->admin)
        return has_ops(r->path) ? found : BH_ROUTE_NO_PATH;
    if (found == BH_ROUTE_NO_PATH)
        found = bh_script_route_find(c, match);
    if (found == BH_ROUTE_NO_PATH)
        found = bh_sse_route_find(c, match);
    if (found == BH_ROUTE_NO_PATH)
        found = bh_route_find(r->method, r->path,
                              BH_ROUTE_LATE | (c->server->config->dev ? BH_ROUTE_DEV : 0), match);
    return found;
}

static void refuse_length(struct bh_http_conn *c) {
    bh_edge_count(BH_EDGE_LIMIT_BODY, 1);
    bh_info_limited("http request refused", bh_kv_int("status", 413),
                    bh_kv_str("reason", "body too large"));
    bh_http_conn_fail(c, 413, "too_large", "body too large");
}

/* Of a chunked body the length is not known. */
static bool has_room(const struct bh_http_conn *c) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    return !c->takes_body || !r->has_body || bh_budget_has_room(r->length);
}

/* Its sockets close soon; another instance takes the message. */
static bool is_too_late(const struct bh_http_conn *c, const struct bh_route *route) {
    return route->flags & BH_ROUTE_PUBLISH && c->server->admission->draining;
}

static void run(struct bh_http_conn *c, const struct bh_route_match *match) {
    c->endpoint = match->route->endpoint;
    c->takes_body = match->route->flags & BH_ROUTE_BODY;
    if (match->param.p)
        decode_param(c, match->param);
    if (is_too_late(c, match->route))
        bh_http_conn_fail(c, 503, BH_HTTP_STOPPING);
    else if (bh_http_conn_request(c)->length > c->server->limits.body_bytes)
        refuse_length(c);
    else if (!has_room(c))
        bh_http_refuse_body(c);
    else if (match->route->flags & BH_ROUTE_GUARDED)
        bh_auth_begin(c);
    else
        bh_http_conn_proceed(c);
}

static void dispatch(struct bh_http_conn *c) {
    struct bh_route_match match;
    enum bh_route_result found = find_route(c, &match);
    if (found == BH_ROUTE_NO_PATH && !c->listener->admin && bh_upgrade_has_path(c)) {
        begin_upgrade(c); /* no handshake: the refusal says what is missing */
        return;
    }
    if (bh_cors_answer(c, match.route, found == BH_ROUTE_FOUND ? NULL : match.allow))
        return;
    struct bh_header allow = {BH_SLICE("Allow"), bh_slice_cstr(match.allow)};
    switch (found) {
    case BH_ROUTE_NO_PATH:
        bh_http_conn_fail(c, 404, "not_found", "not found");
        break;
    case BH_ROUTE_NO_METHOD:
        bh_http_conn_fail_with(c, 405, &allow, "method_not_allowed",
                               "method not allowed; see the header Allow");
        break;
    case BH_ROUTE_FOUND:
        run(c, &match);
        break;
    }
}

/* Without a key a request may not even ask on_api: the hook may take its time, and the places are
 * few. */
static bool is_served_when_full(const struct bh_http_conn *c) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_route_match match;
    if (r->upgrade || bh_route_find(r->method, r->path, 0, &match) != BH_ROUTE_FOUND)
        return false;
    return match.route->flags & BH_ROUTE_OPS ||
           (match.route->flags & BH_ROUTE_GUARDED && bh_auth_has_key(c));
}

static void refuse_host(struct bh_http_conn *c, struct bh_slice host) {
    bh_edge_count(BH_EDGE_LIMIT_ORIGIN, 1);
    bh_info_limited("http request refused", bh_kv_int("status", 403),
                    bh_kv_str("reason", "a host that --dev does not allow"),
                    bh_kv_slice("host", host));
    bh_http_conn_fail(c, 403, "forbidden",
                      "with --dev a request must use localhost, an IP address or a name without a "
                      "dot, because a web page can make its own name resolve to this machine (DNS "
                      "rebinding); to use this name, add it to websocket.origins or "
                      "api.cors_origins: %.*s",
                      BH_SLICE_ARG(host));
}

static void refuse_full(struct bh_http_conn *c) {
    struct bh_route_match match;
    if (find_route(c, &match) != BH_ROUTE_FOUND || match.route != &bh_sse_route) {
        bh_http_conn_fail(c, 503, "too_many_connections", "connection limit reached");
        return;
    }
    bh_cors_prepare(c, match.route);
    bh_sse_refuse_full(c);
}

static void on_head(struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    const struct bh_http_request *r = bh_http_conn_request(c);
    bh_peer_find(&c->remote, r, config->trusted, config->trusted_count, &c->peer);
    if (c->place == BH_PLACE_RESERVE && !is_served_when_full(c))
        refuse_full(c);
    else if (config->dev && !bh_dev_host_ok(config, r->host))
        refuse_host(c, r->host);
    else if (r->upgrade && !c->listener->admin)
        begin_upgrade(c);
    else
        dispatch(c);
}

const struct bh_http_conn_ops bh_dispatch_ops = {
    .on_preface = bh_preface_data,
    .on_head = on_head,
};
