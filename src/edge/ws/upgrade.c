/* ws_upgrade.c - from an upgrade request to a WebSocket connection.
 *
 * Who the client is, a hook says (or, with --dev and no hook, the query). Then the connection is
 * registered with the node, and only when its topics are live the 101 goes out, so that nothing
 * published after the client's `open` event is missed. Until then the HTTP connection keeps the
 * socket, the deadline and what the client sends ahead; what is delivered meanwhile waits in the
 * connection's queue, behind the 101.
 * Thread: the worker's. */
#include "api/endpoints.h"
#include "limits/origin.h"
#include "limits/quota.h"
#include "ws/ws_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/ws_handshake.h"

#define DEV_TOPICS_MAX 64
#define ID_HEADER      "Bellhop-Connection"

void bh_upgrade_cancel(struct bh_http_conn *c, int status, const char *why) {
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_http_conn_abandon(c);
    bh_http_conn_refuse(c, status, bh_slice_cstr(why), NULL, 0);
}

/* --- opening --- */

static void on_live(void *ud, bh_handle handle, int error) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c || !c->ws)
        return;
    if (error) {
        bh_upgrade_cancel(c, 503, "the connection could not be registered");
        return;
    }
    c->live = true;
    bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
}

static void negotiate_deflate(struct bh_http_conn *c, struct bh_bytes *extensions) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_ws_deflate deflate;
    if (bh_ws_deflate_negotiate(r->headers, r->header_count, &c->edge->config->deflate, &deflate,
                                extensions))
        bh_ws_conn_set_deflate(c->ws, &deflate);
}

static struct bh_buf *switching_protocols(struct bh_http_conn *c, const struct bh_welcome *welcome,
                                          struct bh_slice protocol) {
    struct bh_header headers[BH_HTTP_HEADERS_MAX];
    struct bh_bytes answer = {0}, extensions = {0};
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(c->ws->subscriber.number, id);
    headers[0] = (struct bh_header){BH_SLICE(ID_HEADER), bh_slice_cstr(id)};
    size_t n = 1;
    for (size_t i = 0; i < welcome->header_count && n < BH_HTTP_HEADERS_MAX; i++)
        headers[n++] = welcome->headers[i];
    negotiate_deflate(c, &extensions);
    struct bh_slice agreed = bh_bytes_slice(&extensions);
    if (bh_ws_handshake_answer(&answer, bh_http_conn_request(c), protocol, agreed, headers, n) !=
        0) {
        bh_warn_limited("a handshake's headers were left out: they hold control characters");
        bh_bytes_clear(&answer);
        bh_ws_handshake_answer(&answer, bh_http_conn_request(c), protocol, agreed, headers, 1);
    }
    struct bh_buf *buf = bh_buf_copy(bh_bytes_slice(&answer));
    bh_bytes_free(&answer);
    bh_bytes_free(&extensions);
    return buf;
}

static void refuse_quota(struct bh_http_conn *c, enum bh_edge_metric limit, const char *why) {
    bh_edge_count(limit, 1);
    bh_info_limited("websocket handshake refused", bh_kv_int("status", 429),
                    bh_kv_str("reason", why));
    bh_upgrade_cancel(c, 429, why);
}

/* A client behind a trusted proxy counts for its own address; others do since they were accepted.
 * What is taken here is given back with the WebSocket connection. */
static bool take_quotas(struct bh_http_conn *c, const struct bh_identity *identity) {
    const struct bh_edge_config *config = c->edge->config;
    if (c->peer.forwarded && !bh_edge_take_address(c->edge, &c->peer.ip)) {
        bh_upgrade_cancel(c, 429, "this address has as many connections as it may");
        return false;
    }
    if (!bh_quota_acquire(BH_QUOTA_USER, identity->user, config->connections_per_user)) {
        refuse_quota(c, BH_EDGE_LIMIT_PER_USER, "this user has as many connections as they may");
    } else if (!bh_quota_acquire(BH_QUOTA_TENANT, identity->tenant,
                                 config->connections_per_tenant)) {
        bh_quota_release(BH_QUOTA_USER, identity->user, config->connections_per_user);
        refuse_quota(c, BH_EDGE_LIMIT_PER_TENANT, "this tenant has as many connections as it may");
    } else {
        return true;
    }
    if (c->peer.forwarded)
        bh_edge_give_address(c->edge, &c->peer.ip);
    return false;
}

static bool has_limits(const struct bh_identity *identity) {
    const struct bh_identity_limits *l = &identity->limits;
    return l->messages_per_second || l->bytes_per_second || l->queue_bytes;
}

static void open_connection(struct bh_http_conn *c, const struct bh_welcome *welcome) {
    struct bh_edge *e = c->edge;
    bh_handle request = c->request;
    struct bh_slice protocol = welcome->protocol;
    if (protocol.n && !bh_ws_handshake_offers(bh_http_conn_request(c), protocol))
        protocol = bh_slice(NULL, 0);
    if (!take_quotas(c, welcome->identity)) {
        bh_identity_free(welcome->identity);
        return;
    }
    c->ws = bh_ws_conn_new(e, &c->peer.ip, protocol, &c->flush);
    c->ws->counted_ip = c->peer.forwarded;
    c->ws->limited = has_limits(welcome->identity);
    bh_node_open(e->worker, &c->ws->subscriber, welcome->identity, on_live, e, request);
    if (bh_http_conn_find(e, request) == c && c->ws)
        c->switching = switching_protocols(c, welcome, protocol);
}

static void on_welcome(void *ud, bh_handle handle, const struct bh_welcome *welcome) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c) {
        bh_identity_free(welcome->identity);
        return;
    }
    c->ticket = 0;
    if (welcome->status == 0 && welcome->identity) {
        open_connection(c, welcome);
        return;
    }
    struct bh_header headers[BH_HTTP_HEADERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < welcome->header_count && n < BH_HTTP_HEADERS_MAX; i++) {
        const struct bh_header *h = &welcome->headers[i];
        if (!bh_slice_caseeq(h->name, BH_SLICE("Content-Type"))) /* a refusal is JSON, always */
            headers[n++] = *h;
    }
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    bh_info_limited("websocket handshake refused", bh_kv_int("status", welcome->status));
    bh_http_conn_refuse(c, welcome->status ? welcome->status : 503, welcome->body, headers, n);
}

/* --- the identity of a developer --- */

struct dev_identity {
    struct bh_identity parts;
    struct bh_slice topics[DEV_TOPICS_MAX];
    char *bytes; /* decoded values; as long as the query is enough */
    size_t used;
};

static int decode(struct dev_identity *d, struct bh_slice value, struct bh_slice *out) {
    int n = bh_slice_urldecode(value, true, d->bytes + d->used);
    if (n < 0)
        return n;
    *out = bh_slice(d->bytes + d->used, (size_t)n);
    d->used += (size_t)n;
    return 0;
}

static int take_argument(struct dev_identity *d, struct bh_slice name, struct bh_slice value) {
    if (bh_slice_eq(name, BH_SLICE("user")))
        return decode(d, value, &d->parts.user);
    if (bh_slice_eq(name, BH_SLICE("tenant")))
        return decode(d, value, &d->parts.tenant);
    if (bh_slice_eq(name, BH_SLICE("device")))
        return decode(d, value, &d->parts.device);
    if (!bh_slice_eq(name, BH_SLICE("topic")))
        return 0;
    if (d->parts.topic_count == DEV_TOPICS_MAX)
        return BH_ETOOBIG;
    return decode(d, value, &d->topics[d->parts.topic_count++]);
}

static int identity_from_query(struct bh_slice query, struct bh_identity **out, const char **why) {
    struct dev_identity d = {.bytes = bh_malloc(query.n + 1)};
    struct bh_slice name, value;
    int error = 0;
    d.parts.topics = d.topics;
    *why = "the query holds a bad escape or too many topics";
    while (!error && bh_http_next_arg(&query, &name, &value))
        error = take_argument(&d, name, value);
    if (!error)
        error = bh_identity_new(&d.parts, out, why);
    bh_free(d.bytes);
    return error;
}

static void welcome_developer(struct bh_http_conn *c) {
    struct bh_welcome welcome = {0};
    const char *why;
    if (identity_from_query(bh_http_conn_request(c)->query, &welcome.identity, &why) != 0)
        bh_http_conn_fail(c, 400, "invalid_identity", "%s", why);
    else
        open_connection(c, &welcome);
}

/* --- beginning --- */

static void refuse_handshake(struct bh_http_conn *c, int status, const char *why) {
    bh_edge_count(BH_EDGE_HANDSHAKES_REFUSED, 1);
    struct bh_header version = {BH_SLICE("Sec-WebSocket-Version"), BH_SLICE("13")};
    struct bh_header allow = {BH_SLICE("Allow"), BH_SLICE("GET")};
    struct bh_bytes body = {0};
    bh_bytes_adds(&body, "{\"error\":");
    bh_http_conn_error_object(&body, "bad_handshake", bh_slice_cstr(why));
    bh_bytes_adds(&body, "}\n");
    bh_http_conn_answer(c, status, "application/json", status == 405 ? &allow : &version,
                        status == 405 || status == 426, bh_bytes_slice(&body));
    bh_bytes_free(&body);
}

/* The most specific of the configured paths that fits. */
static bool find_path(const struct bh_http_conn *c, struct bh_path_params *params) {
    const struct bh_edge_config *config = c->edge->config;
    const struct bh_slice *best = NULL;
    for (size_t i = 0; i < config->ws_path_count; i++) {
        const struct bh_slice *pattern = &config->ws_paths[i];
        if ((!best || bh_path_compare(*pattern, *best) < 0) &&
            bh_path_match(*pattern, bh_http_conn_request(c)->path, params))
            best = pattern;
    }
    return best && bh_path_match(*best, bh_http_conn_request(c)->path, params);
}

bool bh_upgrade_takes(const struct bh_http_conn *c) {
    struct bh_path_params params;
    return find_path(c, &params);
}

static void ask_hook(struct bh_http_conn *c) {
    struct bh_hooks *hooks = c->edge->worker->hooks;
    struct bh_hook_request hook_request;
    bh_hook_request_init(c, &hook_request);
    find_path(c, &hook_request.params);
    hook_request.request.params = hook_request.params.list;
    hook_request.request.param_count = hook_request.params.count;
    bh_handle ticket =
        hooks->vt->handshake(hooks, &hook_request.request, on_welcome, c->edge, c->request);
    bh_hook_request_deinit(&hook_request);
    c->ticket = ticket;
}

/* Cookies go with a WebSocket whatever page opens it, so the page's origin has to be asked for. */
static bool origin_is_welcome(struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->edge->config;
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

void bh_upgrade_begin(struct bh_http_conn *c) {
    int status;
    const char *why;
    if (!bh_upgrade_takes(c)) {
        bh_upgrade_cancel(c, 404, "there is no WebSocket at this path; websocket.paths names them");
        return;
    }
    if (bh_ws_handshake_check(bh_http_conn_request(c), &status, &why) != 0) {
        refuse_handshake(c, status, why);
        return;
    }
    if (c->edge->draining) {
        bh_upgrade_cancel(c, 503, "the instance is shutting down");
        return;
    }
    if (!origin_is_welcome(c)) {
        bh_upgrade_cancel(c, 403, "websocket.origins does not allow this Origin");
        return;
    }
    if (c->edge->config->handshake_ms)
        bh_timer_set(&c->deadline, c->edge->config->handshake_ms);
    if (bh_hooks_has(c->edge->worker->hooks, BH_HOOK_HANDSHAKE))
        ask_hook(c);
    else if (c->edge->config->dev)
        welcome_developer(c);
    else
        bh_upgrade_cancel(c, 401, "no on_handshake hook says who may connect");
}
