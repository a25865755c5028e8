/* subscriptions.h - a subscriber link and its channels. Private to the broker.
 *
 * With config->sharded the server is a master of a cluster: each channel is subscribed by a command
 * of its own (SSUBSCRIBE), and the server may drop single ones, or say that they are elsewhere.
 *
 * Thread: the bus; `up` may be read from any. */
#ifndef BELLHOP_BACKEND_REDIS_SUBSCRIPTIONS_H
#define BELLHOP_BACKEND_REDIS_SUBSCRIPTIONS_H

#include "bellhop/base/map.h"
#include "broker/command_fifo.h"
#include "link/link.h"

/* Sharded: before a subscription is tried again that the cluster could not take. */
#define BH_REDIS_SUBSCRIBE_PAUSE_MS 200

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
    /* Sharded: the probe's channel has changed, or was subscribed again, on a link that is up. */
    void (*on_probe_channel)(struct bh_redis_subscriptions *s);
    /* Sharded: the server has answered MOVED for that channel, the probe's maybe. False: it is not
     * the answer for a channel of that slot. True: it is noted; the channel has been removed, or is
     * tried again after a pause. */
    bool (*on_moved)(struct bh_redis_subscriptions *s, struct bh_slice channel,
                     struct bh_slice answer);
    /* The link is down; the sink is told after that. */
    void (*on_lost)(struct bh_redis_subscriptions *s);
    void *ud;               /* the owner's */
    struct bh_map channels; /* struct subscription by channel */
    struct bh_list queue;   /* subscriptions whose next command is to be sent */
    struct bh_defer flush;
    struct {                               /* sharded only */
        struct bh_redis_command_fifo fifo; /* struct subscription and whether it is subscribed; NULL
                                              for a PING */
        struct bh_list paused;             /* as `queue`, until the timer */
        struct bh_timer pause;
        size_t leaving; /* channels */
    } sharded;
    size_t unconfirmed;    /* channels in commands that Redis has not confirmed */
    size_t restoring;      /* channels to be confirmed before this connection counts as up */
    uint64_t heard;        /* messages, confirmations and answers to PING */
    uint64_t heard_before; /* `heard` at the last check */
    uint64_t pinged_ms;    /* when a PING was sent, if nothing has arrived since; 0: none */
    unsigned pongs_due;
    bool subscribing; /* a SUBSCRIBE was sent on this connection */
    bool probing;     /* on_probing was called for this connection */
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
/* False: it was not there. */
bool bh_redis_subscriptions_remove(struct bh_redis_subscriptions *s, struct bh_slice topic);
/* Sharded: as _remove, but a topic that is live stays subscribed, and its messages come, until it
 * is released or the link is lost: meanwhile it is subscribed elsewhere. After the release no
 * message of it comes. */
bool bh_redis_subscriptions_leave(struct bh_redis_subscriptions *s, struct bh_slice topic);
void bh_redis_subscriptions_release(struct bh_redis_subscriptions *s, struct bh_slice topic);
/* A subscription of the topic was sent, and is live, or will be. */
bool bh_redis_subscriptions_has_sent(const struct bh_redis_subscriptions *s, struct bh_slice topic);
/* Sharded: probes go to the slot of that hash tag from now on. */
void bh_redis_subscriptions_set_probe(struct bh_redis_subscriptions *s, const char *tag);
/* The probe's channel is live. */
bool bh_redis_subscriptions_is_probed(const struct bh_redis_subscriptions *s);
/* Also subscribes to what the other one wants. */
void bh_redis_subscriptions_copy(struct bh_redis_subscriptions *s,
                                 const struct bh_redis_subscriptions *other);
/* Calls the sink's on_subscribed for each topic that is live. */
void bh_redis_subscriptions_report_live(struct bh_redis_subscriptions *s);
/* Iteration over the topics that were added and not removed: start with *cursor = 0; false at the
 * end. *channel is valid until the next call to any function. When there were others in between,
 * some may be left out. */
bool bh_redis_subscriptions_next(const struct bh_redis_subscriptions *s, size_t *cursor,
                                 struct bh_slice *channel, bool *live);

#endif
