/* scripts.h - scripts that run inside Redis (lua/redis, embedded by the build), and calls of them.
 *
 * A call is built key by key and argument by argument, and sent with the digest of the script. When
 * Redis does not know the script (it was restarted, or its scripts were flushed) the call is
 * repeated once with the text of the script, so calls that were sent after it may overtake it: if
 * the order matters, wait for the completion. Private to the backend. Thread: the link's. */
#ifndef BELLHOP_BACKEND_REDIS_SCRIPTS_H
#define BELLHOP_BACKEND_REDIS_SCRIPTS_H

#include "broker/route.h"

struct bh_redis_script {
    const char *name;
    const char *sha; /* 40 hexadecimal digits */
    struct bh_slice body;
};

struct bh_redis_call;

/* prefix: of its keys; borrowed until it is done. */
struct bh_redis_call *bh_redis_call_new(const struct bh_redis_script *script,
                                        struct bh_slice prefix);
/* The key <prefix><kind><name>, for example "ws:" "connections:" "42". */
void bh_redis_call_key(struct bh_redis_call *call, const char *kind, struct bh_slice name);
void bh_redis_call_arg(struct bh_redis_call *call, struct bh_slice arg);
void bh_redis_call_int(struct bh_redis_call *call, int64_t arg);
/* To the server of its prefix, wherever that is (route.h). done: exactly once, as for
 * bh_redis_vt.call, maybe before this returns. The call is freed after it. */
void bh_redis_call_route(struct bh_redis_call *call, struct bh_broker *broker, unsigned worker,
                         bh_reply_cb done, void *ud, bh_handle handle);
/* The same over a link of the caller's own, which is there. */
void bh_redis_call_send(struct bh_redis_call *call, struct bh_redis_link *link, bh_reply_cb done,
                        void *ud, bh_handle handle);
/* In `done`: the call is not freed, but is the caller's again, to send it once more or to free it.
 */
void bh_redis_call_keep(struct bh_redis_call *call);
void bh_redis_call_free(struct bh_redis_call *call);

#endif
