/* http_conn.c - the life of an HTTP connection.
 *
 * Bytes are fed to the parser until it yields the head of a request, which goes to ops->on_head.
 * Its body is read only if the request is allowed: strangers must not fill the memory. Bytes that
 * come while that is decided, and those that follow a request (pipelined requests, frames behind an
 * upgrade) are held until it is answered. Meanwhile the socket is read only up to a bound: that is
 * how we see a client leave. Answers gather in `out` and are written at the end of the tick. Held
 * bytes are looked at when the stream's turn comes: an answer never recurses into the next request,
 * and a client that pipelines costly ones has no more than its share of a tick.
 *
 * A client whose request is answered before its body either goes on sending, or expects a "100
 * Continue" and does not: then the next byte may belong to the body or to a next request, and the
 * connection has to end.
 *
 * The end is a FIN after the last answer, then a wait for the client's FIN: closing a socket with
 * unread bytes would reset it, and the client could lose the answer.
 *
 * An upgrade that succeeds takes the descriptor and the held bytes in on_written, and this object
 * is freed. The server's list owns connections; they are freed in the reap phase. Completions find
 * them by the handle of their request, which ends with the answer.
 * Thread: the worker's. */
#include "http/http_conn.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "http/error_body.h"
#include "http/http_hold.h"
#include "limits/edge_metrics.h"

#define HELD_MAX     (16 * 1024)  /* above it a busy connection is not read */
#define OUT_MAX      (256 * 1024) /* above it no further pipelined request is served */
#define REQUESTS_MAX 32           /* of one turn */
/* A longer body of a request that is answered already ends the connection. */
#define DISCARD_MAX (64 * 1024)
/* In the reserve: from the accept to the end of the head. */
#define RESERVE_HEAD_MS 2000

static const struct bh_stream_callbacks callbacks;

/* --- states and deadlines --- */

static void arm(struct bh_http_conn *c, uint64_t ms) {
    if (ms)
        bh_timer_set(&c->deadline, ms);
    else
        bh_timer_cancel(&c->deadline);
}

static void set_state(struct bh_http_conn *c, enum bh_http_conn_state state) {
    const struct bh_edge_config *config = c->server->config;
    bool reserve = c->place == BH_PLACE_RESERVE;
    c->state = (uint8_t)state;
    switch (state) {
    case BH_HTTP_CONN_PREFACE:
        arm(c, reserve ? RESERVE_HEAD_MS : config->tls_handshake_ms);
        break;
    case BH_HTTP_CONN_IDLE: /* a new client is expected to send a request at once */
        if (!reserve)
            arm(c, c->served ? config->http_idle_ms : config->http_request_ms);
        break;
    case BH_HTTP_CONN_READING:
        if (!reserve || c->request)
            arm(c, config->http_request_ms);
        break;
    case BH_HTTP_CONN_DISCARDING:
        arm(c, config->http_request_ms);
        break;
    case BH_HTTP_CONN_LINGER:
        arm(c, config->close_timeout_ms);
        break;
    case BH_HTTP_CONN_PAUSED:
    case BH_HTTP_CONN_BUSY:
    case BH_HTTP_CONN_CLOSED:
        bh_timer_cancel(&c->deadline);
        break;
    }
}

static bool awaits_request(const struct bh_http_conn *c) {
    return c->state == BH_HTTP_CONN_IDLE || c->state == BH_HTTP_CONN_READING ||
           c->state == BH_HTTP_CONN_DISCARDING;
}

static size_t unsent(const struct bh_http_conn *c) {
    return c->out.len - c->sent;
}

static void update_reading(struct bh_http_conn *c) {
    bool room = c->in.len < HELD_MAX && unsent(c) < OUT_MAX;
    bh_stream_read(&c->stream, room || c->state == BH_HTTP_CONN_LINGER);
}

static void feed_later(struct bh_http_conn *c) {
    if (c->in.len && awaits_request(c) && unsent(c) < OUT_MAX && !c->feeding)
        bh_stream_put_off(&c->stream);
}

/* The request is over: a hook or an upgrade that still works for it is cancelled. */
static void release_request(struct bh_http_conn *c) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    bh_slots_remove(&c->server->requests, c->request);
    if (c->ticket && hooks)
        hooks->vt->cancel(hooks, c->ticket);
    if (c->upgrade)
        c->upgrade->ops->on_gone(c);
    c->request = 0;
    c->ticket = 0;
    c->cancel_on_end = false;
    c->takes_body = c->in_line = false;
    c->common_count = 0;
    bh_bytes_free(&c->scratch);
}

/* --- the place --- */

static void release_place(struct bh_http_conn *c) {
    bh_list_unlink(&c->place_node);
    if (c->place != BH_PLACE_NONE)
        bh_admission_release(c->server->admission, c->place);
    c->place = BH_PLACE_NONE;
}

static void set_place(struct bh_http_conn *c, enum bh_place place) {
    c->place = (uint8_t)place;
    bh_list_append(&c->server->places[place], &c->place_node);
}

bool bh_http_conn_change_place(struct bh_http_conn *c, enum bh_place place) {
    if (!bh_admission_acquire(c->server->admission, place))
        return false;
    release_place(c);
    set_place(c, place);
    return true;
}

bool bh_http_conn_is_waiting(const struct bh_http_conn *c) {
    return c->request == 0 && c->state != BH_HTTP_CONN_LINGER && unsent(c) == 0;
}

/* --- the end --- */

void bh_http_conn_drop(struct bh_http_conn *c) {
    if (c->state == BH_HTTP_CONN_CLOSED)
        return;
    release_request(c);
    release_place(c);
    set_state(c, BH_HTTP_CONN_CLOSED);
    bh_stream_close(&c->stream);
    bh_defer_cancel(&c->flush);
    bh_defer(c->server->loop, BH_PHASE_REAP, &c->reap);
}

void bh_http_conn_free(struct bh_http_conn *c) {
    struct bh_admission *admission = c->server->admission;
    bh_timer_cancel(&c->deadline);
    bh_defer_cancel(&c->flush);
    bh_defer_cancel(&c->reap);
    bh_list_unlink(&c->node);
    bh_hold_end(&c->hold);
    bh_http1_free(c->parser);
    bh_bytes_free(&c->in);
    bh_bytes_free(&c->out);
    bh_bytes_free(&c->scratch);
    if (c->counted_ip)
        bh_admission_release_address(admission, &c->remote);
    release_place(c);
    bh_free(c);
    bh_admission_leave(admission);
}

static void on_reap(struct bh_defer *d) {
    bh_http_conn_free(BH_CONTAINER_OF(d, struct bh_http_conn, reap));
}

/* --- answers --- */

static void respond(struct bh_http_conn *c, int status, const char *type,
                    const struct bh_header *headers, size_t count, struct bh_slice body, bool keep,
                    bool head_only) {
    int64_t now = bh_clock_wall_ms();
    if (bh_http_response(&c->out, status, type, headers, count, body, keep, head_only, now) != 0) {
        bh_warn_limited("response headers dropped: control characters");
        bh_http_response(&c->out, status, type, NULL, 0, body, keep, head_only, now);
    }
    bh_edge_count(BH_EDGE_HTTP_1XX + (enum bh_edge_metric)(status / 100 - 1), 1);
    set_state(c, keep ? BH_HTTP_CONN_IDLE : BH_HTTP_CONN_LINGER);
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
    feed_later(c);
}

/* May the connection serve another request after this answer? */
static bool may_keep(const struct bh_http_conn *c) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    if (c->state == BH_HTTP_CONN_PAUSED && (r->expect_continue || r->length > DISCARD_MAX))
        return false;
    if (c->place == BH_PLACE_RESERVE)
        return false;
    /* After a refused upgrade the client may send frames, which are no request. */
    return r->keep_alive && !r->upgrade && !c->server->admission->draining &&
           !bh_node_is_stopping(c->server->worker->node);
}

/* Answered: makes the parser ready for what follows. */
static void end_request(struct bh_http_conn *c, bool unread) {
    release_request(c);
    if (!unread || c->state == BH_HTTP_CONN_LINGER) {
        bh_http1_reset(c->parser);
        return;
    }
    bh_http1_discard(c->parser, DISCARD_MAX);
    set_state(c, BH_HTTP_CONN_DISCARDING);
}

static bool has_header(const struct bh_header *headers, size_t count, struct bh_slice name) {
    return bh_http_header(headers, count, name).p != NULL;
}

void bh_http_conn_answer(struct bh_http_conn *c, int status, const char *content_type,
                         const struct bh_header *headers, size_t header_count,
                         struct bh_slice body) {
    bool unread = c->state == BH_HTTP_CONN_PAUSED;
    if (c->state != BH_HTTP_CONN_BUSY && !unread)
        return;
    struct bh_header all[BH_HTTP_HEADERS_MAX + BH_HTTP_COMMON_MAX];
    size_t n = 0;
    for (; n < header_count && n < BH_HTTP_HEADERS_MAX - 1; n++)
        all[n] = headers[n];
    if (c->common_count && !has_header(all, n, c->common_unless))
        for (size_t i = 0; i < c->common_count; i++)
            all[n++] = c->common[i];
    if (status == 401 && !has_header(all, n, BH_SLICE("WWW-Authenticate")))
        all[n++] = (struct bh_header){BH_SLICE("WWW-Authenticate"), BH_SLICE("Bearer")};
    bool head = bh_slice_eq(bh_http_conn_request(c)->method, BH_SLICE("HEAD"));
    c->served = true;
    respond(c, status, content_type, all, n, body, may_keep(c), head);
    end_request(c, unread);
}

void bh_http_conn_answer_json(struct bh_http_conn *c, int status, struct bh_slice body) {
    bh_http_conn_answer(c, status, "application/json", NULL, 0, body);
}

void bh_http_conn_reject_early(struct bh_http_conn *c, int status, const char *code,
                               const char *why) {
    struct bh_header retry = {BH_SLICE("Retry-After"), BH_SLICE("1")};
    struct bh_bytes body = {0};
    bh_http_error_body(&body, code, bh_slice_cstr(why));
    respond(c, status, "application/json", &retry, status == 503, bh_bytes_slice(&body), false,
            false);
    release_request(c);
    bh_http1_reset(c->parser);
    bh_bytes_free(&body);
}

/* --- requests --- */

struct bh_http_conn *bh_http_conn_find(struct bh_http_server *s, bh_handle request) {
    return bh_slots_get(&s->requests, request);
}

static void begin_request(struct bh_http_conn *c) {
    c->request = bh_slots_add(&c->server->requests, c);
    set_state(c, BH_HTTP_CONN_BUSY);
    c->server->ops->on_head(c);
}

/* The deadline stays if the body is read on at once, and stands still while somebody else decides.
 */
static void begin_request_with_body(struct bh_http_conn *c) {
    c->request = bh_slots_add(&c->server->requests, c);
    c->state = BH_HTTP_CONN_PAUSED;
    c->server->ops->on_head(c);
    if (c->state == BH_HTTP_CONN_PAUSED)
        set_state(c, BH_HTTP_CONN_PAUSED);
}

static void read_body(struct bh_http_conn *c) {
    if (bh_timer_pending(&c->deadline) && c->place != BH_PLACE_RESERVE)
        c->state = BH_HTTP_CONN_READING;
    else
        set_state(c, BH_HTTP_CONN_READING);
    if (bh_http_conn_request(c)->expect_continue)
        bh_bytes_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush); /* goes on reading the socket */
    feed_later(c);
}

void bh_http_conn_proceed(struct bh_http_conn *c) {
    if (c->state == BH_HTTP_CONN_PAUSED && c->takes_body)
        read_body(c);
    else
        c->endpoint(c);
}

static void end_body(struct bh_http_conn *c) {
    set_state(c, BH_HTTP_CONN_BUSY);
    c->endpoint(c);
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

static void end_quietly(struct bh_http_conn *c) {
    set_state(c, BH_HTTP_CONN_LINGER);
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

static void refuse_bytes(struct bh_http_conn *c) {
    int status;
    const char *why;
    if (c->state == BH_HTTP_CONN_DISCARDING) {
        end_quietly(c);
        return;
    }
    bh_http1_error(c->parser, &status, &why);
    if (status == 413 || status == 414 || status == 431)
        bh_edge_count(status == 413 ? BH_EDGE_LIMIT_BODY : BH_EDGE_LIMIT_HEAD, 1);
    bh_info_limited("http request refused", bh_kv_int("status", status), bh_kv_str("reason", why));
    bh_http_conn_reject_early(c, status, error_code(status), why);
}

static void note_beginning(struct bh_http_conn *c) {
    if (c->state == BH_HTTP_CONN_IDLE && !bh_http1_idle(c->parser))
        set_state(c, BH_HTTP_CONN_READING);
}

static void on_event(struct bh_http_conn *c, enum bh_http1_event event) {
    switch (event) {
    case BH_HTTP1_MORE:
        note_beginning(c);
        break;
    case BH_HTTP1_HEAD:
        note_beginning(c);
        begin_request_with_body(c);
        break;
    case BH_HTTP1_REQUEST:
        if (c->request)
            end_body(c);
        else
            begin_request(c);
        break;
    case BH_HTTP1_DISCARDED:
        set_state(c, BH_HTTP_CONN_IDLE);
        break;
    case BH_HTTP1_ERROR:
        refuse_bytes(c);
        break;
    }
}

/* Feeds the parser while the state and the share of the tick allow it; returns the bytes used. */
static size_t feed(struct bh_http_conn *c, struct bh_slice in) {
    size_t used = 0;
    unsigned events = 0;
    bool stop = false;
    c->feeding = true;
    while (used < in.n && !stop && awaits_request(c) && unsent(c) < OUT_MAX) {
        size_t took = 0;
        enum bh_http1_event event =
            bh_http1_feed(c->parser, bh_slice(in.p + used, in.n - used), &took);
        used = event == BH_HTTP1_MORE ? in.n : used + took;
        on_event(c, event);
        stop = used < in.n && (++events == REQUESTS_MAX || bh_loop_share_used(c->server->loop));
    }
    c->feeding = false;
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
        c->server->ops->on_preface(c, bh_slice((const char *)data, n));
        if (c->state != BH_HTTP_CONN_CLOSED)
            update_reading(c);
        return;
    }
    size_t used = c->in.len ? 0 : feed(c, bh_slice(data, n));
    if (used < n)
        bh_bytes_add(&c->in, bh_slice(data + used, n - used));
    feed_later(c);
    update_reading(c);
    bh_http_hold_update(c);
}

static void on_turn(struct bh_stream *s) {
    struct bh_http_conn *c = BH_CONTAINER_OF(s, struct bh_http_conn, stream);
    if (c->in_line) {
        c->in_line = false;
        c->endpoint(c);
    }
    if (!c->in_line)
        bh_stream_end_long(&c->stream); /* of a request that was cancelled */
    if (!c->in.len)
        return;
    feed_held(c);
    feed_later(c);
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

/* --- writing and ending --- */

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
    if (write_out(c)) {
        if (c->in.len && awaits_request(c))
            feed_later(c); /* OUT_MAX may have stopped it */
        else if (c->upgrade)
            c->upgrade->ops->on_written(c);
        else if (c->state == BH_HTTP_CONN_LINGER)
            finish_lingering(c);
        else if (awaits_request(c) && c->peer_ended)
            bh_http_conn_drop(c);
    }
    if (c->state != BH_HTTP_CONN_CLOSED)
        update_reading(c);
    bh_http_hold_update(c);
}

static void on_writable(struct bh_stream *s) {
    struct bh_http_conn *c = BH_CONTAINER_OF(s, struct bh_http_conn, stream);
    if (c->state == BH_HTTP_CONN_PREFACE)
        bh_http_conn_begin(c); /* the TLS handshake is complete */
    if (c->state == BH_HTTP_CONN_IDLE || c->state == BH_HTTP_CONN_LINGER)
        set_state(c, c->state); /* a slow reader that makes progress gets its full time again */
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

/* A client may send FIN after its request and still wait for the answer. Not so during an upgrade,
 * whose connection would be one-way, nor before HTTP has begun, nor while a script makes the client
 * wait: a client that gives up sends just a FIN. What was answered before is still written. */
static void on_end(struct bh_stream *s, int error) {
    struct bh_http_conn *c = BH_CONTAINER_OF(s, struct bh_http_conn, stream);
    if (error || c->state == BH_HTTP_CONN_PREFACE || c->upgrade) {
        bh_http_conn_drop(c);
        return;
    }
    if (c->cancel_on_end && c->ticket) {
        release_request(c);
        set_state(c, BH_HTTP_CONN_LINGER);
    }
    c->peer_ended = true;
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

static const struct bh_stream_callbacks callbacks = {on_data, on_end, on_writable, on_turn};

static void on_deadline(struct bh_timer *t) {
    struct bh_http_conn *c = BH_CONTAINER_OF(t, struct bh_http_conn, deadline);
    if (c->state == BH_HTTP_CONN_READING) {
        bh_info_limited("http request timed out");
        bh_edge_count(BH_EDGE_LIMIT_REQUEST_TIME, 1);
        bh_http_conn_reject_early(c, 408, "timeout", "request timed out");
    } else if (c->state == BH_HTTP_CONN_DISCARDING) {
        end_quietly(c);
    } else if (c->upgrade) {
        c->upgrade->ops->on_deadline(c);
    } else {
        if (c->state == BH_HTTP_CONN_PREFACE)
            bh_edge_count(BH_EDGE_LIMIT_TRANSPORT_TIME, 1);
        else if (c->state == BH_HTTP_CONN_IDLE && !c->served)
            bh_edge_count(BH_EDGE_LIMIT_REQUEST_TIME, 1);
        bh_http_conn_drop(c);
    }
}

void bh_http_conn_refuse_upgrade(struct bh_http_conn *c) {
    if (c->upgrade)
        c->upgrade->ops->on_drain(c);
}

void bh_http_conn_drain(struct bh_http_conn *c) {
    if (c->state == BH_HTTP_CONN_PREFACE || (c->state == BH_HTTP_CONN_IDLE && unsent(c) == 0))
        bh_http_conn_drop(c);
    else if (c->state == BH_HTTP_CONN_IDLE || c->state == BH_HTTP_CONN_DISCARDING)
        end_quietly(c);
}

void bh_http_conn_end(struct bh_http_conn *c) {
    if (c->state != BH_HTTP_CONN_CLOSED)
        write_out(c);
    bh_http_conn_drop(c);
}

/* --- the beginning --- */

void bh_http_conn_begin(struct bh_http_conn *c) {
    set_state(c, BH_HTTP_CONN_IDLE);
    feed_later(c);
}

struct bh_http_conn *bh_http_conn_new(const struct bh_http_listener *l, int fd,
                                      const struct bh_addr *peer, enum bh_place place) {
    struct bh_http_server *s = l->server;
    struct bh_http_conn *c = bh_calloc(1, sizeof *c);
    c->server = s;
    c->listener = l;
    bh_ip_of(peer, &c->remote);
    c->remote_port = bh_addr_port(peer);
    c->parser = bh_http1_new(&s->limits);
    c->parsed = bh_http1_request(c->parser);
    bh_stream_init(&c->stream, s->loop, fd, &callbacks);
    bh_timer_init(&c->deadline, s->loop, on_deadline);
    bh_defer_init(&c->flush, on_flush);
    bh_defer_init(&c->reap, on_reap);
    bh_list_append(&s->conns, &c->node);
    bh_hold_init(&c->hold, &s->admission->holds, s->hold_ops, 0);
    set_place(c, place);
    bh_admission_enter(s->admission);
    set_state(c, BH_HTTP_CONN_PREFACE);
    return c;
}
