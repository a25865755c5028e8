/* outq.h - the frames that a connection has still to send, by reference.
 *
 * A frame to many connections is one bh_buf; each queue holds a reference. One frame needs no
 * memory besides the queue itself; several are in a ring, which is freed when the queue is empty.
 * Zero- initialise to start. Thread: the owner's. */
#ifndef BELLHOP_EDGE_OUTQ_H
#define BELLHOP_EDGE_OUTQ_H

#include "bellhop/base/buf.h"
#include "bellhop/io/stream.h"

struct bh_outq {
    union {
        struct bh_buf *one;
        struct bh_buf **ring;
    };
    uint32_t cap; /* of the ring, a power of two; 0: `one` is the queue */
    uint32_t head, count;
    uint32_t offset; /* bytes of the first frame that the kernel has taken; frames are < 4 GiB */
    size_t bytes;    /* still to send */
};

/* Both take over the caller's reference. _front only while nothing of the queue has been sent. */
void bh_outq_push(struct bh_outq *q, struct bh_buf *frame);
void bh_outq_push_front(struct bh_outq *q, struct bh_buf *frame);
/* Takes the first frame out, with its reference; NULL: none. Only while nothing has been sent. */
struct bh_buf *bh_outq_shift(struct bh_outq *q);
/* Writes as much as the stream takes: 0 when the queue is empty now, BH_EAGAIN when the kernel is
 * full, BH_ECLOSED when the connection is broken. */
int bh_outq_flush(struct bh_outq *q, struct bh_stream *stream);
/* Drops the oldest data frame that has not begun to be sent, and gives its tag; false when there is
 * none. Control frames, the answer to the handshake and what is tagged BH_OUTQ_KEEP stay. */
#define BH_OUTQ_KEEP 0xffff
#define BH_OUTQ_DROP 0xfffe /* the tag of data frames whose first byte says nothing */
bool bh_outq_drop_oldest(struct bh_outq *q, uint16_t *tag);
/* Drops the frames that have not begun to be sent: one that has begun must be finished. */
void bh_outq_drop_unsent(struct bh_outq *q);
void bh_outq_clear(struct bh_outq *q);
/* The frames have to wait: each is charged to the budget, once for all queues that it is in. */
void bh_outq_count(struct bh_outq *q);
/* How many of the bytes dropping this queue would free: a frame in several queues counts for each
 * with its part. An estimate by the first frames. */
size_t bh_outq_share(const struct bh_outq *q);

#endif
