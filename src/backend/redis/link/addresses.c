/* addresses.c - the addresses of one host name, and which of them is tried next.
 *
 * Name servers give the addresses in any order, so the place of the last one is found again by its
 * bytes. */
#include "link/addresses.h"

#include "bellhop/base/mem.h"

#include <string.h>

static bool same(const struct bh_addr *a, const struct bh_addr *b) {
    return a->len == b->len && memcmp(&a->storage, &b->storage, a->len) == 0;
}

static size_t first_of(const struct bh_redis_addresses *a) {
    for (size_t i = 0; i < a->count; i++)
        if (same(&a->list[i], &a->last))
            return (i + a->last_failed) % a->count;
    return 0;
}

void bh_redis_addresses_begin(struct bh_redis_addresses *a, const struct bh_addr *list,
                              size_t count) {
    bh_free(a->list);
    a->list = bh_malloc(count * sizeof *list);
    memcpy(a->list, list, count * sizeof *list);
    a->count = count;
    a->first = first_of(a);
    a->tried = 0;
}

const struct bh_addr *bh_redis_addresses_next(struct bh_redis_addresses *a) {
    return &a->list[(a->first + a->tried++) % a->count];
}

void bh_redis_addresses_end(struct bh_redis_addresses *a, bool failed) {
    if (a->tried == 0)
        return;
    a->last = a->list[(a->first + a->tried - 1) % a->count];
    a->last_failed = failed;
    bh_free(a->list);
    a->list = NULL;
    a->count = a->tried = 0;
}

void bh_redis_addresses_reset(struct bh_redis_addresses *a) {
    bh_free(a->list);
    *a = (struct bh_redis_addresses){0};
}
