/* server.h - the bus' side of one Redis of the history, or of the cluster: over which link it
 * reads, and the checks of its servers (checks.h). Private to the history. Thread: the bus, except
 * for `functions`. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_SERVER_H
#define BELLHOP_BACKEND_REDIS_HISTORY_SERVER_H

#include "history/checks.h"

struct bh_redis_history_server {
    struct bh_broker *node;
    struct bh_redis_checked checked;
    /* Of one Redis. */
    struct bh_redis_link link;
    struct bh_redis_checks checks;
    /* Of a cluster: the checks of each master. */
    struct bh_list masters;
};

/* node: its broker, borrowed, or a cluster that has not started. */
void bh_redis_history_server_init(struct bh_redis_history_server *s, struct bh_broker *node,
                                  const struct bh_history_config *config);
void bh_redis_history_server_deinit(struct bh_redis_history_server *s);
void bh_redis_history_server_start(struct bh_redis_history_server *s, struct bh_loop *bus);
/* Completes all calls of one Redis; those of a cluster end with its routes. Harmless when it has
 * not started. */
void bh_redis_history_server_stop(struct bh_redis_history_server *s);

#endif
