/* tenants.h - how many connections each tenant has on this instance, written to Redis. Private to
 * the tracker. Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_TENANTS_H
#define BELLHOP_BACKEND_REDIS_TENANTS_H

#include "bellhop/base/map.h"
#include "tracker/registration.h"

struct bh_redis_tenants {
    struct bh_redis_registration *registration;
    struct bh_map map;             /* struct tenant by name */
    struct bh_list dirty, writing; /* to be written; in the call in flight */
    struct bh_timer timer;
    void (*on_written)(struct bh_redis_tenants *tenants); /* in a restore, after each call */
};

void bh_redis_tenants_init(struct bh_redis_tenants *tenants, struct bh_redis_registration *r,
                           struct bh_loop *bus, void (*on_done)(struct bh_redis_tenants *));
void bh_redis_tenants_clear(struct bh_redis_tenants *tenants);
/* n: 1 or -1 connections. In a restore they are only counted; bh_redis_tenants_write, at its end,
 * writes them: true while counts are not yet confirmed, and then on_written follows. */
void bh_redis_tenants_add(struct bh_redis_tenants *tenants, struct bh_slice name, int n);
bool bh_redis_tenants_write(struct bh_redis_tenants *tenants);

#endif
