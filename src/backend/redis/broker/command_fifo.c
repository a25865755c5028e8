/* command_fifo.c - a ring that grows. */
#include "broker/command_fifo.h"

#include "bellhop/base/mem.h"

#define RING_MIN 64
/* A larger one is freed when it is empty. */
#define KEEP_MAX 1024

static void grow(struct bh_redis_command_fifo *f) {
    size_t cap = f->ring ? f->mask + 1 : 0, grown = cap ? cap * 2 : RING_MIN;
    uintptr_t *ring = bh_malloc(grown * sizeof *ring);
    for (size_t i = 0; i < cap; i++)
        ring[i] = f->ring[(f->head + i) & f->mask];
    bh_free(f->ring);
    f->ring = ring;
    f->mask = grown - 1;
    f->head = 0;
}

void bh_redis_command_fifo_push(struct bh_redis_command_fifo *f, void *what, bool bit) {
    if (!f->ring || f->count > f->mask)
        grow(f);
    f->ring[(f->head + f->count++) & f->mask] = (uintptr_t)what | bit;
}

bool bh_redis_command_fifo_head(const struct bh_redis_command_fifo *f, void **what, bool *bit) {
    if (f->count == 0)
        return false;
    *what = (void *)(f->ring[f->head] & ~(uintptr_t)1);
    *bit = f->ring[f->head] & 1;
    return true;
}

void bh_redis_command_fifo_shift(struct bh_redis_command_fifo *f) {
    f->head = (f->head + 1) & f->mask;
    if (--f->count == 0 && f->mask >= KEEP_MAX)
        bh_redis_command_fifo_clear(f);
}

void bh_redis_command_fifo_clear(struct bh_redis_command_fifo *f) {
    bh_free(f->ring);
    *f = (struct bh_redis_command_fifo){0};
}
