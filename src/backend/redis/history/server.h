/* server.h - one Redis of the history: its link on the bus, and what is checked there when the link
 * comes up and at an interval: that the functions are loaded and not older than those of this
 * instance, that the user has all rights, and that Redis does not evict. Private to the history.
 * Thread: the bus, except for `functions`. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_SERVER_H
#define BELLHOP_BACKEND_REDIS_HISTORY_SERVER_H

#include "bellhop/core/topic.h"
#include "history/functions.h"

struct bh_redis_history_server {
    struct bh_broker *node;
    struct bh_redis_functions functions;
    struct bh_redis_link link;
    struct bh_redis_calls calls; /* of the bus */
    struct bh_topic all;         /* whose keys are checked */
    struct bh_redis_function_call version, check;
    bool version_open, check_open;
    bool is_known; /* which dialect it has, and that is logged */
    bool was_old;
    bool evicts; /* it has been warned about */
};

/* node: its broker, borrowed. */
void bh_redis_history_server_init(struct bh_redis_history_server *s, struct bh_broker *node,
                                  const struct bh_history_config *config);
void bh_redis_history_server_deinit(struct bh_redis_history_server *s);
void bh_redis_history_server_start(struct bh_redis_history_server *s, struct bh_loop *bus);
/* Completes all calls. Harmless when it has not started. */
void bh_redis_history_server_stop(struct bh_redis_history_server *s);

#endif
