/* outq.c - a queue of counted references, written with as few system calls as possible.
 *
 * Most queues hold one frame until the end of a tick: it is kept in the struct. From the second on
 * a ring is used, which is freed with the last frame, so an idle connection owns no memory. The
 * queue belongs to its connection; frames are reference-counted. */
#include "client/outq.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#define RING_MIN         16
#define FRAMES_PER_WRITE 64
#define FRAMES_ESTIMATED 16

static struct bh_buf **at(struct bh_outq *q, uint32_t i) {
    return q->cap ? &q->ring[(q->head + i) & (q->cap - 1)] : &q->one;
}

static struct bh_buf *frame_at(const struct bh_outq *q, uint32_t i) {
    return q->cap ? q->ring[(q->head + i) & (q->cap - 1)] : q->one;
}

static void make_room(struct bh_outq *q) {
    if (q->count < (q->cap ? q->cap : 1))
        return;
    uint32_t cap = q->cap ? q->cap * 2 : RING_MIN;
    struct bh_buf **ring = bh_malloc(cap * sizeof *ring);
    for (uint32_t i = 0; i < q->count; i++)
        ring[i] = *at(q, i);
    if (q->cap)
        bh_free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
}

void bh_outq_push(struct bh_outq *q, struct bh_buf *frame) {
    make_room(q);
    *at(q, q->count++) = frame;
    q->bytes += frame->len;
}

void bh_outq_push_front(struct bh_outq *q, struct bh_buf *frame) {
    make_room(q);
    q->count++;
    q->head = q->cap ? (q->head - 1) & (q->cap - 1) : 0;
    *at(q, 0) = frame;
    q->bytes += frame->len;
}

static void release_ring(struct bh_outq *q) {
    if (q->cap)
        bh_free(q->ring);
    *q = (struct bh_outq){0};
}

struct bh_buf *bh_outq_shift(struct bh_outq *q) {
    if (q->count == 0)
        return NULL;
    struct bh_buf *frame = *at(q, 0);
    q->bytes -= frame->len;
    q->head = q->cap ? (q->head + 1) & (q->cap - 1) : 0;
    if (--q->count == 0)
        release_ring(q);
    return frame;
}

static void consume(struct bh_outq *q, size_t n) {
    q->bytes -= n;
    n += q->offset;
    while (q->count) {
        struct bh_buf *frame = *at(q, 0);
        if (n < frame->len) {
            q->offset = (uint32_t)n;
            return;
        }
        n -= frame->len;
        bh_buf_unref(frame);
        q->count--;
        q->head = q->cap ? (q->head + 1) & (q->cap - 1) : 0;
    }
    release_ring(q);
}

static int gather(struct bh_outq *q, struct iovec iov[FRAMES_PER_WRITE], size_t *total) {
    size_t skip = q->offset;
    int n = 0;
    *total = 0;
    for (uint32_t i = 0; i < q->count && n < FRAMES_PER_WRITE; i++) {
        struct bh_buf *frame = *at(q, i);
        iov[n++] = (struct iovec){frame->data + skip, frame->len - skip};
        *total += frame->len - skip;
        skip = 0;
    }
    return n;
}

int bh_outq_flush(struct bh_outq *q, struct bh_stream *stream) {
    while (q->count) {
        struct iovec iov[FRAMES_PER_WRITE];
        size_t total;
        int frames = gather(q, iov, &total);
        ssize_t taken = bh_stream_write(stream, iov, frames);
        if (taken < 0)
            return taken == BH_EAGAIN ? BH_EAGAIN : BH_ECLOSED;
        consume(q, (size_t)taken);
        if ((size_t)taken < total)
            return BH_EAGAIN;
    }
    return 0;
}

void bh_outq_drop_unsent(struct bh_outq *q) {
    if (q->offset == 0) {
        bh_outq_clear(q);
        return;
    }
    while (q->count > 1) {
        struct bh_buf *frame = *at(q, --q->count);
        q->bytes -= frame->len;
        bh_buf_unref(frame);
    }
}

/* Without a tag by the first byte: bit 3 is set in the opcode of a control frame, and in the 'H' of
 * HTTP. */
static bool may_be_dropped(const struct bh_buf *frame) {
    if (frame->tag)
        return frame->tag != BH_OUTQ_KEEP;
    return !(frame->data[0] & 0x08);
}

bool bh_outq_drop_oldest(struct bh_outq *q, uint16_t *tag) {
    uint32_t i = q->offset ? 1 : 0;
    while (i < q->count && !may_be_dropped(*at(q, i)))
        i++;
    if (i >= q->count)
        return false;
    struct bh_buf *frame = *at(q, i);
    *tag = frame->tag;
    for (; i > 0; i--)
        *at(q, i) = *at(q, i - 1);
    q->head = q->cap ? (q->head + 1) & (q->cap - 1) : 0;
    q->bytes -= frame->len;
    bh_buf_unref(frame);
    if (--q->count == 0)
        release_ring(q);
    return true;
}

void bh_outq_clear(struct bh_outq *q) {
    while (q->count)
        bh_buf_unref(*at(q, --q->count));
    release_ring(q);
}

void bh_outq_count(struct bh_outq *q) {
    for (uint32_t i = 0; i < q->count; i++)
        bh_buf_count(frame_at(q, i));
}

size_t bh_outq_share(const struct bh_outq *q) {
    size_t all = 0, share = 0;
    for (uint32_t i = 0; i < q->count && i < FRAMES_ESTIMATED; i++) {
        struct bh_buf *frame = frame_at(q, i);
        all += frame->len;
        share += frame->len / atomic_load_explicit(&frame->refs, memory_order_relaxed);
    }
    return all ? (size_t)((double)q->bytes * (double)share / (double)all) : 0;
}
