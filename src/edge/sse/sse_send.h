/* sse_send.h - messages to an SSE client: queueing, and what becomes of a message when the client
 * does not keep up. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_SEND_H
#define BELLHOP_EDGE_SSE_SEND_H

#include "sse/sse_conn.h"

/* 0; BH_ECLOSED; BH_ETOOBIG when it was dropped because the client is slow (the link may be closing
 * for it); data also BH_EUTF8. */
int bh_sse_send_message(struct bh_sse_conn *c, struct bh_message *m);
int bh_sse_send_data(struct bh_sse_conn *c, enum bh_opcode opcode, struct bh_slice data);
/* The position, without a message. */
void bh_sse_send_id(struct bh_sse_conn *c);
/* What is to be told (client/link.h), unless the queue is half full. */
void bh_sse_send_notes(struct bh_sse_conn *c);

#endif
