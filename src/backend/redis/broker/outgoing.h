/* outgoing.h - a publish as a command, and what the reply means: for the broker of one node, and
 * for that of a cluster. Private to the backend. Thread: the link's. */
#ifndef BELLHOP_BACKEND_REDIS_OUTGOING_H
#define BELLHOP_BACKEND_REDIS_OUTGOING_H

#include "link/link.h"

extern const char bh_redis_queue_full[];

/* "*3", and PUBLISH or SPUBLISH: the channel and the message follow. */
#define BH_REDIS_PUBLISH  "*3\r\n$7\r\nPUBLISH\r\n"
#define BH_REDIS_SPUBLISH "*3\r\n$8\r\nSPUBLISH\r\n"
static inline struct bh_slice bh_redis_publish_head(const struct bh_redis_config *config) {
    return config->sharded ? BH_SLICE(BH_REDIS_SPUBLISH) : BH_SLICE(BH_REDIS_PUBLISH);
}

/* Writes the whole command, PUBLISH or SPUBLISH; returns its end, to be committed. NULL with *why,
 * as bh_redis_link_begin. */
char *bh_redis_publish_begin(struct bh_redis_link *link, struct bh_slice prefix,
                             const struct bh_message *m, const char **why);
/* A completion as bh_broker_published_cb has it: the error. Counts errors. */
int bh_redis_published(int error, const struct bh_reply *reply, int64_t *receivers,
                       const char **why);
/* It is not sent: BH_EUNAVAIL. */
void bh_redis_reject(bh_broker_published_cb done, void *ud, bh_handle handle, const char *why);

#endif
