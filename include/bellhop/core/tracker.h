/* tracker.h - the port that answers "which connections has this user, and where".
 *
 * Called on a worker's thread, completes exactly once on the same thread, maybe before the call
 * returns. The memory tracker asks the workers of this instance; a tracker over Redis asks the
 * cluster. */
#ifndef BELLHOP_CORE_TRACKER_H
#define BELLHOP_CORE_TRACKER_H

#include "bellhop/core/subscriber.h"

struct bh_connection_info {
    struct bh_slice instance;
    struct bh_slice tenant; /* empty: none */
    uint64_t number;
    int64_t opened_at; /* Unix milliseconds */
};

struct bh_presence {
    size_t count;                                 /* connections of the user */
    const struct bh_connection_info *connections; /* NULL when only counts were asked for */
};

/* One presence for each user asked for, in their order; valid during the call. as_of: Unix ms at
 * which all of it was true. */
typedef void (*bh_tracker_cb)(void *ud, bh_handle handle, int error,
                              const struct bh_presence *users, size_t count, int64_t as_of);

struct bh_tracker;

struct bh_tracker_vt {
    void (*lookup)(struct bh_tracker *t, struct bh_worker *worker, const struct bh_slice *users,
                   size_t count, bool with_connections, bh_tracker_cb done, void *ud,
                   bh_handle handle);
    void (*free)(struct bh_tracker *t);
};

struct bh_tracker {
    const struct bh_tracker_vt *vt;
};

#endif
