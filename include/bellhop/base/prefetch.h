/* prefetch.h - fetching an object into the cache before it is used.
 *
 * Ten thousand connections do not fit the cache. Where the next one is known in advance, the loop,
 * the stream and the hub fetch it while the current one runs. They know only the part that a
 * connection embeds, so each names a range around that part (BH_..._HOT_FROM, BH_..._HOT_TO, in
 * bytes), and the connection asserts that what it needs next lies in there. Thread: any. */
#ifndef BELLHOP_BASE_PREFETCH_H
#define BELLHOP_BASE_PREFETCH_H

#include <stddef.h>

#define BH_CACHE_LINE 64

/* The bytes from `from` to `to`, counted from p; they need not exist. */
static inline void bh_prefetch(const void *p, ptrdiff_t from, ptrdiff_t to) {
    for (ptrdiff_t at = from; at < to; at += BH_CACHE_LINE)
        __builtin_prefetch((const char *)p + at);
}

#endif
