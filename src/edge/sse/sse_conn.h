/* sse_conn.h - a link of server-sent events: a subscriber over the socket of an HTTP request, its
 * states and its queue.
 *
 * Life: opening (registered with the node, without a socket: what is sent waits in the queue),
 * open, leaving (the last bytes, FIN, the client's FIN), closed. It frees itself in the reap phase.
 * sse_session.c creates and starts it. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_CONN_H
#define BELLHOP_EDGE_SSE_CONN_H

#include "bellhop/io/stream.h"
#include "client/link.h"
#include "client/outq.h"
#include "client/rights.h"
#include "sse/sse_server.h"

enum bh_sse_state {
    BH_SSE_OPENING, /* without a socket */
    BH_SSE_OPEN,
    BH_SSE_LEAVING, /* has left the node; maybe without a socket yet */
    BH_SSE_CLOSED,
};

struct bh_sse_hold;

/* Of its request, which is not answered yet. */
struct bh_sse_opening {
    struct bh_client_refusal refusal; /* from vt->refused */
    struct bh_defer *answer;          /* queued when the link is closed: the answer tells it */
};

/* In the order of heat, as struct bh_ws_conn. */
struct bh_sse_conn {
    struct bh_stream stream;
    struct bh_subscriber subscriber;
    struct bh_outq out;
    struct bh_defer flush; /* once closed: reap */
    struct bh_sse_server *server;
    unsigned char state;
    bool registered : 1; /* with the node; bh_node_close is due */
    bool has_socket : 1;
    bool fin_sent : 1;
    bool counted : 1;    /* as an open link */
    bool reset : 1;      /* too slow: the end is an RST */
    bool asking : 1;     /* the hook on_slow is running */
    bool expiring : 1;   /* the hook on_expire is */
    bool counted_ip : 1; /* in the quota of its address */
    bool limited : 1;    /* the identity has limits of its own */
    bool stuck : 1;      /* the kernel is full: the queue is charged to the memory budget */
    bool resumes : 1;    /* the client gave a position */
    bool gzip : 1;       /* what it is sent is packed */
    bool id_due : 1;     /* the id alone, as soon as it is recovered and knows of all gaps */
    uint32_t received;   /* bytes; the client has nothing to say */
    uint64_t since_ms;   /* when the kernel last took something */
    uint64_t beat_ms;    /* of the next heartbeat */
    struct bh_client_link link;
    struct bh_sse_hold *hold;       /* NULL: nothing waits */
    struct bh_sse_opening *opening; /* NULL from the start of the session on */
    struct bh_timer timer;          /* heartbeat and expiry; leaving: the close timeout */
    struct bh_list node;
    struct bh_ip ip;
};

/* The identity's limit, or else the configured one. */
static inline size_t bh_sse_conn_queue_max(const struct bh_sse_conn *c) {
    const struct bh_identity *identity = c->subscriber.identity;
    return c->limited && identity && identity->limits.queue_bytes ? identity->limits.queue_bytes
                                                                  : c->server->config->queue_bytes;
}

/* For sse_session.c, which sets subscriber.vt and the callbacks of timer and flush. */
struct bh_sse_conn *bh_sse_conn_new(struct bh_sse_server *s, const struct bh_ip *ip);
/* Both take over the reference. Written at the end of the tick. An event is packed first if the
 * client accepts that, a frame is what goes over the wire. */
void bh_sse_conn_enqueue(struct bh_sse_conn *c, struct bh_buf *event);
void bh_sse_conn_enqueue_frame(struct bh_sse_conn *c, struct bh_buf *frame);
/* Writes what is queued, now. The link may be closed afterwards. */
void bh_sse_conn_flush(struct bh_sse_conn *c);

/* Ends the response: an event `close` with the code and the reason, unless the code says that the
 * instance is the cause (1001, 1012, 1013), then `retry`. EventSource comes back in any case; a
 * page that does not want that closes it in its listener of `close`. */
void bh_sse_conn_close(struct bh_sse_conn *c, unsigned code, struct bh_slice reason);
/* Ends it now. */
void bh_sse_conn_drop(struct bh_sse_conn *c, unsigned code, struct bh_slice reason);
void bh_sse_conn_log_end(struct bh_sse_conn *c, const char *cause, unsigned code);
/* Frees it at once: for the end of the server, when no tick will do it. */
void bh_sse_conn_free(struct bh_sse_conn *c);

/* For the field `retry`: the configured time, give or take a half. */
uint64_t bh_sse_retry_ms(const struct bh_edge_config *config);
/* After a refusal: one to five times as long. */
uint64_t bh_sse_retry_later_ms(const struct bh_edge_config *config);

#endif
