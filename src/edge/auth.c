/* auth.c - authorization of API requests.
 *
 * The hook on_api decides first; when it has no opinion, or does not exist, a bearer key decides.
 * Without either the API is closed, except with --dev, which the application allows on loopback
 * addresses only. Every key is compared, each in constant time, and none is ever logged. */
#include "auth.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/log.h"
#include "http/hook_request.h"

static struct bh_slice bearer_token(const struct bh_http_request *r) {
    struct bh_slice rest = bh_http_header(r->headers, r->header_count, BH_SLICE("Authorization"));
    struct bh_slice scheme;
    if (!bh_slice_split(&rest, ' ', &scheme) || !bh_slice_caseeq(scheme, BH_SLICE("Bearer")))
        return bh_slice(NULL, 0);
    return rest.p ? bh_slice_trim(rest) : rest;
}

static bool is_known(const struct bh_edge_config *config, struct bh_slice token) {
    unsigned known = 0;
    for (size_t i = 0; i < config->api_key_count; i++)
        known |= bh_equal_ct(config->api_keys[i], token);
    return known && token.n > 0;
}

bool bh_auth_has_key(const struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    return config->dev || is_known(config, bearer_token(bh_http_conn_request(c)));
}

static void log_refusal(const struct bh_http_conn *c, const char *cause) {
    char ip[BH_ADDR_TEXT_MAX];
    bh_ip_format(&c->peer.ip, ip);
    bh_info_limited("api request refused", bh_kv_str("cause", cause), bh_kv_str("ip", ip));
}

static void ask_keys(struct bh_http_conn *c) {
    if (bh_auth_has_key(c)) {
        bh_http_conn_proceed(c);
        return;
    }
    log_refusal(c, "key");
    if (c->server->config->api_key_count == 0)
        bh_http_conn_fail(
            c, 401, "unauthorized",
            "the API is closed: no API key is configured and no on_api hook allows the request");
    else
        bh_http_conn_fail(c, 401, "unauthorized",
                          "a valid API key is required: Authorization: Bearer <key>");
}

static void on_allowed(void *ud, bh_handle handle, bool allowed, int status, struct bh_slice body) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c)
        return;
    c->ticket = 0;
    if (allowed) {
        bh_http_conn_proceed(c);
    } else if (status == 0) {
        ask_keys(c);
    } else {
        log_refusal(c, "hook");
        bh_http_conn_refuse(c, status, body, NULL, 0);
    }
}

void bh_auth_begin(struct bh_http_conn *c) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    if (!bh_hooks_has(hooks, BH_HOOK_API)) {
        ask_keys(c);
        return;
    }
    struct bh_hook_request h;
    bh_handle request = c->request;
    bh_hook_request_init(&h, c);
    bh_handle ticket = hooks->vt->api(hooks, &h.request, on_allowed, c->server, request);
    bh_hook_request_deinit(&h);
    if (c->request == request)
        c->ticket = ticket;
}
