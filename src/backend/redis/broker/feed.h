/* feed.h - what a broker receives from Redis: over one subscriber link, or over two while the first
 * is in doubt. Private to the broker.
 *
 * A link that swallows bytes looks like one on which nothing is published, until a probe is
 * missing. Then the probe casts doubt on it, and the feed opens a second link beside it, with the
 * same channels. When the second one has subscribed and a probe has come back on it, while the
 * first one was still silent, it takes over: it is the active one, and the sink hears of no outage.
 * The first one is read for a while longer, in case it was only late, and then closed. A first link
 * that is heard again before that (Redis was only busy) stays, and the second one is closed.
 *
 * While both are read, and for a while after, messages are marked BH_MESSAGE_DEDUP, so that the
 * node drops those that arrive twice. Messages without an id (a raw PUBLISH) are taken from the
 * active link only.
 *
 * In a cluster, where a channel has gone is true whichever link says so; that one was dropped
 * counts on the active link only. A channel that is left is left on the active link; the other one,
 * whose messages are marked, drops it at once.
 *
 * Thread: the bus, except as noted. */
#ifndef BELLHOP_BACKEND_REDIS_FEED_H
#define BELLHOP_BACKEND_REDIS_FEED_H

#include "broker/subscriptions.h"

/* Between the proof of the second link and the takeover: what Redis has sent on both at once is
 * read from the first one before. */
#define BH_REDIS_FEED_GRACE_MS 50

enum bh_redis_feed_state {
    BH_REDIS_FEED_ONE,
    BH_REDIS_FEED_BOTH,  /* a second link is open, or connecting */
    BH_REDIS_FEED_AFTER, /* messages may still arrive that the other link has brought, or only
                            there: after a takeover it is still open */
};

struct bh_redis_feed {
    struct bh_redis_subscriptions links[2];
    bool open[2];
    _Atomic(struct bh_redis_subscriptions *) active;
    const struct bh_redis_config *config;
    struct bh_redis_failover *failover;
    struct bh_loop *loop;
    struct bh_broker_sink sink;
    enum bh_redis_feed_state state;
    uint64_t heard;        /* of the active link, when the second one was opened */
    struct bh_timer timer; /* BOTH: the takeover; AFTER: its end */
    /* Set by the owner before _start. A message on the probe's channel of the active link: */
    void (*on_probe)(struct bh_redis_feed *f, struct bh_slice token);
    /* There is a new active link, and no probe of it yet. */
    void (*on_probing)(struct bh_redis_feed *f);
    /* A probe is to be sent now: the second link has subscribed, or the probe's channel has
     * changed.
     */
    void (*on_probe_due)(struct bh_redis_feed *f);
    /* Sharded: as bh_redis_subscriptions.on_moved, of any of the links. */
    bool (*on_moved)(struct bh_redis_feed *f, struct bh_slice channel, struct bh_slice answer);
};

/* Empty and not connected; adding topics is allowed from here on. config and failover are
 * borrowed. */
void bh_redis_feed_init(struct bh_redis_feed *f, const struct bh_redis_config *config,
                        struct bh_redis_failover *failover);
void bh_redis_feed_deinit(struct bh_redis_feed *f);
void bh_redis_feed_start(struct bh_redis_feed *f, struct bh_loop *loop,
                         const struct bh_broker_sink *sink);
void bh_redis_feed_stop(struct bh_redis_feed *f);

/* As the broker's; an invalid topic is never live. */
bool bh_redis_feed_add(struct bh_redis_feed *f, struct bh_slice topic);
/* False: it was not there. */
bool bh_redis_feed_remove(struct bh_redis_feed *f, struct bh_slice topic);
/* Sharded: as in subscriptions.h. */
bool bh_redis_feed_leave(struct bh_redis_feed *f, struct bh_slice topic);
void bh_redis_feed_release(struct bh_redis_feed *f, struct bh_slice topic);
void bh_redis_feed_set_probe(struct bh_redis_feed *f, const char *tag);

/* A probe is missing, and the active link has been silent since it was sent. */
void bh_redis_feed_doubt(struct bh_redis_feed *f);
/* To be called at an interval: checks that the links are alive. */
void bh_redis_feed_check(struct bh_redis_feed *f);

/* The link whose messages and state count. Any thread may read its `up` and down_reason. */
static inline struct bh_redis_subscriptions *bh_redis_feed_active(const struct bh_redis_feed *f) {
    return atomic_load(&f->active);
}

#endif
