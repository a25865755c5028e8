/* json_session.c - messages, positions and gaps as JSON frames.
 *
 * Texts of messages are shared by the connections of a worker that are at the same positions
 * (client/texts.h), and so are their frames. The small frames of one connection are not compressed:
 * the first one is sent before others that were compressed earlier.
 *
 * Before the first frame nothing is sent: messages of topics without history, and what the policy
 * sends, wait beside the queue. Thread: the worker's. */
#include "ws/json_session.h"

#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/utf8.h"
#include "client/data.h"
#include "limits/edge_metrics.h"
#include "ws/send.h"

/* A topic's name with each byte escaped, an id, and the rest. */
#define NOTE_MAX (2 * BH_TOPIC_NAME_MAX + BH_RESUME_TEXT_MAX + 64)

static struct bh_ws_conn *of(struct bh_subscriber *s) {
    return BH_CONTAINER_OF(s, struct bh_ws_conn, subscriber);
}

/* --- texts --- */

/* The last members and the end of the object. */
static void add_data(struct bh_bytes *out, unsigned opcode, struct bh_slice data) {
    bh_client_add_data(out, opcode, data);
    bh_bytes_addc(out, '}');
}

void bh_json_session_render(const struct bh_message *m, bool id, struct bh_bytes *before,
                            struct bh_bytes *after) {
    bh_bytes_adds(before, "{\"topic\":");
    bh_json_quote(before, bh_topic_name(m->topic));
    bh_bytes_adds(before, id ? ",\"id\":\"" : ",");
    if (id)
        bh_bytes_adds(after, "\",");
    add_data(id ? after : before, m->opcode, m->payload);
}

/* --- frames of this connection alone --- */

/* Takes the text over; always queued. */
static void enqueue(struct bh_ws_conn *ws, struct bh_bytes *text, uint16_t tag) {
    struct bh_buf *frame = bh_ws_frame_new(BH_WS_TEXT, bh_bytes_slice(text));
    frame->tag = tag;
    bh_bytes_free(text);
    bh_edge_count(BH_EDGE_MESSAGES_OUT, 1);
    bh_ws_conn_enqueue(ws, frame);
}

/* id NULL: others follow. */
static void tell_one(struct bh_ws_conn *ws, struct bh_slice topic, const char *why,
                     const char *id) {
    struct bh_bytes text = {0};
    bh_bytes_adds(&text, why ? "{\"gap\":" : "{\"rewound\":");
    bh_json_quote(&text, topic);
    if (id)
        bh_bytes_addf(&text, ",\"id\":\"%s\"", id);
    if (why)
        bh_bytes_addf(&text, ",\"reason\":\"%s\"", why);
    bh_bytes_addc(&text, '}');
    enqueue(ws, &text, bh_client_tag(topic));
}

static void tell_all(struct bh_ws_conn *ws, const char *id) {
    struct bh_client_link *link = &bh_ws_conn_json(ws)->link;
    struct bh_slice topic;
    const char *why;
    bool last;
    while (bh_client_link_first(link, &ws->subscriber, &topic, &why, &last)) {
        tell_one(ws, topic, why, last ? id : NULL);
        bh_client_link_drop_note(link);
    }
}

static bool may_tell(const struct bh_ws_conn *ws, const struct bh_ws_json *j) {
    return j->recovered && bh_ws_conn_takes_messages(ws) && !bh_ws_conn_above_high_water(ws);
}

static void tell_now(struct bh_ws_conn *ws, struct bh_ws_json *j) {
    char id[BH_RESUME_TEXT_MAX + 1];
    bh_subscriber_resume_text(&ws->subscriber, id);
    tell_all(ws, id);
    bh_client_link_sent(&j->link, &ws->subscriber);
}

static uint8_t count_streams(const char *id) {
    uint8_t n = 0;
    while ((id = strchr(id, ':'))) {
        id++;
        n++;
    }
    return n;
}

/* {<name>"id":"1...."}; returns how many streams are in it. */
static uint8_t send_id(struct bh_ws_conn *ws, const char *name) {
    struct bh_bytes text = {0};
    char id[BH_RESUME_TEXT_MAX + 1];
    bh_subscriber_resume_text(&ws->subscriber, id);
    bh_bytes_addf(&text, "{%s\"id\":\"%s\"}", name, id);
    enqueue(ws, &text, BH_OUTQ_KEEP);
    bh_client_link_sent(&bh_ws_conn_json(ws)->link, &ws->subscriber);
    return count_streams(id);
}

/* A client that was new to a stream in the first frame must not wait for the heartbeat. */
static void settle(struct bh_ws_conn *ws, struct bh_ws_json *j) {
    char id[BH_RESUME_TEXT_MAX + 1];
    j->settled = true;
    bh_subscriber_resume_text(&ws->subscriber, id);
    if (count_streams(id) > j->streams && bh_client_link_has_moved(&j->link, &ws->subscriber))
        send_id(ws, "");
}

void bh_json_session_catch_up(struct bh_ws_conn *ws) {
    struct bh_ws_json *j = bh_ws_conn_json(ws);
    if (j->settled && !bh_client_link_has_notes(&j->link))
        return;
    if (!may_tell(ws, j))
        return;
    if (bh_client_link_has_notes(&j->link))
        tell_now(ws, j);
    if (!j->settled && bh_subscriber_is_recovered(&ws->subscriber))
        settle(ws, j);
}

void bh_json_session_heartbeat(struct bh_ws_conn *ws) {
    struct bh_ws_json *j = bh_ws_conn_json(ws);
    bh_json_session_catch_up(ws);
    if (may_tell(ws, j) && bh_client_link_has_moved(&j->link, &ws->subscriber))
        send_id(ws, "");
}

/* --- before the first frame --- */

static bool fits_early(const struct bh_ws_conn *ws, const struct bh_ws_json *j, size_t n) {
    return j->early.count == 0 || j->early.bytes + n <= BH_WS_CONN_LIMIT(ws, queue_bytes);
}

/* The frame is made by the caller only if there is room: a compressed one moves the context. */
static int room_early(struct bh_ws_conn *ws, size_t n) {
    if (fits_early(ws, bh_ws_conn_json(ws), n))
        return 0;
    bh_edge_count(BH_EDGE_LIMIT_QUEUE, 1);
    bh_edge_count(BH_EDGE_MESSAGES_DROPPED, 1);
    return BH_ETOOBIG;
}

static int keep_early(struct bh_ws_conn *ws, struct bh_buf *frame) {
    bh_edge_count(BH_EDGE_MESSAGES_OUT, 1);
    bh_buf_count(frame);
    bh_outq_push(&bh_ws_conn_json(ws)->early, frame);
    return 0;
}

static int keep_text(struct bh_ws_conn *ws, struct bh_message *text) {
    int error = room_early(ws, text->payload.n);
    return error ? error : keep_early(ws, bh_ws_conn_frame_of_text(ws, text));
}

void bh_json_session_recovered(struct bh_subscriber *s, bool complete) {
    struct bh_ws_conn *ws = of(s);
    struct bh_ws_json *j = bh_ws_conn_json(ws);
    struct bh_buf *frame;
    if (j->recovered || !bh_ws_conn_takes_messages(ws))
        return;
    j->recovered = true;
    j->streams = send_id(ws, complete ? "\"recovered\":true," : "\"recovered\":false,");
    while ((frame = bh_outq_shift(&j->early)))
        bh_ws_conn_enqueue(ws, frame);
}

/* --- messages --- */

/* A client that is given what it missed is not slow: closing it would make it come back for the
 * same. */
static int room_for(struct bh_ws_conn *ws, struct bh_message *m, size_t n) {
    struct bh_subscriber *s = &ws->subscriber;
    bool late = !bh_subscriber_is_recovered(s);
    int error = late ? bh_ws_conn_find_room(ws, n) : bh_ws_conn_make_room(ws, n);
    if (error)
        bh_client_link_note_message(&bh_ws_conn_json(ws)->link, s, m,
                                    late ? BH_GAP_SIZE : BH_GAP_SLOW);
    if (error == BH_ETOOBIG && late)
        bh_edge_count(BH_EDGE_MESSAGES_DROPPED, 1);
    return error;
}

/* What is to be told goes before the message, with the id as it was before it: client/link.h. */
static int send_text(struct bh_ws_conn *ws, struct bh_message *m, struct bh_message *text) {
    struct bh_client_link *link = &bh_ws_conn_json(ws)->link;
    size_t notes = bh_client_link_note_count(link) * NOTE_MAX;
    int error = room_for(ws, m, text->payload.n + BH_WS_HEADER_OUT_MAX + notes);
    if (error)
        return error;
    if (bh_client_link_has_notes(link)) {
        char id[BH_RESUME_TEXT_MAX + 1];
        bh_client_id_before(&ws->subscriber, m, id);
        tell_all(ws, id);
    }
    bh_edge_count(BH_EDGE_MESSAGES_OUT, 1);
    bh_ws_conn_enqueue(ws, bh_ws_conn_frame_of_text(ws, text));
    if (m->position.epoch)
        bh_client_link_sent(link, &ws->subscriber);
    return 0;
}

int bh_json_session_deliver(struct bh_subscriber *s, struct bh_message *m) {
    struct bh_ws_conn *ws = of(s);
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED;
    if (bh_message_expired(m, bh_loop_now(ws->server->loop))) {
        bh_edge_count(BH_EDGE_MESSAGES_EXPIRED, 1);
        return 0;
    }
    struct bh_message *text = bh_texts_get(&ws->server->texts, m, s);
    if (!text)
        return BH_ENOMEM;
    int error = bh_ws_conn_json(ws)->recovered ? send_text(ws, m, text) : keep_text(ws, text);
    bh_message_unref(text);
    return error;
}

static int send_bytes(struct bh_ws_conn *ws, struct bh_slice text) {
    if (bh_ws_conn_json(ws)->recovered)
        return bh_ws_conn_send_data(ws, BH_TEXT, text);
    int error = room_early(ws, text.n);
    return error ? error : keep_early(ws, bh_ws_frame_new(BH_WS_TEXT, text));
}

int bh_json_session_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    struct bh_ws_conn *ws = of(s);
    if (!bh_ws_conn_takes_messages(ws))
        return BH_ECLOSED;
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    struct bh_bytes text = {0};
    bh_bytes_addc(&text, '{');
    add_data(&text, opcode, data);
    int error = send_bytes(ws, bh_bytes_slice(&text));
    bh_bytes_free(&text);
    return error;
}

/* --- what the core tells --- */

/* Told before the next message, or at the end of this tick (before the 101 there is none). */
static void note(struct bh_ws_conn *ws, struct bh_slice topic, const char *why) {
    bh_client_link_note(&bh_ws_conn_json(ws)->link, &ws->subscriber, topic, why);
    if (ws->state == BH_WS_CONN_OPEN)
        bh_defer(ws->server->loop, BH_PHASE_FLUSH, &ws->flush);
}

void bh_json_session_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    note(of(s), topic, why);
}

void bh_json_session_rewound(struct bh_subscriber *s, struct bh_slice topic) {
    note(of(s), topic, NULL);
}

size_t bh_json_session_room(const struct bh_subscriber *s) {
    const struct bh_ws_conn *ws = BH_CONTAINER_OF(s, const struct bh_ws_conn, subscriber);
    return BH_WS_CONN_LIMIT(ws, queue_bytes) / 2;
}

void bh_json_session_refused(struct bh_subscriber *s, struct bh_slice topic, int status,
                             struct bh_slice why) {
    bh_client_refusal_set(&bh_ws_conn_json(of(s))->refusal, topic, status, why);
}
