/* sse_hold.h - what an SSE link holds, its queue, told to limits/holds.h. A link has a hold (on the
 * heap) only while the kernel takes no more. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_HOLD_H
#define BELLHOP_EDGE_SSE_HOLD_H

#include "sse/sse_conn.h"

struct bh_sse_hold {
    struct bh_hold hold;
    struct bh_sse_conn *conn;
};

/* The queue may have changed. */
void bh_sse_hold_change(struct bh_sse_conn *c);
void bh_sse_hold_end(struct bh_sse_conn *c);

#endif
