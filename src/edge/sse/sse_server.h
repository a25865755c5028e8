/* sse_server.h - the server-sent events of one worker: its links and what they share.
 *
 * Embedded in struct bh_edge. Thread: the worker's. */
#ifndef BELLHOP_EDGE_SSE_SERVER_H
#define BELLHOP_EDGE_SSE_SERVER_H

#include "bellhop/edge/config.h"
#include "client/drain.h"
#include "client/texts.h"
#include "limits/admission.h"
#include "sse/sse_pack.h"

struct bh_sse_server {
    const struct bh_edge_config *config;
    struct bh_worker *worker;
    struct bh_loop *loop;
    struct bh_admission *admission;
    const struct bh_hold_ops *hold_ops;
    struct bh_list conns;    /* struct bh_sse_conn */
    struct bh_drain drain;   /* closes them with 1001 */
    struct bh_texts texts;   /* messages as events */
    struct bh_sse_pack pack; /* the same, compressed */
    struct bh_buf *comment;  /* the heartbeat, one for all */
};

void bh_sse_server_init(struct bh_sse_server *s, const struct bh_edge_config *config,
                        struct bh_worker *worker, struct bh_admission *admission);
/* Frees the links that are left. */
void bh_sse_server_deinit(struct bh_sse_server *s);
/* Drops every link. */
void bh_sse_server_abort(struct bh_sse_server *s);

#endif
