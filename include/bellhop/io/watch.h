/* watch.h - readiness of a descriptor of a library that reads and writes by itself. (Our own
 * sockets are streams and listeners.)
 *
 * Level-triggered: on_ready fires in every tick in which the descriptor is ready as wanted; errors
 * and hang-ups count as both. Close the watch before the descriptor. Thread: the loop's. */
#ifndef BELLHOP_IO_WATCH_H
#define BELLHOP_IO_WATCH_H

#include "bellhop/io/loop.h"

enum { BH_WATCH_READ = 1, BH_WATCH_WRITE = 2 };

struct bh_watch; /* opaque */

/* Watches for nothing yet. */
struct bh_watch *bh_watch_new(struct bh_loop *loop, int fd,
                              void (*on_ready)(void *ud, int fd, unsigned ready), void *ud);
/* What to watch for: 0 or a set of BH_WATCH_…. Returns 0, or BH_EIO for a descriptor that cannot be
 * watched. May be called by on_ready. */
int bh_watch_set(struct bh_watch *w, unsigned wanted);
/* on_ready does not fire any more. May be called by on_ready; the memory is freed at the end of the
 * tick. NULL is allowed. */
void bh_watch_close(struct bh_watch *w);

#endif
