/* frames.c - the encoder of a worker.
 *
 * zlib's states are allocated when the first connection needs them (a deflater with the largest
 * window takes 256 KiB) and belong to the worker, not to a connection. */
#include "ws/frames.h"

#include "bellhop/proto/ws_message.h"
#include "limits/edge_metrics.h"

static void forget(struct bh_frames *f) {
    bh_message_unref(f->message);
    bh_buf_unref(f->plain);
    f->message = NULL;
    f->plain = NULL;
    for (size_t i = 0; i <= BH_FRAMES_BITS_MAX; i++) {
        bh_buf_unref(f->compressed[i]);
        f->compressed[i] = NULL;
    }
}

static void on_forget(struct bh_defer *d) {
    forget(BH_CONTAINER_OF(d, struct bh_frames, forget));
}

void bh_frames_init(struct bh_frames *f, struct bh_loop *loop, unsigned level) {
    *f = (struct bh_frames){.loop = loop, .level = level};
    bh_defer_init(&f->forget, on_forget);
}

void bh_frames_deinit(struct bh_frames *f) {
    bh_defer_cancel(&f->forget);
    forget(f);
    for (size_t i = 0; i <= BH_FRAMES_BITS_MAX; i++)
        bh_deflater_free(f->deflaters[i]);
}

static void begin(struct bh_frames *f, struct bh_message *m) {
    if (f->message == m)
        return;
    forget(f);
    f->message = bh_message_ref(m);
    bh_defer(f->loop, BH_PHASE_REAP, &f->forget);
}

static struct bh_buf *plain(struct bh_frames *f) {
    if (!f->plain)
        f->plain = bh_ws_frame_new(f->message->opcode, f->message->payload);
    return f->plain;
}

/* NULL when compressing is not possible or not worth it. */
static struct bh_buf *compress(struct bh_frames *f, uint8_t opcode, struct bh_slice payload,
                               unsigned bits) {
    if (!f->deflaters[bits])
        f->deflaters[bits] = bh_deflater_new(bits, f->level);
    if (!f->deflaters[bits])
        return NULL;
    bh_edge_count(BH_EDGE_COMPRESSED, 1);
    return bh_deflater_frame(f->deflaters[bits], opcode, payload, false);
}

struct bh_buf *bh_frames_message(struct bh_frames *f, struct bh_message *m, unsigned bits,
                                 bool *is_compressed) {
    begin(f, m);
    *is_compressed = false;
    if (bits == 0)
        return bh_buf_ref(plain(f));
    if (!f->compressed[bits])
        f->compressed[bits] = compress(f, m->opcode, m->payload, bits);
    if (!f->compressed[bits])
        f->compressed[bits] = bh_buf_ref(plain(f));
    *is_compressed = f->compressed[bits] != f->plain;
    return bh_buf_ref(f->compressed[bits]);
}

struct bh_buf *bh_frames_bytes(struct bh_frames *f, uint8_t opcode, struct bh_slice payload,
                               unsigned bits) {
    struct bh_buf *frame = bits ? compress(f, opcode, payload, bits) : NULL;
    return frame ? frame : bh_ws_frame_new(opcode, payload);
}
