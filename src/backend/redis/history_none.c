/* history_none.c - there is no history in Redis yet. */
#include "bellhop/backend/redis.h"

struct bh_history *bh_redis_history_new(struct bh_broker *broker,
                                        const struct bh_history_config *history, unsigned workers) {
    return NULL;
}
