/* broker.h - the port to whatever carries messages between instances.
 *
 * One object for the process, two sides: the bus side (subscriptions, incoming messages, state) is
 * called and calls back on the bus thread; the worker side (publish) is called on the worker's own
 * thread and completes there. Topics are subscribed exactly, never by pattern, so nothing arrives
 * twice.
 *
 * A broker may consist of shards that fail one by one; each topic belongs to one of them for good.
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
    /* The broker has confirmed this subscription (again, after a reconnect). */
    void (*on_subscribed)(void *ud, struct bh_slice topic);
    /* The link of a shard (< BH_SHARDS_MAX) came up or went down; at first all are down. While it
     * is down no subscription of its topics is live. */
    void (*on_state)(void *ud, unsigned shard, bool up);
    void *ud;
};

/* Fires exactly once, on the worker's thread, maybe before publish returns. error: 0, BH_EUNAVAIL
 * (not connected: surely not published), BH_EIO (broke off: perhaps published), BH_EDENIED (Redis
 * refused; why says how). receivers: instances that got it, -1 unknown. */
typedef void (*bh_broker_published_cb)(void *ud, bh_handle handle, int error, int64_t receivers,
                                       const char *why);

struct bh_broker_vt {
    const char *name; /* "memory", "redis" */
    bool shared;      /* other instances may hang on it */
    /* Bus thread. start returns 0 when it has begun; on_state tells what is up. */
    int (*start)(struct bh_broker *b, struct bh_loop *bus, struct bh_mailbox *bus_mailbox,
                 const struct bh_broker_sink *sink);
    /* Any thread: the shard that the topic belongs to, always the same. NULL: there is but shard
     * 0. */
    unsigned (*shard_of)(struct bh_broker *b, struct bh_slice topic);
    /* Bus thread. True when the topic is live at once; else on_subscribed follows. */
    bool (*subscribe)(struct bh_broker *b, struct bh_slice topic);
    void (*unsubscribe)(struct bh_broker *b, struct bh_slice topic);
    void (*stop)(struct bh_broker *b); /* no callback afterwards */
    /* Worker thread (worker < workers of the process). */
    int (*worker_start)(struct bh_broker *b, unsigned worker, struct bh_loop *loop);
    void (*worker_stop)(struct bh_broker *b, unsigned worker); /* completes what is open: BH_EIO */
    void (*publish)(struct bh_broker *b, unsigned worker, struct bh_message *m,
                    bh_broker_published_cb done, void *ud, bh_handle handle);
    /* Any thread: 0 when what is published is proven to come back; else BH_EUNAVAIL and *why, a
     * constant sentence. */
    int (*ready)(const struct bh_broker *b, const char **why);
    void (*free)(struct bh_broker *b); /* after all stops; no thread runs */
};

struct bh_broker {
    const struct bh_broker_vt *vt;
};

#endif
