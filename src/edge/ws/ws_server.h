/* ws_server.h - the WebSocket side of one worker: its connections and what they share.
 *
 * Embedded in struct bh_edge. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_SERVER_H
#define BELLHOP_EDGE_WS_SERVER_H

#include "bellhop/edge/config.h"
#include "bellhop/proto/ws_inflaters.h"
#include "bellhop/proto/ws_message.h"
#include "limits/admission.h"
#include "ws/frames.h"

struct bh_ws_server {
    const struct bh_edge_config *config;
    struct bh_worker *worker;
    struct bh_loop *loop;
    struct bh_admission *admission;
    const struct bh_hold_ops *hold_ops;
    struct bh_ws_limits limits;
    struct bh_inflaters inflaters;
    struct bh_list conns; /* struct bh_ws_conn */
    struct bh_frames frames;
    struct {
        struct bh_timer step;
        uint64_t began_ms, spread_ms;
        size_t count, at_once, visited; /* of the connections that were open at the beginning */
    } drain;
};

void bh_ws_server_init(struct bh_ws_server *s, const struct bh_edge_config *config,
                       struct bh_worker *worker, struct bh_admission *admission);
/* Frees the connections that are left. */
void bh_ws_server_deinit(struct bh_ws_server *s);
/* Starts to close every connection with 1001: this worker's share of BH_EDGE_DRAIN_AT_ONCE at once,
 * the others evenly over spread_ms. websockets: of all workers. */
void bh_ws_server_drain(struct bh_ws_server *s, size_t websockets, uint64_t spread_ms);
/* Drops every connection. */
void bh_ws_server_abort(struct bh_ws_server *s);

#endif
