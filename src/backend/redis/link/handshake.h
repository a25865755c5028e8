/* handshake.h - the first commands of a connection, and whether their answers let the link become
 * READY. Private to the link. Thread: any. */
#ifndef BELLHOP_BACKEND_REDIS_HANDSHAKE_H
#define BELLHOP_BACKEND_REDIS_HANDSHAKE_H

#include "bellhop/backend/redis.h"

#define BH_REDIS_STEP_ARGS 3
#define BH_REDIS_STEP_TEXT 192

enum bh_redis_step {
    BH_REDIS_STEP_AUTH,
    BH_REDIS_STEP_SELECT,
    BH_REDIS_STEP_NAME,
    BH_REDIS_STEP_ROLE,
    BH_REDIS_STEP_PING,
    BH_REDIS_STEPS,
};

/* The arguments of the step's command, which are valid as long as config and text; returns their
 * number, 0: the step is not needed. located: the server was named by a locator. */
size_t bh_redis_handshake_command(enum bh_redis_step step, const struct bh_redis_config *config,
                                  const char *link_name, bool located,
                                  struct bh_slice argv[BH_REDIS_STEP_ARGS],
                                  char text[BH_REDIS_STEP_TEXT]);
/* 0, or an error with *why (a constant sentence): the link is to be dropped. Logs what an operator
 * has to put right. */
int bh_redis_handshake_check(enum bh_redis_step step, const struct bh_redis_config *config,
                             const char *link_name, const struct bh_reply *reply, const char **why);

#endif
