/* log_ring.h - complete lines in a ring of bytes, in the order in which they were put.
 *
 * One thread at a time puts, one at a time takes; both may do so at once, without a lock. Taking is
 * async-signal-safe, and also sees a consistent ring when a thread died in a put. */
#ifndef BELLHOP_SRC_BASE_LOG_RING_H
#define BELLHOP_SRC_BASE_LOG_RING_H

#include "bellhop/base/slice.h"

#include <stdatomic.h>

#define BH_LOG_RING_ALIGN 8

struct bh_log_ring {
    char *bytes; /* borrowed; aligned, and size a multiple of BH_LOG_RING_ALIGN */
    size_t size;
    atomic_size_t put, taken; /* bytes, ever */
};

/* Copies the line. False when there is no room. An empty ring has room for half of its size. */
bool bh_log_ring_put(struct bh_log_ring *r, int level, struct bh_slice line);
bool bh_log_ring_is_empty(struct bh_log_ring *r);
/* The oldest line; false when there is none. It stays, and is valid, until it is dropped. */
bool bh_log_ring_first(struct bh_log_ring *r, int *level, struct bh_slice *line);
void bh_log_ring_drop(struct bh_log_ring *r);

#endif
