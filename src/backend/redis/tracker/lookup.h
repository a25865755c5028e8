/* lookup.h - who is online, on which connections: one call of lookup.lua. Private to the tracker.
 */
#ifndef BELLHOP_BACKEND_REDIS_LOOKUP_H
#define BELLHOP_BACKEND_REDIS_LOOKUP_H

#include "bellhop/core/tracker.h"
#include "tracker/registration.h"

/* As the arguments of bh_tracker_vt.lookup. */
struct bh_redis_question {
    enum bh_lookup what;
    const struct bh_slice *names;
    size_t count;
    size_t total; /* names that are asked for in all parts at the same time: they share the bound */
    bool complete; /* Redis has all connections of this instance */
    bh_tracker_cb done;
    void *ud;
    bh_handle handle;
};

/* Routed to the server of the keys, for the worker that asks. Of r only what does not change is
 * used. Thread: the worker's. */
void bh_redis_lookup(const struct bh_redis_registration *r, struct bh_broker *broker,
                     unsigned worker, const struct bh_redis_question *q);

#endif
