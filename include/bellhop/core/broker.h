/* broker.h - the port to the broker, which carries messages between instances.
 *
 * One object for the process with two sides: the bus side (subscriptions, incoming messages, state)
 * is called and calls back on the bus thread; the worker side (publish) is called on the worker's
 * own thread and completes there. Topics are subscribed one by one, never by pattern, so no message
 * arrives twice.
 *
 * A broker may consist of shards that fail independently; a topic always belongs to the same shard.
 */
#ifndef BELLHOP_CORE_BROKER_H
#define BELLHOP_CORE_BROKER_H

#include "bellhop/base/slots.h"
#include "bellhop/core/message.h"
#include "bellhop/io/mailbox.h"

#define BH_SHARDS_MAX 16

struct bh_broker;

/* Implemented by the node; called on the bus thread. */
struct bh_broker_sink {
    /* Borrows m: refs it to keep it. */
    void (*on_message)(void *ud, struct bh_message *m);
    /* The broker has confirmed this subscription; again, when messages may have been lost: after a
     * reconnect, or on a link that delivered nothing and was replaced. */
    void (*on_subscribed)(void *ud, struct bh_slice topic);
    /* This subscription alone was lost, while the shard stays up: the topic is not live until
     * on_subscribed. NULL: the broker never loses one alone. */
    void (*on_lost)(void *ud, struct bh_slice topic);
    /* The link of a shard (< BH_SHARDS_MAX) came up or went down; at first all are down. While it
     * is down no subscription of its topics is live. */
    void (*on_state)(void *ud, unsigned shard, bool up);
    void *ud;
};

/* Fires exactly once, on the worker's thread, maybe before publish returns. error: 0, BH_EUNAVAIL
 * (not connected, not published), BH_EIO (connection lost, maybe published), BH_EDENIED (refused by
 * Redis, with why). receivers: the number of instances that received it, -1: unknown. */
typedef void (*bh_broker_published_cb)(void *ud, bh_handle handle, int error, int64_t receivers,
                                       const char *why);

struct bh_broker_vt {
    const char *name; /* "memory", "redis" */
    bool shared;      /* other instances may use it */
    /* Bus thread. 0: it connects now; on_state reports when a shard is up. */
    int (*start)(struct bh_broker *b, struct bh_loop *bus, struct bh_mailbox *bus_mailbox,
                 const struct bh_broker_sink *sink);
    /* Any thread: the shard of the topic, always the same. NULL: shard 0 is the only one. */
    unsigned (*shard_of)(struct bh_broker *b, struct bh_slice topic);
    /* Bus thread. True when the topic is live at once; else on_subscribed follows. */
    bool (*subscribe)(struct bh_broker *b, struct bh_slice topic);
    void (*unsubscribe)(struct bh_broker *b, struct bh_slice topic);
    /* Bus thread; one at a time. done(true), maybe before it returns: all messages that this
     * instance has published and the broker has confirmed have been given to on_message before.
     * done(false): that cannot be known. It is not called when a link is lost at the wrong moment:
     * the caller has a time-out. NULL: always true at once. */
    void (*fence)(struct bh_broker *b, void (*done)(void *ud, bool proven), void *ud);
    void (*stop)(struct bh_broker *b); /* no callback afterwards */
    /* Worker thread (worker < workers of the process). */
    int (*worker_start)(struct bh_broker *b, unsigned worker, struct bh_loop *loop);
    void (*worker_stop)(struct bh_broker *b,
                        unsigned worker); /* completes open publishes with BH_EIO */
    void (*publish)(struct bh_broker *b, unsigned worker, struct bh_message *m,
                    bh_broker_published_cb done, void *ud, bh_handle handle);
    /* Any thread: 0 when a probe has proven that messages come back; else BH_EUNAVAIL and *why, a
     * constant string. */
    int (*ready)(const struct bh_broker *b, const char **why);
    void (*free)(struct bh_broker *b); /* after all stops; no thread runs */
};

struct bh_broker {
    const struct bh_broker_vt *vt;
};

#endif
