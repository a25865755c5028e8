/* events.h - events of presence: raised once, also when a reply is lost. Private to the tracker.
 * Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_EVENTS_H
#define BELLHOP_BACKEND_REDIS_EVENTS_H

#include "bellhop/base/map.h"
#include "bellhop/core/tracker.h"
#include "tracker/registration.h"

struct bh_redis_events {
    struct bh_redis_registration *registration;
    const struct bh_tracker_sink *sink;
    struct bh_map map;              /* struct pending_event by its text: raised and not yet acked */
    struct bh_list waiting, acking; /* the ack is to be sent; is in flight */
    struct bh_defer flush;
};

void bh_redis_events_init(struct bh_redis_events *e, struct bh_redis_registration *r,
                          const struct bh_tracker_sink *sink);
void bh_redis_events_deinit(struct bh_redis_events *e);
/* A script has decided "<at> +<user>" or "<at> -<user>": calls the sink, unless it has been called
 * for this text already, and acks soon. Other text is ignored. */
void bh_redis_events_raise(struct bh_redis_events *e, struct bh_slice text);
/* For each string. Acks that Redis has rejected are sent again. */
void bh_redis_events_raise_all(struct bh_redis_events *e, const struct bh_reply *texts,
                               size_t count);
/* Removes what has been raised from Redis. Called by itself, except when a registration begins and
 * before it ends. */
void bh_redis_events_ack(struct bh_redis_events *e);
/* The registration ends: acks in flight are sent again under the next one. */
void bh_redis_events_not_acked(struct bh_redis_events *e);

#endif
