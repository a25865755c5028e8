/* sse_server.c - what is done to all SSE links of a worker at once.
 *
 * The list owns the links; each one takes itself out when it is freed in the reap phase. */
#include "sse/sse_server.h"

#include "bellhop/proto/sse.h"
#include "sse/sse_conn.h"
#include "sse/sse_hold.h"

/* The id comes after the data, because a client that gets half of a block must not have it. */
static void render(const struct bh_message *m, bool id, struct bh_bytes *before,
                   struct bh_bytes *after) {
    bh_sse_add_message(before, m->opcode == BH_BINARY, m->payload);
    bh_bytes_adds(before, id ? "id: " : "\n");
    if (id)
        bh_bytes_adds(after, "\n\n");
}

static void close_conn(struct bh_list *node) {
    bh_sse_conn_close(BH_CONTAINER_OF(node, struct bh_sse_conn, node), 1001,
                      BH_SLICE("the instance is shutting down"));
}

/* What it has still to say would have to wait behind its queue. */
static void on_excess(struct bh_hold *h) {
    struct bh_sse_conn *c = BH_CONTAINER_OF(h, struct bh_sse_hold, hold)->conn;
    bh_sse_conn_log_end(c, "memory budget", 1013);
    c->reset = true;
    bh_sse_conn_drop(c, 1013, BH_SLICE("the server is short of memory"));
}

static const struct bh_hold_ops hold_ops = {
    .kind = BH_BUDGET_MESSAGES, .charges_queue = false, .on_excess = on_excess};

void bh_sse_server_abort(struct bh_sse_server *s) {
    bh_drain_stop(&s->drain);
    for (struct bh_list *n = s->conns.next; n != &s->conns; n = n->next)
        bh_sse_conn_drop(BH_CONTAINER_OF(n, struct bh_sse_conn, node), 1001,
                         BH_SLICE("the instance was shut down"));
}

void bh_sse_server_init(struct bh_sse_server *s, const struct bh_edge_config *config,
                        struct bh_worker *worker, struct bh_admission *admission) {
    *s = (struct bh_sse_server){.config = config,
                                .worker = worker,
                                .loop = worker->loop,
                                .admission = admission,
                                .hold_ops = &hold_ops,
                                .comment = bh_sse_comment()};
    bh_list_init(&s->conns);
    bh_drain_init(&s->drain, s->loop, &s->conns, close_conn);
    bh_texts_init(&s->texts, s->loop, render);
    bh_sse_pack_init(&s->pack, config, s->loop);
}

void bh_sse_server_deinit(struct bh_sse_server *s) {
    while (!bh_list_empty(&s->conns))
        bh_sse_conn_free(BH_CONTAINER_OF(s->conns.next, struct bh_sse_conn, node));
    bh_texts_deinit(&s->texts);
    bh_sse_pack_deinit(&s->pack);
    bh_buf_unref(s->comment);
}
