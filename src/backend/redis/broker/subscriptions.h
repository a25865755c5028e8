/* subscriptions.h - a subscriber link and its channels. Private to the broker.
 *
 * Thread: the bus; `up` may be read from any. */
#ifndef BELLHOP_BACKEND_REDIS_SUBSCRIPTIONS_H
#define BELLHOP_BACKEND_REDIS_SUBSCRIPTIONS_H

#include "bellhop/base/map.h"
#include "link/link.h"

struct bh_redis_subscriptions {
    struct bh_redis_link link;
    const struct bh_redis_config *config;
    struct bh_broker_sink sink;
    struct bh_slice prefix;
    char probe_channel[192];
    /* Set by the owner before _start. A message on the probe's channel: */
    void (*on_probe)(struct bh_redis_subscriptions *s, struct bh_slice token);
    /* A new link has subscribed to the probe's channel, always the first one. */
    void (*on_probing)(struct bh_redis_subscriptions *s);
    /* The link is down; the sink is told after that. */
    void (*on_lost)(struct bh_redis_subscriptions *s);
    void *ud;               /* the owner's */
    struct bh_map channels; /* struct subscription by channel */
    struct bh_list queue;   /* subscriptions whose next command is to be sent */
    struct bh_defer flush;
    size_t unconfirmed;    /* channels in commands that Redis has not confirmed */
    size_t restoring;      /* channels to be confirmed before this connection counts as up */
    uint64_t heard;        /* messages, confirmations and answers to PING */
    uint64_t heard_before; /* `heard` at the last check */
    uint64_t pinged_ms;    /* when a PING was sent, if nothing has arrived since; 0: none */
    unsigned pongs_due;
    bool subscribing; /* a SUBSCRIBE was sent on this connection */
    atomic_bool up;
};

/* Empty and not connected; subscribing is allowed from here on. config is borrowed. *s is zeroed,
 * or deinitialised. */
void bh_redis_subscriptions_init(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_config *config);
void bh_redis_subscriptions_deinit(struct bh_redis_subscriptions *s);
/* name: of the link. */
void bh_redis_subscriptions_start(struct bh_redis_subscriptions *s, struct bh_loop *loop,
                                  const char *name, const struct bh_broker_sink *sink,
                                  struct bh_redis_locator *locator);
void bh_redis_subscriptions_stop(struct bh_redis_subscriptions *s);
/* To be called at an interval: sends a PING on a link that was silent, and drops one that has not
 * answered it in time. */
void bh_redis_subscriptions_check_liveness(struct bh_redis_subscriptions *s);
/* As the broker's; an invalid topic is never live. */
bool bh_redis_subscriptions_add(struct bh_redis_subscriptions *s, struct bh_slice topic);
void bh_redis_subscriptions_remove(struct bh_redis_subscriptions *s, struct bh_slice topic);
/* Also subscribes to what the other one wants. */
void bh_redis_subscriptions_copy(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_subscriptions *other);
/* Calls the sink's on_subscribed for each topic that is live. */
void bh_redis_subscriptions_report_live(struct bh_redis_subscriptions *s);

#endif
