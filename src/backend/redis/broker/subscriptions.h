/* subscriptions.h - the subscriber link and what it is subscribed to. Private to the broker.
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
    /* Set by the owner before _start. A message on the probe channel: */
    void (*on_probe)(struct bh_redis_subscriptions *s, struct bh_slice token);
    /* The probe channel has been subscribed on a new link; it is always the first. */
    void (*on_probing)(struct bh_redis_subscriptions *s);
    struct bh_map channels; /* struct subscription by channel */
    struct bh_list queue;   /* those whose next command is to be sent */
    struct bh_defer flush;
    size_t unconfirmed; /* channels in commands that Redis has not confirmed */
    size_t restoring;   /* channels to be confirmed before this connection counts as up */
    uint64_t heard;     /* messages, confirmations and answers to PING */
    uint64_t looked;    /* `heard` when last looked at */
    uint64_t pinged_ms; /* since when a PING has brought nothing at all; 0: none */
    unsigned pongs_due;
    bool asked; /* something has been subscribed on this connection */
    atomic_bool up;
};

/* Empty and not connected; subscribing is allowed from here on. config is borrowed. */
void bh_redis_subscriptions_init(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_config *config);
void bh_redis_subscriptions_deinit(struct bh_redis_subscriptions *s);
void bh_redis_subscriptions_start(struct bh_redis_subscriptions *s, struct bh_loop *loop,
                                  const struct bh_broker_sink *sink,
                                  struct bh_redis_locator *locator);
void bh_redis_subscriptions_stop(struct bh_redis_subscriptions *s);
/* To be called now and then: a link that has been silent is sent a PING, and one that owes the
 * answer for too long is dropped. */
void bh_redis_subscriptions_look(struct bh_redis_subscriptions *s);
/* As the broker's; a topic that is none is never live. */
bool bh_redis_subscriptions_add(struct bh_redis_subscriptions *s, struct bh_slice topic);
void bh_redis_subscriptions_remove(struct bh_redis_subscriptions *s, struct bh_slice topic);

#endif
