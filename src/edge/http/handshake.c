/* handshake.c - the hook on_handshake, for requests of clients. */
#include "http/handshake.h"

#include "http/hook_request.h"
#include "limits/origin.h"

void bh_handshake_ask(struct bh_http_conn *c, const struct bh_path_params *params,
                      bh_handshake_cb done) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    struct bh_hook_request h;
    bh_handle request = c->request;
    bh_hook_request_init(&h, c);
    if (params) {
        h.request.params = params->list;
        h.request.param_count = params->count;
    }
    bh_handle ticket = hooks->vt->handshake(hooks, &h.request, done, c->server, request);
    bh_hook_request_deinit(&h);
    if (c->request == request)
        c->ticket = ticket;
}

struct bh_http_conn *bh_handshake_conn(void *server, bh_handle request,
                                       const struct bh_handshake_result *result) {
    struct bh_http_conn *c = bh_http_conn_find(server, request);
    if (c)
        c->ticket = 0;
    else
        bh_identity_free(result->identity);
    return c;
}

void bh_handshake_refuse(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    struct bh_header headers[BH_HTTP_HEADERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < result->header_count && n < BH_HTTP_HEADERS_MAX; i++)
        if (!bh_slice_caseeq(result->headers[i].name, BH_SLICE("Content-Type")))
            headers[n++] = result->headers[i]; /* a refusal is always JSON */
    bh_http_conn_refuse(c, result->status ? result->status : 503, result->body, headers, n);
}

bool bh_handshake_origin_allowed(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_slice origin = bh_http_header(r->headers, r->header_count, BH_SLICE("Origin"));
    return origin.n == 0 || config->origin_count == 0 ||
           bh_origin_in(config->origins, config->origin_count, origin) ||
           bh_origin_in(config->cors, config->cors_count, origin);
}
