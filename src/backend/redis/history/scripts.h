/* scripts.h - what runs inside Redis for the history, made by the build from lua/redis/history.
 * Redis 7 and later get the library by FUNCTION LOAD REPLACE and calls by FCALL bellhop_<name>;
 * older ones get the same functions as scripts, with the same keys, arguments and replies. Private
 * to the history. */
#ifndef BELLHOP_BACKEND_REDIS_HISTORY_SCRIPTS_H
#define BELLHOP_BACKEND_REDIS_HISTORY_SCRIPTS_H

#include "broker/scripts.h"

extern const struct bh_slice bh_redis_history_library; /* its text; named bellhop */
extern const int64_t bh_redis_history_version;         /* what bellhop_version returns then */

extern const struct bh_redis_script bh_redis_script_history_append, bh_redis_script_history_read,
    bh_redis_script_history_begin, bh_redis_script_history_page, bh_redis_script_history_remove,
    bh_redis_script_history_check;

#endif
