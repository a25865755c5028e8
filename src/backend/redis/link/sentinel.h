/* sentinel.h - a conversation with Redis Sentinels about where the master is. Private to the link.
 *
 * It talks to one Sentinel at a time; when that fails, the next one of the list is asked, at the
 * pace of a back-off, until one answers. Thread: the loop's. */
#ifndef BELLHOP_BACKEND_REDIS_SENTINEL_H
#define BELLHOP_BACKEND_REDIS_SENTINEL_H

#include "link/link.h"

/* The connect timeout, at most: a Sentinel that does not answer is given up sooner than Redis. */
#define BH_REDIS_SENTINEL_TIMEOUT_MS 1000

struct bh_redis_sentinel;

/* host is valid during the call, which may stop the conversation. */
typedef void (*bh_redis_sentinel_cb)(struct bh_redis_sentinel *s, const char *host, uint16_t port);

struct bh_redis_sentinel {
    struct bh_redis_link link;
    const struct bh_redis_config *given;
    struct bh_redis_config config; /* `given`, for the current Sentinel; owns nothing */
    char host[BH_REDIS_HOST_MAX + 1];
    unsigned current; /* its place in the list */
    bh_redis_sentinel_cb on_master;
    struct bh_redis_link *owner; /* the link that asks; NULL for a watch */
    struct bh_timer timer;       /* of a watch, for its PINGs */
    bool heard;                  /* something, since the last PING */
};

/* config is borrowed, and names Sentinels. */
void bh_redis_sentinel_init(struct bh_redis_sentinel *s, const struct bh_redis_config *config);
/* on_master follows once, then the conversation is over. Uses the TLS of owner, and sets its
 * down_reason meanwhile. */
void bh_redis_sentinel_ask(struct bh_redis_sentinel *s, struct bh_redis_link *owner,
                           bh_redis_sentinel_cb on_master);
/* on_master follows for each Sentinel that is connected, and for each failover that it announces.
 */
void bh_redis_sentinel_watch(struct bh_redis_sentinel *s, struct bh_loop *loop,
                             bh_redis_sentinel_cb on_master);
/* Harmless when nothing is under way. The memory must stay until the next tick. */
void bh_redis_sentinel_stop(struct bh_redis_sentinel *s);

#endif
