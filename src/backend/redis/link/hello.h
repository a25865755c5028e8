/* hello.h - which server this is, and what it knows. Private to the backend.
 *
 * It is asked by HELLO, which needs no permission and changes nothing, on one link to each server;
 * the log tells it, again when it has changed. Embed it in the owner of the link. Thread: that of
 * the link. */
#ifndef BELLHOP_BACKEND_REDIS_HELLO_H
#define BELLHOP_BACKEND_REDIS_HELLO_H

#include "link/link.h"

struct bh_redis_hello {
    char server[32], version[32]; /* "redis", "7.0.15"; empty: not known yet */
    bool in_cluster;              /* it is a node of one */
    bool sharded;                 /* it has SSUBSCRIBE and SPUBLISH, as far as can be told */
    struct bh_redis_link *link;
    void (*done)(struct bh_redis_hello *h);
};

/* In on_up of a link. done follows once with the answer, if there is one; NULL: it is not needed.
 */
void bh_redis_hello_ask(struct bh_redis_hello *h, struct bh_redis_link *link,
                        void (*done)(struct bh_redis_hello *h));

#endif
