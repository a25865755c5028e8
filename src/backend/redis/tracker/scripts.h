/* scripts.h - the scripts of the tracker, which the build makes from lua/redis. Private to it. */
#ifndef BELLHOP_BACKEND_REDIS_TRACKER_SCRIPTS_H
#define BELLHOP_BACKEND_REDIS_TRACKER_SCRIPTS_H

#include "broker/scripts.h"

extern const struct bh_redis_script bh_redis_script_heartbeat, bh_redis_script_track,
    bh_redis_script_presence, bh_redis_script_tenants, bh_redis_script_reap, bh_redis_script_lookup,
    bh_redis_script_audit, bh_redis_script_namesakes;

#endif
