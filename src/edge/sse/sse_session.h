/* sse_session.h - what an SSE link does: deliveries, heartbeat, expiry. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_SESSION_H
#define BELLHOP_EDGE_SSE_SESSION_H

#include "sse/sse_conn.h"

/* A link that is opening. */
struct bh_sse_conn *bh_sse_session_new(struct bh_sse_server *s, const struct bh_ip *ip);
/* Takes the descriptor of `from`, and sends head (a reference) before anything else. One that has
 * left the node already only sends what is queued. */
void bh_sse_session_start(struct bh_sse_conn *c, struct bh_stream *from, struct bh_buf *head);

#endif
