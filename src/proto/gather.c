/* gather.c - why not bh_bytes_add: it aborts without memory, and doubling past a limit would make
 * each limit cost twice what the configuration says. */
#include "gather.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

static int grow(struct bh_bytes *b, size_t want, size_t most) {
    size_t cap = b->cap > most / 2 ? most : b->cap * 2;
    if (cap < want)
        cap = want;
    char *p = bh_try_realloc(b->p, cap);
    if (!p)
        return BH_ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

int bh_gather_add(struct bh_bytes *b, struct bh_slice s, size_t most) {
    if (s.n == 0)
        return 0;
    if (s.n > b->cap - b->len && grow(b, b->len + s.n, most))
        return BH_ENOMEM;
    memcpy(b->p + b->len, s.p, s.n);
    b->len += s.n;
    return 0;
}
