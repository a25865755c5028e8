/* changes.h - connections that came or went, written to Redis in batches. Private to the tracker.
 * Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_CHANGES_H
#define BELLHOP_BACKEND_REDIS_CHANGES_H

#include "tracker/departed.h"
#include "tracker/events.h"
#include "tracker/tenants.h"

struct bh_redis_changes {
    struct bh_redis_registration *registration;
    struct bh_redis_departed *departed;
    struct bh_redis_events *events;
    struct bh_redis_tenants *tenants;
    /* The restore has ended and all of it is written: the registration becomes LIVE. */
    void (*on_complete)(struct bh_redis_changes *c);

    struct bh_bytes queue; /* of struct entry, each followed by its names */
    size_t head, count;
    size_t in_flight; /* the first so many entries are in the batch that is being written */
    uint64_t sent;    /* batches */
    struct bh_defer flush;
    struct bh_timer pace;
    bool restored;       /* the node has called `restored` */
    size_t restore_left; /* entries queued by then that are not confirmed yet */
    int64_t held;        /* connections that Redis has confirmed */
};

/* The five pointers have been set. */
void bh_redis_changes_init(struct bh_redis_changes *c, struct bh_loop *bus);
/* Forgets what is queued, in flight and confirmed. */
void bh_redis_changes_clear(struct bh_redis_changes *c);
void bh_redis_changes_add(struct bh_redis_changes *c, const struct bh_track *changes, size_t count);
/* The node has reported all connections. */
void bh_redis_changes_restored(struct bh_redis_changes *c);
/* Sends the next batch, or completes the restore, if it can. */
void bh_redis_changes_pump(struct bh_redis_changes *c);

#endif
