/* send.h - messages to a WebSocket client: encoding, queueing, and what becomes of a message when
 * the client does not keep up. Thread: the worker's. */
#ifndef BELLHOP_EDGE_WS_SEND_H
#define BELLHOP_EDGE_WS_SEND_H

#include "ws/ws_conn.h"

/* 0; BH_ECLOSED; BH_ETOOBIG when it was dropped because the client is slow (the connection may be
 * closing for it); data also BH_EUTF8. */
int bh_ws_conn_send_message(struct bh_ws_conn *ws, struct bh_message *m);
int bh_ws_conn_send_data(struct bh_ws_conn *ws, enum bh_opcode opcode, struct bh_slice data);
int bh_ws_conn_send_control(struct bh_ws_conn *ws, uint8_t opcode, struct bh_slice data);

/* --- the parts of it, for json_session.c --- */

bool bh_ws_conn_takes_messages(const struct bh_ws_conn *ws);
/* 0 when n bytes may be queued; BH_ECLOSED; BH_ETOOBIG. */
int bh_ws_conn_find_room(struct bh_ws_conn *ws, size_t n);
/* The same, but without room on_slow decides: an error as above. */
int bh_ws_conn_make_room(struct bh_ws_conn *ws, size_t n);
/* A reference. Not made in vain: a compressed frame moves the client's window. */
struct bh_buf *bh_ws_conn_frame_of_text(struct bh_ws_conn *ws, struct bh_message *text);

#endif
