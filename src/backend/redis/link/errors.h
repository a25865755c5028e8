/* errors.h - what an error reply of the server means for a link. Private to the backend.
 * Thread: any. */
#ifndef BELLHOP_BACKEND_REDIS_ERRORS_H
#define BELLHOP_BACKEND_REDIS_ERRORS_H

#include "bellhop/base/slice.h"

struct bh_redis_error {
    const char *starts; /* how the server's text begins */
    const char *why;    /* the reason that readiness shows */
    const char *hint;   /* what the operator can do */
    bool transient;     /* it passes without a change of the configuration */
    /* On a link that is up: the wrong server, or one that no longer accepts this client. The
     * command was surely not executed; the link reconnects, and locates the server again. */
    bool reconnect;
};

/* Redis before 7 puts the error of a command inside a script behind a text of its own: "ERR Error
 * running script (call to f_...): @user_script:9: -OOM command not allowed ...". This is the error
 * of the command; of other answers, the answer. */
struct bh_slice bh_redis_error_inside(struct bh_slice answer);

/* By the error inside. Never NULL. */
const struct bh_redis_error *bh_redis_classify_error(struct bh_slice answer);
/* Why a link that is up has to reconnect after that answer, or NULL. located: by a locator; in a
 * cluster such a link follows MOVED, which is an answer to the caller on others. */
const char *bh_redis_wrong_server(struct bh_slice answer, bool located);

#endif
