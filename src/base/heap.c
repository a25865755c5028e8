/* heap.c - free blocks of the heap are allocated, and the kernel may take their pages back.
 *
 * A block of a thread's heap that is free can only be given back by someone who owns it, so it is
 * allocated first. Its whole pages are dropped: the next one who writes there gets zeroed ones. It
 * stays allocated until the end, else the next malloc would return it again. First the largest
 * blocks are taken, then smaller ones, which lie in what is left. A size is done when malloc
 * returns blocks without pages only: fresh ones, beyond what was ever in use, or such as were given
 * back before.
 *
 * This holds for any malloc: what is written to are blocks of ours. */
#include "bellhop/base/heap.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/mem.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#define MMAP_FROM ((size_t)1 << 20)
#define PAGES_MAX (MMAP_FROM / 4096)
#define SLACK     (2 * MMAP_FROM)
#define SIZES     8  /* each half of the one before: the last is 8 KiB */
#define OVERHEAD  64 /* of malloc, so that the largest is not above the threshold */
#define ENOUGH    24 /* blocks without pages, in a row */

void bh_heap_set_up(void) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, (int)MMAP_FROM);
    mallopt(M_TRIM_THRESHOLD, (int)SLACK);
#endif
}

static bool has_pages(void *from, size_t bytes, size_t page) {
    unsigned char in_memory[PAGES_MAX];
    if (mincore(from, bytes, in_memory) != 0)
        return false;
    for (size_t i = 0; i < bytes / page; i++)
        if (in_memory[i] & 1)
            return true;
    return false;
}

/* The list runs through the blocks' first bytes, whose page stays. Were there pages to give? */
static bool give_pages(void *block, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)block + sizeof(void *) + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)block + bytes) & ~(page - 1);
    if (from >= to || !has_pages((void *)from, to - from, page))
        return false;
    return madvise((void *)from, to - from, MADV_DONTNEED) == 0;
}

static void take_block(struct bh_heap_return *r) {
    size_t bytes = (MMAP_FROM >> r->size) - OVERHEAD;
    void *block = bh_malloc(bytes);
    *(void **)block = r->taken;
    r->taken = block;
    r->without = give_pages(block, bytes) ? 0 : r->without + 1;
    if (r->without < ENOUGH)
        return;
    r->size++;
    r->without = 0;
}

static void free_block(struct bh_heap_return *r) {
    void *block = r->taken;
    r->taken = *(void **)block;
    bh_free(block);
}

static bool step(struct bh_heap_return *r) {
    if (r->size < SIZES)
        take_block(r);
    else
        free_block(r);
    return r->taken;
}

bool bh_heap_return_step(struct bh_heap_return *r, uint64_t us) {
    uint64_t end_us = bh_clock_us() + us;
    bool more;
    do
        more = step(r);
    while (more && bh_clock_us() < end_us);
    if (!more)
        *r = (struct bh_heap_return){0};
    return more;
}

void bh_heap_return_cancel(struct bh_heap_return *r) {
    while (r->taken)
        free_block(r);
    *r = (struct bh_heap_return){0};
}
