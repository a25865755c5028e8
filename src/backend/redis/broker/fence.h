/* fence.h - proves that what this instance has published before has come back. Private to the
 * broker.
 *
 * A token that is published when Redis has confirmed other messages follows them to the subscriber
 * link, because Redis keeps the order. Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_FENCE_H
#define BELLHOP_BACKEND_REDIS_FENCE_H

#include "bellhop/base/id.h"
#include "link/link.h"

struct bh_redis_fence {
    char token[BH_UNIQUE_ID_LEN + 1];
    void (*done)(void *ud, bool proven); /* NULL: none is under way */
    void *ud;
};

/* Publishes the token on that link, to a channel that this instance is subscribed to; as
 * bh_broker_vt.fence. */
void bh_redis_fence_begin(struct bh_redis_fence *f, struct bh_redis_link *link,
                          struct bh_slice channel, void (*done)(void *ud, bool proven), void *ud);
/* True if it was the token. */
bool bh_redis_fence_arrived(struct bh_redis_fence *f, struct bh_slice token);
/* No callback afterwards. */
void bh_redis_fence_stop(struct bh_redis_fence *f);

#endif
