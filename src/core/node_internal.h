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
    unsigned restore_number; /* of the restore under way; bus only, like the next */
    unsigned restoring;      /* workers that have still to tell of connections */
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
    BH_CORE_OFFLINE,
    BH_CORE_OFFLINE_RETRIED,
    BH_CORE_OFFLINE_DROPPED,
    BH_CORE_METRIC_COUNT,
};

static inline bool bh_node_stopped(const struct bh_node *n) {
    return atomic_load_explicit(&n->stopped, memory_order_relaxed);
}

/* Who wants to know to how many sockets a message went: an operation of a worker. */
struct bh_receipt {
    struct bh_worker *home; /* NULL: nobody */
    bh_handle op;
    bool only_count; /* how many it would be; nothing is delivered */
};

/* Worker thread: to this worker's subscribers of the message's topic, now or, inside another
 * delivery and as long as such a one waits, by mail to itself: in the order of the calls. The
 * receipt is given by bh_publish_counted in either case, maybe before this returns. */
void bh_worker_deliver(struct bh_worker *w, struct bh_message *m, struct bh_receipt receipt);
/* Bus thread: to the workers that hold the topic, except those in `skip`; how many there are, each
 * of which gives a receipt. */
unsigned bh_node_dispatch(struct bh_node *n, struct bh_message *m, uint64_t skip,
                          struct bh_receipt receipt);

/* node_publish.c, on the home worker: one worker has reached so many sockets. */
void bh_publish_counted(struct bh_worker *home, bh_handle op, unsigned sockets);

/* node_track.c. Worker thread: a connection has come or is going. */
void bh_node_track(struct bh_worker *w, const struct bh_subscriber *s, bool here);
void bh_node_track_init(struct bh_worker *w);
/* No thread runs any more, but the loops are there. */
void bh_node_track_stop(struct bh_worker *w);
/* Bus thread: starts the tracker. */
int bh_node_track_start(struct bh_node *n);

/* node_offline.c. Worker thread: the message reached nobody. */
void bh_node_offline(struct bh_worker *w, struct bh_message *m, unsigned attempt);

#endif
