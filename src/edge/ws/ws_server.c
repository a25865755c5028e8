/* ws_server.c - what is done to all WebSocket connections of a worker at once.
 *
 * A drain closes many connections over a while, so that their clients do not all come back to the
 * other instances at once; and never more than a slice of them in one step, so that the close
 * frames do not stall the connections that are still served. The list owns the connections; each
 * one takes itself out when it is freed in the reap phase. */
#include "ws/ws_server.h"

#include "bellhop/edge/edge.h"
#include "ws/session.h"
#include "ws/ws_conn.h"
#include "ws/ws_excess.h"

#define DRAIN_SLICE   256 /* connections closed at once */
#define DRAIN_STEP_MS 4

/* How many are to be closed by now. */
static size_t drain_due(const struct bh_ws_server *s) {
    uint64_t elapsed_ms = bh_loop_now(s->loop) - s->drain.began_ms;
    if (elapsed_ms >= s->drain.spread_ms)
        return s->drain.count;
    size_t rest = s->drain.count - s->drain.at_once;
    return s->drain.at_once + (size_t)(rest * elapsed_ms / s->drain.spread_ms);
}

/* The first one of the list becomes the last. */
static void close_first(struct bh_ws_server *s) {
    struct bh_list *node = bh_list_shift(&s->conns);
    if (!node)
        return;
    bh_list_append(&s->conns, node);
    bh_ws_conn_close(BH_CONTAINER_OF(node, struct bh_ws_conn, node), 1001,
                     BH_SLICE("the instance is shutting down"));
}

static void on_drain_step(struct bh_timer *t) {
    struct bh_ws_server *s = BH_CONTAINER_OF(t, struct bh_ws_server, drain.step);
    size_t due = drain_due(s);
    for (int n = 0; n < DRAIN_SLICE && s->drain.visited < due; n++, s->drain.visited++)
        close_first(s);
    if (s->drain.visited < s->drain.count)
        bh_timer_set(t, DRAIN_STEP_MS);
}

void bh_ws_server_drain(struct bh_ws_server *s, size_t websockets, uint64_t spread_ms) {
    size_t count = 0;
    for (struct bh_list *n = s->conns.next; n != &s->conns; n = n->next)
        count++;
    s->drain.count = s->drain.at_once = count;
    if (websockets > BH_EDGE_DRAIN_AT_ONCE)
        s->drain.at_once = count * BH_EDGE_DRAIN_AT_ONCE / websockets;
    s->drain.began_ms = bh_loop_now(s->loop);
    s->drain.spread_ms = spread_ms;
    on_drain_step(&s->drain.step);
}

void bh_ws_server_abort(struct bh_ws_server *s) {
    bh_timer_cancel(&s->drain.step);
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
    bh_inflaters_init(&s->inflaters, bh_ws_session_wake);
    bh_timer_init(&s->drain.step, s->loop, on_drain_step);
}

void bh_ws_server_deinit(struct bh_ws_server *s) {
    while (!bh_list_empty(&s->conns))
        bh_ws_conn_free(BH_CONTAINER_OF(s->conns.next, struct bh_ws_conn, node));
    bh_inflaters_deinit(&s->inflaters);
    bh_frames_deinit(&s->frames);
}
