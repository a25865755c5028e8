/* node_internal.h - the node's insides, shared by node.c, node_open.c, node_publish.c and
 * node_lookup.c. */
#ifndef BELLHOP_SRC_CORE_NODE_INTERNAL_H
#define BELLHOP_SRC_CORE_NODE_INTERNAL_H

#include "bellhop/base/metrics.h"
#include "bellhop/core/node.h"

#include "directory.h"
#include "seen.h"

struct bh_node {
    struct bh_node_config config;
    char instance[BH_ID_MAX + 1];
    char origin[BH_UNIQUE_ID_LEN + 1]; /* of this process: two with one instance id still differ */
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_loop *bus_loop;
    struct bh_mailbox *bus;
    struct bh_directory directory; /* bus only, like seen */
    struct bh_seen seen;
    struct bh_broker_sink sink;
    struct bh_worker *workers[BH_WORKERS_MAX];
    unsigned worker_count;
    atomic_llong connections;
    atomic_bool stopped; /* mails on their way are only freed: whoever waits for them has gone */
};

/* An asynchronous verb under way, the head of what a worker's `ops` hold. */
struct bh_op {
    bh_handle self;
    void (*discard)(struct bh_op *op); /* frees it without completing it */
};

extern struct bh_metric bh_core_metrics[];
enum {
    BH_CORE_PUBLISHED,
    BH_CORE_DELIVERED,
    BH_CORE_DUPLICATES,
    BH_CORE_EXPIRED,
    BH_CORE_METRIC_COUNT,
};

static inline bool bh_node_stopped(const struct bh_node *n) {
    return atomic_load_explicit(&n->stopped, memory_order_relaxed);
}

/* Worker thread: to this worker's subscribers of the message's topic, now or, inside another
 * delivery and as long as such a one waits, by mail to itself: in the order of the calls. */
void bh_worker_deliver(struct bh_worker *w, struct bh_message *m);
/* Bus thread: to the workers that hold the topic, except those in `skip`. */
void bh_node_dispatch(struct bh_node *n, struct bh_message *m, uint64_t skip);

#endif
