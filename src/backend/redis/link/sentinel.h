/* sentinel.h - asking Redis Sentinels where the master is. Private to the backend.
 *
 * One conversation with one Sentinel at a time; when it ends badly, the next one is asked, at the
 * pace of a back-off, for ever. Thread: the loop's. */
#ifndef BELLHOP_BACKEND_REDIS_SENTINEL_H
#define BELLHOP_BACKEND_REDIS_SENTINEL_H

#include "link/link.h"

#define BH_REDIS_HOST_MAX 255
/* One that does not answer is not waited for as long as Redis would be. */
#define BH_REDIS_SENTINEL_TIMEOUT_MS 1000

struct bh_redis_sentinel;

/* Valid during the call. May stop the conversation. */
typedef void (*bh_redis_sentinel_cb)(struct bh_redis_sentinel *s, const char *host, uint16_t port);

struct bh_redis_sentinel {
    struct bh_redis_link link;
    struct bh_redis_config config; /* for the Sentinel at hand; only `host` is its own */
    const struct bh_redis_config *of;
    bool watching;
    bh_redis_sentinel_cb on_master;
    struct bh_redis_link *asker; /* NULL for a watch */
    unsigned at;                 /* which one is at hand */
    char host[BH_REDIS_HOST_MAX + 1];
    char master_host[BH_REDIS_HOST_MAX + 1]; /* what the owner has noted */
    uint16_t master_port;
    struct bh_timer timer; /* a watcher's, for its PINGs */
    bool heard;            /* something, since the last PING */
    struct bh_defer reap;
};

/* config is borrowed, and has Sentinels. asker: the link that asks, which hears of what is wrong;
 * NULL for a watch. */
void bh_redis_sentinel_init(struct bh_redis_sentinel *s, const struct bh_redis_config *config,
                            struct bh_redis_link *asker);
/* Ask: on_master once, and the conversation is over. Watch: on_master with each Sentinel that is
 * turned to, and with each failover that it tells of. tls: what to use, may be NULL. */
void bh_redis_sentinel_ask(struct bh_redis_sentinel *s, struct bh_loop *loop,
                           struct bh_tls_connector *tls, bh_redis_sentinel_cb on_master);
void bh_redis_sentinel_watch(struct bh_redis_sentinel *s, struct bh_loop *loop,
                             bh_redis_sentinel_cb on_master);
/* Harmless when nothing is under way. The memory must stay until the next tick. */
void bh_redis_sentinel_stop(struct bh_redis_sentinel *s);
/* Stops one that bh_malloc has made, and frees it at the end of the tick. */
void bh_redis_sentinel_free(struct bh_redis_sentinel *s, struct bh_loop *loop);
void bh_redis_sentinel_note(struct bh_redis_sentinel *s, const char *host, uint16_t port);

#endif
