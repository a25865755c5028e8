/* publish_queue.h - publishes that wait until Redis is back. Private to the broker.
 *
 * Each worker has one, bounded in number, bytes and time; a configuration that allows none rejects
 * them at once. They are sent in their order. Thread: the worker's. */
#ifndef BELLHOP_BACKEND_REDIS_PUBLISH_QUEUE_H
#define BELLHOP_BACKEND_REDIS_PUBLISH_QUEUE_H

#include "bellhop/backend/redis.h"
#include "bellhop/base/list.h"
#include "bellhop/io/timer.h"

#define BH_REDIS_PUBLISH_QUEUE_BYTES_MAX (64u * 1024 * 1024)

/* One publish, or an append to the history: then `append` sends it in place of a PUBLISH. */
struct bh_redis_outgoing {
    struct bh_message *message;
    void (*append)(const struct bh_redis_outgoing *out); /* NULL: a publish */
    bool again;                  /* it was sent on a link that was lost: it waits in any case */
    bh_broker_published_cb done; /* of an append: when it is not sent */
    void *ud;
    bh_handle handle;
};

struct bh_redis_publish_queue {
    const struct bh_redis_config *config;
    struct bh_loop *loop; /* NULL: not started, or stopped */
    struct bh_list list;  /* the oldest first */
    size_t count, bytes;
    struct bh_timer timer;
    /* Set by the owner: whether to send now, and how. */
    bool (*can_send)(struct bh_redis_publish_queue *q);
    void (*send)(struct bh_redis_publish_queue *q, const struct bh_redis_outgoing *out);
};

/* can_send and send are set, config is borrowed. */
void bh_redis_publish_queue_start(struct bh_redis_publish_queue *q, struct bh_loop *loop,
                                  const struct bh_redis_config *config);
/* Copies out and refs its message. False: the queue is full, and nothing is called. Else it is sent
 * or done is called, once, later. */
bool bh_redis_publish_queue_add(struct bh_redis_publish_queue *q,
                                const struct bh_redis_outgoing *out);
/* The one that is next; NULL: none waits. */
const struct bh_redis_outgoing *bh_redis_publish_queue_next(const struct bh_redis_publish_queue *q);
/* Completes those that wait with BH_EUNAVAIL. Harmless when it has never started. */
void bh_redis_publish_queue_stop(struct bh_redis_publish_queue *q);

#endif
