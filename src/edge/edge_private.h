/* edge_private.h - one worker's edge, as its parts see it. Thread: the worker's. */
#ifndef BELLHOP_EDGE_EDGE_PRIVATE_H
#define BELLHOP_EDGE_EDGE_PRIVATE_H

#include "bellhop/base/metrics.h"
#include "bellhop/edge/edge.h"
#include "bellhop/io/listener.h"
#include "bellhop/io/timer.h"
#include "bellhop/proto/http1.h"
#include "bellhop/proto/ws_message.h"

struct bh_edge_listener {
    struct bh_edge *edge;
    struct bh_listener *listener;
    struct bh_addr address;
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

    struct bh_list conns;     /* struct bh_conn, HTTP */
    struct bh_list wsconns;   /* struct bh_wsconn */
    size_t refusing;          /* connections over the limit that are being told so */
    struct bh_slots requests; /* HTTP requests under way -> struct bh_conn */
    struct bh_slots items;    /* items of batches under way */
    struct bh_list batches;

    struct bh_message *encoded; /* the last message delivered in this tick, and its frame */
    struct bh_buf *frame;
    struct bh_defer forget;

    bool draining;
    void (*on_drained)(void *ud);
    void *drained_ud;
    struct bh_timer drain_step;
};

/* Calls on_drained when it is due; to be called when a connection has gone. */
void bh_edge_check_drained(struct bh_edge *e);
/* Sockets of the whole process. */
void bh_edge_socket_gone(void);

/* --- metrics --- */

enum bh_edge_metric {
    BH_EDGE_SOCKETS,
    BH_EDGE_SOCKETS_REFUSED,
    BH_EDGE_CONNECTIONS,
    BH_EDGE_OPENED,
    BH_EDGE_CLOSED,
    BH_EDGE_HANDSHAKES_REFUSED,
    BH_EDGE_MESSAGES_IN,
    BH_EDGE_MESSAGES_OUT,
    BH_EDGE_MESSAGES_EXPIRED,
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
    BH_EDGE_METRIC_COUNT,
};

extern struct bh_metric bh_edge_metrics[BH_EDGE_METRIC_COUNT];

static inline void bh_edge_count(enum bh_edge_metric metric, int64_t n) {
    bh_metric_add(&bh_edge_metrics[metric], n);
}

#endif
