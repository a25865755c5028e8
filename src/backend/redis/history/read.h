/* read.h - what the bus reads from the history of one Redis, or of a cluster. Private to the
 * history. Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_READ_H
#define BELLHOP_BACKEND_REDIS_HISTORY_READ_H

#include "bellhop/core/history.h"
#include "history/functions.h"

/* As bh_history_vt.read, over this link; in a cluster it is routed. */
void bh_redis_read(struct bh_redis_calls *calls, struct bh_redis_link *link,
                   const struct bh_topic *topic, const struct bh_history_rule *rule,
                   struct bh_position since, uint32_t limit, size_t bytes, bh_range_cb done,
                   void *ud, bh_handle handle);

/* As bh_history_vt.tops: each top is asked on the link of its topic (in a cluster it is routed),
 * then they are complete. */
struct bh_redis_tops;

struct bh_redis_tops *bh_redis_tops_new(size_t count, bh_tops_cb done, void *ud, bh_handle handle);
void bh_redis_tops_ask(struct bh_redis_tops *tops, size_t which, const struct bh_redis_calls *calls,
                       struct bh_redis_link *link, const struct bh_topic *topic);
void bh_redis_tops_asked(struct bh_redis_tops *tops);

#endif
