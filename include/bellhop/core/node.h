/* node.h - the domain's verbs: open, subscribe, publish, disconnect, look up.
 *
 * A node is one instance: a bus (one thread: interest map, broker's bus side) and workers (one
 * thread each: hub, subscribers, hooks). Workers and bus communicate by mail only.
 *
 * A publish, on the publisher's worker: it passes on_publish, is planned, delivered to this
 * worker's own sockets, mailed to the bus for the other workers that hold the topic, and given to
 * the broker. With an idempotency id it goes to the bus first, because only the bus knows the ids
 * seen before. A message from the broker: bus -> workers that hold the topic -> hub.
 *
 * Thread: functions that take a struct bh_worker are called on that worker's thread. */
#ifndef BELLHOP_CORE_NODE_H
#define BELLHOP_CORE_NODE_H

#include "bellhop/core/broker.h"
#include "bellhop/core/fetch.h"
#include "bellhop/core/history.h"
#include "bellhop/core/hooks.h"
#include "bellhop/core/hub.h"
#include "bellhop/core/publish.h"
#include "bellhop/core/redis.h"
#include "bellhop/core/resume.h"
#include "bellhop/core/tracker.h"
#include "bellhop/io/mailbox.h"
#include "bellhop/io/timer.h"

#define BH_WORKERS_MAX 64

struct bh_node; /* opaque */
struct bh_recoveries;

struct bh_node_config {
    struct bh_slice instance;         /* id of this instance (bh_id_check); copied */
    enum bh_strategy strategy;        /* the default; not BH_STRATEGY_DEFAULT */
    uint64_t linger_ms;               /* a topic without subscribers stays subscribed this long */
    size_t payload_max;               /* larger payloads are refused */
    size_t seen_max;                  /* message ids remembered against duplicates */
    uint64_t seen_ms;                 /* and for how long */
    struct bh_history_config history; /* rules are borrowed */
};

/* Of a worker, when the instance stops: see bh_node_settle. */
enum bh_settle_state { BH_SETTLE_NOT, BH_SETTLE_WAITING, BH_SETTLE_DONE };

struct bh_settle {
    enum bh_settle_state state;
    struct bh_list parked; /* publishes that start when it is done */
    struct bh_timer timer;
    uint64_t until_ms;
    bool told; /* the bus: this worker has no echo to wait for that Redis has not confirmed */
    void (*done)(void *ud);
    void *ud;
};

struct bh_worker {
    struct bh_node *node;
    unsigned index;
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_hub hub;
    struct bh_slots subscribers;
    struct bh_hooks *hooks;         /* NULL: no scripts */
    void *script;                   /* belongs to the scripts */
    struct bh_redis *redis;         /* NULL: not configured */
    struct bh_fetch *fetch;         /* NULL: none */
    struct bh_slots ops;            /* running asynchronous operations */
    unsigned queued;                /* deliveries mailed to itself */
    struct bh_track_batch *changes; /* of connections in this tick, for the tracker */
    struct bh_defer post_changes;
    struct bh_timer restore; /* the next slice of connections to report again */
    uint32_t restore_cursor;
    unsigned restore_number;
    size_t retries; /* messages that wait for a retry (on_offline) */
    struct bh_settle settle;
    struct bh_recoveries *recoveries; /* of clients that resume, and their streams (recovery.h) */
};

/* broker and tracker are borrowed. bus_loop and bus_mailbox are those of the bus thread, which may
 * not run yet. */
struct bh_node *bh_node_new(const struct bh_node_config *config, struct bh_broker *broker,
                            struct bh_tracker *tracker, struct bh_loop *bus_loop,
                            struct bh_mailbox *bus_mailbox);
/* Before the start; borrowed. Without it no topic is a stream. The node starts and stops its bus
 * side; worker_start and worker_stop are called by who calls those of the broker. */
void bh_node_set_history(struct bh_node *n, struct bh_history *history);
/* Before any thread runs. Several workers (and the bus) may share one loop: tests do. */
struct bh_worker *bh_node_add_worker(struct bh_node *n, struct bh_loop *loop,
                                     struct bh_mailbox *mailbox);
/* On the bus thread: starts the broker, subscribes `all`, starts the history. Their worker sides
 * are the caller's. */
int bh_node_start(struct bh_node *n);
/* On the bus thread, after the workers have closed their subscribers. Mail that is still in a
 * mailbox completes nothing any more. */
void bh_node_stop(struct bh_node *n);
/* No thread runs any more. */
void bh_node_free(struct bh_node *n);

struct bh_slice bh_node_instance(const struct bh_node *n);
unsigned bh_node_worker_count(const struct bh_node *n);
struct bh_worker *bh_node_worker(struct bh_node *n, unsigned index);
struct bh_broker *bh_node_broker(struct bh_node *n);
/* NULL: none. */
struct bh_history *bh_node_history(struct bh_node *n);
/* Any thread: the rule of a stream; NULL: the topic is none. */
const struct bh_history_rule *bh_node_stream_rule(const struct bh_node *n,
                                                  const struct bh_topic *topic);
struct bh_mailbox *bh_node_bus(struct bh_node *n);
/* Any thread: 0, or BH_EUNAVAIL and *why, a constant string. */
int bh_node_ready(const struct bh_node *n, const char **why);

/* --- stopping --- */

/* Any thread: from now on the node is not ready. Everything works as before. */
void bh_node_set_stopping(struct bh_node *n);
bool bh_node_is_stopping(const struct bh_node *n);
/* Worker thread, once on every worker, while its subscribers are still open. done is called on this
 * thread, maybe before it returns, when on all workers each publish that waited for its echo
 * (strategy redis) has been confirmed, and all echoes until then have been delivered; or after
 * timeout_ms. The results of such publishes are reported just before: as usual, or with BH_EIO if
 * the echo was not seen to come back. Others that begin in between wait, and from then on they
 * deliver to the local sockets at once, because an echo could come back when the sockets are
 * closed. */
void bh_node_settle(struct bh_worker *w, uint64_t timeout_ms, void (*done)(void *ud), void *ud);
/* Worker thread: whether a publish of this worker waits for the broker. */
bool bh_node_is_publishing(const struct bh_worker *w);

/* --- connections --- */

/* Exactly once, maybe before the verb returns; handle as given. */
typedef void (*bh_node_cb)(void *ud, bh_handle handle, int error);

/* Registers s (vt and memory are the caller's), sets its handle, number and identity (taken over),
 * and joins its user, its tenant, `all`, and the identity's topics (on_subscribe is called for
 * each; a refused one is skipped and logged). done: 0 when every topic is live, or at once while
 * the broker is down; BH_ECLOSED when s was closed meanwhile. */
void bh_node_open(struct bh_worker *w, struct bh_subscriber *s, struct bh_identity *identity,
                  bh_node_cb done, void *ud, bh_handle handle);
/* The same for a subscriber that resumes (vt->recovered is set): since says where it was (NULL: a
 * new client; copied). recovered, and what it missed, follow after done. BH_ETOOBIG: it has more
 * than BH_RESUME_TOPICS_MAX streams. BH_EDENIED: it may not join a topic that it named; see
 * vt->refused, which was called. */
void bh_node_resume(struct bh_worker *w, struct bh_subscriber *s, struct bh_identity *identity,
                    const struct bh_resume *since, bh_node_cb done, void *ud, bh_handle handle);
/* Leaves all topics, calls on_unsubscribe for each and then on_close, and releases the handle.
 * Afterwards the owner may free s (in the reap phase). No effect on a subscriber that is not open.
 */
void bh_node_close(struct bh_worker *w, struct bh_subscriber *s, unsigned code,
                   struct bh_slice reason);
/* NULL when it has been closed. */
struct bh_subscriber *bh_worker_subscriber(struct bh_worker *w, bh_handle handle);

/* Joins another topic (an id, without `topic:`) if on_subscribe allows it. done as above, with 0,
 * BH_EINVAL (bad id), BH_EDENIED, BH_EEXIST (joined already), BH_ETOOBIG (it is in
 * BH_SUBSCRIBER_TOPICS_MAX topics), BH_ECLOSED. */
void bh_node_subscribe(struct bh_worker *w, struct bh_subscriber *s, struct bh_slice topic_id,
                       bh_node_cb done, void *ud, bh_handle handle);
/* 0, BH_EINVAL or BH_ENOTFOUND. */
int bh_node_unsubscribe(struct bh_worker *w, struct bh_subscriber *s, struct bh_slice topic_id);

/* --- messages --- */

/* Takes over the references in p, also on error. */
void bh_node_publish(struct bh_worker *w, struct bh_publish *p, bh_published_cb done, void *ud,
                     bh_handle handle);
/* Closes the user's connections on every instance. result.error as for a publish. */
void bh_node_disconnect(struct bh_worker *w, struct bh_slice user, unsigned code,
                        struct bh_slice reason, bh_published_cb done, void *ud, bh_handle handle);

/* --- questions --- */

/* Asks the tracker; at most BH_LOOKUP_MAX users or tenants, checked ids. When its answer is
 * uncertain, the connections of this instance are counted here, so only others may be missing. */
#define BH_LOOKUP_MAX 1000
void bh_node_lookup(struct bh_worker *w, enum bh_lookup what, const struct bh_slice *names,
                    size_t count, bh_tracker_cb done, void *ud, bh_handle handle);
/* The same for this instance only, from the hubs of all workers; for trackers and bh.hub. */
void bh_node_lookup_local(struct bh_worker *w, enum bh_lookup what, const struct bh_slice *names,
                          size_t count, bh_tracker_cb done, void *ud, bh_handle handle);
/* Connections of this instance, all workers. */
int64_t bh_node_connection_count(const struct bh_node *n);

void bh_core_metrics_register(void);

#endif
