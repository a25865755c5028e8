/* upgrade.c - the handshake: check, ask the hook, register, answer 101, hand over the socket.
 *
 * A hook decides who the client is (with --dev and no hook, the query does). Then the connection is
 * registered with the node. The 101 is sent only when its topics are live, so that nothing
 * published after the client's `open` event is missed. Until then the HTTP connection keeps the
 * socket, the deadline and what the client sends ahead; deliveries wait in the WebSocket
 * connection's queue, after the 101.
 *
 * struct bh_ws_upgrade lives from the accepted request to its answer or the handover; the HTTP
 * connection's pointer to it is the only one.
 * Thread: the worker's. */
#include "ws/upgrade.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/ws_handshake.h"
#include "client/dev_identity.h"
#include "client/query.h"
#include "client/quotas.h"
#include "client/rights.h"
#include "http/handshake.h"
#include "limits/edge_metrics.h"
#include "limits/origin.h"
#include "ws/session.h"

#define ID_HEADER "Bellhop-Connection"

struct bh_ws_upgrade {
    struct bh_upgrade base;
    struct bh_ws_server *server;
    struct bh_ws_conn *ws; /* NULL until the hook has accepted */
    struct bh_buf *answer; /* the 101; NULL until bh_node_open has returned */
    bool live;             /* every topic is: the answer may be sent */
};

static struct bh_ws_upgrade *of(const struct bh_http_conn *c) {
    return BH_CONTAINER_OF(c->upgrade, struct bh_ws_upgrade, base);
}

/* --- the end --- */

static void on_gone(struct bh_http_conn *c) {
    struct bh_ws_upgrade *u = of(c);
    c->upgrade = NULL;
    if (u->ws)
        bh_ws_conn_drop(u->ws, 1006, BH_SLICE("handshake not completed"));
    bh_buf_unref(u->answer);
    bh_free(u);
}

static void refuse(struct bh_http_conn *c, int status, const char *why) {
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_http_conn_refuse(c, status, bh_slice_cstr(why), NULL, 0);
}

static void on_deadline(struct bh_http_conn *c) {
    bh_edge_count(BH_EDGE_LIMIT_HANDSHAKE_TIME, 1);
    refuse(c, c->ticket ? 504 : 503, "handshake timed out");
}

static void on_drain(struct bh_http_conn *c) {
    refuse(c, 503, "the instance is shutting down");
}

static void on_written(struct bh_http_conn *c) {
    struct bh_ws_upgrade *u = of(c);
    if (!u->answer || !(u->live || bh_ws_conn_wants_close(u->ws)))
        return;
    c->upgrade = NULL;
    c->place = BH_PLACE_NONE;
    u->ws->counted_ip = u->ws->counted_ip || c->counted_ip;
    c->counted_ip = false;
    bh_ws_session_start(u->ws, &c->stream, u->answer, bh_bytes_slice(&c->in));
    bh_free(u);
    bh_http_conn_drop(c);
}

static const struct bh_upgrade_ops upgrade_ops = {on_written, on_deadline, on_drain, on_gone};

/* --- opening --- */

static void refuse_opening(struct bh_http_conn *c, int error) {
    struct bh_ws_conn *ws = of(c)->ws;
    if (!ws->json) {
        refuse(c, 503, "the connection could not be registered");
        return;
    }
    struct bh_client_refusal *r = &bh_ws_conn_json(ws)->refusal;
    bh_client_refusal_error(r, error);
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_info_limited("websocket handshake refused", bh_kv_int("status", r->status),
                    bh_kv_slice("reason", bh_bytes_slice(&r->body)));
    bh_http_conn_refuse(c, r->status, bh_bytes_slice(&r->body), NULL, 0);
}

static void on_live(void *ud, bh_handle handle, int error) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c)
        return;
    if (error) {
        refuse_opening(c, error);
        return;
    }
    of(c)->live = true;
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

/* What the hook says about the client comes before the configuration. */
static void negotiate_deflate(struct bh_http_conn *c, enum bh_compression compression,
                              struct bh_bytes *extensions) {
    static const enum bh_ws_deflate_mode modes[BH_COMPRESSION_COUNT] = {
        [BH_COMPRESSION_OFF] = BH_WS_DEFLATE_OFF,
        [BH_COMPRESSION_NO_TAKEOVER] = BH_WS_DEFLATE_NO_TAKEOVER,
        [BH_COMPRESSION_TAKEOVER] = BH_WS_DEFLATE_TAKEOVER,
    };
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_ws_deflate_config config = c->server->config->deflate;
    struct bh_ws_deflate deflate;
    if (compression != BH_COMPRESSION_DEFAULT)
        config.mode = modes[compression];
    if (bh_ws_deflate_negotiate(r->headers, r->header_count, &config, &deflate, extensions))
        bh_ws_session_set_deflate(of(c)->ws, &deflate);
}

static struct bh_buf *switching_protocols(struct bh_http_conn *c,
                                          const struct bh_handshake_result *result,
                                          struct bh_slice protocol) {
    struct bh_header headers[BH_HTTP_HEADERS_MAX];
    struct bh_bytes answer = {0}, extensions = {0};
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(of(c)->ws->subscriber.number, id);
    headers[0] = (struct bh_header){BH_SLICE(ID_HEADER), bh_slice_cstr(id)};
    size_t n = 1;
    for (size_t i = 0; i < result->header_count && n < BH_HTTP_HEADERS_MAX; i++)
        headers[n++] = result->headers[i];
    negotiate_deflate(c, result->compression, &extensions);
    struct bh_slice agreed = bh_bytes_slice(&extensions);
    if (bh_ws_handshake_answer(&answer, bh_http_conn_request(c), protocol, agreed, headers, n) !=
        0) {
        bh_warn_limited("handshake response headers dropped: control characters");
        bh_bytes_clear(&answer);
        bh_ws_handshake_answer(&answer, bh_http_conn_request(c), protocol, agreed, headers, 1);
    }
    struct bh_buf *buf = bh_buf_copy(bh_bytes_slice(&answer));
    bh_bytes_free(&answer);
    bh_bytes_free(&extensions);
    return buf;
}

/* False: the request was refused. */
static bool acquire_quotas(struct bh_http_conn *c, const struct bh_identity *identity) {
    const char *why =
        bh_quotas_acquire(c->server->admission, c->peer.forwarded ? &c->peer.ip : NULL, identity);
    if (!why)
        return true;
    bh_info_limited("websocket handshake refused", bh_kv_int("status", 429),
                    bh_kv_str("reason", why));
    refuse(c, 429, why);
    return false;
}

static bool wants_json(const struct bh_http_conn *c, enum bh_format format) {
    if (format != BH_FORMAT_DEFAULT)
        return format == BH_FORMAT_JSON;
    return bh_client_query_wants_json(bh_http_conn_request(c)->query);
}

/* False: the request was refused. */
static bool name_topics(struct bh_http_conn *c, struct bh_client_query *q,
                        struct bh_identity **identity) {
    const char *why;
    if (!bh_client_query_parse(bh_http_conn_request(c)->query, q, &why) &&
        !bh_client_name_topics(identity, q, c->server->config->dev, &why))
        return true;
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_http_conn_fail(c, 400, "invalid_query", "%s", why);
    return false;
}

/* The identity is taken over. q: of a client that gets JSON, else NULL. */
static void open_session(struct bh_http_conn *c, const struct bh_handshake_result *result,
                         struct bh_identity *identity, const struct bh_client_query *q) {
    struct bh_ws_upgrade *u = of(c);
    struct bh_worker *w = c->server->worker;
    bh_handle request = c->request;
    struct bh_slice protocol = result->protocol;
    if (protocol.n && !bh_ws_handshake_offers(bh_http_conn_request(c), protocol))
        protocol = bh_slice(NULL, 0);
    u->ws = bh_ws_session_new(u->server, &c->peer.ip, protocol, q != NULL, &c->flush);
    u->ws->counted_ip = c->peer.forwarded;
    u->ws->limited = bh_identity_is_limited(identity);
    if (q)
        bh_node_resume(w, &u->ws->subscriber, identity, q->since.count ? &q->since : NULL, on_live,
                       c->server, request);
    else
        bh_node_open(w, &u->ws->subscriber, identity, on_live, c->server, request);
    if (bh_http_conn_find(c->server, request) == c)
        u->answer = switching_protocols(c, result, protocol);
}

/* The identity is taken over. */
static void accept_client(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    struct bh_identity *identity = result->identity;
    struct bh_client_query q;
    bool json = wants_json(c, result->format);
    q.bytes = NULL;
    if ((json && !name_topics(c, &q, &identity)) || !acquire_quotas(c, identity))
        bh_identity_free(identity);
    else
        open_session(c, result, identity, json ? &q : NULL);
    bh_client_query_free(&q);
}

static void on_handshake_result(void *ud, bh_handle handle,
                                const struct bh_handshake_result *result) {
    struct bh_http_conn *c = bh_handshake_conn(ud, handle, result);
    if (!c)
        return;
    if (bh_handshake_accepted(result)) {
        accept_client(c, result);
        return;
    }
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_info_limited("websocket handshake refused", bh_kv_int("status", result->status));
    bh_handshake_refuse(c, result);
}

/* --- --dev --- */

static void accept_developer(struct bh_http_conn *c) {
    struct bh_handshake_result result = {0};
    const char *why;
    if (bh_dev_identity(bh_http_conn_request(c)->query, &result.identity, &why) != 0)
        bh_http_conn_fail(c, 400, "invalid_identity", "%s", why);
    else
        accept_client(c, &result);
}

/* --- beginning --- */

static void refuse_malformed(struct bh_http_conn *c, int status, const char *why) {
    struct bh_header version = {BH_SLICE("Sec-WebSocket-Version"), BH_SLICE("13")};
    struct bh_header allow = {BH_SLICE("Allow"), BH_SLICE("GET")};
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_http_conn_fail_with(c, status,
                           status == 405   ? &allow
                           : status == 426 ? &version
                                           : NULL,
                           "bad_handshake", why);
}

static bool find_path(const struct bh_http_conn *c, struct bh_path_params *params) {
    const struct bh_edge_config *config = c->server->config;
    return bh_path_find(config->ws_paths, config->ws_path_count, bh_http_conn_request(c)->path,
                        params);
}

bool bh_upgrade_has_path(const struct bh_http_conn *c) {
    struct bh_path_params params;
    return find_path(c, &params);
}

static void ask_hook(struct bh_http_conn *c) {
    struct bh_path_params params;
    find_path(c, &params);
    bh_handshake_ask(c, &params, on_handshake_result);
}

/* A browser sends cookies with a WebSocket from any page, so the page's origin must be checked. */
static bool origin_is_allowed(struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_slice origin = bh_http_header(r->headers, r->header_count, BH_SLICE("Origin"));
    if (config->origin_count == 0 || (origin.n == 0 && !config->origin_required))
        return true;
    if (bh_origin_in(config->origins, config->origin_count, origin))
        return true;
    bh_edge_count(BH_EDGE_LIMIT_ORIGIN, 1);
    bh_info_limited("websocket handshake refused", bh_kv_int("status", 403),
                    bh_kv_slice("origin", origin));
    return false;
}

void bh_upgrade_begin(struct bh_http_conn *c, struct bh_ws_server *s) {
    int status;
    const char *why;
    if (!bh_upgrade_has_path(c)) {
        refuse(c, 404, "no WebSocket at this path; see websocket.paths");
        return;
    }
    if (bh_ws_handshake_check(bh_http_conn_request(c), &status, &why) != 0) {
        refuse_malformed(c, status, why);
        return;
    }
    if (c->server->admission->draining) {
        refuse(c, 503, "the instance is shutting down");
        return;
    }
    if (!origin_is_allowed(c)) {
        refuse(c, 403, "this origin is not in websocket.origins");
        return;
    }
    struct bh_ws_upgrade *u = bh_calloc(1, sizeof *u);
    u->base.ops = &upgrade_ops;
    u->server = s;
    c->upgrade = &u->base;
    if (c->server->config->handshake_ms)
        bh_timer_set(&c->deadline, c->server->config->handshake_ms);
    if (bh_hooks_has(c->server->worker->hooks, BH_HOOK_HANDSHAKE))
        ask_hook(c);
    else if (c->server->config->dev)
        accept_developer(c);
    else
        refuse(c, 401, "there is no on_handshake hook to accept connections");
}
