/* session.c - from bytes to the hooks, from the node to the queue, and the heartbeat.
 *
 * One timer: while the connection is open, it finds silent peers (first a ping, then a drop) and
 * expired identities; arriving bytes only store the time, which the timer checks when it fires.
 * While closing it bounds the wait for the peer.
 *
 * A client above its rate is not read for a while. One that has used its share of a tick waits for
 * the stream's next turn. Either way, received bytes that have not been parsed are held.
 *
 * A long compressed message is inflated over many turns. Meanwhile it holds one of the worker's
 * places, so nothing but the share of the tick may delay it: what it owes to its rate is waited off
 * when it is complete. When all places are held the connection is not read until it is woken.
 * Thread: the worker's. */
#include "ws/session.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "client/expiry.h"
#include "limits/edge_metrics.h"
#include "ws/json_session.h"
#include "ws/send.h"
#include "ws/ws_hold.h"

#define CHEAP_US      50 /* a step of a client that needs no watching */
#define CONTROL_BYTES 16 /* what a ping or pong costs besides its bytes */
#define NOT_ACCEPTED  "this server accepts no messages from clients"

static void arm(struct bh_ws_conn *ws, uint64_t delay);

/* --- the subscriber --- */

static struct bh_ws_conn *of(struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, struct bh_ws_conn, subscriber);
}

static int on_deliver(struct bh_subscriber *s, struct bh_message *m) {
    return bh_ws_conn_send_message(of(s), m);
}

static int on_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    return bh_ws_conn_send_data(of(s), opcode, data);
}

static void on_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    bh_ws_conn_close(of(s), code, reason);
}

static size_t on_queued(const struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, const struct bh_ws_conn, subscriber)->out.bytes;
}

static void on_read(struct bh_subscriber *s, bool on) {
    struct bh_ws_conn *ws = of(s);
    ws->hook_paused = !on;
    if (ws->state != BH_WS_CONN_OPEN)
        return;
    if (on && ws->open.held)
        bh_stream_put_off(&ws->stream);
    bh_ws_conn_update_reading(ws);
}

static struct bh_slice on_ip(struct bh_subscriber *s, char buffer[64]) {
    char text[BH_ADDR_TEXT_MAX];
    bh_ip_format(&of(s)->ip, text);
    memcpy(buffer, text, strlen(text) + 1);
    return bh_slice_cstr(buffer);
}

static struct bh_slice on_protocol(const struct bh_subscriber *s) {
    return bh_slice_cstr(BH_CONTAINER_OF(s, const struct bh_ws_conn, subscriber)->protocol);
}

static const struct bh_subscriber_vt subscriber_vt = {
    .deliver = on_deliver,
    .send = on_send,
    .close = on_close,
    .queued = on_queued,
    .read = on_read,
    .ip = on_ip,
    .protocol = on_protocol,
};

static const struct bh_subscriber_vt json_subscriber_vt = {
    .deliver = bh_json_session_deliver,
    .send = bh_json_session_send,
    .close = on_close,
    .queued = on_queued,
    .read = on_read,
    .ip = on_ip,
    .protocol = on_protocol,
    .recovered = bh_json_session_recovered,
    .gap = bh_json_session_gap,
    .rewound = bh_json_session_rewound,
    .refused = bh_json_session_refused,
    .room = bh_json_session_room,
};

/* --- receiving --- */

static void on_message(struct bh_ws_conn *ws, uint8_t opcode, struct bh_slice data) {
    struct bh_hooks *hooks = ws->server->worker->hooks;
    bh_edge_count(BH_EDGE_MESSAGES_IN, 1);
    if (bh_hooks_has(hooks, BH_HOOK_MESSAGE))
        hooks->vt->message(hooks, &ws->subscriber, (enum bh_opcode)opcode, data);
    else if (ws->server->config->client_messages_refused)
        bh_ws_conn_close(ws, 1008, BH_SLICE(NOT_ACCEPTED));
}

static void on_violation(struct bh_ws_conn *ws, const struct bh_ws_event *event) {
    unsigned code = event->code;
    const char *why = event->why;
    if (ws->state == BH_WS_CONN_OPEN) {
        bh_edge_count(BH_EDGE_PROTOCOL_ERRORS, 1);
        if (event->keeps_context)
            bh_edge_count(BH_EDGE_CONTEXTS_KEPT, 1);
        if (code == 1009 || code == 1008) /* the reader's limits */
            bh_edge_count(code == 1009 ? BH_EDGE_LIMIT_MESSAGE_BYTES : BH_EDGE_LIMIT_FRAGMENTS, 1);
        bh_ws_conn_log_end(ws, "protocol error", code, bh_slice_cstr(why));
    }
    bh_ws_conn_leave(ws, code, bh_slice_cstr(why));
}

static void touch(struct bh_ws_conn *ws) {
    ws->since_ms = bh_loop_now(ws->server->loop);
    ws->pinged = false;
}

/* The peer is alive. A part of an unfinished message proves that, too, but a ping is sent all the
 * same: an answer to it may have to wait until the message is complete. */
static void note_input(struct bh_ws_conn *ws) {
    if (!ws->reader.partial)
        touch(ws);
    else if (ws->pinged)
        ws->since_ms = bh_loop_now(ws->server->loop);
}

static void on_event(struct bh_ws_conn *ws, const struct bh_ws_event *event) {
    if (ws->hold) {
        touch(ws);
        bh_ws_hold_event(ws);
    }
    switch (event->type) {
    case BH_WS_EV_MESSAGE:
        if (ws->state == BH_WS_CONN_OPEN)
            on_message(ws, event->opcode, event->data);
        break;
    case BH_WS_EV_PING:
        if (ws->state == BH_WS_CONN_OPEN)
            bh_ws_conn_send_control(ws, BH_WS_PONG, event->data);
        break;
    case BH_WS_EV_CLOSE:
        bh_ws_conn_leave(ws, event->code, event->data);
        break;
    case BH_WS_EV_ERROR:
        on_violation(ws, event);
        break;
    case BH_WS_EV_WAIT:
        bh_edge_count(BH_EDGE_INFLATE_WAITS, 1);
        bh_ws_conn_update_reading(ws);
        break;
    case BH_WS_EV_PONG:
    case BH_WS_EV_NONE:
    case BH_WS_EV_AGAIN:
        break;
    }
}

/* One hook with a message of 16 MiB takes tens of milliseconds, with JSON in it more. */
static bool is_long(const struct bh_ws_conn *ws, const struct bh_ws_event *event) {
    if (event->type == BH_WS_EV_MESSAGE)
        return event->data.n > BH_STREAM_LONG_BYTES && ws->state == BH_WS_CONN_OPEN;
    return event->type == BH_WS_EV_AGAIN && ws->state == BH_WS_CONN_OPEN &&
           bh_ws_reader_inflated(&ws->reader) > BH_STREAM_LONG_BYTES;
}

/* Otherwise the message has to wait for long ones of others, or has waited too long. */
static bool begin_long(struct bh_ws_conn *ws) {
    int r = bh_stream_begin_long(&ws->stream);
    if (r == 0)
        return true;
    bh_ws_reader_postpone(&ws->reader);
    if (r == BH_ETIMEDOUT) {
        bh_edge_count(BH_EDGE_LIMIT_LONG, 1);
        bh_ws_conn_log_end(ws, "too many long messages", 1013, bh_slice(NULL, 0));
        bh_ws_conn_close(ws, 1013, BH_SLICE("too many long messages, try again later"));
    }
    return false;
}

static void end_long(struct bh_ws_conn *ws) {
    if (!bh_ws_reader_is_inflating(&ws->reader))
        bh_stream_end_long(&ws->stream);
}

/* Leaves the socket and what is held unread until the bucket has filled up again. */
static void throttle(struct bh_ws_conn *ws, uint32_t wait_ms) {
    ws->open.resume_ms = bh_loop_now(ws->server->loop) + wait_ms;
    arm(ws, wait_ms);
    bh_ws_conn_update_reading(ws);
}

static uint32_t charge_bytes(struct bh_ws_conn *ws, size_t n) {
    return bh_rate_charge(&ws->rate, BH_RATE_BYTES, n, BH_WS_CONN_LIMIT(ws, bytes_per_second),
                          bh_loop_now(ws->server->loop));
}

static uint32_t limit_bytes(struct bh_ws_conn *ws, size_t n) {
    uint32_t wait_ms = charge_bytes(ws, n);
    if (wait_ms)
        bh_edge_count(BH_EDGE_LIMIT_BYTE_RATE, 1);
    return wait_ms;
}

static uint32_t charge_control(struct bh_ws_conn *ws) {
    if (bh_rate_charge(&ws->rate, BH_RATE_CONTROL, 1, ws->server->config->control_per_second,
                       bh_loop_now(ws->server->loop))) {
        bh_edge_count(BH_EDGE_LIMIT_CONTROL_RATE, 1);
        bh_ws_conn_log_end(ws, "too many pings or pongs", 1008, bh_slice(NULL, 0));
        bh_ws_conn_close(ws, 1008, BH_SLICE("too many pings or pongs"));
        return 0;
    }
    return limit_bytes(ws, CONTROL_BYTES);
}

/* Returns after how many milliseconds the client may go on; 0: at once. */
static uint32_t charge(struct bh_ws_conn *ws, const struct bh_ws_event *event) {
    if (ws->state != BH_WS_CONN_OPEN)
        return 0;
    if (event->type == BH_WS_EV_AGAIN)
        charge_bytes(ws, event->inflated);
    if (event->type != BH_WS_EV_MESSAGE)
        return event->type == BH_WS_EV_AGAIN ? 0 : charge_control(ws);
    uint32_t wait_ms =
        bh_rate_charge(&ws->rate, BH_RATE_MESSAGES, 1, BH_WS_CONN_LIMIT(ws, messages_per_second),
                       bh_loop_now(ws->server->loop));
    if (wait_ms)
        bh_edge_count(BH_EDGE_LIMIT_MESSAGE_RATE, 1);
    /* The earlier steps of a long message were charged and not waited for. */
    if (event->inflated == 0 && !bh_rate_is_over(&ws->rate, BH_RATE_BYTES))
        return wait_ms;
    uint32_t bytes_ms = limit_bytes(ws, event->inflated);
    return wait_ms > bytes_ms ? wait_ms : bytes_ms;
}

/* Reading the clock costs little beside a hook of a millisecond, and much beside one that replies
 * at once or a frame that nobody wants. */
static unsigned frames_till_check(const struct bh_ws_conn *ws) {
    if (!bh_hooks_has(ws->server->worker->hooks, BH_HOOK_MESSAGE))
        return 16;
    return ws->stream.cost > CHEAP_US ? 1 : 4;
}

/* Returns how many bytes at the end are left: what the rate, the share of the tick or the end of
 * the connection did not allow. */
static size_t read_frames(struct bh_ws_conn *ws, unsigned char *data, size_t n) {
    struct bh_ws_event event;
    unsigned till_check = 1;
    uint32_t wait_ms = 0;
    for (;;) { /* until NONE, so that the reader frees the finished message */
        bh_ws_reader_next(&ws->reader, &ws->server->limits, &data, &n, &event);
        if (event.type == BH_WS_EV_NONE)
            break;
        bool long_step = ws->reader.partial && is_long(ws, &event);
        if (long_step && !begin_long(ws))
            break;
        on_event(ws, &event);
        if (long_step)
            end_long(ws);
        if (event.type == BH_WS_EV_WAIT)
            break;
        wait_ms = charge(ws, &event);
        if (wait_ms || ws->state >= BH_WS_CONN_LEAVING)
            break;
        if (--till_check && !ws->reader.partial) /* one that was inflated or collected is costly */
            continue;
        if (n == 0 && event.type != BH_WS_EV_AGAIN)
            continue;
        till_check = frames_till_check(ws);
        if (bh_loop_share_used(ws->server->loop)) {
            bh_stream_put_off(&ws->stream);
            break;
        }
    }
    if (event.type != BH_WS_EV_NONE)
        bh_ws_reader_release(&ws->reader);
    if (wait_ms && ws->state == BH_WS_CONN_OPEN)
        throttle(ws, wait_ms);
    return ws->state < BH_WS_CONN_LEAVING ? n : 0;
}

static void hold(struct bh_ws_conn *ws, const unsigned char *data, size_t n) {
    ws->open.held = bh_malloc(sizeof *ws->open.held + n);
    *ws->open.held = (struct bh_ws_rest){.len = n};
    memcpy(ws->open.held->data, data, n);
}

static void read_held(struct bh_ws_conn *ws) {
    struct bh_ws_rest *held = ws->open.held;
    if (!held) { /* a message is being inflated, and nothing came behind it */
        read_frames(ws, NULL, 0);
        return;
    }
    size_t left = read_frames(ws, held->data + held->at, held->len - held->at);
    held->at = held->len - left;
    if (left)
        return;
    bh_free(held);
    ws->open.held = NULL;
}

static void charge_received(struct bh_ws_conn *ws, size_t n) {
    uint32_t wait_ms = charge_bytes(ws, n);
    if (!wait_ms || ws->state != BH_WS_CONN_OPEN || ws->open.resume_ms ||
        bh_ws_reader_is_inflating(&ws->reader))
        return;
    bh_edge_count(BH_EDGE_LIMIT_BYTE_RATE, 1);
    throttle(ws, wait_ms);
}

static void on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(s, struct bh_ws_conn, stream);
    note_input(ws);
    bh_edge_count(BH_EDGE_BYTES_IN, (int64_t)n);
    if (ws->state >= BH_WS_CONN_LEAVING)
        return;
    size_t left = read_frames(ws, data, n);
    if (left)
        hold(ws, data + n - left, left);
    bh_ws_hold_update(ws);
    charge_received(ws, n);
    if (ws->state == BH_WS_CONN_OPEN && bh_ws_conn_above_high_water(ws))
        bh_ws_conn_flush(ws); /* before the next buffer of this tick */
}

/* While the connection is open, the rate or the hooks may forbid what the share allows. */
static bool may_read(const struct bh_ws_conn *ws) {
    if (bh_ws_reader_is_inflating(&ws->reader))
        return !bh_ws_reader_waits(&ws->reader);
    if (!ws->open.held)
        return false;
    if (ws->state == BH_WS_CONN_OPEN)
        return !ws->open.resume_ms && !ws->hook_paused;
    return ws->state == BH_WS_CONN_CLOSING;
}

static void on_turn(struct bh_stream *s) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(s, struct bh_ws_conn, stream);
    if (may_read(ws))
        read_held(ws);
    end_long(ws); /* of a message that was not delivered */
    bh_ws_hold_update(ws);
    if (ws->state == BH_WS_CONN_OPEN && bh_ws_conn_above_high_water(ws))
        bh_ws_conn_flush(ws);
}

static void on_end(struct bh_stream *s, int error) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(s, struct bh_ws_conn, stream);
    if (error == 0 && ws->state >= BH_WS_CONN_CLOSING)
        bh_ws_conn_flush(ws); /* the close frame may still be queued */
    bh_ws_conn_drop(ws, 1006, BH_SLICE("connection lost"));
}

/* There is room because the peer's kernel has acknowledged data: the peer is alive. */
static void on_writable(struct bh_stream *s) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(s, struct bh_ws_conn, stream);
    touch(ws);
    bh_ws_conn_flush(ws);
}

static void on_flush(struct bh_defer *d) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(d, struct bh_ws_conn, flush);
    if (ws->state == BH_WS_CONN_CLOSING && ws->open.held)
        bh_stream_put_off(&ws->stream); /* the peer's close frame may be in it */
    bh_ws_conn_flush(ws);
}

static const struct bh_stream_callbacks stream_callbacks = {on_data, on_end, on_writable, on_turn};

static void on_json_writable(struct bh_stream *s) {
    on_writable(s);
    bh_json_session_catch_up(BH_CONTAINER_OF(s, struct bh_ws_conn, stream));
}

static void on_json_flush(struct bh_defer *d) {
    on_flush(d);
    bh_json_session_catch_up(BH_CONTAINER_OF(d, struct bh_ws_conn, flush));
}

static const struct bh_stream_callbacks json_callbacks = {on_data, on_end, on_json_writable,
                                                          on_turn};

/* --- heartbeat and expiry --- */

static uint64_t expires_in(const struct bh_ws_conn *ws) {
    return bh_expires_in(ws->subscriber.identity);
}

static uint64_t left(uint64_t now, uint64_t due) {
    return due > now ? due - now : 0;
}

/* Pings when it is time; returns when to check again, 0 when the connection is dead. */
static uint64_t check_heartbeat(struct bh_ws_conn *ws) {
    const struct bh_edge_config *config = ws->server->config;
    uint64_t now = bh_loop_now(ws->server->loop);
    if (config->ping_interval_ms == 0)
        return UINT64_MAX;
    if (ws->hook_paused || ws->open.resume_ms || bh_stream_is_put_off(&ws->stream) ||
        bh_ws_reader_waits(&ws->reader))
        touch(ws); /* not read, so silence proves nothing */
    if (ws->pinged)
        return left(now, ws->since_ms + config->pong_timeout_ms);
    if (left(now, ws->since_ms + config->ping_interval_ms))
        return left(now, ws->since_ms + config->ping_interval_ms);
    ws->pinged = true;
    ws->since_ms = now;
    bh_ws_conn_send_control(ws, BH_WS_PING, bh_slice(NULL, 0));
    return config->pong_timeout_ms < config->ping_interval_ms ? config->pong_timeout_ms
                                                              : config->ping_interval_ms;
}

static void arm(struct bh_ws_conn *ws, uint64_t delay) {
    uint64_t expiry = ws->expiring ? UINT64_MAX : expires_in(ws);
    uint64_t resume =
        ws->open.resume_ms ? left(bh_loop_now(ws->server->loop), ws->open.resume_ms) : UINT64_MAX;
    delay = delay < expiry ? delay : expiry;
    delay = delay < resume ? delay : resume;
    if (ws->json && delay > BH_JSON_HEARTBEAT_MS)
        delay = BH_JSON_HEARTBEAT_MS;
    if (delay != UINT64_MAX)
        bh_timer_set(&ws->timer, delay);
}

static void on_open_timer(struct bh_ws_conn *ws);

/* A new expiry in the past ends the connection, so that the hook is not asked again and again. */
static void on_expiry(void *ud, bh_handle handle, int64_t expires) {
    struct bh_subscriber *s = bh_worker_subscriber(ud, handle);
    if (!s)
        return;
    struct bh_ws_conn *ws = BH_CONTAINER_OF(s, struct bh_ws_conn, subscriber);
    if (ws->state != BH_WS_CONN_OPEN)
        return;
    ws->subscriber.identity->expires = expires;
    if (expires == 0 || expires_in(ws) == 0) {
        bh_ws_conn_close(ws, BH_CLOSE_EXPIRED);
        return;
    }
    ws->expiring = false;
    on_open_timer(ws);
}

/* False: there is no hook to ask. */
static bool ask_to_extend(struct bh_ws_conn *ws) {
    struct bh_hooks *hooks = ws->server->worker->hooks;
    if (!bh_hooks_has(hooks, BH_HOOK_EXPIRE))
        return false;
    ws->expiring = true;
    hooks->vt->expire(hooks, &ws->subscriber, on_expiry, ws->server->worker, ws->subscriber.handle);
    return true;
}

static void on_open_timer(struct bh_ws_conn *ws) {
    if (ws->open.resume_ms && left(bh_loop_now(ws->server->loop), ws->open.resume_ms) == 0) {
        ws->open.resume_ms = 0;
        if (ws->open.held)
            bh_stream_put_off(&ws->stream);
        bh_ws_conn_update_reading(ws);
    }
    if (expires_in(ws) == 0 && !ws->expiring && !ask_to_extend(ws)) {
        bh_ws_conn_close(ws, BH_CLOSE_EXPIRED);
        return;
    }
    if (ws->state != BH_WS_CONN_OPEN)
        return; /* the hook refused at once */
    if (ws->json)
        bh_json_session_heartbeat(ws);
    uint64_t again = check_heartbeat(ws);
    if (ws->state != BH_WS_CONN_OPEN)
        return; /* the ping found a full queue */
    if (again) {
        arm(ws, again);
        return;
    }
    bh_edge_count(BH_EDGE_HALF_OPEN, 1);
    bh_ws_conn_log_end(ws, "ping timeout", 1006, bh_slice(NULL, 0));
    ws->reset = true;
    bh_ws_conn_drop(ws, 1006, BH_SLICE("ping timeout"));
}

static void on_timer(struct bh_timer *t) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(t, struct bh_ws_conn, timer);
    if (ws->state == BH_WS_CONN_OPEN) {
        on_open_timer(ws);
        return;
    }
    ws->reset = ws->reset || ws->out.count > 0;
    bh_ws_conn_drop(ws, 1006, bh_slice(NULL, 0));
}

/* --- the beginning --- */

struct bh_ws_conn *bh_ws_session_new(struct bh_ws_server *s, const struct bh_ip *ip,
                                     struct bh_slice protocol, bool json, struct bh_defer *opener) {
    struct bh_ws_conn *ws = bh_ws_conn_new(s, ip, protocol, json, opener);
    ws->subscriber.vt = json ? &json_subscriber_vt : &subscriber_vt;
    bh_timer_init(&ws->timer, s->loop, on_timer);
    bh_defer_init(&ws->flush, json ? on_json_flush : on_flush);
    return ws;
}

static void start_heartbeat(struct bh_ws_conn *ws) {
    uint64_t interval = ws->server->config->ping_interval_ms;
    uint64_t now = bh_loop_now(ws->server->loop);
    /* As if heard earlier: connections that came together must not be pinged together. */
    uint64_t jitter = interval ? bh_random_below((uint32_t)(interval / 2) + 1) : 0;
    ws->since_ms = now - jitter;
    arm(ws, interval ? interval - jitter : UINT64_MAX);
}

void bh_ws_session_set_deflate(struct bh_ws_conn *ws, const struct bh_ws_deflate *deflate) {
    bool takeover = deflate->client_takeover;
    struct bh_inflater *own = takeover ? bh_inflater_new(deflate->client_bits, true) : NULL;
    ws->deflate = *deflate;
    bh_ws_reader_init(&ws->reader, own || !takeover, own);
}

void bh_ws_session_wake(struct bh_ws_reader *r) {
    struct bh_ws_conn *ws = BH_CONTAINER_OF(r, struct bh_ws_conn, reader);
    bh_stream_put_off(&ws->stream);
    bh_ws_conn_update_reading(ws);
}

void bh_ws_session_start(struct bh_ws_conn *ws, struct bh_stream *from, struct bh_buf *answer,
                         struct bh_slice held) {
    struct bh_buf *close_frame = ws->opening.close_frame;
    bh_stream_move(&ws->stream, from, ws->json ? &json_callbacks : &stream_callbacks);
    memset(&ws->open, 0, sizeof ws->open);
    ws->state = BH_WS_CONN_OPEN;
    ws->has_socket = true;
    bh_stream_indebt(&ws->stream);
    ws->counted = true;
    bh_edge_count(BH_EDGE_CONNECTIONS, 1);
    bh_edge_count(BH_EDGE_OPENED, 1);
    bh_outq_push_front(&ws->out, answer);
    bh_defer(ws->server->loop, BH_PHASE_FLUSH, &ws->flush);
    start_heartbeat(ws);
    struct bh_hooks *hooks = ws->server->worker->hooks;
    if (bh_hooks_has(hooks, BH_HOOK_OPEN))
        hooks->vt->open(hooks, &ws->subscriber);
    if (close_frame)
        bh_ws_conn_close(ws, ws->close_code, bh_slice(close_frame->data + 4, close_frame->len - 4));
    bh_buf_unref(close_frame);
    if (held.n && ws->state != BH_WS_CONN_CLOSED)
        on_data(&ws->stream, (unsigned char *)held.p, held.n);
    if (ws->state != BH_WS_CONN_CLOSED)
        bh_ws_conn_update_reading(ws);
}
