/* frames.c - the encoder of a worker.
 *
 * zlib's states are allocated when the first connection needs them (a deflater with the largest
 * window takes 256 KiB) and belong to the worker, not to a connection. */
#include "ws/frames.h"

#include "bellhop/proto/ws_message.h"
#include "limits/edge_metrics.h"

static void clear(struct bh_encoded *e) {
    bh_message_unref(e->message);
    bh_buf_unref(e->plain);
    e->message = NULL;
    e->plain = NULL;
    for (size_t i = 0; i <= BH_FRAMES_BITS_MAX; i++) {
        bh_buf_unref(e->compressed[i]);
        e->compressed[i] = NULL;
    }
}

static void on_forget(struct bh_defer *d) {
    clear(&BH_CONTAINER_OF(d, struct bh_frames, forget)->last);
}

static void on_forget_texts(struct bh_defer *d) {
    struct bh_frames *f = BH_CONTAINER_OF(d, struct bh_frames, forget_texts);
    for (size_t i = 0; i < BH_TEXTS_SETS; i++)
        clear(&f->texts[i]);
}

void bh_frames_init(struct bh_frames *f, struct bh_loop *loop, unsigned level) {
    *f = (struct bh_frames){.loop = loop, .level = level};
    bh_defer_init(&f->forget, on_forget);
    bh_defer_init(&f->forget_texts, on_forget_texts);
}

void bh_frames_deinit(struct bh_frames *f) {
    bh_defer_cancel(&f->forget);
    bh_defer_cancel(&f->forget_texts);
    on_forget(&f->forget);
    on_forget_texts(&f->forget_texts);
    for (size_t i = 0; i <= BH_FRAMES_BITS_MAX; i++)
        bh_deflater_free(f->deflaters[i]);
}

static void begin(struct bh_frames *f, struct bh_encoded *e, struct bh_message *m,
                  struct bh_defer *forget) {
    clear(e);
    e->message = bh_message_ref(m);
    bh_defer(f->loop, BH_PHASE_REAP, forget);
}

static struct bh_buf *plain(struct bh_encoded *e) {
    if (!e->plain) {
        e->plain = bh_ws_frame_new(e->message->opcode, e->message->payload);
        e->plain->tag = e->tag;
    }
    return e->plain;
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

static struct bh_buf *compressed(struct bh_frames *f, struct bh_encoded *e, unsigned bits) {
    struct bh_buf *frame = compress(f, e->message->opcode, e->message->payload, bits);
    if (!frame)
        return bh_buf_ref(plain(e));
    frame->tag = e->tag;
    return frame;
}

static inline struct bh_buf *frame_of(struct bh_frames *f, struct bh_encoded *e, unsigned bits,
                                      bool *is_compressed) {
    *is_compressed = false;
    if (bits == 0)
        return bh_buf_ref(plain(e));
    if (!e->compressed[bits])
        e->compressed[bits] = compressed(f, e, bits);
    *is_compressed = e->compressed[bits] != e->plain;
    return bh_buf_ref(e->compressed[bits]);
}

struct bh_buf *bh_frames_message(struct bh_frames *f, struct bh_message *m, unsigned bits,
                                 bool *is_compressed) {
    if (f->last.message != m)
        begin(f, &f->last, m, &f->forget);
    return frame_of(f, &f->last, bits, is_compressed);
}

static struct bh_encoded *find_text(struct bh_frames *f, const struct bh_message *text) {
    for (size_t i = 0; i < BH_TEXTS_SETS; i++)
        if (f->texts[i].message == text)
            return &f->texts[i];
    return NULL;
}

struct bh_buf *bh_frames_text(struct bh_frames *f, struct bh_message *text, unsigned bits,
                              bool *is_compressed) {
    struct bh_encoded *e = find_text(f, text);
    if (!e) {
        e = &f->texts[f->next_text];
        f->next_text = (f->next_text + 1) % BH_TEXTS_SETS;
        begin(f, e, text, &f->forget_texts);
        e->tag = text->buf->tag;
    }
    return frame_of(f, e, bits, is_compressed);
}

struct bh_buf *bh_frames_bytes(struct bh_frames *f, uint8_t opcode, struct bh_slice payload,
                               unsigned bits) {
    struct bh_buf *frame = bits ? compress(f, opcode, payload, bits) : NULL;
    return frame ? frame : bh_ws_frame_new(opcode, payload);
}
