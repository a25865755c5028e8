/* node_internal.h - the node's insides, shared by the node_*.c files. Calls go one way: node ->
 * offline -> publish -> {plan, deliver, lookup}, settle -> publish, node -> settle, {node, open} ->
 * track, and open -> recovery_join -> recovery_flush -> deliver -> recovery; streams -> deliver. */
#ifndef BELLHOP_SRC_CORE_NODE_INTERNAL_H
#define BELLHOP_SRC_CORE_NODE_INTERNAL_H

#include "bellhop/core/node.h"

#include "interest_map.h"
#include "seen.h"
#include "streams.h"

struct bh_node {
    struct bh_node_config config;
    char instance[BH_ID_MAX + 1];
    /* Of this process: unique even when two instances have the same id. */
    char origin[BH_UNIQUE_ID_LEN + 1];
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_history *history; /* NULL: no topic is a stream */
    struct bh_loop *bus_loop;
    struct bh_mailbox *bus;
    struct bh_interest_map interest; /* bus only, like seen */
    struct bh_seen seen;
    struct bh_streams streams; /* bus only */
    struct bh_broker_sink sink;
    unsigned restore_number; /* of the current restore; bus only, like the next */
    unsigned restoring;      /* workers that have not yet reported all their connections */
    struct bh_worker *workers[BH_WORKERS_MAX];
    unsigned worker_count;
    /* Worker thread: a message that reached no socket on any instance; where it is in the history
     * (epoch 0: nowhere); `attempt` as published. */
    void (*on_unreached)(struct bh_worker *w, struct bh_message *m, struct bh_position stored,
                         unsigned attempt);
    unsigned settled; /* workers that have told so; bus only */
    atomic_llong connections;
    atomic_bool stopping;
    atomic_bool stopped; /* mails in flight are only freed, nothing completes any more */
};

/* The head of each asynchronous operation in a worker's `ops`. */
struct bh_op {
    bh_handle self;
    void (*discard)(struct bh_op *op); /* frees it without completing it */
};

static inline bool bh_node_stopped(const struct bh_node *n) {
    return atomic_load_explicit(&n->stopped, memory_order_relaxed);
}

/* Where the number of sockets that a message reached is reported: an operation of a worker. */
struct bh_receipt {
    struct bh_worker *home; /* NULL: nowhere */
    bh_handle op;
    bool only_count; /* how many it would be; nothing is delivered */
    void (*done)(struct bh_worker *home, bh_handle op, unsigned sockets); /* on home's thread */
};

/* node_deliver.c. Worker thread: to this worker's subscribers of the message's topic, at once; or
 * by mail to itself, inside another delivery and while earlier mail of this kind waits, so that
 * messages keep the order of the calls. The receipt's done may be called before this returns. */
void bh_worker_deliver(struct bh_worker *w, struct bh_message *m, struct bh_receipt receipt);
/* Worker thread: a message of a stream, or a note about it, to this subscriber alone. */
void bh_worker_deliver_stream_to(struct bh_subscriber *s, struct bh_message *m);
/* Bus thread: to the workers that hold the topic, except those in `skip`. Returns their number;
 * each of them calls the receipt's done once. */
unsigned bh_node_dispatch(struct bh_node *n, struct bh_message *m, uint64_t skip,
                          struct bh_receipt receipt);

/* node_track.c. Worker thread: a connection opened (here) or is closing. */
void bh_node_track(struct bh_worker *w, const struct bh_subscriber *s, bool here);
void bh_node_track_init(struct bh_worker *w);
/* No thread runs any more, but the loops exist. */
void bh_node_track_stop(struct bh_worker *w);
/* Bus thread: starts the tracker. */
int bh_node_track_start(struct bh_node *n);

/* node_plan.c. The rule of the stream to which p is appended; NULL: it is not. 0, or BH_EINVAL with
 * *why when that is not what its publisher asked for. */
int bh_node_plan_history(const struct bh_node *n, const struct bh_publish *p,
                         const struct bh_history_rule **rule, const char **why);

/* node_publish.c, for bh_node_settle. The results of publishes that wait for their echo are held
 * back; and released: proven, as usual, else with BH_EIO. */
void bh_node_hold_echoes(struct bh_worker *w);
void bh_node_release_echoes(struct bh_worker *w, bool proven);
/* Whether the broker has not confirmed one of those that are held. */
bool bh_node_holds_echo(const struct bh_worker *w);

/* node_settle.c */
void bh_node_settle_init(struct bh_worker *w);
/* No thread runs any more, but the loops exist. */
void bh_node_settle_stop(struct bh_worker *w);

/* node_offline.c, as on_unreached. */
void bh_node_offline(struct bh_worker *w, struct bh_message *m, struct bh_position stored,
                     unsigned attempt);

#endif
