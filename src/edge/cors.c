/* cors.c - which web pages may call the API, and scripts' own endpoints, from a browser.
 *
 * None, unless the configuration names origins: without the headers of this file a browser shows
 * a page no answer, and sends no request with an Authorization header in the first place. With
 * --dev there is no key, so there a page of another origin is refused: otherwise any page that a
 * developer visits could publish through the gateway on their machine. */
#include "cors.h"

#include "api/script_route.h"
#include "limits/edge_metrics.h"
#include "limits/origin.h"
#include "sse_route.h"

#define METHODS "GET, POST, DELETE"
#define HEADERS "Authorization, Content-Type, Last-Event-ID"

/* A script that sets this header decides about CORS itself. */
#define ALLOW_ORIGIN BH_SLICE("Access-Control-Allow-Origin")

/* For the pages that may open WebSockets, too: server-sent events, and the inbox. */
static bool is_for_clients(const struct bh_http_conn *c, const struct bh_route *route) {
    return route == &bh_sse_route ||
           (route != &bh_script_route &&
            bh_slice_eq(bh_http_conn_request(c)->path, BH_SLICE("/inbox")));
}

static bool is_covered(const struct bh_http_conn *c, const struct bh_route *route) {
    return route == &bh_script_route || is_for_clients(c, route) ||
           bh_slice_starts(bh_http_conn_request(c)->path, BH_SLICE("/api/"));
}

static struct bh_slice origin_of(const struct bh_http_request *r) {
    return bh_http_header(r->headers, r->header_count, BH_SLICE("Origin"));
}

static bool is_in_origins(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    return bh_origin_in(config->origins, config->origin_count, origin_of(bh_http_conn_request(c)));
}

static bool is_allowed(const struct bh_http_conn *c, const struct bh_route *route) {
    const struct bh_edge_config *config = c->server->config;
    return (is_for_clients(c, route) && is_in_origins(c)) ||
           bh_origin_in(config->cors, config->cors_count, origin_of(bh_http_conn_request(c)));
}

static bool is_configured(const struct bh_http_conn *c, const struct bh_route *route) {
    const struct bh_edge_config *config = c->server->config;
    return config->cors_count || (is_for_clients(c, route) && config->origin_count);
}

static void add_common(struct bh_http_conn *c, struct bh_slice name, struct bh_slice value) {
    c->common[c->common_count++] = (struct bh_header){name, value};
}

void bh_cors_prepare(struct bh_http_conn *c, const struct bh_route *route) {
    if (!is_configured(c, route) || !is_covered(c, route))
        return;
    c->common_unless = ALLOW_ORIGIN;
    add_common(c, BH_SLICE("Vary"), BH_SLICE("Origin"));
    if (is_allowed(c, route))
        add_common(c, ALLOW_ORIGIN, origin_of(bh_http_conn_request(c)));
    if (is_for_clients(c, route) && is_in_origins(c)) /* cookies, which WebSockets have anyway */
        add_common(c, BH_SLICE("Access-Control-Allow-Credentials"), BH_SLICE("true"));
}

static void answer_preflight(struct bh_http_conn *c, const struct bh_route *route,
                             const char *allow) {
    const struct bh_header headers[] = {
        {BH_SLICE("Access-Control-Allow-Methods"),
         route == &bh_script_route ? bh_slice_cstr(allow) : BH_SLICE(METHODS)},
        {BH_SLICE("Access-Control-Allow-Headers"), BH_SLICE(HEADERS)},
        {BH_SLICE("Access-Control-Max-Age"), BH_SLICE("600")},
    };
    if (is_allowed(c, route))
        bh_http_conn_answer(c, 204, NULL, headers, sizeof headers / sizeof *headers,
                            bh_slice(NULL, 0));
    else
        bh_http_conn_fail(c, 403, "forbidden", "this origin is not in api.cors_origins");
}

bool bh_cors_answer(struct bh_http_conn *c, const struct bh_route *route, const char *allow) {
    const struct bh_edge_config *config = c->server->config;
    const struct bh_http_request *r = bh_http_conn_request(c);
    bh_cors_prepare(c, route);
    if (!is_covered(c, route) || origin_of(r).n == 0)
        return false;
    bool preflight =
        allow && bh_slice_eq(r->method, BH_SLICE("OPTIONS")) &&
        bh_http_header(r->headers, r->header_count, BH_SLICE("Access-Control-Request-Method")).p;
    if (preflight && is_configured(c, route)) {
        answer_preflight(c, route, allow);
        return true;
    }
    bool known = !bh_slice_eq(origin_of(r), BH_SLICE("null")) && /* any page can have it */
                 is_in_origins(c);
    if (!config->dev || known || is_allowed(c, route))
        return false;
    bh_edge_count(BH_EDGE_LIMIT_ORIGIN, 1);
    bh_http_conn_fail(c, 403, "forbidden",
                      "pages of this origin may not use the API of a development server; "
                      "add the origin to api.cors_origins");
    return true;
}
