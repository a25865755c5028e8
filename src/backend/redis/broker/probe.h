/* probe.h - proves that published messages come back. Private to the broker.
 *
 * Thread: the bus; `up` and `proven_ms` may be read from any. */
#ifndef BELLHOP_BACKEND_REDIS_PROBE_H
#define BELLHOP_BACKEND_REDIS_PROBE_H

#include "bellhop/base/id.h"
#include "broker/subscriptions.h"
#include "link/link.h"

struct bh_redis_probe {
    struct bh_redis_link link;
    struct bh_timer timer;
    struct bh_redis_subscriptions *subscriptions;
    uint64_t number;                  /* of the last probe: an answer to an older one is ignored */
    char token[BH_UNIQUE_ID_LEN + 1]; /* of the last probe; empty: it has come back */
    bool unanswered;                  /* its PUBLISH */
    bool accepted;                    /* its PUBLISH has been executed */
    uint64_t heard;                   /* of the subscriptions, when it was sent */
    _Atomic(const char *) rejection;  /* why Redis did not execute the last one; NULL: it did */
    unsigned lost;                    /* probes in a row that were accepted and did not come back */
    atomic_bool up;
    atomic_uint_fast64_t
        proven_ms; /* bh_clock_ms when a probe last came back; 0: none on this link */
};

void bh_redis_probe_start(struct bh_redis_probe *p, struct bh_loop *loop,
                          const struct bh_redis_config *config,
                          struct bh_redis_subscriptions *subscriptions,
                          struct bh_redis_locator *locator);
void bh_redis_probe_stop(struct bh_redis_probe *p);
/* A token has arrived at the subscriber link. */
void bh_redis_probe_arrived(struct bh_redis_probe *p, struct bh_slice token);
/* A new subscriber link has subscribed to the probe's channel: the old proof is void. */
void bh_redis_probe_restart(struct bh_redis_probe *p);
/* Any thread: 0 or BH_EUNAVAIL and *why. */
int bh_redis_probe_ready(const struct bh_redis_probe *p, const char **why);

#endif
