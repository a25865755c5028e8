/* append.h - appends of one worker to the history of one Redis, or of a
 * cluster. Private to the history. Thread: the
 * worker's. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_APPEND_H
#define BELLHOP_BACKEND_REDIS_HISTORY_APPEND_H

#include "bellhop/core/history.h"
#include "history/functions.h"

struct bh_redis_appends {
    struct bh_redis_calls *calls;
    struct bh_broker *node;
    unsigned worker;
    unsigned min_replicas;
    struct bh_redis_rule_text rule; /* of the last append: most have the same one */
    struct bh_list replicas;        /* of each link: what waits for them */
};

/* calls and node are borrowed; what it needs of config is copied. */
void bh_redis_appends_init(struct bh_redis_appends *appends, struct bh_redis_calls *calls,
                           struct bh_broker *node, unsigned worker,
                           const struct bh_history_config *config);

void bh_redis_appends_deinit(struct bh_redis_appends *appends);
/* For commands of this worker, now; NULL in a cluster, where each is routed. */
struct bh_redis_link *bh_redis_appends_link(const struct bh_redis_appends *appends);

/* As bh_history_vt.append. */
void bh_redis_append(struct bh_redis_appends *appends, struct bh_message *m,
                     const struct bh_history_rule *rule, struct bh_slice collapse,
                     bh_appended_cb done, void *ud, bh_handle handle);

#endif
