/* checks.h - what is checked at one Redis of the history, when a link of the bus comes up and at an
 * interval: that the functions are loaded and not older than those of this instance, that the user
 * has all rights, and that Redis does not evict. Private to the history. Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_CHECKS_H
#define BELLHOP_BACKEND_REDIS_HISTORY_CHECKS_H

#include "bellhop/core/topic.h"
#include "history/functions.h"

/* What the checks of all servers of a broker share. */
struct bh_redis_checked {
    struct bh_redis_functions functions;
    struct bh_redis_calls calls; /* of the bus */
    struct bh_topic all;         /* whose keys are checked */
    unsigned refusing;           /* servers */
    bool is_known;               /* which dialect they have, and that is logged */
    bool was_old;
};

struct bh_redis_checks {
    struct bh_redis_checked *shared;
    struct bh_redis_link *link;
    struct bh_redis_function_call version, rights;
    bool version_open, rights_open;
    bool refuses; /* a right is missing there */
    bool evicts;  /* it has been warned about */
};

/* Both are borrowed. */
void bh_redis_checks_init(struct bh_redis_checks *c, struct bh_redis_checked *shared,
                          struct bh_redis_link *link);
/* The link is READY. */
void bh_redis_checks_begin(struct bh_redis_checks *c);
/* Somebody may have flushed the functions, put older ones there, or given the missing right. */
void bh_redis_checks_again(struct bh_redis_checks *c);
/* The server is gone, and what was sent to it has been completed. */
void bh_redis_checks_end(struct bh_redis_checks *c);

#endif
