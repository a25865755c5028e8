/* tracker.h - the tracker over Redis for all users, or one of several parts that have a share of
 * the users each (parts.h). Private to the tracker. Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_TRACKER_H
#define BELLHOP_BACKEND_REDIS_TRACKER_H

#include "tracker/audit.h"
#include "tracker/changes.h"
#include "tracker/lookup.h"
#include "tracker/namesakes.h"
#include "tracker/reap.h"

/* What Redis has of the connections of this instance. */
enum bh_redis_standing {
    BH_STANDING_REGISTERING, /* some may be missing */
    BH_STANDING_REJECTED,    /* some are missing, because Redis rejects the writes */
    BH_STANDING_COMPLETE,    /* all, but for what is being written */
};

struct bh_redis_tracker {
    struct bh_tracker base;
    struct bh_tracker_sink sink;
    struct bh_broker *broker; /* of the node that has its keys, or a cluster */
    /* It has become LIVE. */
    void (*on_live)(struct bh_redis_tracker *t);
    void *ud; /* for on_live */
    struct bh_redis_registration registration;
    struct bh_redis_changes changes;
    struct bh_redis_events events;
    struct bh_redis_tenants tenants;
    struct bh_redis_departed departed;
    struct bh_redis_reap reap;
    struct bh_redis_audit audit;
    struct bh_redis_namesakes namesakes;

    atomic_int standing;          /* enum bh_redis_standing: for any thread */
    atomic_uint_fast64_t left_ms; /* bh_clock_ms when it last ceased to be LIVE; 0: never */
    unsigned failures;            /* registrations in a row that ended before they became LIVE */
    struct bh_timer pause;
    struct bh_defer restore; /* calls sink.on_restore, which no verb may do */
    struct bh_timer heartbeat_timer;
    struct {
        bool pending;
        bool ends_predecessor;
        uint64_t batches;           /* sent before it; UINT64_MAX: one was in flight */
        uint64_t sent_ms, asked_ms; /* asked_ms: of the one that returned who is due */
    } heartbeat;                    /* the one in flight */
    int64_t living;                 /* registrations of the cluster when all instances were there */
    bool more_due;                  /* more users were due than one heartbeat returns */
};

/* prefix: of its keys; parts: how many the tracker has; the broker, of one node or a cluster, is
 * borrowed. */
struct bh_redis_tracker *bh_redis_tracker_part(const struct bh_redis_tracker_config *tracker,
                                               struct bh_broker *broker, const char *prefix,
                                               unsigned parts);
/* Whether Redis has all connections of this instance. Any thread. */
bool bh_redis_tracker_is_complete(const struct bh_redis_tracker *t);
/* Worker's thread. */
void bh_redis_tracker_ask(struct bh_redis_tracker *t, unsigned worker,
                          const struct bh_redis_question *q);

#endif
