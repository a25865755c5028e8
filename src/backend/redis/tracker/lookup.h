/* lookup.h - who is online, on which connections: one call of lookup.lua. Private to the tracker.
 */
#ifndef BELLHOP_BACKEND_REDIS_LOOKUP_H
#define BELLHOP_BACKEND_REDIS_LOOKUP_H

#include "bellhop/core/tracker.h"
#include "tracker/registration.h"

/* As bh_tracker_vt.lookup, over the link of the worker that asks; NULL: it has none. complete:
 * Redis has all connections of this instance. Of r only what does not change is used. Thread: the
 * worker's. */
void bh_redis_lookup(const struct bh_redis_registration *r, struct bh_redis_link *link,
                     bool complete, enum bh_lookup what, const struct bh_slice *names, size_t count,
                     bh_tracker_cb done, void *ud, bh_handle handle);

#endif
