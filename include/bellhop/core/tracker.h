/* tracker.h - the port that knows which connections a user has, on which instance, and who comes
 * and goes.
 *
 * On the bus the node tells the tracker of each connection that comes or goes, if it wants to be
 * told; when the tracker's store has lost them, it asks to be told of all again. Questions are
 * asked on a worker's thread and complete exactly once on the same thread, maybe before the call
 * returns. The memory tracker asks the workers of this instance; a tracker over Redis knows the
 * cluster. */
#ifndef BELLHOP_CORE_TRACKER_H
#define BELLHOP_CORE_TRACKER_H

#include "bellhop/core/subscriber.h"

/* A connection that has come, or gone. Only those of a user are told. */
struct bh_track {
    bool here; /* false: it has gone */
    uint64_t number;
    int64_t opened_at; /* Unix milliseconds */
    struct bh_slice user;
    struct bh_slice tenant; /* empty: none */
};

/* Implemented by the node; called on the bus thread, never from within a verb. */
struct bh_tracker_sink {
    /* Tell of all connections there are, by `changed`, then `restored`. Others may come and go
     * meanwhile; a connection may be told twice. */
    void (*on_restore)(void *ud);
    /* A user came online or went offline, debounced, and raised once in the cluster. */
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
    const struct bh_connection_info *connections; /* NULL when only counts were asked for */
    bool uncertain; /* some may be missing: instances are on their way back after an outage */
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
    /* Any thread: 0 when all connections of this instance can be found, or that cannot be helped
     * now; else BH_EUNAVAIL and *why, a constant sentence. NULL: always 0. */
    int (*ready)(const struct bh_tracker *t, const char **why);
    void (*free)(struct bh_tracker *t); /* after stop; no thread runs */
};

struct bh_tracker {
    const struct bh_tracker_vt *vt;
    bool wants_changes; /* set before start; else `changed` is not called */
};

#endif
