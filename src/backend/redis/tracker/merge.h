/* merge.h - a lookup of several parts of the tracker, answered as one. Private to the tracker.
 * Thread: the worker's. */
#ifndef BELLHOP_BACKEND_REDIS_MERGE_H
#define BELLHOP_BACKEND_REDIS_MERGE_H

#include "tracker/parts.h"

/* As bh_tracker_vt.lookup. Users are asked for in their parts; the connections of a tenant are in
 * all of them, and are summed. An error of one part is that of all; as_of is the oldest. */
void bh_redis_parts_lookup(struct bh_redis_tracker *const parts[BH_REDIS_PARTS], unsigned worker,
                           enum bh_lookup what, const struct bh_slice *names, size_t count,
                           bh_tracker_cb done, void *ud, bh_handle handle);

#endif
