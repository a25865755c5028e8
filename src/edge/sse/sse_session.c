/* sse_session.c - from the node to the queue, and the heartbeat.
 *
 * One timer: while the link is open it sends what keeps proxies from closing it (the id, if a
 * position has moved without a message, else a comment), and finds expired identities. The client
 * does not answer: one that is gone is found by TCP, whose unacknowledged bytes have a timeout, or
 * by a queue that does not move. While leaving, the timer bounds the wait for the client's FIN.
 *
 * A client has nothing to say after its request; what it sends is dropped, and if that is a lot, so
 * is the link. Thread: the worker's. */
#include "sse/sse_session.h"

#include "bellhop/base/crypto.h"
#include "client/expiry.h"
#include "limits/edge_metrics.h"
#include "sse/sse_send.h"

#define RECEIVED_MAX (16 * 1024)

static struct bh_sse_conn *of(struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, struct bh_sse_conn, subscriber);
}

/* --- the subscriber --- */

static int on_deliver(struct bh_subscriber *s, struct bh_message *m) {
    return bh_sse_send_message(of(s), m);
}

static int on_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    return bh_sse_send_data(of(s), opcode, data);
}

static void on_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    bh_sse_conn_close(of(s), code, reason);
}

static size_t on_queued(const struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, const struct bh_sse_conn, subscriber)->out.bytes;
}

/* Half of the queue, so that what it missed does not make it a slow client. */
static size_t on_room(const struct bh_subscriber *s) {
    return bh_sse_conn_queue_max(BH_CONTAINER_OF(s, const struct bh_sse_conn, subscriber)) / 2;
}

static void on_read(struct bh_subscriber *s, bool on) {} /* there are no messages from it */

static struct bh_slice on_ip(struct bh_subscriber *s, char buffer[64]) {
    char text[BH_ADDR_TEXT_MAX];
    bh_ip_format(&of(s)->ip, text);
    memcpy(buffer, text, strlen(text) + 1);
    return bh_slice_cstr(buffer);
}

static struct bh_slice on_protocol(const struct bh_subscriber *s) {
    return BH_SLICE("sse");
}

static void flush_later(struct bh_sse_conn *c) {
    if (c->has_socket)
        bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

/* What it missed follows; then the id is that of the streams. */
static void on_recovered(struct bh_subscriber *s, bool complete) {
    struct bh_sse_conn *c = of(s);
    if (c->resumes)
        bh_edge_count(complete ? BH_EDGE_SSE_RECOVERED : BH_EDGE_SSE_NOT_RECOVERED, 1);
    c->id_due = true;
    flush_later(c);
}

static void on_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    struct bh_sse_conn *c = of(s);
    bh_client_link_note(&c->link, s, topic, why);
    flush_later(c); /* others may follow, which the id covers, too */
}

static void on_rewound(struct bh_subscriber *s, struct bh_slice topic) {
    on_gap(s, topic, NULL);
}

static void on_refused(struct bh_subscriber *s, struct bh_slice topic, int status,
                       struct bh_slice why) {
    struct bh_sse_conn *c = of(s);
    if (c->opening)
        bh_client_refusal_set(&c->opening->refusal, topic, status, why);
}

static const struct bh_subscriber_vt subscriber_vt = {
    .deliver = on_deliver,
    .send = on_send,
    .close = on_close,
    .queued = on_queued,
    .read = on_read,
    .ip = on_ip,
    .protocol = on_protocol,
    .recovered = on_recovered,
    .gap = on_gap,
    .rewound = on_rewound,
    .refused = on_refused,
    .room = on_room,
};

/* --- the socket --- */

static void on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct bh_sse_conn *c = BH_CONTAINER_OF(s, struct bh_sse_conn, stream);
    c->received += (uint32_t)n;
    if (c->received <= RECEIVED_MAX)
        return;
    bh_sse_conn_log_end(c, "data after the request", 1008);
    bh_sse_conn_drop(c, 1008, BH_SLICE("data after the request"));
}

static void on_end(struct bh_stream *s, int error) {
    bh_sse_conn_drop(BH_CONTAINER_OF(s, struct bh_sse_conn, stream), 1006,
                     BH_SLICE("connection lost"));
}

/* Not before what is to be told: the id would cover it. */
static void send_due_id(struct bh_sse_conn *c) {
    if (c->id_due && c->state == BH_SSE_OPEN && !bh_client_link_has_notes(&c->link) &&
        bh_subscriber_is_recovered(&c->subscriber))
        bh_sse_send_id(c);
}

static void flush(struct bh_sse_conn *c) {
    bh_sse_send_notes(c);
    send_due_id(c);
    bh_sse_conn_flush(c);
    if (c->out.count == 0)
        bh_sse_send_notes(c); /* there is room again */
}

/* There is room because the client's kernel has acknowledged data. */
static void on_writable(struct bh_stream *s) {
    struct bh_sse_conn *c = BH_CONTAINER_OF(s, struct bh_sse_conn, stream);
    c->since_ms = bh_loop_now(c->server->loop);
    flush(c);
}

static void on_turn(struct bh_stream *s) {}

static void on_flush(struct bh_defer *d) {
    flush(BH_CONTAINER_OF(d, struct bh_sse_conn, flush));
}

static const struct bh_stream_callbacks stream_callbacks = {on_data, on_end, on_writable, on_turn};

/* --- heartbeat and expiry --- */

static void on_open_timer(struct bh_sse_conn *c);

/* A new expiry in the past ends the link, so that the hook is not asked again and again. */
static void on_expiry(void *ud, bh_handle handle, int64_t expires) {
    struct bh_subscriber *s = bh_worker_subscriber(ud, handle);
    if (!s || of(s)->state != BH_SSE_OPEN)
        return;
    struct bh_sse_conn *c = of(s);
    s->identity->expires = expires;
    if (expires == 0 || bh_expires_in(s->identity) == 0) {
        bh_sse_conn_close(c, BH_CLOSE_EXPIRED);
        return;
    }
    c->expiring = false;
    on_open_timer(c);
}

static void expire(struct bh_sse_conn *c) {
    struct bh_worker *w = c->server->worker;
    if (!bh_hooks_has(w->hooks, BH_HOOK_EXPIRE)) {
        bh_sse_conn_close(c, BH_CLOSE_EXPIRED);
        return;
    }
    c->expiring = true;
    w->hooks->vt->expire(w->hooks, &c->subscriber, on_expiry, w, c->subscriber.handle);
}

/* What waits keeps the connection alive as well, as long as it moves. */
static void beat(struct bh_sse_conn *c, uint64_t now, uint64_t dead_ms) {
    if (c->out.count && now - c->since_ms >= dead_ms) {
        bh_edge_count(BH_EDGE_HALF_OPEN, 1);
        bh_sse_conn_log_end(c, "send timeout", 1006);
        c->reset = true;
        bh_sse_conn_drop(c, 1006, BH_SLICE("send timeout"));
    } else if (c->out.count == 0 && bh_client_link_has_moved(&c->link, &c->subscriber)) {
        bh_sse_send_id(c);
    } else if (c->out.count == 0) {
        bh_sse_conn_enqueue(c, bh_buf_ref(c->server->comment));
    }
}

static uint64_t dead_after(const struct bh_edge_config *config) {
    return config->ping_interval_ms + config->pong_timeout_ms;
}

/* Returns when to check again. */
static uint64_t check_heartbeat(struct bh_sse_conn *c) {
    const struct bh_edge_config *config = c->server->config;
    uint64_t now = bh_loop_now(c->server->loop), interval = config->ping_interval_ms;
    if (interval == 0)
        return UINT64_MAX;
    if (now < c->beat_ms)
        return c->beat_ms - now;
    c->beat_ms = now + interval;
    beat(c, now, dead_after(config));
    return interval;
}

static void arm(struct bh_sse_conn *c, uint64_t delay) {
    uint64_t expiry = c->expiring ? UINT64_MAX : bh_expires_in(c->subscriber.identity);
    delay = delay < expiry ? delay : expiry;
    if (delay != UINT64_MAX)
        bh_timer_set(&c->timer, delay);
}

static void on_open_timer(struct bh_sse_conn *c) {
    if (!c->expiring && bh_expires_in(c->subscriber.identity) == 0)
        expire(c);
    if (c->state != BH_SSE_OPEN)
        return; /* the hook refused at once, or there is none */
    uint64_t again = check_heartbeat(c);
    if (c->state == BH_SSE_OPEN)
        arm(c, again);
}

static void on_timer(struct bh_timer *t) {
    struct bh_sse_conn *c = BH_CONTAINER_OF(t, struct bh_sse_conn, timer);
    if (c->state == BH_SSE_OPEN) {
        on_open_timer(c);
        return;
    }
    c->reset = c->out.count > 0;
    bh_sse_conn_drop(c, 1006, bh_slice(NULL, 0));
}

/* --- the beginning --- */

struct bh_sse_conn *bh_sse_session_new(struct bh_sse_server *s, const struct bh_ip *ip) {
    struct bh_sse_conn *c = bh_sse_conn_new(s, ip);
    c->subscriber.vt = &subscriber_vt;
    bh_timer_init(&c->timer, s->loop, on_timer);
    bh_defer_init(&c->flush, on_flush);
    return c;
}

static void start_heartbeat(struct bh_sse_conn *c) {
    uint64_t interval = c->server->config->ping_interval_ms;
    /* Links that came together must not be written to together. */
    uint64_t first = interval ? interval - bh_random_below((uint32_t)(interval / 2) + 1) : 0;
    c->since_ms = bh_loop_now(c->server->loop);
    c->beat_ms = c->since_ms + first;
    arm(c, interval ? first : UINT64_MAX);
}

static void open_link(struct bh_sse_conn *c) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    c->state = BH_SSE_OPEN;
    c->counted = true;
    bh_edge_count(BH_EDGE_SSE_CONNECTIONS, 1);
    bh_edge_count(BH_EDGE_SSE_OPENED, 1);
    start_heartbeat(c);
    if (bh_hooks_has(hooks, BH_HOOK_OPEN))
        hooks->vt->open(hooks, &c->subscriber);
}

void bh_sse_session_start(struct bh_sse_conn *c, struct bh_stream *from, struct bh_buf *head) {
    bh_stream_move(&c->stream, from, &stream_callbacks);
    c->opening = NULL;
    c->has_socket = true;
    bh_stream_set_ack_timeout(&c->stream, dead_after(c->server->config));
    bh_outq_push_front(&c->out, head);
    bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
    if (c->state == BH_SSE_OPENING)
        open_link(c);
    else
        bh_timer_set(&c->timer, c->server->config->close_timeout_ms);
    if (c->state != BH_SSE_CLOSED)
        bh_stream_read(&c->stream, true);
}
