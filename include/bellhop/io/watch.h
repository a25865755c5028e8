/* watch.h - a descriptor that somebody else owns, for libraries that do their own reading and
 * writing. (Sockets of ours are streams and listeners.)
 *
 * Level-triggered: on_ready comes in every tick while the descriptor is ready for what is wanted;
 * errors and hang-ups count as both. Close the watch before the descriptor. Thread: the loop's. */
#ifndef BELLHOP_IO_WATCH_H
#define BELLHOP_IO_WATCH_H

#include "bellhop/io/loop.h"

enum { BH_WATCH_READ = 1, BH_WATCH_WRITE = 2 };

struct bh_watch; /* opaque */

/* Wants nothing yet. */
struct bh_watch *bh_watch_new(struct bh_loop *loop, int fd,
                              void (*on_ready)(void *ud, int fd, unsigned ready), void *ud);
/* What to tell of: 0 or a set of BH_WATCH_…. 0, or BH_EIO for a descriptor that cannot be watched.
 * May be called by on_ready. */
int bh_watch_set(struct bh_watch *w, unsigned wanted);
/* on_ready does not come any more. May be called by on_ready; the memory goes at the end of the
 * tick. NULL is allowed. */
void bh_watch_close(struct bh_watch *w);

#endif
