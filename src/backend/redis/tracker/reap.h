/* reap.h - cleaning up after registrations that have ended. Private to the tracker. Thread: the
 * bus.
 */
#ifndef BELLHOP_BACKEND_REDIS_REAP_H
#define BELLHOP_BACKEND_REDIS_REAP_H

#include "tracker/registration.h"

#define BH_REDIS_DEAD_MAX 10

struct bh_redis_reap {
    struct bh_redis_registration *registration;
    char claimant[BH_UNIQUE_ID_LEN + 1]; /* the id under which this process claims */
    struct bh_tracker_name dead[BH_REDIS_DEAD_MAX];
    size_t count; /* of dead; the last one is the current one */
    char cursor[24];
    int64_t removed; /* connections of the current one */
};

void bh_redis_reap_init(struct bh_redis_reap *reap, struct bh_redis_registration *r);
void bh_redis_reap_clear(struct bh_redis_reap *reap);
/* Names of registrations whose leases have ended. Does nothing while others are being reaped. */
void bh_redis_reap_start(struct bh_redis_reap *reap, const struct bh_reply *names, size_t count);

#endif
