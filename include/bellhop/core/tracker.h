/* tracker.h - the port to the tracker, which knows the connections of each user, and on which
 * instance they are.
 *
 * On the bus the node reports each connection that opens or closes, if wants_changes is set; when
 * the tracker's store has lost them, it asks the node to report all again. Lookups are started on a
 * worker's thread and complete exactly once on the same thread, maybe before the call returns. The
 * memory tracker asks the workers of this instance; the Redis tracker knows the cluster. */
#ifndef BELLHOP_CORE_TRACKER_H
#define BELLHOP_CORE_TRACKER_H

#include "bellhop/core/subscriber.h"

/* A connection that opened or closed. Only connections of a user are reported. */
struct bh_track {
    bool here;  /* false: it closed */
    bool again; /* it has been open, and is reported for a restore */
    uint64_t number;
    int64_t opened_at; /* Unix milliseconds */
    struct bh_slice user;
    struct bh_slice tenant; /* empty: none */
};

/* Implemented by the node; called on the bus thread, never from within a verb. */
struct bh_tracker_sink {
    /* Report all connections by `changed`, then call `restored`. Others may open and close
     * meanwhile; a connection may be reported twice. */
    void (*on_restore)(void *ud);
    /* A user went online or offline; debounced, and raised once in the cluster. */
    void (*on_presence)(void *ud, struct bh_slice user, bool online, int64_t at);
    void *ud;
};

struct bh_connection_info {
    struct bh_slice instance;
    struct bh_slice tenant; /* empty: none */
    uint64_t number;
    int64_t opened_at; /* Unix milliseconds */
};

struct bh_presence {
    size_t count;                                 /* connections of the user, or of the tenant */
    const struct bh_connection_info *connections; /* NULL for lookups that only count */
    /* Some may be missing, or have gone: instances register again after an outage, or the store
     * rejects their writes. From a tracker: and those of this instance are left out; it may be so
     * for some of the names only. */
    bool uncertain;
};

enum bh_lookup { BH_LOOKUP_ONLINE, BH_LOOKUP_CONNECTIONS, BH_LOOKUP_TENANTS };

/* One presence for each name asked for, in their order; valid during the call. as_of: Unix ms at
 * which all of it was true. error: BH_EUNAVAIL, BH_EIO, BH_ETIMEDOUT, BH_EINVAL (a bad name). */
typedef void (*bh_tracker_cb)(void *ud, bh_handle handle, int error,
                              const struct bh_presence *found, size_t count, int64_t as_of);

struct bh_tracker;
struct bh_loop;

struct bh_tracker_vt {
    /* Bus thread. sink is copied. */
    int (*start)(struct bh_tracker *t, struct bh_loop *bus, const struct bh_tracker_sink *sink);
    void (*changed)(struct bh_tracker *t, const struct bh_track *changes, size_t count);
    void (*restored)(struct bh_tracker *t);
    void (*stop)(struct bh_tracker *t); /* no callback afterwards */
    /* Worker's thread. Users, or tenants for BH_LOOKUP_TENANTS; the ids are checked. */
    void (*lookup)(struct bh_tracker *t, struct bh_worker *worker, enum bh_lookup what,
                   const struct bh_slice *names, size_t count, bh_tracker_cb done, void *ud,
                   bh_handle handle);
    /* Any thread: BH_EUNAVAIL and *why, a constant string, while connections of this instance are
     * missing in the store and are being registered; else 0. NULL: always 0. */
    int (*ready)(const struct bh_tracker *t, const char **why);
    void (*free)(struct bh_tracker *t); /* after stop; no thread runs */
};

struct bh_tracker {
    const struct bh_tracker_vt *vt;
    bool wants_changes; /* set before start; else `changed` is not called */
};

#endif
