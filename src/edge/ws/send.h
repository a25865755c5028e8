/* ws_send.h - what a WebSocket connection says: encoding, queueing, and what becomes of a message
 * when the client does not keep up. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_SEND_H
#define BELLHOP_EDGE_WS_SEND_H

#include "ws/ws_conn.h"

/* 0; BH_ECLOSED; BH_ETOOBIG when it was dropped because the client is slow (the connection may be
 * closing for it); data also BH_EUTF8. */
int bh_ws_conn_send_message(struct bh_ws_conn *ws, struct bh_message *m);
int bh_ws_conn_send_data(struct bh_ws_conn *ws, enum bh_opcode opcode, struct bh_slice data);
int bh_ws_conn_send_control(struct bh_ws_conn *ws, uint8_t opcode, struct bh_slice data);
/* Takes over the reference; whatever the queue holds. Written at the end of the tick. */
void bh_ws_conn_enqueue(struct bh_ws_conn *ws, struct bh_buf *frame);

/* A client that does not read our answers is not asked for more questions. */
bool bh_ws_conn_above_high_water(const struct bh_ws_conn *ws);

#endif
