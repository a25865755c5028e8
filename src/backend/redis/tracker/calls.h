/* calls.h - calls of track.lua and tenants.lua, which a registration makes for itself and, in mode
 * "reap", for one that has ended; and the keys of users and tenants. Private to the tracker. */
#ifndef BELLHOP_BACKEND_REDIS_CALLS_H
#define BELLHOP_BACKEND_REDIS_CALLS_H

#include "tracker/registration.h"

/* The keys connections:<user> and tenant:<tenant>, with the id encoded. */
void bh_redis_user_key(struct bh_redis_call *call, struct bh_slice user);
void bh_redis_tenant_key(struct bh_redis_call *call, struct bh_slice tenant);

/* mode: "live" or "reap". name: of the registration whose entries change. */
struct bh_redis_call *bh_redis_track_call(const struct bh_redis_registration *r,
                                          struct bh_slice name, const char *mode);
/* value: empty when the connection has gone. announced: as in track.lua. */
void bh_redis_track_change(struct bh_redis_call *call, struct bh_slice user,
                           struct bh_slice connection, struct bh_slice value,
                           struct bh_slice announced);

struct bh_redis_call *bh_redis_tenants_call(const struct bh_redis_registration *r,
                                            struct bh_slice name, const char *mode);
void bh_redis_tenants_count(struct bh_redis_call *call, struct bh_slice tenant,
                            int64_t connections);

#endif
