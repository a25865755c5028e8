/* ws_server.c - what is done to all WebSocket connections of a worker at once.
 *
 * The list owns the connections; each one takes itself out when it is freed in the reap phase. */
#include "ws/ws_server.h"

#include "ws/json_session.h"
#include "ws/session.h"
#include "ws/ws_conn.h"
#include "ws/ws_excess.h"

static void close_conn(struct bh_list *node) {
    bh_ws_conn_close(BH_CONTAINER_OF(node, struct bh_ws_conn, node), 1001,
                     BH_SLICE("the instance is shutting down"));
}

void bh_ws_server_abort(struct bh_ws_server *s) {
    bh_drain_stop(&s->drain);
    for (struct bh_list *n = s->conns.next; n != &s->conns; n = n->next)
        bh_ws_conn_drop(BH_CONTAINER_OF(n, struct bh_ws_conn, node), 1001,
                        BH_SLICE("the instance was shut down"));
}

void bh_ws_server_init(struct bh_ws_server *s, const struct bh_edge_config *config,
                       struct bh_worker *worker, struct bh_admission *admission) {
    *s = (struct bh_ws_server){.config = config,
                               .worker = worker,
                               .loop = worker->loop,
                               .admission = admission,
                               .hold_ops = &bh_ws_excess_ops,
                               .limits = {config->message_bytes, config->fragments, &s->inflaters}};
    bh_list_init(&s->conns);
    bh_frames_init(&s->frames, s->loop, config->deflate.level);
    bh_texts_init(&s->texts, s->loop, bh_json_session_render);
    bh_inflaters_init(&s->inflaters, bh_ws_session_wake);
    bh_drain_init(&s->drain, s->loop, &s->conns, close_conn);
}

void bh_ws_server_deinit(struct bh_ws_server *s) {
    while (!bh_list_empty(&s->conns))
        bh_ws_conn_free(BH_CONTAINER_OF(s->conns.next, struct bh_ws_conn, node));
    bh_inflaters_deinit(&s->inflaters);
    bh_frames_deinit(&s->frames);
    bh_texts_deinit(&s->texts);
}
