/* ws_excess.c - closes a connection whose owner holds most, or whose message does not get on.
 *
 * What it has received of its message is dropped at once. So is its queue, if it is large: the
 * close frame would have to wait behind it. */
#include "ws/ws_excess.h"

#include "limits/edge_metrics.h"
#include "ws/ws_hold.h"

#define QUEUE_KEPT (16 * 1024)

static struct bh_ws_conn *of(struct bh_hold *h) {
    return BH_CONTAINER_OF(h, struct bh_ws_hold, hold)->ws;
}

static void end(struct bh_ws_conn *ws, const char *cause, unsigned code, struct bh_slice reason) {
    bh_ws_conn_log_end(ws, cause, code, reason);
    bh_ws_conn_close(ws, code, reason);
}

static void on_excess(struct bh_hold *h) {
    struct bh_ws_conn *ws = of(h);
    if (h->queued > QUEUE_KEPT) {
        bh_outq_drop_unsent(&ws->out);
        ws->reset = true;
    }
    end(ws, "memory budget", 1013, BH_SLICE("the server is short of memory"));
}

static void on_stalled(struct bh_hold *h) {
    bh_edge_count(BH_EDGE_LIMIT_MESSAGE_TIME, 1);
    end(of(h), "message timeout", 1008, BH_SLICE("message not completed in time"));
}

static uint64_t progress(const struct bh_hold *h) {
    return bh_ws_reader_received(&BH_CONTAINER_OF(h, const struct bh_ws_hold, hold)->ws->reader);
}

const struct bh_hold_ops bh_ws_excess_ops = {.kind = BH_BUDGET_MESSAGES,
                                             .charges_queue = false,
                                             .on_excess = on_excess,
                                             .on_stalled = on_stalled,
                                             .progress = progress};
