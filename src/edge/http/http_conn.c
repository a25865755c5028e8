/* conn_http.c - the life of an HTTP connection.
 *
 * Bytes are fed to the parser until it yields a request; that one is dispatched, and what came
 * behind it (pipelined requests, frames behind an upgrade) is held back until it is answered.
 * Meanwhile the socket is still read, up to a bound, because that is how a client's going is seen.
 * Answers gather in `out` and are written at the end of the tick; there too the held bytes are
 * looked at again, so an answer never recurses into the next request.
 *
 * The end is a FIN after the last answer, then a wait for the client's own FIN: closing a socket
 * with unread bytes would reset it, and the answer would be lost on its way.
 *
 * An upgrade that succeeds gives the descriptor and the held bytes to the WebSocket connection
 * (ws_conn.c), and this object goes. The edge's list owns connections; they are freed in the reap
 * phase. Completions find them by the handle of their request, which ends with the answer.
 * Thread: the worker's. */
#include "http/http_conn.h"

#include "api/endpoints.h"
#include "api/script_route.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "cors.h"
#include "http/preface.h"
#include "router.h"
#include "ws/ws_conn.h"

#define HELD_MAX (16 * 1024)  /* beyond it a busy connection is not read */
#define OUT_MAX  (256 * 1024) /* beyond it no further pipelined request is served */

static const struct bh_stream_callbacks callbacks;

/* --- states and deadlines --- */

static void arm(struct bh_http_conn *c, uint64_t ms) {
    if (ms)
        bh_timer_set(&c->deadline, ms);
    else
        bh_timer_cancel(&c->deadline);
}

static void set_state(struct bh_http_conn *c, enum bh_http_conn_state state) {
    const struct bh_edge_config *config = c->edge->config;
    c->state = (uint8_t)state;
    switch (state) {
    case BH_HTTP_CONN_PREFACE:
        arm(c, config->tls_handshake_ms);
        break;
    case BH_HTTP_CONN_IDLE: /* a client that is new has something to say at once */
        arm(c, c->served ? config->http_idle_ms : config->http_request_ms);
        break;
    case BH_HTTP_CONN_READING:
        arm(c, config->http_request_ms);
        break;
    case BH_HTTP_CONN_LINGER:
        arm(c, config->close_timeout_ms);
        break;
    case BH_HTTP_CONN_BUSY:
    case BH_HTTP_CONN_CLOSED:
        bh_timer_cancel(&c->deadline);
        break;
    }
}

static bool awaits_request(const struct bh_http_conn *c) {
    return c->state == BH_HTTP_CONN_IDLE || c->state == BH_HTTP_CONN_READING;
}

/* The WebSocket paths are no routes. */
static bool is_upgrading(const struct bh_http_conn *c) {
    return c->state == BH_HTTP_CONN_BUSY && !c->route;
}

static size_t unsent(const struct bh_http_conn *c) {
    return c->out.len - c->sent;
}

static void update_reading(struct bh_http_conn *c) {
    bool room = c->in.len < HELD_MAX && unsent(c) < OUT_MAX;
    bh_stream_read(&c->stream, room || c->state == BH_HTTP_CONN_LINGER);
}

static void release_request(struct bh_http_conn *c) {
    bh_slots_remove(&c->edge->requests, c->request);
    c->request = 0;
    c->ticket = 0;
    c->route = NULL;
    bh_bytes_free(&c->scratch);
}

void bh_http_conn_abandon(struct bh_http_conn *c) {
    struct bh_hooks *hooks = c->edge->worker->hooks;
    if (c->ticket && hooks)
        hooks->vt->cancel(hooks, c->ticket);
    c->ticket = 0;
    if (c->ws)
        bh_ws_conn_drop(c->ws, 1006, BH_SLICE("the handshake was not completed"));
    c->ws = NULL;
    bh_buf_unref(c->switching);
    c->switching = NULL;
    c->live = false;
}

void bh_http_conn_drop(struct bh_http_conn *c) {
    if (c->state == BH_HTTP_CONN_CLOSED)
        return;
    bh_http_conn_abandon(c);
    release_request(c);
    set_state(c, BH_HTTP_CONN_CLOSED);
    bh_stream_close(&c->stream);
    bh_defer_cancel(&c->flush);
    bh_defer(c->edge->loop, BH_PHASE_REAP, &c->reap);
}

void bh_http_conn_free(struct bh_http_conn *c) {
    bh_timer_cancel(&c->deadline);
    bh_defer_cancel(&c->flush);
    bh_defer_cancel(&c->reap);
    bh_list_unlink(&c->node);
    bh_http1_free(c->parser);
    bh_bytes_free(&c->in);
    bh_bytes_free(&c->out);
    bh_bytes_free(&c->scratch);
    if (c->counted_ip)
        bh_edge_give_address(c->edge, &c->remote);
    if (c->refused)
        c->edge->refusing--;
    else if (!c->handed_over)
        bh_edge_socket_gone();
    bh_free(c);
}

static void on_reap(struct bh_defer *d) {
    struct bh_http_conn *c = BH_CONTAINER_OF(d, struct bh_http_conn, reap);
    struct bh_edge *e = c->edge;
    bh_http_conn_free(c);
    bh_edge_check_drained(e);
}

/* --- answers --- */

static void respond(struct bh_http_conn *c, int status, const char *type,
                    const struct bh_header *headers, size_t count, struct bh_slice body, bool keep,
                    bool head_only) {
    int64_t now = bh_clock_wall_ms();
    if (bh_http_response(&c->out, status, type, headers, count, body, keep, head_only, now) != 0) {
        bh_warn_limited("an answer's headers were left out: they hold control characters");
        bh_http_response(&c->out, status, type, NULL, 0, body, keep, head_only, now);
    }
    bh_edge_count(BH_EDGE_HTTP_1XX + (enum bh_edge_metric)(status / 100 - 1), 1);
    set_state(c, keep ? BH_HTTP_CONN_IDLE : BH_HTTP_CONN_LINGER);
    bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
}

static bool has_header(const struct bh_header *headers, size_t count, struct bh_slice name) {
    return bh_http_header(headers, count, name).p != NULL;
}

void bh_http_conn_answer(struct bh_http_conn *c, int status, const char *content_type,
                         const struct bh_header *headers, size_t header_count,
                         struct bh_slice body) {
    if (c->state != BH_HTTP_CONN_BUSY)
        return;
    struct bh_header all[BH_HTTP_HEADERS_MAX + BH_CORS_HEADERS_MAX];
    size_t n = 0;
    for (; n < header_count && n < BH_HTTP_HEADERS_MAX - 1; n++)
        all[n] = headers[n];
    if (!has_header(all, n, BH_SLICE("Access-Control-Allow-Origin")))
        n += bh_cors_headers(c, all + n);
    if (status == 401 && !has_header(all, n, BH_SLICE("WWW-Authenticate")))
        all[n++] = (struct bh_header){BH_SLICE("WWW-Authenticate"), BH_SLICE("Bearer")};
    const struct bh_http_request *request = bh_http_conn_request(c);
    /* Behind an upgrade that is refused there may be frames, which are no request. */
    bool keep = request->keep_alive && !request->upgrade && !c->edge->draining;
    bool head = bh_slice_eq(request->method, BH_SLICE("HEAD"));
    c->served = true;
    respond(c, status, content_type, all, n, body, keep, head);
    release_request(c);
    bh_http1_reset(c->parser);
}

void bh_http_conn_answer_json(struct bh_http_conn *c, int status, struct bh_slice body) {
    bh_http_conn_answer(c, status, "application/json", NULL, 0, body);
}

void bh_http_conn_error_object(struct bh_bytes *out, const char *code, struct bh_slice message) {
    bh_bytes_adds(out, "{\"code\":");
    bh_json_quote(out, bh_slice_cstr(code));
    bh_bytes_adds(out, ",\"message\":");
    bh_json_quote(out, message);
    bh_bytes_addc(out, '}');
}

static void error_body(struct bh_bytes *out, const char *code, struct bh_slice message) {
    bh_bytes_adds(out, "{\"error\":");
    bh_http_conn_error_object(out, code, message);
    bh_bytes_adds(out, "}\n");
}

void bh_http_conn_fail(struct bh_http_conn *c, int status, const char *code, const char *format,
                       ...) {
    struct bh_bytes message = {0}, body = {0};
    va_list args;
    va_start(args, format);
    bh_bytes_vaddf(&message, format, args);
    va_end(args);
    error_body(&body, code, bh_bytes_slice(&message));
    bh_http_conn_answer_json(c, status, bh_bytes_slice(&body));
    bh_bytes_free(&message);
    bh_bytes_free(&body);
}

static const char *code_of(int status) {
    switch (status) {
    case 401:
        return "unauthorized";
    case 403:
        return "forbidden";
    case 404:
        return "not_found";
    case 429:
        return "too_many_requests";
    case 500:
        return "internal_error";
    case 503:
        return "unavailable";
    case 504:
        return "timeout";
    default:
        return "refused";
    }
}

void bh_http_conn_refuse(struct bh_http_conn *c, int status, struct bh_slice body,
                         const struct bh_header *headers, size_t header_count) {
    if (status < 300 || status > 599)
        status = 403;
    struct bh_bytes wrapped = {0};
    if (bh_json_check(body, NULL) != 0 || bh_json_root(body).type != BH_JSON_OBJECT) {
        error_body(&wrapped, code_of(status),
                   body.n ? body : bh_slice_cstr(bh_http_reason(status)));
        body = bh_bytes_slice(&wrapped);
    }
    bh_http_conn_answer(c, status, "application/json", headers, header_count, body);
    bh_bytes_free(&wrapped);
}

/* For what is no complete request: the connection ends with it. */
static void reject(struct bh_http_conn *c, int status, const char *code, const char *why) {
    struct bh_bytes body = {0};
    error_body(&body, code, bh_slice_cstr(why));
    respond(c, status, "application/json", NULL, 0, bh_bytes_slice(&body), false, false);
    bh_bytes_free(&body);
}

/* --- requests --- */

struct bh_http_conn *bh_http_conn_find(struct bh_edge *e, bh_handle request) {
    return bh_slots_get(&e->requests, request);
}

static void decode_param(struct bh_http_conn *c, struct bh_slice param) {
    int n = param.n <= sizeof c->param_bytes ? bh_slice_urldecode(param, false, c->param_bytes)
                                             : BH_ETOOBIG;
    /* What cannot be decoded becomes an id that is none, so that the endpoint refuses it. */
    c->param = n >= 0 ? bh_slice(c->param_bytes, (size_t)n) : bh_slice("", 0);
}

static void answer_wrong_method(struct bh_http_conn *c, const char *allow) {
    struct bh_bytes body = {0};
    error_body(&body, "method_not_allowed", BH_SLICE("this path takes the methods in Allow"));
    struct bh_header header = {BH_SLICE("Allow"), bh_slice_cstr(allow)};
    bh_http_conn_answer(c, 405, "application/json", &header, 1, bh_bytes_slice(&body));
    bh_bytes_free(&body);
}

/* What is for developers comes last, so that the scripts' paths are the same with --dev. */
static enum bh_route_result find_route(const struct bh_http_conn *c, struct bh_route_match *match) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    enum bh_route_result found = bh_route_find(r->method, r->path, false, match);
    if (found == BH_ROUTE_NO_PATH)
        found = bh_script_route_find(c, match);
    if (found == BH_ROUTE_NO_PATH && c->edge->config->dev)
        found = bh_route_find(r->method, r->path, true, match);
    return found;
}

static void dispatch(struct bh_http_conn *c) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    struct bh_route_match match;
    if (r->upgrade) {
        bh_upgrade_begin(c);
        return;
    }
    enum bh_route_result found = find_route(c, &match);
    if (found == BH_ROUTE_NO_PATH && bh_upgrade_takes(c)) {
        bh_upgrade_begin(c); /* a handshake that is none: it says what is missing */
        return;
    }
    c->route = match.route;
    if (bh_cors_answer(c, found == BH_ROUTE_FOUND ? NULL : match.allow))
        return;
    switch (found) {
    case BH_ROUTE_NO_PATH:
        bh_http_conn_fail(c, 404, "not_found", "there is nothing at this path");
        return;
    case BH_ROUTE_NO_METHOD:
        answer_wrong_method(c, match.allow);
        return;
    case BH_ROUTE_FOUND:
        break;
    }
    if (match.param.p)
        decode_param(c, match.param);
    if (match.route->guarded)
        bh_auth_begin(c);
    else
        match.route->endpoint(c);
}

static void begin_request(struct bh_http_conn *c) {
    const struct bh_edge_config *config = c->edge->config;
    bh_peer_find(&c->remote, bh_http_conn_request(c), config->trusted, config->trusted_count,
                 &c->peer);
    c->request = bh_slots_add(&c->edge->requests, c);
    set_state(c, BH_HTTP_CONN_BUSY);
    dispatch(c);
}

static const char *error_code(int status) {
    switch (status) {
    case 413:
        return "too_large";
    case 414:
    case 431:
        return "head_too_large";
    default:
        return "bad_request";
    }
}

static void refuse_bytes(struct bh_http_conn *c) {
    int status;
    const char *why;
    bh_http1_error(c->parser, &status, &why);
    if (status == 413 || status == 414 || status == 431)
        bh_edge_count(status == 413 ? BH_EDGE_LIMIT_BODY : BH_EDGE_LIMIT_HEAD, 1);
    bh_info_limited("http request refused", bh_kv_int("status", status), bh_kv_str("reason", why));
    reject(c, status, error_code(status), why);
}

/* Feeds what the state allows; returns the bytes used. */
static size_t feed(struct bh_http_conn *c, struct bh_slice in) {
    size_t used = 0;
    while (used < in.n && awaits_request(c) && unsent(c) < OUT_MAX) {
        size_t took = 0;
        enum bh_http1_event event =
            bh_http1_feed(c->parser, bh_slice(in.p + used, in.n - used), &took);
        used += took;
        if (c->state == BH_HTTP_CONN_IDLE && !bh_http1_idle(c->parser))
            set_state(c, BH_HTTP_CONN_READING);
        switch (event) {
        case BH_HTTP1_MORE:
            return in.n;
        case BH_HTTP1_CONTINUE:
            bh_bytes_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
            bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
            break;
        case BH_HTTP1_REQUEST:
            begin_request(c);
            break;
        case BH_HTTP1_ERROR:
            refuse_bytes(c);
            break;
        }
    }
    return c->state == BH_HTTP_CONN_LINGER || c->state == BH_HTTP_CONN_CLOSED ? in.n : used;
}

static void feed_held(struct bh_http_conn *c) {
    size_t used = feed(c, bh_bytes_slice(&c->in));
    bh_bytes_consume(&c->in, used);
    if (c->in.len == 0)
        bh_bytes_free(&c->in);
}

static void on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct bh_http_conn *c = BH_CONTAINER_OF(s, struct bh_http_conn, stream);
    if (c->state == BH_HTTP_CONN_LINGER)
        return;
    if (c->state == BH_HTTP_CONN_PREFACE) {
        bh_greet_data(c, bh_slice((const char *)data, n));
        if (c->state != BH_HTTP_CONN_CLOSED)
            update_reading(c);
        return;
    }
    size_t used = c->in.len ? 0 : feed(c, bh_slice(data, n));
    if (used < n)
        bh_bytes_add(&c->in, bh_slice(data + used, n - used));
    if (c->in.len && awaits_request(c))
        bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
    update_reading(c);
}

/* --- writing and ending --- */

static void hand_over(struct bh_http_conn *c) {
    struct bh_ws_conn *ws = c->ws;
    struct bh_buf *answer = c->switching;
    c->ws = NULL;
    c->switching = NULL;
    c->handed_over = true;
    ws->counted_ip = ws->counted_ip || c->counted_ip;
    c->counted_ip = false;
    bh_ws_conn_start(ws, &c->stream, answer, bh_slice(c->in.p, c->in.len));
    bh_http_conn_drop(c);
}

/* True when all is written. */
static bool write_out(struct bh_http_conn *c) {
    size_t n = unsent(c);
    if (n == 0)
        return true;
    struct iovec iov = {c->out.p + c->sent, n};
    ssize_t taken = bh_stream_write(&c->stream, &iov, 1);
    if (taken == BH_ECLOSED) {
        bh_http_conn_drop(c);
        return false;
    }
    c->sent += taken > 0 ? (size_t)taken : 0;
    if (unsent(c)) {
        bh_stream_want_write(&c->stream);
        return false;
    }
    bh_bytes_free(&c->out);
    c->sent = 0;
    return true;
}

static void finish_lingering(struct bh_http_conn *c) {
    if (c->peer_ended) {
        bh_http_conn_drop(c);
        return;
    }
    if (!c->fin_sent)
        bh_stream_shutdown(&c->stream);
    c->fin_sent = true;
}

static void on_flush(struct bh_defer *d) {
    struct bh_http_conn *c = BH_CONTAINER_OF(d, struct bh_http_conn, flush);
    if (c->in.len)
        feed_held(c);
    if (!write_out(c)) {
        if (c->state != BH_HTTP_CONN_CLOSED)
            update_reading(c);
        return;
    }
    if (c->in.len && awaits_request(c))
        bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush); /* OUT_MAX had stopped it */
    else if (c->ws && c->switching && (c->live || bh_ws_conn_wants_close(c->ws)))
        hand_over(c);
    else if (c->state == BH_HTTP_CONN_LINGER)
        finish_lingering(c);
    else if (awaits_request(c) && c->peer_ended)
        bh_http_conn_drop(c);
    else
        update_reading(c);
}

static void on_writable(struct bh_stream *s) {
    struct bh_http_conn *c = BH_CONTAINER_OF(s, struct bh_http_conn, stream);
    if (c->state == BH_HTTP_CONN_PREFACE)
        bh_http_conn_begin(c); /* TLS is there */
    if (c->state == BH_HTTP_CONN_IDLE || c->state == BH_HTTP_CONN_LINGER)
        set_state(c, c->state); /* a slow reader that reads is given its time */
    bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
}

/* The script learns that nobody waits any more; what was answered before still goes out. */
static void give_script_up(struct bh_http_conn *c) {
    bh_http_conn_abandon(c);
    release_request(c);
    set_state(c, BH_HTTP_CONN_LINGER);
}

/* A client may send FIN behind its request and still wait for the answer; not so behind an
 * upgrade, which would be one-way at once, nor before it has begun to speak HTTP, nor while a
 * script makes it wait, who would go on for nobody: clients that give up send just a FIN. */
static void on_end(struct bh_stream *s, int error) {
    struct bh_http_conn *c = BH_CONTAINER_OF(s, struct bh_http_conn, stream);
    if (error || c->state == BH_HTTP_CONN_PREFACE || is_upgrading(c)) {
        bh_http_conn_drop(c);
        return;
    }
    if (c->route == &bh_script_route && c->ticket)
        give_script_up(c);
    c->peer_ended = true;
    bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
}

static const struct bh_stream_callbacks callbacks = {on_data, on_end, on_writable};

static void on_deadline(struct bh_timer *t) {
    struct bh_http_conn *c = BH_CONTAINER_OF(t, struct bh_http_conn, deadline);
    if (c->state == BH_HTTP_CONN_READING) {
        bh_info_limited("http request timed out");
        bh_edge_count(BH_EDGE_LIMIT_REQUEST_TIME, 1);
        reject(c, 408, "timeout", "the request took too long to arrive");
    } else if (c->state == BH_HTTP_CONN_BUSY) {
        bh_edge_count(BH_EDGE_LIMIT_HANDSHAKE_TIME, 1);
        bh_upgrade_cancel(c, c->ticket ? 504 : 503, "the handshake took too long");
    } else {
        if (c->state == BH_HTTP_CONN_PREFACE)
            bh_edge_count(BH_EDGE_LIMIT_TRANSPORT_TIME, 1);
        else if (c->state == BH_HTTP_CONN_IDLE && !c->served)
            bh_edge_count(BH_EDGE_LIMIT_REQUEST_TIME, 1);
        bh_http_conn_drop(c);
    }
}

void bh_http_conn_drain(struct bh_http_conn *c) {
    if (is_upgrading(c))
        bh_upgrade_cancel(c, 503, "the instance is shutting down");
    else if (c->state == BH_HTTP_CONN_PREFACE || (c->state == BH_HTTP_CONN_IDLE && unsent(c) == 0))
        bh_http_conn_drop(c);
    else if (c->state == BH_HTTP_CONN_IDLE)
        set_state(c, BH_HTTP_CONN_LINGER);
}

void bh_http_conn_begin(struct bh_http_conn *c) {
    set_state(c, BH_HTTP_CONN_IDLE);
    if (c->in.len)
        bh_defer(c->edge->loop, BH_PHASE_FLUSH, &c->flush);
}

/* Its place among the sockets is free again while it is being told. */
static void give_place_back(struct bh_http_conn *c) {
    bh_edge_socket_gone();
    c->refused = true;
    c->edge->refusing++;
}

void bh_http_conn_turn_away(struct bh_http_conn *c, int status, const char *code, const char *why) {
    if (c->listener->tls || c->edge->refusing >= BH_EDGE_REFUSING_MAX) {
        bh_http_conn_drop(c);
        return;
    }
    give_place_back(c);
    reject(c, status, code, why);
}

void bh_http_conn_new(struct bh_edge *e, const struct bh_edge_listener *l, int fd,
                      const struct bh_addr *peer, bool refuse) {
    struct bh_http_conn *c = bh_calloc(1, sizeof *c);
    c->edge = e;
    c->listener = l;
    bh_ip_of(peer, &c->remote);
    c->remote_port = bh_addr_port(peer);
    c->refused = refuse;
    c->parser = bh_http1_new(&e->http_limits);
    bh_stream_init(&c->stream, e->loop, fd, &callbacks);
    bh_timer_init(&c->deadline, e->loop, on_deadline);
    bh_defer_init(&c->flush, on_flush);
    bh_defer_init(&c->reap, on_reap);
    bh_list_append(&e->conns, &c->node);
    set_state(c, BH_HTTP_CONN_PREFACE);
    if (refuse)
        reject(c, 503, "too_many_connections", "this instance holds as many as it may");
    else
        bh_greet(c);
    if (c->state != BH_HTTP_CONN_CLOSED)
        update_reading(c);
}
