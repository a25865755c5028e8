/* session.h - what a WebSocket connection does: frames in, deliveries, heartbeat, expiry.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_SESSION_H
#define BELLHOP_EDGE_WS_SESSION_H

#include "ws/ws_conn.h"

/* A connection that is opening; json and opener as for bh_ws_conn_new. */
struct bh_ws_conn *bh_ws_session_new(struct bh_ws_server *s, const struct bh_ip *ip,
                                     struct bh_slice protocol, bool json, struct bh_defer *opener);
/* While opening: the compression that the 101 announces. */
void bh_ws_session_set_deflate(struct bh_ws_conn *ws, const struct bh_ws_deflate *deflate);
/* Its long message may be inflated now. */
void bh_ws_session_wake(struct bh_ws_reader *r);
/* Takes the descriptor of `from`, sends answer (a reference) before anything else, and reads `held`
 * as the first bytes from the client. */
void bh_ws_session_start(struct bh_ws_conn *ws, struct bh_stream *from, struct bh_buf *answer,
                         struct bh_slice held);

#endif
