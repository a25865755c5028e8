/* edge_private.h - one worker's edge, as its parts see it. Thread: the worker's. */
#ifndef BELLHOP_EDGE_EDGE_PRIVATE_H
#define BELLHOP_EDGE_EDGE_PRIVATE_H

#include "bellhop/base/metrics.h"
#include "bellhop/edge/edge.h"
#include "bellhop/io/listener.h"
#include "bellhop/io/timer.h"
#include "bellhop/proto/http1.h"
#include "bellhop/proto/ws_message.h"
#include "ws/frames.h"

/* So many connections over a limit are told so at a time; others are just closed. */
#define BH_EDGE_REFUSING_MAX 64

struct bh_edge_listener {
    struct bh_edge *edge;
    struct bh_listener *listener;
    struct bh_addr address;
    bool proxy, tls;
    char text[BH_ADDR_TEXT_MAX];
};

struct bh_edge {
    const struct bh_edge_config *config;
    struct bh_worker *worker;
    struct bh_loop *loop;
    struct bh_http_limits http_limits;
    struct bh_ws_limits ws_limits;
    struct bh_edge_listener *listeners;
    size_t listener_count;

    struct bh_list conns;     /* struct bh_http_conn, HTTP */
    struct bh_list wsconns;   /* struct bh_ws_conn */
    size_t refusing;          /* connections over a limit that are being told so */
    struct bh_slots requests; /* HTTP requests under way -> struct bh_http_conn */
    struct bh_slots items;    /* items of batches under way */
    struct bh_list batches;

    struct bh_tls *tls; /* NULL: no listener needs it */
    struct bh_frames frames;

    bool draining;
    void (*on_drained)(void *ud);
    void *drained_ud;
    struct bh_timer drain_step;
};

/* Calls on_drained when it is due; to be called when a connection has gone. */
void bh_edge_check_drained(struct bh_edge *e);
/* Sockets of the whole process. */
void bh_edge_socket_gone(void);
/* One more connection from this address: false when it has too many. */
bool bh_edge_take_address(const struct bh_edge *e, const struct bh_ip *ip);
void bh_edge_give_address(const struct bh_edge *e, const struct bh_ip *ip);

/* --- metrics --- */

enum bh_edge_metric {
    BH_EDGE_SOCKETS,
    BH_EDGE_CONNECTIONS,
    BH_EDGE_OPENED,
    BH_EDGE_CLOSED,
    BH_EDGE_HANDSHAKES_REFUSED,
    BH_EDGE_MESSAGES_IN,
    BH_EDGE_MESSAGES_OUT,
    BH_EDGE_MESSAGES_EXPIRED,
    BH_EDGE_MESSAGES_DROPPED,
    BH_EDGE_COMPRESSED,
    BH_EDGE_BYTES_IN,
    BH_EDGE_BYTES_OUT,
    BH_EDGE_PROTOCOL_ERRORS,
    BH_EDGE_SLOW_CONSUMERS,
    BH_EDGE_HALF_OPEN,
    BH_EDGE_HTTP_1XX,
    BH_EDGE_HTTP_2XX,
    BH_EDGE_HTTP_3XX,
    BH_EDGE_HTTP_4XX,
    BH_EDGE_HTTP_5XX,
    /* a limit was met */
    BH_EDGE_LIMIT_CONNECTIONS,
    BH_EDGE_LIMIT_PER_IP,
    BH_EDGE_LIMIT_PER_USER,
    BH_EDGE_LIMIT_PER_TENANT,
    BH_EDGE_LIMIT_HEAD,
    BH_EDGE_LIMIT_BODY,
    BH_EDGE_LIMIT_REQUEST_TIME,
    BH_EDGE_LIMIT_HANDSHAKE_TIME,
    BH_EDGE_LIMIT_TRANSPORT_TIME,
    BH_EDGE_LIMIT_MESSAGE_BYTES,
    BH_EDGE_LIMIT_FRAGMENTS,
    BH_EDGE_LIMIT_MESSAGE_RATE,
    BH_EDGE_LIMIT_BYTE_RATE,
    BH_EDGE_LIMIT_CONTROL_RATE,
    BH_EDGE_LIMIT_QUEUE,
    BH_EDGE_LIMIT_ORIGIN,
    BH_EDGE_LIMIT_PROXY,
    BH_EDGE_METRIC_COUNT,
};

extern struct bh_metric bh_edge_metrics[BH_EDGE_METRIC_COUNT];

static inline void bh_edge_count(enum bh_edge_metric metric, int64_t n) {
    bh_metric_add(&bh_edge_metrics[metric], n);
}

#endif
