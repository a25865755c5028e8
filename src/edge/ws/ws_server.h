/* ws_server.h - the WebSocket side of one worker: its connections and what they share.
 *
 * Embedded in struct bh_edge. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_SERVER_H
#define BELLHOP_EDGE_WS_SERVER_H

#include "bellhop/edge/config.h"
#include "bellhop/proto/ws_inflaters.h"
#include "bellhop/proto/ws_message.h"
#include "client/drain.h"
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
    struct bh_texts texts; /* of format=json */
    struct bh_drain drain; /* closes them with 1001 */
};

void bh_ws_server_init(struct bh_ws_server *s, const struct bh_edge_config *config,
                       struct bh_worker *worker, struct bh_admission *admission);
/* Frees the connections that are left. */
void bh_ws_server_deinit(struct bh_ws_server *s);
/* Drops every connection. */
void bh_ws_server_abort(struct bh_ws_server *s);

#endif
