/* inbox.c - GET /inbox: the history of a user, for that user's browser.
 *
 * The hook on_handshake decides who it is, as for a WebSocket, and its headers are added to the
 * answer (with --dev and no hook, the query does). Arguments other than since, limit and order are
 * the hook's. What a filter keeps from the client's connections is not shown. on_deliver decides
 * for connections, and here is none: a policy that has it could be bypassed, so there is no inbox
 * beside it.
 *
 * A policy that has an endpoint of this path keeps it. Thread: the worker's. */
#include "api/endpoints.h"
#include "api/page.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "client/dev_identity.h"
#include "http/handshake.h"
#include "limits/edge_metrics.h"

/* --- the page --- */

/* False after answering. */
static bool parse_options(struct bh_http_conn *c, struct bh_page_options *options) {
    struct bh_slice query = bh_http_conn_request(c)->query, name, value;
    const char *why;
    bh_page_options_init(options);
    while (bh_http_next_arg(&query, &name, &value)) {
        if (bh_page_option(options, name, value, &why) != BH_EINVAL)
            continue;
        bh_http_conn_fail(c, 400, "invalid_option", "query \"%.*s\": %s", BH_SLICE_ARG(name), why);
        return false;
    }
    return true;
}

/* Of the answer: see bh_page_answer. No cache may keep it, unless the hook says so. */
static void keep_headers(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    if (!bh_http_header(result->headers, result->header_count, BH_SLICE("Cache-Control")).p)
        bh_bytes_adds(&c->scratch, "Cache-Control\nno-store\n");
    for (size_t i = 0; i < result->header_count; i++) {
        const struct bh_header *h = &result->headers[i];
        if (bh_slice_caseeq(h->name, BH_SLICE("Content-Type")) ||
            bh_slice_control(h->value) < h->value.n)
            continue;
        bh_bytes_add(&c->scratch, h->name);
        bh_bytes_addc(&c->scratch, '\n');
        bh_bytes_add(&c->scratch, h->value);
        bh_bytes_addc(&c->scratch, '\n');
    }
}

static bool has_expired(const struct bh_identity *identity) {
    return identity->expires && identity->expires <= bh_clock_wall_ms() / 1000;
}

/* The identity is taken over. */
static void answer(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    struct bh_identity *identity = result->identity;
    struct bh_page_options options;
    struct bh_topic topic;
    const char *why;
    if (has_expired(identity))
        bh_http_conn_fail(c, 401, "unauthorized", "the identity has expired");
    else if (identity->user.n == 0)
        bh_http_conn_fail(c, 403, "forbidden", "only a user has an inbox");
    else if (bh_topic_make(BH_TOPIC_USER, identity->user, &topic, &why) != 0)
        bh_http_conn_fail(c, 400, "invalid_user", "%s", why);
    else if (parse_options(c, &options)) {
        keep_headers(c, result);
        bh_page_answer(c, &topic, &options, identity);
        return;
    }
    bh_identity_free(identity);
}

/* --- who is it? --- */

static void refuse(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    bh_info_limited("inbox refused", bh_kv_int("status", result->status));
    bh_handshake_refuse(c, result);
}

static void on_handshake_result(void *ud, bh_handle handle,
                                const struct bh_handshake_result *result) {
    struct bh_http_conn *c = bh_handshake_conn(ud, handle, result);
    if (!c)
        return;
    if (bh_handshake_accepted(result))
        answer(c, result);
    else
        refuse(c, result);
}

static void ask_hook(struct bh_http_conn *c) {
    c->cancel_on_end = true;
    bh_handshake_ask(c, NULL, on_handshake_result);
}

static void answer_developer(struct bh_http_conn *c) {
    struct bh_handshake_result result = {0};
    const char *why;
    if (bh_dev_identity(bh_http_conn_request(c)->query, &result.identity, &why) != 0)
        bh_http_conn_fail(c, 400, "invalid_identity", "%s", why);
    else
        answer(c, &result);
}

/* --- beginning --- */

static void refuse_origin(struct bh_http_conn *c) {
    bh_edge_count(BH_EDGE_LIMIT_ORIGIN, 1);
    bh_http_conn_fail(c, 403, "forbidden",
                      "this origin is not in websocket.origins or api.cors_origins");
}

void bh_api_inbox(struct bh_http_conn *c) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    struct bh_page_options ignored;
    if (c->server->admission->draining)
        bh_http_conn_fail(c, 503, BH_HTTP_STOPPING);
    else if (!bh_handshake_origin_allowed(c))
        refuse_origin(c);
    else if (bh_hooks_has(hooks, BH_HOOK_DELIVER))
        bh_http_conn_fail(c, 403, "forbidden",
                          "the policy has on_deliver, which decides for connections only; write an "
                          "endpoint with bh.history.read instead");
    else if (!parse_options(c, &ignored))
        return;
    else if (bh_hooks_has(hooks, BH_HOOK_HANDSHAKE))
        ask_hook(c);
    else if (c->server->config->dev)
        answer_developer(c);
    else
        bh_http_conn_fail(c, 401, "unauthorized", "there is no on_handshake hook to accept users");
}
