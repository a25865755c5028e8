/* frames.h - messages as frames, encoded once for all connections of a worker.
 *
 * A message to many sockets is encoded once, and compressed once for each window size that its
 * receivers have negotiated; every queue holds references. The cache holds one message, for one
 * tick. Thread: the worker's. */
#ifndef BELLHOP_EDGE_FRAMES_H
#define BELLHOP_EDGE_FRAMES_H

#include "bellhop/core/message.h"
#include "bellhop/io/loop.h"
#include "bellhop/proto/ws_deflate.h"
#include "client/texts.h"

#define BH_FRAMES_BITS_MAX 15

/* A message and its frames. */
struct bh_encoded {
    struct bh_message *message; /* NULL: none */
    uint16_t tag;               /* of the frames */
    struct bh_buf *plain;
    struct bh_buf *compressed[BH_FRAMES_BITS_MAX + 1]; /* by window bits; maybe `plain` again */
};

struct bh_frames {
    struct bh_loop *loop;
    unsigned level;
    struct bh_encoded last;                 /* the last message of this tick */
    struct bh_encoded texts[BH_TEXTS_SETS]; /* and its last texts (client/texts.h) */
    unsigned next_text;                     /* to be replaced */
    struct bh_defer forget, forget_texts;
    struct bh_deflater *deflaters[BH_FRAMES_BITS_MAX + 1];
};

void bh_frames_init(struct bh_frames *f, struct bh_loop *loop, unsigned level);
void bh_frames_deinit(struct bh_frames *f);

/* All return references. bits 0: not compressed. A message that compression does not make smaller
 * is not compressed; *is_compressed says whether it was. */
struct bh_buf *bh_frames_message(struct bh_frames *f, struct bh_message *m, unsigned bits,
                                 bool *is_compressed);
/* The same for a text of client/texts.h, with its tag. */
struct bh_buf *bh_frames_text(struct bh_frames *f, struct bh_message *text, unsigned bits,
                              bool *is_compressed);
struct bh_buf *bh_frames_bytes(struct bh_frames *f, uint8_t opcode, struct bh_slice payload,
                               unsigned bits);

#endif
