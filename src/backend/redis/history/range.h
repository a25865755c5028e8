/* range.h - messages from the entries of a reply. Private to the history. Thread: any. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_RANGE_H
#define BELLHOP_BACKEND_REDIS_HISTORY_RANGE_H

#include "bellhop/core/history.h"
#include "history/functions.h"

/* The first elements of the replies to read and to page; then come the entries. */
struct bh_redis_range_head {
    uint64_t status;
    struct bh_position top;
    uint64_t fourth; /* since, or more */
};

#define BH_REDIS_RANGE_HEAD 5
enum bh_redis_range_status {
    BH_REDIS_RANGE_OK,
    BH_REDIS_RANGE_GAP,
    BH_REDIS_RANGE_NEW,
    BH_REDIS_RANGE_ABSENT,
};

/* False: it is no such reply. Notes Redis' time for f. */
bool bh_redis_range_head(struct bh_redis_functions *f, const struct bh_reply *r,
                         struct bh_redis_range_head *out);
/* The messages of the entries, in the epoch of `top`; those that are malformed are counted and left
 * out. now_ms: of the loop. */
struct bh_range *bh_redis_range_new(const struct bh_redis_functions *f,
                                    const struct bh_topic *topic, const struct bh_reply *r,
                                    struct bh_position top, uint64_t now_ms);

#endif
