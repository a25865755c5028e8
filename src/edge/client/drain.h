/* drain.h - closes the connections of one protocol of a worker over a while, so that their clients
 * do not all come back to the other instances at once; and never more than a slice of them in one
 * step, so that it does not stall the connections that are still served.
 *
 * Embedded in the protocol's server. Thread: the worker's. */
#ifndef BELLHOP_EDGE_CLIENT_DRAIN_H
#define BELLHOP_EDGE_CLIENT_DRAIN_H

#include "bellhop/io/timer.h"

struct bh_drain {
    struct bh_timer step;
    struct bh_list *conns;
    void (*close)(struct bh_list *conn);
    uint64_t began_ms, spread_ms;
    size_t count, at_once, visited; /* of the connections that were open at the beginning */
};

/* close is called for a node of conns, which the call need not take out. */
void bh_drain_init(struct bh_drain *d, struct bh_loop *loop, struct bh_list *conns,
                   void (*close)(struct bh_list *conn));
/* Closes this list's share of BH_EDGE_DRAIN_AT_ONCE at once, the others evenly over spread_ms.
 * clients: of all protocols and workers. */
void bh_drain_start(struct bh_drain *d, size_t clients, uint64_t spread_ms);
void bh_drain_stop(struct bh_drain *d);

#endif
