/* heartbeat.h - calls of heartbeat.lua and what they return. Private to the tracker. */
#ifndef BELLHOP_BACKEND_REDIS_HEARTBEAT_H
#define BELLHOP_BACKEND_REDIS_HEARTBEAT_H

#include "tracker/registration.h"

struct bh_redis_heartbeat {
    int64_t ends; /* of the lease; 0: it does not run */
    int64_t held; /* connections of the registration */
    int64_t epoch;
    enum bh_tracker_previous previous;
    int64_t living; /* registrations; 0: some instances may not have returned yet */
    const struct bh_reply *dead, *events, *due;
    size_t dead_count, event_count, due_count;
};

/* mode: "begin", "beat" or "end". living: as last returned. */
struct bh_redis_call *bh_redis_heartbeat_call(const struct bh_redis_registration *r,
                                              const char *mode, int64_t living);
/* False: the reply is malformed. *out points into the reply. */
bool bh_redis_heartbeat_parse(const struct bh_reply *reply, struct bh_redis_heartbeat *out);

#endif
