/* ws_conn.c - the life of a WebSocket connection: its states, its queue, its end.
 *
 * An idle connection is this struct and nothing else: it reads into the loop's buffer, keeps an
 * unfinished frame only, and owns queue memory only while something waits. What is to be sent is
 * queued and written once at the end of the tick.
 *
 * The connection leaves the node (bh_node_close) exactly once, at the moment when it begins to
 * close, so nothing is delivered after a close frame. What can happen in any callback (the hook
 * closes the connection, a write finds it broken) only changes the state; memory is freed in the
 * reap phase.
 * Thread: the worker's. */
#include "ws/ws_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "client/quotas.h"
#include "limits/edge_metrics.h"
#include "ws/ws_hold.h"

/* --- the end --- */

void bh_ws_conn_log_end(struct bh_ws_conn *ws, const char *cause, unsigned code,
                        struct bh_slice why) {
    char ip[BH_ADDR_TEXT_MAX];
    const struct bh_identity *identity = ws->subscriber.identity;
    bh_ip_format(&ws->ip, ip);
    bh_info_limited("websocket connection closed", bh_kv_str("cause", cause),
                    bh_kv_int("code", code), bh_kv_slice("reason", why),
                    bh_kv_slice("user", identity ? identity->user : bh_slice(NULL, 0)),
                    bh_kv_str("ip", ip));
}

static void leave_node(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason) {
    if (!ws->registered)
        return;
    ws->registered = false;
    const struct bh_identity *identity = ws->subscriber.identity;
    if (identity)
        bh_quotas_release(ws->server->config, identity);
    if (ws->counted) {
        bh_edge_count(BH_EDGE_CONNECTIONS, -1);
        bh_edge_count(BH_EDGE_CLOSED, 1);
    }
    bh_node_close(ws->server->worker, &ws->subscriber, code, reason);
}

void bh_ws_conn_free(struct bh_ws_conn *ws) {
    struct bh_admission *admission = ws->server->admission;
    bh_timer_cancel(&ws->timer);
    bh_defer_cancel(&ws->flush);
    bh_list_unlink(&ws->node);
    bh_ws_hold_end(ws);
    bh_ws_reader_deinit(&ws->reader);
    bh_outq_clear(&ws->out);
    if (ws->has_socket)
        bh_free(ws->open.held);
    else
        bh_buf_unref(ws->opening.close_frame);
    bh_deflater_free(ws->deflater);
    bh_inflater_free(ws->reader.inflater);
    if (ws->json)
        bh_ws_json_deinit(bh_ws_conn_json(ws));
    if (ws->counted_ip)
        bh_admission_release_address(admission, &ws->ip);
    if (ws->has_socket)
        bh_admission_release_socket();
    bh_free(ws);
    bh_admission_leave(admission);
}

static void on_reap(struct bh_defer *d) {
    bh_ws_conn_free(BH_CONTAINER_OF(d, struct bh_ws_conn, flush));
}

static void finish(struct bh_ws_conn *ws) {
    if (ws->state == BH_WS_CONN_CLOSED)
        return;
    ws->state = BH_WS_CONN_CLOSED;
    if (ws->reset)
        bh_stream_reset(&ws->stream);
    else
        bh_stream_close(&ws->stream);
    bh_timer_cancel(&ws->timer);
    bh_outq_clear(&ws->out);
    bh_ws_hold_end(ws);
    bh_defer_cancel(&ws->flush);
    bh_defer_init(&ws->flush, on_reap);
    bh_defer(ws->server->loop, BH_PHASE_REAP, &ws->flush);
}

void bh_ws_conn_drop(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason) {
    leave_node(ws, code, reason);
    finish(ws);
}

/* --- the queue --- */

bool bh_ws_conn_above_high_water(const struct bh_ws_conn *ws) {
    return ws->out.bytes > BH_WS_CONN_LIMIT(ws, queue_bytes) / 2;
}

void bh_ws_conn_update_reading(struct bh_ws_conn *ws) {
    bool unwanted = ws->hook_paused || ws->open.resume_ms || bh_ws_conn_above_high_water(ws) ||
                    bh_ws_reader_waits(&ws->reader);
    bh_stream_read(&ws->stream, ws->state != BH_WS_CONN_OPEN || !unwanted);
    if (ws->hold)
        bh_ws_hold_note_reading(ws);
}

/* What the kernel does not take stays in memory. */
static BH_WS_HOLD_COLD void note_stuck(struct bh_ws_conn *ws, bool stuck) {
    if (stuck && !ws->stuck)
        bh_outq_count(&ws->out);
    ws->stuck = stuck;
    bh_ws_hold_change(ws);
}

void bh_ws_conn_flush(struct bh_ws_conn *ws) {
    size_t before = ws->out.bytes;
    int error = bh_outq_flush(&ws->out, &ws->stream);
    bh_edge_count(BH_EDGE_BYTES_OUT, (int64_t)(before - ws->out.bytes));
    if (error == BH_ECLOSED) {
        bh_ws_conn_drop(ws, 1006, BH_SLICE("connection lost"));
        return;
    }
    if (error)
        bh_stream_want_write(&ws->stream);
    else if (ws->state == BH_WS_CONN_LEAVING && !ws->fin_sent) {
        ws->fin_sent = true;
        bh_stream_shutdown(&ws->stream);
    }
    if (error || ws->stuck)
        note_stuck(ws, error);
    bh_ws_conn_update_reading(ws);
}

/* --- closing --- */

static void begin_close(struct bh_ws_conn *ws, enum bh_ws_conn_state next, unsigned code,
                        struct bh_slice reason) {
    leave_node(ws, code, reason);
    if (ws->state != BH_WS_CONN_OPEN)
        return; /* the hooks' on_close may have dropped it */
    ws->state = (unsigned char)next;
    bh_ws_reader_discard(&ws->reader);
    bh_ws_hold_update(ws);
    bh_ws_conn_enqueue(ws, bh_ws_close_frame_new(code, reason));
    bh_timer_set(&ws->timer, ws->server->config->close_timeout_ms);
}

void bh_ws_conn_leave(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason) {
    if (ws->state == BH_WS_CONN_OPEN) {
        begin_close(ws, BH_WS_CONN_LEAVING, code, reason);
        return;
    }
    ws->state = BH_WS_CONN_LEAVING;
    bh_defer(ws->server->loop, BH_PHASE_FLUSH, &ws->flush);
}

/* Before the 101 there is nothing to close; the upgrade is completed at once instead. */
static void close_later(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason) {
    if (ws->opening.close_frame)
        return;
    ws->opening.close_frame = bh_ws_close_frame_new(code, reason);
    ws->close_code = (uint16_t)code;
    bh_defer(ws->server->loop, BH_PHASE_FLUSH, ws->opening.opener);
}

void bh_ws_conn_close(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason) {
    if (!bh_ws_close_code_valid(code))
        code = 1011;
    if (ws->state == BH_WS_CONN_OPENING)
        close_later(ws, code, reason);
    else if (ws->state == BH_WS_CONN_OPEN)
        begin_close(ws, BH_WS_CONN_CLOSING, code, reason);
}

/* --- the beginning --- */

/* Where the bh_ws_json is, with a protocol of n bytes. */
static size_t json_at(size_t n) {
    size_t align = _Alignof(struct bh_ws_json);
    return (BH_SIZE_WITH(struct bh_ws_conn, protocol, n + 1) + align - 1) / align * align;
}

struct bh_ws_json *bh_ws_conn_json(const struct bh_ws_conn *ws) {
    return (struct bh_ws_json *)((char *)ws + json_at(strlen(ws->protocol)));
}

struct bh_ws_conn *bh_ws_conn_new(struct bh_ws_server *s, const struct bh_ip *ip,
                                  struct bh_slice protocol, bool json, struct bh_defer *opener) {
    size_t size = json ? json_at(protocol.n) + sizeof(struct bh_ws_json)
                       : BH_SIZE_WITH(struct bh_ws_conn, protocol, protocol.n + 1);
    struct bh_ws_conn *ws = bh_calloc(1, size);
    ws->json = json;
    ws->server = s;
    ws->opening.opener = opener;
    ws->ip = *ip;
    ws->stream.fd = -1;
    ws->registered = true;
    if (protocol.n)
        memcpy(ws->protocol, protocol.p, protocol.n);
    bh_ws_reader_init(&ws->reader, false, NULL);
    bh_list_append(&s->conns, &ws->node);
    bh_admission_enter(s->admission);
    return ws;
}

bool bh_ws_conn_wants_close(const struct bh_ws_conn *ws) {
    return ws->opening.close_frame != NULL;
}
