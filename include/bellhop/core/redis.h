/* redis.h - the port through which scripts send commands to Redis. Worker threads only. */
#ifndef BELLHOP_CORE_REDIS_H
#define BELLHOP_CORE_REDIS_H

#include "bellhop/base/slice.h"
#include "bellhop/base/slots.h"

enum bh_reply_type {
    BH_REPLY_NIL,
    BH_REPLY_STRING,
    BH_REPLY_STATUS,
    BH_REPLY_ERROR, /* the server's error text in str */
    BH_REPLY_INTEGER,
    BH_REPLY_ARRAY,
};

struct bh_reply {
    enum bh_reply_type type;
    int64_t integer;
    struct bh_slice str;
    size_t count;
    const struct bh_reply *elements;
};

/* Exactly once, maybe before call returns. error 0: reply is valid during the call. Else
 * BH_EUNAVAIL (not connected, not sent), BH_EIO (connection lost, maybe executed) or BH_ETIMEDOUT.
 */
typedef void (*bh_reply_cb)(void *ud, bh_handle handle, int error, const struct bh_reply *reply);

struct bh_redis;

struct bh_redis_vt {
    /* Pipelined with all commands of this worker; argv is copied. Commands that would block or
     * change the connection (SUBSCRIBE, BLPOP, SELECT, MULTI, ...) are refused: done gets an error
     * reply that says why. */
    void (*call)(struct bh_redis *r, unsigned worker, size_t argc, const struct bh_slice *argv,
                 bh_reply_cb done, void *ud, bh_handle handle);
};

struct bh_redis {
    const struct bh_redis_vt *vt;
};

#endif
