/* cors.c - who may call the API, and scripts' own endpoints, from a browser.
 *
 * Nobody, unless the configuration names origins: without the headers of this file a browser shows
 * a page no answer, and sends no request with an Authorization header in the first place. With
 * --dev there is no key, so there a page of another origin is refused outright: otherwise any page
 * that a developer visits could publish through the gateway on their machine. */
#include "cors.h"

#include "api/script_route.h"
#include "limits/origin.h"

#define METHODS "GET, POST, DELETE"
#define ALLOWED "Authorization, Content-Type"

static bool is_script(const struct bh_http_conn *c) {
    return c->route == &bh_script_route;
}

static bool is_ours(const struct bh_http_conn *c) {
    return is_script(c) || bh_slice_starts(bh_http_conn_request(c)->path, BH_SLICE("/api/"));
}

static struct bh_slice origin_of(const struct bh_http_request *r) {
    return bh_http_header(r->headers, r->header_count, BH_SLICE("Origin"));
}

static bool is_welcome(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->edge->config;
    return bh_origin_in(config->cors, config->cors_count, origin_of(bh_http_conn_request(c)));
}

size_t bh_cors_headers(const struct bh_http_conn *c, struct bh_header out[BH_CORS_HEADERS_MAX]) {
    size_t n = 0;
    if (c->edge->config->cors_count == 0 || !is_ours(c))
        return 0;
    out[n++] = (struct bh_header){BH_SLICE("Vary"), BH_SLICE("Origin")};
    if (is_welcome(c))
        out[n++] = (struct bh_header){BH_SLICE("Access-Control-Allow-Origin"),
                                      origin_of(bh_http_conn_request(c))};
    return n;
}

static void answer_preflight(struct bh_http_conn *c, const char *allow) {
    const struct bh_header headers[] = {
        {BH_SLICE("Access-Control-Allow-Methods"),
         is_script(c) ? bh_slice_cstr(allow) : BH_SLICE(METHODS)},
        {BH_SLICE("Access-Control-Allow-Headers"), BH_SLICE(ALLOWED)},
        {BH_SLICE("Access-Control-Max-Age"), BH_SLICE("600")},
    };
    if (is_welcome(c))
        bh_http_conn_answer(c, 204, NULL, headers, sizeof headers / sizeof *headers,
                            bh_slice(NULL, 0));
    else
        bh_http_conn_fail(c, 403, "forbidden", "api.cors_origins does not name this origin");
}

bool bh_cors_answer(struct bh_http_conn *c, const char *allow) {
    const struct bh_edge_config *config = c->edge->config;
    const struct bh_http_request *r = bh_http_conn_request(c);
    if (!is_ours(c) || origin_of(r).n == 0)
        return false;
    bool preflight =
        allow && bh_slice_eq(r->method, BH_SLICE("OPTIONS")) &&
        bh_http_header(r->headers, r->header_count, BH_SLICE("Access-Control-Request-Method")).p;
    if (preflight && config->cors_count) {
        answer_preflight(c, allow);
        return true;
    }
    bool known = !bh_slice_eq(origin_of(r), BH_SLICE("null")) && /* which any page can be */
                 bh_origin_in(config->origins, config->origin_count, origin_of(r));
    if (!config->dev || known || is_welcome(c))
        return false;
    bh_edge_count(BH_EDGE_LIMIT_ORIGIN, 1);
    bh_http_conn_fail(c, 403, "forbidden",
                      "pages of this origin may not use the API of a development server; "
                      "name it in api.cors_origins");
    return true;
}
