/* errors.h - what an error of the server means for a link. Private to the backend. Thread: any. */
#ifndef BELLHOP_BACKEND_REDIS_ERRORS_H
#define BELLHOP_BACKEND_REDIS_ERRORS_H

#include "bellhop/base/slice.h"

struct bh_redis_verdict {
    const char *starts; /* how the server's text begins */
    const char *why;    /* a sentence for whoever looks at the readiness */
    const char *hint;   /* what to do about it */
    /* A state that passes, and nobody's mistake. */
    bool not_yet;
    /* On a link that is up: the wrong server, or one that no longer knows us. The command was
     * surely not executed; the link begins anew, and finds out where to. */
    bool leave;
};

/* Never NULL. */
const struct bh_redis_verdict *bh_redis_judge(struct bh_slice answer);

#endif
