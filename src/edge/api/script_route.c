/* script_route.c - a request that a script answers.
 *
 * The hooks know the paths. No API key is needed: authorization is up to the script. Its response
 * is checked: an invalid status, or a header that belongs to the connection (Content-Length and the
 * like), makes it a 500. */
#include "api/script_route.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "http/hook_request.h"
#include "limits/edge_metrics.h"

#include <stdio.h>

static bool may_send(const struct bh_response *r) {
    if (r->status < 200 || r->status > 599 || r->header_count >= BH_HTTP_HEADERS_MAX)
        return false;
    for (size_t i = 0; i < r->header_count; i++)
        if (!bh_response_header_ok(r->headers[i].name))
            return false;
    return true;
}

static void on_response(void *ud, bh_handle handle, const struct bh_response *r) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c)
        return;
    c->ticket = 0;
    if (!may_send(r)) {
        bh_warn_limited(
            "script response rejected: invalid status, or a header that is not allowed");
        bh_http_conn_fail(c, 500, "internal_error", "the endpoint returned an invalid response");
        return;
    }
    bh_http_conn_answer(c, r->status, NULL, r->headers, r->header_count, r->body);
}

/* Otherwise the request has to wait for long ones of others, or has waited too long. */
static bool begin_long(struct bh_http_conn *c) {
    int r = bh_stream_begin_long(&c->stream);
    c->in_line = r == BH_EAGAIN;
    if (r == BH_ETIMEDOUT) {
        static const struct bh_header retry = {BH_SLICE("Retry-After"), BH_SLICE("30")};
        bh_edge_count(BH_EDGE_LIMIT_LONG, 1);
        bh_http_conn_fail_with(c, 503, &retry, "overloaded", "too many long requests wait");
    }
    return r == 0;
}

static void call_hook(struct bh_http_conn *c) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    struct bh_hook_request h;
    bh_handle request = c->request;
    bh_hook_request_init(&h, c);
    c->cancel_on_end = true;
    bh_stream_indebt(&c->stream);
    bh_handle ticket = hooks->vt->http(hooks, &h.request, bh_http_conn_request(c)->body,
                                       on_response, c->server, request);
    bh_hook_request_deinit(&h);
    if (c->request == request)
        c->ticket = ticket;
}

static void begin(struct bh_http_conn *c) {
    bool is_long = bh_http_conn_request(c)->body.n > BH_STREAM_LONG_BYTES;
    if (is_long && !begin_long(c))
        return;
    call_hook(c);
    if (is_long)
        bh_stream_end_long(&c->stream);
}

const struct bh_route bh_script_route = {.endpoint = begin, .flags = BH_ROUTE_BODY};

enum bh_route_result bh_script_route_find(const struct bh_http_conn *c,
                                          struct bh_route_match *out) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    const struct bh_http_request *r = bh_http_conn_request(c);
    const char *allow = "";
    *out = (struct bh_route_match){0};
    int error = bh_hooks_has(hooks, BH_HOOK_HTTP)
                    ? hooks->vt->route(hooks, r->method, r->path, &allow)
                    : BH_ENOTFOUND;
    if (error == BH_ENOTFOUND)
        return BH_ROUTE_NO_PATH;
    out->route = &bh_script_route;
    if (!error)
        return BH_ROUTE_FOUND;
    snprintf(out->allow, sizeof out->allow, "%s", allow);
    return BH_ROUTE_NO_METHOD;
}
