/* ws_conn.h - a WebSocket connection: a subscriber over a stream, its states and its queue.
 *
 * Life: opening (registered with the node, without a socket: what is delivered waits in the queue),
 * open, then the close handshake or a drop. It frees itself in the reap phase. session.c makes it
 * read and answer; a connection is created and started there. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_CONN_H
#define BELLHOP_EDGE_WS_CONN_H

#include "bellhop/io/stream.h"
#include "client/outq.h"
#include "limits/rate.h"
#include "ws/ws_json.h"
#include "ws/ws_server.h"

enum bh_ws_conn_state {
    BH_WS_CONN_OPENING, /* without a socket; registered with the node */
    BH_WS_CONN_OPEN,
    BH_WS_CONN_CLOSING, /* our close frame is queued, the peer's is awaited */
    BH_WS_CONN_LEAVING, /* both sides have ended: flush, FIN, the peer's FIN */
    BH_WS_CONN_CLOSED,
};

/* Received and not looked at yet: the rate or the share of a tick was used up, or the hooks want no
 * more. */
struct bh_ws_rest {
    size_t at, len;
    unsigned char data[];
};

/* In the order of heat: a delivery touches the stream's end and the bytes from the subscriber's end
 * to the flags; a frame from the client touches little more; an idle connection is not touched
 * between two heartbeats. */
struct bh_ws_conn {
    struct bh_stream stream;
    struct bh_subscriber subscriber;
    struct bh_outq out;
    struct bh_defer flush; /* once closed: reap */
    struct bh_ws_server *server;
    struct bh_ws_deflate deflate;
    unsigned char state;
    bool registered : 1;  /* with the node; bh_node_close is due */
    bool hook_paused : 1; /* the hooks do not want more messages for now */
    bool has_socket : 1;
    bool fin_sent : 1;
    bool counted : 1;    /* as an open connection */
    bool reset : 1;      /* too slow: the end is an RST */
    bool asking : 1;     /* the hook on_slow is running */
    bool expiring : 1;   /* the hook on_expire is */
    bool counted_ip : 1; /* in the quota of its address */
    bool limited : 1;    /* the identity has limits of its own */
    bool pinged : 1;     /* a ping was sent that is not answered yet */
    bool stuck : 1;      /* the kernel is full: the queue is charged to the memory budget */
    bool json : 1;       /* format=json: there is a bh_ws_json, behind the protocol */
    uint64_t since_ms;   /* when bytes last came; pinged: when the ping was sent */
    struct bh_rate rate;
    struct bh_ws_reader reader;
    struct bh_ws_hold *hold; /* NULL: nothing is unfinished or waits */
    union {
        struct {                        /* until the session starts */
            struct bh_defer *opener;    /* queued when the connection is to be closed */
            struct bh_buf *close_frame; /* to follow the 101 */
        } opening;
        struct {                     /* from then on */
            struct bh_ws_rest *held; /* NULL: nothing. Else the stream is not read */
            uint64_t resume_ms;      /* throttled: until when; 0: not */
        } open;
    };
    struct bh_timer timer; /* heartbeat and expiry; while closing, the close timeout */
    struct bh_list node;
    struct bh_deflater *deflater; /* with context takeover: made with the first message */
    struct bh_ip ip;
    uint16_t close_code; /* of opening.close_frame */
    char protocol[];     /* NUL-terminated; empty: none */
};

/* The loop, the stream and the hub prefetch what is needed next; see base/prefetch.h. */
#define BH_WS_CONN_HOT(member, part, range)                                                        \
    _Static_assert((ptrdiff_t)offsetof(struct bh_ws_conn, member) >=                               \
                           (ptrdiff_t)offsetof(struct bh_ws_conn, part) + range##_FROM &&          \
                       (ptrdiff_t)offsetof(struct bh_ws_conn, member) <                            \
                           (ptrdiff_t)offsetof(struct bh_ws_conn, part) + range##_TO,              \
                   #member " is prefetched with " #part)
BH_WS_CONN_HOT(state, stream, BH_STREAM_HOT);
BH_WS_CONN_HOT(reader, stream, BH_STREAM_HOT);
BH_WS_CONN_HOT(timer, stream, BH_STREAM_HOT);
BH_WS_CONN_HOT(out, subscriber, BH_SUBSCRIBER_HOT);
BH_WS_CONN_HOT(state, subscriber, BH_SUBSCRIBER_HOT);
BH_WS_CONN_HOT(out, flush, BH_DEFER_HOT);
BH_WS_CONN_HOT(state, flush, BH_DEFER_HOT);

/* The identity's limit, or else the configured one. */
#define BH_WS_CONN_LIMIT(ws, name)                                                                 \
    ((ws)->limited && (ws)->subscriber.identity && (ws)->subscriber.identity->limits.name          \
         ? (ws)->subscriber.identity->limits.name                                                  \
         : (ws)->server->config->name)

/* For session.c, which sets subscriber.vt and the callbacks of timer and flush. opener is queued
 * (flush phase) when the connection is to be closed before it has started. */
struct bh_ws_conn *bh_ws_conn_new(struct bh_ws_server *s, const struct bh_ip *ip,
                                  struct bh_slice protocol, bool json, struct bh_defer *opener);
/* Only of one with format=json. */
struct bh_ws_json *bh_ws_conn_json(const struct bh_ws_conn *ws);
/* Opening only: it is to be closed. */
bool bh_ws_conn_wants_close(const struct bh_ws_conn *ws);
/* Takes over the reference, even if the queue is full. Written at the end of the tick. */
static inline void bh_ws_conn_enqueue(struct bh_ws_conn *ws, struct bh_buf *frame) {
    if (ws->stuck)
        bh_buf_count(frame);
    bh_outq_push(&ws->out, frame);
    if (ws->state != BH_WS_CONN_OPENING)
        bh_defer(ws->server->loop, BH_PHASE_FLUSH, &ws->flush);
}
/* The queue is half full: a client that does not read our answers may not send more. */
bool bh_ws_conn_above_high_water(const struct bh_ws_conn *ws);
/* Reads from the socket, or not, as the state, the hooks, the rate and the queue allow. */
void bh_ws_conn_update_reading(struct bh_ws_conn *ws);
/* Writes what is queued, now. The connection may be closed afterwards. */
void bh_ws_conn_flush(struct bh_ws_conn *ws);

/* Starts the close handshake. */
void bh_ws_conn_close(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason);
/* The peer has started it, or has broken the protocol: answers with a close frame, then leaves. */
void bh_ws_conn_leave(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason);
/* Ends it now, without a close frame. */
void bh_ws_conn_drop(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason);
void bh_ws_conn_log_end(struct bh_ws_conn *ws, const char *cause, unsigned code,
                        struct bh_slice why);
/* Frees it at once: for the end of the server, when no tick will do it. */
void bh_ws_conn_free(struct bh_ws_conn *ws);

#endif
