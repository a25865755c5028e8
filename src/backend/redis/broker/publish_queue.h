/* waiting.h - publishes that wait for Redis to come back. Private to the broker.
 *
 * One for each worker, bounded in number, bytes and time; a configuration that allows none refuses
 * at once. They go in the order in which they came. Thread: the worker's. */
#ifndef BELLHOP_BACKEND_REDIS_WAITING_H
#define BELLHOP_BACKEND_REDIS_WAITING_H

#include "bellhop/backend/redis.h"
#include "bellhop/base/list.h"
#include "bellhop/io/timer.h"

#define BH_REDIS_WAITING_BYTES_MAX (64u * 1024 * 1024)

struct bh_redis_waiting {
    const struct bh_redis_config *config;
    struct bh_loop *loop;
    struct bh_list list; /* the oldest first */
    size_t count, bytes;
    struct bh_timer timer;
    /* Set by the owner. Whether it makes sense to send now, and how. */
    bool (*is_open)(struct bh_redis_waiting *w);
    void (*send)(struct bh_redis_waiting *w, struct bh_message *m, bh_broker_published_cb done,
                 void *ud, bh_handle handle);
};

/* is_open and send are set, config is borrowed. */
void bh_redis_waiting_start(struct bh_redis_waiting *w, struct bh_loop *loop,
                            const struct bh_redis_config *config);
/* False: there is no room, and done is not called. Else it is called once, later. Refs m. */
bool bh_redis_waiting_add(struct bh_redis_waiting *w, struct bh_message *m,
                          bh_broker_published_cb done, void *ud, bh_handle handle);
/* Completes those that wait with BH_EUNAVAIL. Harmless when it has never started. */
void bh_redis_waiting_stop(struct bh_redis_waiting *w);

#endif
