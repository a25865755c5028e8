/* probe.h - proves that published messages come back. Private to the broker.
 *
 * Thread: the bus; what is atomic may be read from any. */
#ifndef BELLHOP_BACKEND_REDIS_PROBE_H
#define BELLHOP_BACKEND_REDIS_PROBE_H

#include "bellhop/base/id.h"
#include "broker/feed.h"
#include "link/hello.h"

/* A probe that has not come back after that long is missing. */
#define BH_REDIS_PROBE_MISSING_MS 1000

struct bh_redis_probe {
    struct bh_redis_link link;
    struct bh_redis_hello hello; /* of the server; not in a cluster */
    const struct bh_redis_config *config;
    struct bh_redis_feed *feed;
    /* Sharded: the server has answered MOVED; the owner chooses another channel. */
    void (*on_moved)(struct bh_redis_probe *p, struct bh_slice answer);
    struct bh_timer timer;            /* the interval */
    struct bh_timer deadline;         /* when the last probe is missing */
    uint64_t number;                  /* of the last probe: an answer to an older one is ignored */
    char token[BH_UNIQUE_ID_LEN + 1]; /* of the last probe; empty: it has come back */
    bool unanswered;                  /* its PUBLISH */
    bool accepted;                    /* its PUBLISH has been executed */
    uint64_t heard;                   /* by the active link, when it was sent */
    unsigned lost;                    /* probes in a row that were accepted and did not come back */
    _Atomic(const char *) rejection;  /* why Redis did not execute the last one; NULL: it did */
    atomic_bool up;
    atomic_bool missing;                /* a probe is, and none has come back since */
    atomic_uint_fast64_t unanswered_ms; /* bh_clock_ms when Redis last did not answer one in time */
    atomic_uint_fast64_t
        proven_ms; /* bh_clock_ms when a probe last came back; 0: none on this link */
};

/* config and feed are borrowed. From here on bh_redis_probe_ready may be called. */
void bh_redis_probe_init(struct bh_redis_probe *p, const struct bh_redis_config *config,
                         struct bh_redis_feed *feed);
void bh_redis_probe_start(struct bh_redis_probe *p, struct bh_loop *loop,
                          struct bh_redis_locator *locator);
void bh_redis_probe_stop(struct bh_redis_probe *p);
/* A token has arrived at the active link. */
void bh_redis_probe_arrived(struct bh_redis_probe *p, struct bh_slice token);
/* A new active link has subscribed to the probe's channel: the old proof is void. */
void bh_redis_probe_restart(struct bh_redis_probe *p);
/* Sends one now, instead of the one that is missing. */
void bh_redis_probe_again(struct bh_redis_probe *p);
/* Sharded: the channel has changed. The last probe is not waited for; bh_redis_probe_again follows
 * when the new channel is subscribed. */
void bh_redis_probe_moved(struct bh_redis_probe *p);
/* Any thread: 0 or BH_EUNAVAIL and *why. `ready` is red once a probe is missing; `recent` only when
 * none has come back for two intervals, so that a Redis that is busy for a moment stops nothing. */
int bh_redis_probe_ready(const struct bh_redis_probe *p, const char **why);
int bh_redis_probe_recent(const struct bh_redis_probe *p, const char **why);

#endif
