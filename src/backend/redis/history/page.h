/* page.h - pages and removals, for people and backends, over the link of a worker (NULL: in a
 * cluster). Private to the
 * history. Thread: the worker's. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_PAGE_H
#define BELLHOP_BACKEND_REDIS_HISTORY_PAGE_H

#include "bellhop/core/history.h"
#include "history/functions.h"

/* As bh_history_vt.page and .remove. */
void bh_redis_page(struct bh_redis_calls *calls, struct bh_redis_link *link,
                   const struct bh_page_query *query, bh_page_cb done, void *ud, bh_handle handle);
void bh_redis_remove(struct bh_redis_calls *calls, struct bh_redis_link *link,
                     const struct bh_topic *topic, struct bh_position position, bh_removed_cb done,
                     void *ud, bh_handle handle);

#endif
