/* route.h - commands that go to the server of their key, wherever that is. Private to the backend.
 *
 * With one Redis, and with several independent ones, the server is fixed: the command is written to
 * its link at once, and nothing is redirected. In a cluster the slot of the key decides; there a
 * command may wait until the link to its master is up, and is sent again when the answer is MOVED,
 * ASK, TRYAGAIN or CLUSTERDOWN, for at most command_timeout. Commands of one slot and one thread
 * are executed in the order in which they were routed, also when the slot moves.
 *
 * Embed struct bh_redis_routed in what makes the command. Thread: the worker's, or the bus for
 * BH_REDIS_BUS. */
#ifndef BELLHOP_BACKEND_REDIS_ROUTE_H
#define BELLHOP_BACKEND_REDIS_ROUTE_H

#include "bellhop/base/list.h"
#include "link/link.h"

/* In place of a worker: the bus. Only in a cluster. */
#define BH_REDIS_BUS UINT32_MAX

/* A link that a command was sent on is that long there after its reply, lost or closed maybe. */
#define BH_REDIS_LINK_KEPT_MS 30000

struct bh_redis_routed;
struct bh_redis_peer;

struct bh_redis_routed_vt {
    /* Writes the command into that link. NULL, or why it cannot be sent now (a constant), as of
     * bh_redis_link_begin: then `fail` follows. Called again when it is redirected. */
    const char *(*send)(struct bh_redis_routed *r, struct bh_redis_link *link);
    /* It has not been executed, and will not be: BH_EUNAVAIL with a constant sentence. Called once,
     * maybe inside bh_redis_route or bh_redis_reroute; frees it. */
    void (*fail)(struct bh_redis_routed *r, int error, const char *why);
};

struct bh_redis_routed {
    const struct bh_redis_routed_vt *vt; /* set by the caller */
    uint32_t bytes;                      /* by the caller: what it holds while it waits, about */
    /* The rest belongs to the cluster; zeroed at first. */
    uint16_t slot;
    uint8_t redirected; /* how often */
    uint64_t until_ms;  /* of bh_loop_now; 0: it has not been routed yet */
    struct bh_redis_peer *sent_to;
    struct bh_list node;
};

/* What each kind of broker does for the functions below: a struct bh_broker of this backend is the
 * first member of a struct bh_redis_routing, whose `ways` are the kind's. So this room does not
 * know the cluster. */
struct bh_redis_routing {
    struct bh_broker base;
    const struct bh_redis_ways *ways;
};
struct bh_redis_outgoing;
struct bh_redis_watch;
struct bh_redis_ways {
    /* NULL: nothing is redirected, and it is no cluster; so with watch. */
    bool (*reroute)(struct bh_broker *b, unsigned worker, struct bh_redis_routed *r,
                    const struct bh_reply *reply);
    void (*route)(struct bh_broker *b, unsigned worker, struct bh_redis_routed *r,
                  struct bh_slice key);
    void (*append)(struct bh_broker *b, unsigned worker, const struct bh_redis_outgoing *out);
    void (*watch)(struct bh_broker *b, const struct bh_redis_watch *watch);
    struct bh_redis_locator *(*locator)(struct bh_broker *b, struct bh_loop *loop,
                                        struct bh_slice key);
    const struct bh_redis_config *(*config)(struct bh_broker *b, struct bh_slice key);
    struct bh_redis *(*commands)(struct bh_broker *b);
};

/* Sends it to the server of the key, now or later. Again for the same command, when it has been
 * answered and is to be sent in another form: it keeps its time. */
void bh_redis_route(struct bh_broker *broker, unsigned worker, struct bh_redis_routed *r,
                    struct bh_slice key);
/* In the completion, before the reply is used. True: the reply was a redirection, and the command
 * will be sent again, or has failed. Never with one Redis. */
bool bh_redis_reroute(struct bh_broker *broker, unsigned worker, struct bh_redis_routed *r,
                      const struct bh_reply *reply);

/* For the kinds: writes it into that link (NULL: it fails), now. */
void bh_redis_route_to(struct bh_redis_link *link, struct bh_redis_routed *r);

/* As bh_redis_node_append (broker.h), at the server of the topic of its message. */
void bh_redis_broker_append(struct bh_broker *broker, unsigned worker,
                            const struct bh_redis_outgoing *out);

/* Whether the broker is a cluster. Any thread. */
bool bh_redis_broker_is_cluster(const struct bh_broker *broker);
/* Hears of the links of the bus to the masters of a cluster, on the bus. */
struct bh_redis_watch {
    /* It is READY (again), and nothing was sent yet. */
    void (*up)(void *ud, struct bh_redis_link *link);
    /* At an interval while it is, as on_check of a link. */
    void (*check)(void *ud, struct bh_redis_link *link);
    /* Once after each `up`: it is lost, or closed because the master is gone or the bus stops. What
     * was sent has been completed. */
    void (*down)(void *ud, struct bh_redis_link *link);
    void *ud;
};
/* Of a cluster, before its start: links to all masters are opened for it. Copies watch. */
void bh_redis_broker_watch(struct bh_broker *broker, const struct bh_redis_watch *watch);

/* For a link of the caller's own that has to be where the key is: a locator that follows the key
 * when it moves (NULL: the configuration names the server), and the configuration of the link,
 * which lives as long as the broker. The locator belongs to the link, on that loop and its thread.
 */
struct bh_redis_locator *bh_redis_broker_locator(struct bh_broker *broker, struct bh_loop *loop,
                                                 struct bh_slice key);
const struct bh_redis_config *bh_redis_broker_config(struct bh_broker *broker, struct bh_slice key);

#endif
