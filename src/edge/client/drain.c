/* drain.c - see the header. The list owns the connections; each one takes itself out when it is
 * freed in the reap phase. */
#include "client/drain.h"

#include "bellhop/edge/edge.h"

#define SLICE   256 /* connections closed at once */
#define STEP_MS 4

/* How many are to be closed by now. */
static size_t due(const struct bh_drain *d) {
    uint64_t elapsed_ms = bh_loop_now(d->step.loop) - d->began_ms;
    if (elapsed_ms >= d->spread_ms)
        return d->count;
    size_t rest = d->count - d->at_once;
    return d->at_once + (size_t)(rest * elapsed_ms / d->spread_ms);
}

/* The first one of the list becomes the last. */
static void close_first(struct bh_drain *d) {
    struct bh_list *conn = bh_list_shift(d->conns);
    if (!conn)
        return;
    bh_list_append(d->conns, conn);
    d->close(conn);
}

static void on_step(struct bh_timer *t) {
    struct bh_drain *d = BH_CONTAINER_OF(t, struct bh_drain, step);
    size_t now = due(d);
    for (int n = 0; n < SLICE && d->visited < now; n++, d->visited++)
        close_first(d);
    if (d->visited < d->count)
        bh_timer_set(t, STEP_MS);
}

void bh_drain_init(struct bh_drain *d, struct bh_loop *loop, struct bh_list *conns,
                   void (*close)(struct bh_list *conn)) {
    *d = (struct bh_drain){.conns = conns, .close = close};
    bh_timer_init(&d->step, loop, on_step);
}

void bh_drain_start(struct bh_drain *d, size_t clients, uint64_t spread_ms) {
    size_t count = 0;
    for (struct bh_list *n = d->conns->next; n != d->conns; n = n->next)
        count++;
    d->count = d->at_once = count;
    if (clients > BH_EDGE_DRAIN_AT_ONCE)
        d->at_once = count * BH_EDGE_DRAIN_AT_ONCE / clients;
    d->began_ms = bh_loop_now(d->step.loop);
    d->spread_ms = spread_ms;
    on_step(&d->step);
}

void bh_drain_stop(struct bh_drain *d) {
    bh_timer_cancel(&d->step);
}
