/* namesakes.h - other registrations under the id of this instance. Private to the tracker. Thread:
 * the bus. */
#ifndef BELLHOP_BACKEND_REDIS_NAMESAKES_H
#define BELLHOP_BACKEND_REDIS_NAMESAKES_H

#include "tracker/registration.h"

#define BH_REDIS_NAMESAKES_MAX 8

/* All zero but for the registration at first. */
struct bh_redis_namesakes {
    struct bh_redis_registration *registration;
    struct bh_redis_namesake {
        struct bh_tracker_name name;
        int64_t ends;  /* of its lease */
        int64_t since; /* first seen with that end; both in ms of Redis' clock */
        bool renews;   /* it is another host's */
    } seen[BH_REDIS_NAMESAKES_MAX];
    size_t count;
    bool in_flight;
    bool done; /* all are decided on, until the next registration */
};

void bh_redis_namesakes_clear(struct bh_redis_namesakes *n);
/* After each heartbeat of a complete registration: ends the leases of those that have not been
 * renewed for two heartbeats, and warns of those that have. */
void bh_redis_namesakes_step(struct bh_redis_namesakes *n);

#endif
