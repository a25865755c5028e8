/* send.c - from messages to frames in the queue.
 *
 * Frames are shared where possible: plain ones, and ones compressed without context takeover, come
 * from the worker's cache. A connection with context takeover has a deflater of its own for
 * messages to this user alone. A broadcast is still compressed once: such a frame refers to nothing
 * before it, but it moves the client's window, so the own deflater has to forget its context. The
 * same holds for frames that are dropped.
 *
 * The queue's limit holds for what waits; a single message may be larger. A full queue is offered
 * to the kernel before the client counts as slow, because this tick's frames have not been written.
 * Thread: the worker's. */
#include "ws/send.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/utf8.h"
#include "limits/edge_metrics.h"
#include "ws/ws_hold.h"

/* --- slow clients --- */

static bool fits(const struct bh_ws_conn *ws, size_t n) {
    return ws->out.count == 0 || ws->out.bytes + n <= BH_WS_CONN_LIMIT(ws, queue_bytes);
}

static void forget_context(struct bh_ws_conn *ws) {
    if (ws->deflater)
        bh_deflater_reset(ws->deflater);
}

/* With context takeover a frame refers to the ones before it, so all are dropped; with format=json
 * because the ids of later ones would cover the dropped ones. */
static BH_WS_HOLD_COLD void drop_oldest(struct bh_ws_conn *ws, size_t n) {
    bool all = ws->deflate.server_takeover || ws->json;
    uint16_t tag;
    while ((all || !fits(ws, n)) && bh_outq_drop_oldest(&ws->out, &tag)) {
        bh_edge_count(BH_EDGE_MESSAGES_DROPPED, 1);
        if (ws->json)
            bh_client_link_note_tag(&bh_ws_conn_json(ws)->link, &ws->subscriber, tag);
    }
    forget_context(ws);
}

static void close_slow(struct bh_ws_conn *ws) {
    bh_edge_count(BH_EDGE_SLOW_CONSUMERS, 1);
    bh_ws_conn_log_end(ws, "slow consumer", 1008, bh_slice(NULL, 0));
    bh_outq_drop_unsent(&ws->out);
    ws->reset = true;
    bh_ws_conn_close(ws, 1008, BH_SLICE("slow consumer"));
}

static enum bh_slow decide(struct bh_ws_conn *ws) {
    struct bh_hooks *hooks = ws->server->worker->hooks;
    enum bh_slow slow = ws->server->config->on_slow;
    if (ws->asking) /* the hook itself sends */
        return BH_SLOW_DROP_NEWEST;
    if (!bh_hooks_has(hooks, BH_HOOK_SLOW))
        return slow;
    ws->asking = true;
    slow = hooks->vt->slow(hooks, &ws->subscriber, ws->out.bytes, slow);
    ws->asking = false;
    return slow;
}

bool bh_ws_conn_takes_messages(const struct bh_ws_conn *ws) {
    return ws->state == BH_WS_CONN_OPEN ||
           (ws->state == BH_WS_CONN_OPENING && !ws->opening.close_frame);
}

int bh_ws_conn_find_room(struct bh_ws_conn *ws, size_t n) {
    if (!fits(ws, n) && ws->state == BH_WS_CONN_OPEN)
        bh_ws_conn_flush(ws);
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED; /* the write found it broken */
    return fits(ws, n) ? 0 : BH_ETOOBIG;
}

int bh_ws_conn_make_room(struct bh_ws_conn *ws, size_t n) {
    int error = bh_ws_conn_find_room(ws, n);
    if (error != BH_ETOOBIG)
        return error;
    bh_edge_count(BH_EDGE_LIMIT_QUEUE, 1);
    switch (decide(ws)) {
    case BH_SLOW_CLOSE:
        close_slow(ws);
        return BH_ETOOBIG;
    case BH_SLOW_DROP_OLDEST:
        drop_oldest(ws, n);
        break;
    case BH_SLOW_DROP_NEWEST:
        break;
    }
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED; /* the hook closed it */
    if (fits(ws, n))
        return 0;
    bh_edge_count(BH_EDGE_MESSAGES_DROPPED, 1);
    return BH_ETOOBIG;
}

/* --- frames --- */

/* The window bits to compress with; 0: not compressed. Then the client's window does not move, so
 * the context of an own deflater stays as it is. */
static unsigned compression_for(const struct bh_ws_conn *ws, struct bh_slice payload) {
    const struct bh_edge_config *config = ws->server->config;
    bool wanted = ws->deflate.agreed && payload.n >= config->deflate_threshold &&
                  (config->deflate_max == 0 || payload.n <= config->deflate_max);
    return wanted ? ws->deflate.server_bits : 0;
}

static struct bh_buf *own_frame(struct bh_ws_conn *ws, uint8_t opcode, struct bh_slice payload) {
    if (!ws->deflater)
        ws->deflater = bh_deflater_new(ws->deflate.server_bits, ws->server->config->deflate.level);
    struct bh_buf *frame =
        ws->deflater ? bh_deflater_frame(ws->deflater, opcode, payload, true) : NULL;
    if (frame) {
        bh_edge_count(BH_EDGE_COMPRESSED, 1);
        return frame;
    }
    forget_context(ws);
    return bh_ws_frame_new(opcode, payload);
}

static struct bh_buf *frame_of_message(struct bh_ws_conn *ws, struct bh_message *m) {
    unsigned bits = compression_for(ws, m->payload);
    bool compressed;
    if (bits && ws->deflate.server_takeover && m->topic->kind == BH_TOPIC_USER)
        return own_frame(ws, m->opcode, m->payload);
    struct bh_buf *frame = bh_frames_message(&ws->server->frames, m, bits, &compressed);
    if (compressed)
        forget_context(ws);
    return frame;
}

struct bh_buf *bh_ws_conn_frame_of_text(struct bh_ws_conn *ws, struct bh_message *text) {
    unsigned bits = compression_for(ws, text->payload);
    bool compressed;
    struct bh_buf *frame;
    if (bits && ws->deflate.server_takeover && text->topic->kind == BH_TOPIC_USER) {
        frame = own_frame(ws, text->opcode, text->payload);
        frame->tag = text->buf->tag;
        return frame;
    }
    frame = bh_frames_text(&ws->server->frames, text, bits, &compressed);
    if (compressed)
        forget_context(ws);
    return frame;
}

static struct bh_buf *frame_of_bytes(struct bh_ws_conn *ws, uint8_t opcode, struct bh_slice data) {
    unsigned bits = compression_for(ws, data);
    if (bits && ws->deflate.server_takeover)
        return own_frame(ws, opcode, data);
    return bh_frames_bytes(&ws->server->frames, opcode, data, bits);
}

/* --- sending --- */

int bh_ws_conn_send_message(struct bh_ws_conn *ws, struct bh_message *m) {
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED;
    if (bh_message_expired(m, bh_loop_now(ws->server->loop))) {
        bh_edge_count(BH_EDGE_MESSAGES_EXPIRED, 1);
        return 0;
    }
    int error = bh_ws_conn_make_room(ws, m->payload.n + BH_WS_HEADER_OUT_MAX);
    if (error)
        return error;
    bh_edge_count(BH_EDGE_MESSAGES_OUT, 1);
    bh_ws_conn_enqueue(ws, frame_of_message(ws, m));
    return 0;
}

int bh_ws_conn_send_data(struct bh_ws_conn *ws, enum bh_opcode opcode, struct bh_slice data) {
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED;
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    int error = bh_ws_conn_make_room(ws, data.n + BH_WS_HEADER_OUT_MAX);
    if (error)
        return error;
    bh_edge_count(BH_EDGE_MESSAGES_OUT, 1);
    bh_ws_conn_enqueue(ws, frame_of_bytes(ws, (uint8_t)opcode, data));
    return 0;
}

int bh_ws_conn_send_control(struct bh_ws_conn *ws, uint8_t opcode, struct bh_slice data) {
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED;
    int error = bh_ws_conn_make_room(ws, data.n + BH_WS_HEADER_OUT_MAX);
    if (!error)
        bh_ws_conn_enqueue(ws, bh_ws_frame_new(opcode, data));
    return error;
}
