/* sse_pack.c - see the header. The limits of websocket.compression hold here, too. */
#include "sse/sse_pack.h"

#include "bellhop/proto/ws_deflate.h"
#include "client/outq.h"
#include "limits/edge_metrics.h"

static void forget(struct bh_sse_pack *p) {
    bh_message_unref(p->text);
    bh_buf_unref(p->piece);
    p->text = NULL;
    p->piece = NULL;
}

static void on_forget(struct bh_defer *d) {
    forget(BH_CONTAINER_OF(d, struct bh_sse_pack, forget));
}

void bh_sse_pack_init(struct bh_sse_pack *p, const struct bh_edge_config *config,
                      struct bh_loop *loop) {
    *p = (struct bh_sse_pack){.config = config, .loop = loop};
    bh_defer_init(&p->forget, on_forget);
}

void bh_sse_pack_deinit(struct bh_sse_pack *p) {
    bh_defer_cancel(&p->forget);
    forget(p);
    bh_deflater_free(p->deflater);
}

static bool is_worth_it(const struct bh_edge_config *config, size_t n) {
    return n >= config->deflate_threshold && (config->deflate_max == 0 || n <= config->deflate_max);
}

static struct bh_buf *compress(struct bh_sse_pack *p, struct bh_slice bytes) {
    const struct bh_ws_deflate_config *config = &p->config->deflate;
    if (!p->deflater)
        p->deflater = bh_deflater_new(config->window_bits, config->level);
    bh_edge_count(BH_EDGE_COMPRESSED, 1);
    return p->deflater ? bh_deflater_piece(p->deflater, bytes) : NULL;
}

/* Its first byte says nothing to the queue. */
static struct bh_buf *pack(struct bh_sse_pack *p, const struct bh_buf *event) {
    struct bh_slice bytes = bh_buf_slice(event);
    struct bh_buf *piece = is_worth_it(p->config, bytes.n) ? compress(p, bytes) : NULL;
    if (!piece)
        piece = bh_deflate_stored(bytes);
    piece->tag = event->tag ? event->tag : BH_OUTQ_DROP;
    return piece;
}

struct bh_buf *bh_sse_pack_event(struct bh_sse_pack *p, struct bh_buf *event) {
    struct bh_buf *piece = pack(p, event);
    bh_buf_unref(event);
    return piece;
}

struct bh_buf *bh_sse_pack_text(struct bh_sse_pack *p, struct bh_message *text) {
    if (p->text != text) {
        forget(p);
        p->text = bh_message_ref(text);
        p->piece = pack(p, text->buf);
        bh_defer(p->loop, BH_PHASE_REAP, &p->forget);
    }
    return bh_buf_ref(p->piece);
}
