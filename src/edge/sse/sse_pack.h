/* sse_pack.h - events compressed for clients that accept gzip.
 *
 * Each event is a piece of a gzip stream by itself, which refers to nothing before it: so links
 * share it, none has a state, and any of them may be dropped. The stream has no end: the trailer
 * would need a checksum of what each link was sent, and clients of a stream that ends come back
 * anyway. Embedded in the server. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_PACK_H
#define BELLHOP_EDGE_SSE_PACK_H

#include "bellhop/core/message.h"
#include "bellhop/edge/config.h"
#include "bellhop/io/loop.h"

struct bh_sse_pack {
    const struct bh_edge_config *config;
    struct bh_loop *loop;
    struct bh_deflater *deflater; /* made with the first event that is worth it */
    struct bh_message *text;      /* the last one of this tick, and its piece */
    struct bh_buf *piece;
    struct bh_defer forget;
};

void bh_sse_pack_init(struct bh_sse_pack *p, const struct bh_edge_config *config,
                      struct bh_loop *loop);
void bh_sse_pack_deinit(struct bh_sse_pack *p);
/* The piece of a text of client/texts.h: a reference. */
struct bh_buf *bh_sse_pack_text(struct bh_sse_pack *p, struct bh_message *text);
/* Of other events. Takes over the reference, and returns one. */
struct bh_buf *bh_sse_pack_event(struct bh_sse_pack *p, struct bh_buf *event);

#endif
