/* heap.h - memory that malloc keeps for later goes back to the system, a little at a time.
 *
 * After a peak malloc keeps what was freed. malloc_trim gives it back, but holds the lock of a
 * thread's heap meanwhile: 50 to 200 ms for some hundred MiB, in which that thread cannot allocate.
 * Here the thread does it itself, in steps of any length, between its other work.
 * Thread: the one whose heap it is. */
#ifndef BELLHOP_BASE_HEAP_H
#define BELLHOP_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before other threads start: blocks above 1 MiB are pages of their own, also after such blocks
 * have been freed before. They go back when they are freed, and grow without a copy. */
void bh_heap_set_up(void);

struct bh_heap_return {
    void *taken;      /* blocks, until the end */
    unsigned size;    /* of the next one, halved so often */
    unsigned without; /* blocks in a row that had no pages */
    size_t unchecked; /* bytes taken since `resident` was read */
    size_t resident;  /* of the process */
};

/* Zero-initialise to start. Works for about so many microseconds, at least one block. False: it is
 * complete, and may be used for another time. */
bool bh_heap_return_step(struct bh_heap_return *r, uint64_t us);
/* Ends early. Harmless a second time. */
void bh_heap_return_cancel(struct bh_heap_return *r);

#endif
