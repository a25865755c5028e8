/* ws_conn.h - a WebSocket connection: a subscriber over a stream. Thread: the worker's.
 *
 * Life: _new (opening: what is delivered waits), then _start (has the socket: speaks) or _drop. It
 * frees itself in the reap phase. */
#ifndef BELLHOP_EDGE_WS_CONN_H
#define BELLHOP_EDGE_WS_CONN_H

#include "bellhop/io/stream.h"
#include "edge_private.h"
#include "limits/rate.h"
#include "ws/outq.h"

enum bh_ws_conn_state {
    BH_WS_CONN_OPENING, /* without a socket; registered with the node */
    BH_WS_CONN_OPEN,
    BH_WS_CONN_CLOSING, /* our close frame is queued, the peer's is awaited */
    BH_WS_CONN_LEAVING, /* nothing more to say or hear: flush, FIN, the peer's FIN */
    BH_WS_CONN_CLOSED,
};

/* In the order of heat: a delivery touches the stream's end and what stands from the subscriber's
 * end to the flags, a frame from the client little more, and whoever is idle is not touched between
 * two heartbeats. */
struct bh_ws_conn {
    struct bh_stream stream;
    struct bh_subscriber subscriber;
    struct bh_outq out;
    struct bh_defer flush; /* once closed: reap */
    struct bh_edge *edge;
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
    uint64_t since_ms;   /* when bytes last came; pinged: when the ping was sent */
    struct bh_rate rate;
    struct bh_ws_reader reader;
    union {
        struct {                     /* until _start */
            struct bh_defer *opener; /* queued when the connection is to be closed */
            struct bh_buf *farewell; /* the close frame that shall follow the 101 */
        } opening;
        struct {                 /* from then on */
            struct bh_buf *held; /* throttled: what came and is not looked at yet */
            uint64_t resume_ms;  /* throttled: until when; 0: not */
        } open;
    };
    struct bh_timer timer; /* heartbeat and expiry; while closing, the close timeout */
    struct bh_list node;
    struct bh_deflater *deflater; /* with context takeover: made with the first message */
    struct bh_ip ip;
    uint16_t code;   /* of the farewell */
    char protocol[]; /* NUL-terminated; empty: none */
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

/* opener is queued (flush phase) if the connection is told to close before it has started. */
struct bh_ws_conn *bh_ws_conn_new(struct bh_edge *e, const struct bh_ip *ip,
                                  struct bh_slice protocol, struct bh_defer *opener);
/* Opening only: it has been told to close. */
bool bh_ws_conn_wants_close(const struct bh_ws_conn *ws);
/* Opening only: the compression that the 101 announces. */
void bh_ws_conn_set_deflate(struct bh_ws_conn *ws, const struct bh_ws_deflate *deflate);
/* Takes the descriptor of `from`, sends answer (a reference) before anything else, and reads `held`
 * as the first bytes from the client. */
void bh_ws_conn_start(struct bh_ws_conn *ws, struct bh_stream *from, struct bh_buf *answer,
                      struct bh_slice held);
/* The identity's limit, or else the configured one. */
#define BH_WS_CONN_LIMIT(ws, name)                                                                 \
    ((ws)->limited && (ws)->subscriber.identity && (ws)->subscriber.identity->limits.name          \
         ? (ws)->subscriber.identity->limits.name                                                  \
         : (ws)->edge->config->name)
/* Starts the close handshake. */
void bh_ws_conn_close(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason);
/* Ends it now, without a word to the peer. */
void bh_ws_conn_drop(struct bh_ws_conn *ws, unsigned code, struct bh_slice reason);
/* Writes what is queued, now. The connection may be closed afterwards. */
void bh_ws_conn_flush(struct bh_ws_conn *ws);
void bh_ws_conn_log_end(struct bh_ws_conn *ws, const char *cause, unsigned code,
                        struct bh_slice why);
/* Frees it; for bh_edge_free, when no tick will. */
void bh_ws_conn_free(struct bh_ws_conn *ws);

#endif
