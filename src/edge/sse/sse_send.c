/* sse_send.c - from messages to events in the queue.
 *
 * Messages come from the worker's cache, rendered once for all links at the same positions. What
 * the client has to be told (a gap, a rewind) goes first, with the id as it was before the message;
 * see client/link.h, also for what a full queue means for the ids that are in it.
 *
 * The queue's limit holds for what waits; a single message may be larger. A full queue is offered
 * to the kernel before the client counts as slow, because this tick's events have not been written.
 * Thread: the worker's. */
#include "sse/sse_send.h"

#include "bellhop/base/error.h"
#include "bellhop/base/utf8.h"
#include "bellhop/proto/sse.h"
#include "limits/edge_metrics.h"

/* One note with its id. */
#define NOTE_MAX (BH_RESUME_TEXT_MAX + BH_TOPIC_NAME_MAX + 32)

static bool takes_messages(const struct bh_sse_conn *c) {
    return c->state <= BH_SSE_OPEN;
}

/* --- slow clients --- */

static bool fits(const struct bh_sse_conn *c, size_t n) {
    return c->out.count == 0 || c->out.bytes + n + bh_client_link_note_count(&c->link) * NOTE_MAX <=
                                    bh_sse_conn_queue_max(c);
}

/* All, from the first one with an id on. An id alone may be among them. */
static void drop_oldest(struct bh_sse_conn *c, size_t n) {
    uint16_t tag;
    bool all = false;
    while ((all || !fits(c, n)) && bh_outq_drop_oldest(&c->out, &tag)) {
        all = all || (tag != BH_CLIENT_TAG_NONE && tag != BH_OUTQ_DROP);
        c->id_due = c->id_due || tag == BH_OUTQ_DROP;
        bh_edge_count(BH_EDGE_MESSAGES_DROPPED, 1);
        bh_client_link_note_tag(&c->link, &c->subscriber, tag);
    }
}

static void close_slow(struct bh_sse_conn *c) {
    bh_edge_count(BH_EDGE_SLOW_CONSUMERS, 1);
    bh_sse_conn_log_end(c, "slow consumer", 1008);
    c->reset = true;
    if (c->has_socket)
        bh_sse_conn_drop(c, 1008, BH_SLICE("slow consumer"));
    else
        bh_sse_conn_close(c, 1008, BH_SLICE("slow consumer"));
}

static enum bh_slow decide(struct bh_sse_conn *c) {
    struct bh_hooks *hooks = c->server->worker->hooks;
    enum bh_slow slow = c->server->config->on_slow;
    if (c->asking) /* the hook itself sends */
        return BH_SLOW_DROP_NEWEST;
    if (!bh_hooks_has(hooks, BH_HOOK_SLOW))
        return slow;
    c->asking = true;
    slow = hooks->vt->slow(hooks, &c->subscriber, c->out.bytes, slow);
    c->asking = false;
    return slow;
}

static int find_room(struct bh_sse_conn *c, size_t n) {
    if (!fits(c, n) && c->state == BH_SSE_OPEN)
        bh_sse_conn_flush(c);
    if (!takes_messages(c))
        return BH_ECLOSED; /* the write found it broken */
    return fits(c, n) ? 0 : BH_ETOOBIG;
}

/* 0 when n bytes may be queued, and the notes with them. */
static int make_room(struct bh_sse_conn *c, size_t n) {
    int error = find_room(c, n);
    if (error != BH_ETOOBIG)
        return error;
    bh_edge_count(BH_EDGE_LIMIT_QUEUE, 1);
    enum bh_slow slow = decide(c);
    if (!takes_messages(c))
        return BH_ECLOSED; /* the hook closed it */
    if (slow == BH_SLOW_CLOSE)
        close_slow(c);
    else if (slow == BH_SLOW_DROP_OLDEST)
        drop_oldest(c, n);
    if (takes_messages(c) && fits(c, n))
        return 0;
    bh_edge_count(BH_EDGE_MESSAGES_DROPPED, slow != BH_SLOW_CLOSE);
    return BH_ETOOBIG;
}

/* --- notes and ids --- */

static void tell(struct bh_sse_conn *c, struct bh_slice topic, bool gap, struct bh_slice id) {
    struct bh_slice name = gap ? BH_SLICE("gap") : BH_SLICE("rewind");
    struct bh_buf *event = bh_sse_event(name, topic, id);
    event->tag = bh_client_tag(topic);
    bh_edge_count(BH_EDGE_SSE_EVENTS, 1);
    bh_sse_conn_enqueue(c, event);
}

static void tell_all(struct bh_sse_conn *c, struct bh_slice id) {
    struct bh_slice topic;
    const char *why;
    bool last;
    while (bh_client_link_first(&c->link, &c->subscriber, &topic, &why, &last)) {
        tell(c, topic, why != NULL, last ? id : bh_slice(NULL, 0));
        bh_client_link_drop_note(&c->link);
    }
}

/* Then more of the same would follow at once. */
static bool is_half_full(const struct bh_sse_conn *c) {
    return c->out.bytes > bh_sse_conn_queue_max(c) / 2;
}

void bh_sse_send_notes(struct bh_sse_conn *c) {
    char id[BH_RESUME_TEXT_MAX + 1];
    if (!bh_client_link_has_notes(&c->link) || !takes_messages(c) || is_half_full(c))
        return;
    tell_all(c, bh_slice(id, bh_subscriber_resume_text(&c->subscriber, id)));
    bh_client_link_sent(&c->link, &c->subscriber);
    c->id_due = c->id_due && !bh_subscriber_is_recovered(&c->subscriber);
}

void bh_sse_send_id(struct bh_sse_conn *c) {
    char id[BH_RESUME_TEXT_MAX + 1];
    size_t n = bh_subscriber_resume_text(&c->subscriber, id);
    struct bh_buf *event = bh_sse_id(bh_slice(id, n));
    event->tag = BH_OUTQ_DROP; /* it covers what is dropped before it */
    bh_sse_conn_enqueue(c, event);
    bh_client_link_sent(&c->link, &c->subscriber);
    c->id_due = false;
}

/* --- sending --- */

static void send_frame(struct bh_sse_conn *c, struct bh_buf *frame) {
    bh_edge_count(BH_EDGE_MESSAGES_OUT, 1);
    bh_edge_count(BH_EDGE_SSE_EVENTS, 1);
    bh_sse_conn_enqueue_frame(c, frame);
}

/* NULL without memory. */
static struct bh_buf *frame_of_message(struct bh_sse_conn *c, struct bh_message *m) {
    struct bh_message *text = bh_texts_get(&c->server->texts, m, &c->subscriber);
    if (!text)
        return NULL;
    struct bh_buf *frame =
        c->gzip ? bh_sse_pack_text(&c->server->pack, text) : bh_buf_ref(text->buf);
    bh_message_unref(text);
    return frame;
}

static void tell_before(struct bh_sse_conn *c, const struct bh_message *m) {
    char id[BH_RESUME_TEXT_MAX + 1];
    if (bh_client_link_has_notes(&c->link))
        tell_all(c, bh_slice(id, bh_client_id_before(&c->subscriber, m, id)));
}

/* A client that is given what it missed is not slow: it would come back for the same. */
static int room_for(struct bh_sse_conn *c, size_t n, bool late) {
    int error = late ? find_room(c, n) : make_room(c, n);
    bh_edge_count(BH_EDGE_MESSAGES_DROPPED, late && error == BH_ETOOBIG);
    return error;
}

int bh_sse_send_message(struct bh_sse_conn *c, struct bh_message *m) {
    if (!takes_messages(c))
        return BH_ECLOSED;
    if (bh_message_expired(m, bh_loop_now(c->server->loop))) {
        bh_edge_count(BH_EDGE_MESSAGES_EXPIRED, 1);
        return 0;
    }
    bool late = m->position.epoch && !bh_subscriber_is_recovered(&c->subscriber);
    struct bh_buf *frame = frame_of_message(c, m);
    int error = frame ? room_for(c, frame->len, late) : BH_ETOOBIG;
    if (error) {
        bh_buf_unref(frame);
        bh_client_link_note_message(&c->link, &c->subscriber, m, late ? BH_GAP_SIZE : BH_GAP_SLOW);
        return error;
    }
    tell_before(c, m);
    send_frame(c, frame);
    if (m->position.epoch)
        bh_client_link_sent(&c->link, &c->subscriber);
    return 0;
}

static struct bh_buf *frame_of_bytes(struct bh_sse_conn *c, bool binary, struct bh_slice data) {
    struct bh_bytes block = {0};
    bh_sse_add_message(&block, binary, data);
    bh_bytes_addc(&block, '\n');
    struct bh_buf *event = bh_buf_copy(bh_bytes_slice(&block));
    bh_bytes_free(&block);
    return c->gzip ? bh_sse_pack_event(&c->server->pack, event) : event;
}

int bh_sse_send_data(struct bh_sse_conn *c, enum bh_opcode opcode, struct bh_slice data) {
    if (!takes_messages(c))
        return BH_ECLOSED;
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    struct bh_buf *frame = frame_of_bytes(c, opcode == BH_BINARY, data);
    int error = make_room(c, frame->len);
    if (error)
        bh_buf_unref(frame);
    else
        send_frame(c, frame);
    return error;
}
