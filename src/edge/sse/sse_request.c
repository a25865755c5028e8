/* sse_request.c - check, ask the hook, register, answer, hand over the socket.
 *
 * The same steps as for a WebSocket (ws/upgrade.c): a hook decides who the client is, then the link
 * is registered with the node, which asks for the topics that the client has named. The head is
 * sent when its topics are live; what it missed may come much later, if Redis is away. Until then
 * the HTTP connection keeps the socket and the deadline; what is sent waits in the link's queue,
 * behind the head.
 *
 * struct bh_sse_upgrade lives from the accepted request to its answer or the handover; the HTTP
 * connection's pointer to it is the only one. Thread: the worker's. */
#include "sse/sse_request.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/sse.h"
#include "client/dev_identity.h"
#include "client/query.h"
#include "client/quotas.h"
#include "http/handshake.h"
#include "limits/edge_metrics.h"
#include "sse/sse_session.h"

#define TYPE      "text/event-stream"
#define ID_HEADER "Bellhop-Connection"

struct bh_sse_upgrade {
    struct bh_upgrade base;
    struct bh_client_query query; /* `since` is that of Last-Event-ID, if there is one */
    struct bh_sse_opening opening;
    struct bh_sse_conn *link; /* NULL until the hook has accepted */
    struct bh_buf *head;      /* of the answer; NULL until bh_node_resume has returned */
    bool live;                /* every topic is: the head may be sent */
};

/* Proxies shall neither keep nor buffer nor change it. */
static const struct bh_header stream_headers[] = {
    {BH_SLICE("Cache-Control"), BH_SLICE("no-cache, no-transform")},
    {BH_SLICE("X-Accel-Buffering"), BH_SLICE("no")},
};
#define STREAM_HEADERS (sizeof stream_headers / sizeof *stream_headers)

static const struct bh_header gzip_headers[] = {
    {BH_SLICE("Content-Encoding"), BH_SLICE("gzip")},
    {BH_SLICE("Vary"), BH_SLICE("Accept-Encoding")},
};

static struct bh_sse_upgrade *of(const struct bh_http_conn *c) {
    return BH_CONTAINER_OF(c->upgrade, struct bh_sse_upgrade, base);
}

static void free_upgrade(struct bh_sse_upgrade *u) {
    bh_client_query_free(&u->query);
    bh_client_refusal_free(&u->opening.refusal);
    bh_buf_unref(u->head);
    bh_free(u);
}

/* --- refusals --- */

static void log_refusal(struct bh_http_conn *c, int status, struct bh_slice why) {
    char ip[BH_ADDR_TEXT_MAX];
    bh_ip_format(&c->peer.ip, ip);
    bh_info_limited("sse request refused", bh_kv_int("status", status), bh_kv_slice("reason", why),
                    bh_kv_str("ip", ip));
}

static void refuse(struct bh_http_conn *c, enum bh_edge_metric reason, int status,
                   struct bh_slice why) {
    bh_edge_count(reason, 1);
    log_refusal(c, status, why);
    bh_http_conn_refuse(c, status, why, NULL, 0);
}

/* The client shall come back later. */
static void put_off(struct bh_http_conn *c, enum bh_edge_metric reason, const char *why) {
    struct bh_buf *retry = bh_sse_retry(bh_sse_retry_later_ms(c->server->config));
    bh_edge_count(reason, 1);
    log_refusal(c, 200, bh_slice_cstr(why));
    bh_http_conn_answer(c, 200, TYPE, stream_headers, STREAM_HEADERS, bh_buf_slice(retry));
    bh_buf_unref(retry);
}

void bh_sse_refuse_full(struct bh_http_conn *c) {
    put_off(c, BH_EDGE_SSE_REFUSED_LIMIT, "connection limit reached");
}

static bool will_pass(int status) {
    return status == 0 || status == 429 || status >= 500;
}

/* Takes the refusal out of the upgrade, which ends with the answer. */
static void refuse_opening(struct bh_http_conn *c, int error) {
    struct bh_client_refusal r = of(c)->opening.refusal;
    of(c)->opening.refusal = (struct bh_client_refusal){0};
    bh_client_refusal_error(&r, error);
    if (will_pass(r.status))
        put_off(c, BH_EDGE_SSE_REFUSED_FAILED, "the connection could not be registered");
    else
        refuse(c, r.status == 400 ? BH_EDGE_SSE_REFUSED_MALFORMED : BH_EDGE_SSE_REFUSED_RIGHTS,
               r.status, bh_bytes_slice(&r.body));
    bh_client_refusal_free(&r);
}

/* --- the http connection's callbacks --- */

static void on_gone(struct bh_http_conn *c) {
    struct bh_sse_upgrade *u = of(c);
    c->upgrade = NULL;
    if (u->link)
        bh_sse_conn_drop(u->link, 1006, BH_SLICE("request not completed"));
    free_upgrade(u);
}

static void on_deadline(struct bh_http_conn *c) {
    bh_edge_count(BH_EDGE_LIMIT_HANDSHAKE_TIME, 1);
    put_off(c, BH_EDGE_SSE_REFUSED_FAILED, "timed out");
}

static void on_drain(struct bh_http_conn *c) {
    put_off(c, BH_EDGE_SSE_REFUSED_DRAINING, "the instance is shutting down");
}

static void on_written(struct bh_http_conn *c) {
    struct bh_sse_upgrade *u = of(c);
    if (!u->head || !(u->live || u->link->state == BH_SSE_LEAVING))
        return;
    c->upgrade = NULL;
    c->place = BH_PLACE_NONE;
    u->link->counted_ip = u->link->counted_ip || c->counted_ip;
    c->counted_ip = false;
    bh_sse_session_start(u->link, &c->stream, bh_buf_ref(u->head));
    free_upgrade(u);
    bh_http_conn_drop(c);
}

static const struct bh_upgrade_ops upgrade_ops = {on_written, on_deadline, on_drain, on_gone};

/* --- opening --- */

static void send_head(struct bh_http_conn *c) {
    of(c)->live = true;
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

static void on_live(void *ud, bh_handle handle, int error) {
    struct bh_http_conn *c = bh_http_conn_find(ud, handle);
    if (!c || of(c)->link->state == BH_SSE_LEAVING)
        return; /* it was closed meanwhile, and tells the client so */
    if (error)
        refuse_opening(c, error);
    else
        send_head(c);
}

static size_t add_headers(struct bh_header *all, size_t n, const struct bh_header *more,
                          size_t count) {
    for (size_t i = 0; i < count && n < BH_HTTP_HEADERS_MAX; i++)
        all[n++] = more[i];
    return n;
}

/* As for messages of WebSockets, what the hook says comes before the configuration. */
static bool wants_gzip(const struct bh_http_conn *c, enum bh_compression compression) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    bool off = compression == BH_COMPRESSION_DEFAULT
                   ? c->server->config->deflate.mode == BH_WS_DEFLATE_OFF
                   : compression == BH_COMPRESSION_OFF;
    return !off && bh_http_has_token(r->headers, r->header_count, BH_SLICE("Accept-Encoding"),
                                     BH_SLICE("gzip"));
}

static void add_first_event(const struct bh_sse_conn *link, struct bh_bytes *out) {
    struct bh_buf *retry = bh_sse_retry(bh_sse_retry_ms(link->server->config));
    if (link->gzip) {
        bh_bytes_add(out, BH_GZIP_HEAD);
        retry = bh_sse_pack_event(&link->server->pack, retry);
    }
    bh_bytes_add(out, bh_buf_slice(retry));
    bh_buf_unref(retry);
}

/* The head and the first event. The hook's headers come last, and are left out if they cannot be
 * sent. */
static struct bh_buf *make_head(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    struct bh_header headers[BH_HTTP_HEADERS_MAX];
    struct bh_bytes head = {0};
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(of(c)->link->subscriber.number, id);
    headers[0] = (struct bh_header){BH_SLICE(ID_HEADER), bh_slice_cstr(id)};
    size_t own = add_headers(headers, of(c)->link->opening != NULL, stream_headers, STREAM_HEADERS);
    own = add_headers(headers, own, c->common, c->common_count);
    own = add_headers(headers, own, gzip_headers, of(c)->link->gzip ? 2 : 0);
    size_t all = add_headers(headers, own, result->headers, result->header_count);
    if (bh_http_stream_head(&head, BH_SLICE(TYPE), headers, all, bh_clock_wall_ms()) != 0) {
        bh_warn_limited("handshake response headers dropped: control characters");
        bh_http_stream_head(&head, BH_SLICE(TYPE), headers, own, bh_clock_wall_ms());
    }
    if (of(c)->link->opening)
        add_first_event(of(c)->link, &head);
    struct bh_buf *buf = bh_buf_copy(bh_bytes_slice(&head));
    bh_bytes_free(&head);
    return buf;
}

/* False: the request was refused. The identity stays the caller's. */
static bool check_identity(struct bh_http_conn *c, struct bh_identity **identity) {
    const char *why;
    if (bh_client_name_topics(identity, &of(c)->query, c->server->config->dev, &why) != 0) {
        refuse(c, BH_EDGE_SSE_REFUSED_MALFORMED, 400, bh_slice_cstr(why));
        return false;
    }
    why =
        bh_quotas_acquire(c->server->admission, c->peer.forwarded ? &c->peer.ip : NULL, *identity);
    if (why)
        put_off(c, BH_EDGE_SSE_REFUSED_LIMIT, why);
    return !why;
}

static struct bh_sse_conn *new_link(struct bh_http_conn *c, const struct bh_identity *identity,
                                    enum bh_compression compression) {
    struct bh_sse_upgrade *u = of(c);
    u->link = bh_sse_session_new(c->server->sse, &c->peer.ip);
    u->link->counted_ip = c->peer.forwarded;
    u->link->registered = true;
    u->link->limited = bh_identity_is_limited(identity);
    u->link->gzip = wants_gzip(c, compression);
    u->link->resumes = u->query.since.count > 0;
    u->link->opening = &u->opening;
    return u->link;
}

static void accept_client(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    bh_handle request = c->request;
    struct bh_identity *identity = result->identity;
    if (!check_identity(c, &identity)) {
        bh_identity_free(identity);
        return;
    }
    struct bh_sse_conn *link = new_link(c, identity, result->compression);
    bh_node_resume(c->server->worker, &link->subscriber, identity,
                   link->resumes ? &of(c)->query.since : NULL, on_live, c->server, request);
    if (bh_http_conn_find(c->server, request) == c)
        of(c)->head = make_head(c, result);
}

/* HEAD: what GET would be answered with; nothing is registered. */
static void answer_head(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    bh_identity_free(result->identity);
    of(c)->link = bh_sse_session_new(c->server->sse, &c->peer.ip);
    of(c)->link->state = BH_SSE_LEAVING;
    of(c)->link->gzip = wants_gzip(c, result->compression);
    of(c)->head = make_head(c, result);
    send_head(c);
}

static void open_or_head(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    if (bh_slice_eq(bh_http_conn_request(c)->method, BH_SLICE("HEAD")))
        answer_head(c, result);
    else
        accept_client(c, result);
}

/* --- who is it? --- */

static void refuse_identity(struct bh_http_conn *c, const struct bh_handshake_result *result) {
    if (will_pass(result->status)) {
        put_off(c, BH_EDGE_SSE_REFUSED_FAILED, "on_handshake failed, or refused for now");
        return;
    }
    bh_edge_count(BH_EDGE_SSE_REFUSED_RIGHTS, 1);
    log_refusal(c, result->status, bh_slice(NULL, 0));
    bh_handshake_refuse(c, result);
}

static void on_handshake_result(void *ud, bh_handle handle,
                                const struct bh_handshake_result *result) {
    struct bh_http_conn *c = bh_handshake_conn(ud, handle, result);
    if (!c)
        return;
    if (bh_handshake_accepted(result))
        open_or_head(c, result);
    else
        refuse_identity(c, result);
}

static bool find_path(const struct bh_http_conn *c, struct bh_path_params *params) {
    const struct bh_edge_config *config = c->server->config;
    return bh_path_find(config->sse_paths, config->sse_path_count, bh_http_conn_request(c)->path,
                        params);
}

bool bh_sse_has_path(const struct bh_http_conn *c) {
    struct bh_path_params params;
    return find_path(c, &params);
}

static void ask_hook(struct bh_http_conn *c) {
    struct bh_path_params params;
    find_path(c, &params);
    bh_handshake_ask(c, &params, on_handshake_result);
}

static void accept_developer(struct bh_http_conn *c) {
    struct bh_handshake_result result = {0};
    const char *why;
    if (bh_dev_identity(bh_http_conn_request(c)->query, &result.identity, &why) != 0)
        refuse(c, BH_EDGE_SSE_REFUSED_MALFORMED, 400, bh_slice_cstr(why));
    else
        open_or_head(c, &result);
}

/* --- beginning --- */

/* What EventSource has seen last is newer than what its URL says. */
static int read_query(struct bh_sse_upgrade *u, const struct bh_http_request *r, const char **why) {
    struct bh_slice last = bh_http_header(r->headers, r->header_count, BH_SLICE("Last-Event-ID"));
    int error = bh_client_query_parse(r->query, &u->query, why);
    if (error || last.n == 0)
        return error;
    return bh_resume_parse(last, &u->query.since, why);
}

static void identify(struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    if (config->handshake_ms)
        bh_timer_set(&c->deadline, config->handshake_ms);
    if (bh_hooks_has(c->server->worker->hooks, BH_HOOK_HANDSHAKE))
        ask_hook(c);
    else if (config->dev)
        accept_developer(c);
    else
        refuse(c, BH_EDGE_SSE_REFUSED_RIGHTS, 401,
               BH_SLICE("there is no on_handshake hook to accept connections"));
}

static void begin(struct bh_http_conn *c) {
    struct bh_sse_upgrade *u = bh_calloc(1, sizeof *u);
    const char *why;
    u->base.ops = &upgrade_ops;
    u->opening.answer = &c->flush;
    c->upgrade = &u->base;
    if (read_query(u, bh_http_conn_request(c), &why) != 0)
        refuse(c, BH_EDGE_SSE_REFUSED_MALFORMED, 400, bh_slice_cstr(why));
    else
        identify(c);
}

void bh_sse_begin(struct bh_http_conn *c) {
    if (c->server->admission->draining) {
        on_drain(c);
    } else if (!bh_handshake_origin_allowed(c)) {
        bh_edge_count(BH_EDGE_LIMIT_ORIGIN, 1);
        refuse(c, BH_EDGE_SSE_REFUSED_ORIGIN, 403,
               BH_SLICE("this origin is not in websocket.origins or api.cors_origins"));
    } else {
        begin(c);
    }
}
