/* sse_conn.c - the life of an SSE link: its states, its end.
 *
 * What is to be sent is queued and written once at the end of the tick. The link leaves the node
 * (bh_node_close) exactly once, when it begins to close, so nothing is delivered behind the event
 * `close`. What can happen in any callback only changes the state; memory is freed in the reap
 * phase. Thread: the worker's. */
#include "sse/sse_conn.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/sse.h"
#include "client/quotas.h"
#include "limits/edge_metrics.h"
#include "sse/sse_hold.h"

uint64_t bh_sse_retry_ms(const struct bh_edge_config *config) {
    uint32_t ms = (uint32_t)config->sse_retry_ms;
    return ms / 2 + bh_random_below(ms + 1);
}

uint64_t bh_sse_retry_later_ms(const struct bh_edge_config *config) {
    uint32_t ms = (uint32_t)config->sse_retry_ms;
    return ms + bh_random_below(4 * ms + 1);
}

/* --- the end --- */

void bh_sse_conn_log_end(struct bh_sse_conn *c, const char *cause, unsigned code) {
    char ip[BH_ADDR_TEXT_MAX];
    const struct bh_identity *identity = c->subscriber.identity;
    bh_ip_format(&c->ip, ip);
    bh_info_limited("sse connection closed", bh_kv_str("cause", cause), bh_kv_int("code", code),
                    bh_kv_slice("user", identity ? identity->user : bh_slice(NULL, 0)),
                    bh_kv_str("ip", ip));
}

static void leave_node(struct bh_sse_conn *c, unsigned code, struct bh_slice reason) {
    if (!c->registered)
        return;
    c->registered = false;
    if (c->subscriber.identity)
        bh_quotas_release(c->server->config, c->subscriber.identity);
    if (c->counted) {
        bh_edge_count(BH_EDGE_SSE_CONNECTIONS, -1);
        bh_edge_count(BH_EDGE_SSE_CLOSED, 1);
    }
    bh_node_close(c->server->worker, &c->subscriber, code, reason);
}

void bh_sse_conn_free(struct bh_sse_conn *c) {
    struct bh_admission *admission = c->server->admission;
    bh_timer_cancel(&c->timer);
    bh_defer_cancel(&c->flush);
    bh_list_unlink(&c->node);
    bh_sse_hold_end(c);
    bh_outq_clear(&c->out);
    bh_client_link_free(&c->link);
    if (c->counted_ip)
        bh_admission_release_address(admission, &c->ip);
    if (c->has_socket)
        bh_admission_release_socket();
    bh_free(c);
    bh_admission_leave(admission);
}

static void on_reap(struct bh_defer *d) {
    bh_sse_conn_free(BH_CONTAINER_OF(d, struct bh_sse_conn, flush));
}

static void finish(struct bh_sse_conn *c) {
    if (c->state == BH_SSE_CLOSED)
        return;
    c->state = BH_SSE_CLOSED;
    if (c->reset)
        bh_stream_reset(&c->stream);
    else
        bh_stream_close(&c->stream);
    bh_timer_cancel(&c->timer);
    bh_outq_clear(&c->out);
    bh_sse_hold_end(c);
    bh_defer_cancel(&c->flush);
    bh_defer_init(&c->flush, on_reap);
    bh_defer(c->server->loop, BH_PHASE_REAP, &c->flush);
}

void bh_sse_conn_drop(struct bh_sse_conn *c, unsigned code, struct bh_slice reason) {
    leave_node(c, code, reason);
    finish(c);
}

/* --- closing --- */

static bool is_our_own(unsigned code) {
    return code == 1001 || code == 1012 || code == 1013;
}

static struct bh_buf *close_event(unsigned code, struct bh_slice reason) {
    struct bh_bytes data = {0};
    bh_bytes_addf(&data, "%u%s%.*s", code, reason.n ? " " : "", BH_SLICE_ARG(reason));
    struct bh_buf *event =
        bh_sse_event(BH_SLICE("close"), bh_bytes_slice(&data), bh_slice(NULL, 0));
    bh_bytes_free(&data);
    return event;
}

void bh_sse_conn_close(struct bh_sse_conn *c, unsigned code, struct bh_slice reason) {
    const struct bh_edge_config *config = c->server->config;
    if (c->state > BH_SSE_OPEN)
        return;
    leave_node(c, code, reason);
    if (c->state > BH_SSE_OPEN)
        return; /* the hooks' on_close may have dropped it */
    c->state = BH_SSE_LEAVING;
    if (!is_our_own(code))
        bh_sse_conn_enqueue(c, close_event(code, reason));
    bh_edge_count(BH_EDGE_SSE_EVENTS, !is_our_own(code));
    uint64_t retry = is_our_own(code) ? bh_sse_retry_later_ms(config) : bh_sse_retry_ms(config);
    bh_sse_conn_enqueue(c, bh_sse_retry(retry));
    if (c->opening)
        bh_defer(c->server->loop, BH_PHASE_FLUSH, c->opening->answer);
    else
        bh_timer_set(&c->timer, config->close_timeout_ms);
}

/* --- the queue --- */

void bh_sse_conn_enqueue(struct bh_sse_conn *c, struct bh_buf *event) {
    bh_sse_conn_enqueue_frame(c, c->gzip ? bh_sse_pack_event(&c->server->pack, event) : event);
}

void bh_sse_conn_enqueue_frame(struct bh_sse_conn *c, struct bh_buf *frame) {
    if (c->stuck)
        bh_buf_count(frame);
    bh_outq_push(&c->out, frame);
    if (c->has_socket)
        bh_defer(c->server->loop, BH_PHASE_FLUSH, &c->flush);
}

static void note_stuck(struct bh_sse_conn *c, bool stuck) {
    if (stuck && !c->stuck)
        bh_outq_count(&c->out);
    c->stuck = stuck;
    bh_sse_hold_change(c);
}

static void finish_leaving(struct bh_sse_conn *c) {
    if (c->state == BH_SSE_LEAVING && !c->fin_sent) {
        c->fin_sent = true;
        bh_stream_shutdown(&c->stream);
    }
}

void bh_sse_conn_flush(struct bh_sse_conn *c) {
    size_t before = c->out.bytes;
    int error = bh_outq_flush(&c->out, &c->stream);
    bh_edge_count(BH_EDGE_SSE_BYTES_OUT, (int64_t)(before - c->out.bytes));
    if (before != c->out.bytes)
        c->since_ms = bh_loop_now(c->server->loop);
    if (error == BH_ECLOSED) {
        bh_sse_conn_drop(c, 1006, BH_SLICE("connection lost"));
        return;
    }
    if (error || c->stuck)
        note_stuck(c, error);
    if (error)
        bh_stream_want_write(&c->stream);
    else
        finish_leaving(c);
}

/* --- the beginning --- */

struct bh_sse_conn *bh_sse_conn_new(struct bh_sse_server *s, const struct bh_ip *ip) {
    struct bh_sse_conn *c = bh_calloc(1, sizeof *c);
    c->server = s;
    c->ip = *ip;
    c->stream.fd = -1;
    bh_list_append(&s->conns, &c->node);
    bh_admission_enter(s->admission);
    return c;
}
