/* addresses.h - the addresses of one host name, and which of them is tried next. Private to the
 * link.
 *
 * An attempt to connect tries each address once, in their order (that of getaddrinfo, RFC 6724). It
 * begins with the one that served last, or behind the one that failed last, also when the name has
 * been resolved again meanwhile. Embed it, zeroed. Thread: the loop's. */
#ifndef BELLHOP_BACKEND_REDIS_ADDRESSES_H
#define BELLHOP_BACKEND_REDIS_ADDRESSES_H

#include "bellhop/io/addr.h"

struct bh_redis_addresses {
    struct bh_addr *list; /* owned */
    size_t count, first;
    size_t tried;        /* in this attempt, beginning with `first` */
    struct bh_addr last; /* the last one of the previous attempt */
    bool last_failed;
};

/* Begins an attempt; copies the list, which may be empty. */
void bh_redis_addresses_begin(struct bh_redis_addresses *a, const struct bh_addr *list,
                              size_t count);
/* How many this attempt has not tried. */
static inline size_t bh_redis_addresses_left(const struct bh_redis_addresses *a) {
    return a->count - a->tried;
}
/* The next one; one must be left. */
const struct bh_addr *bh_redis_addresses_next(struct bh_redis_addresses *a);
/* The one of several that was tried last in this attempt; NULL: there is only one, or none yet. */
static inline const struct bh_addr *bh_redis_addresses_current(const struct bh_redis_addresses *a) {
    return a->count > 1 && a->tried ? &a->list[(a->first + a->tried - 1) % a->count] : NULL;
}
/* Ends the attempt; failed: with the address that was tried last. */
void bh_redis_addresses_end(struct bh_redis_addresses *a, bool failed);
/* Frees the list, and forgets everything. */
void bh_redis_addresses_reset(struct bh_redis_addresses *a);

#endif
