/* log_ring.h - complete lines in a ring of bytes, in the order in which they were put.
 *
 * One thread at a time puts, one at a time takes; both may do so at once, without a lock. Looking
 * and taking are async-signal-safe, and see complete lines also when a thread died in a put. */
#ifndef BELLHOP_SRC_BASE_LOG_RING_H
#define BELLHOP_SRC_BASE_LOG_RING_H

#include "bellhop/base/slice.h"

#include <stdatomic.h>

struct bh_log_ring {
    char *bytes; /* borrowed */
    size_t size;
    atomic_size_t put, taken; /* bytes, ever; they lie at the number modulo size */
};

/* Copies a line of two parts, all of it; false when there is no room. */
bool bh_log_ring_put(struct bh_log_ring *r, struct bh_slice head, struct bh_slice rest);
bool bh_log_ring_is_empty(struct bh_log_ring *r);
/* Copies the oldest bytes, at most so many, and leaves them. Returns how many. */
size_t bh_log_ring_peek(struct bh_log_ring *r, char *out, size_t most);
/* Removes the oldest bytes, which must be there. */
void bh_log_ring_take(struct bh_log_ring *r, size_t n);

#endif
