/* heap.c - free blocks of the heap are allocated, and the kernel may take their pages back.
 *
 * A block of a thread's heap that is free can only be given back by someone who owns it, so it is
 * allocated first. Its whole pages are dropped: the next one who writes there gets zeroed ones. It
 * stays allocated until the end, else the next malloc would return it again. First the largest
 * blocks are taken, then smaller ones, which lie in what is left. A size is done when malloc
 * returns blocks without pages only: fresh ones, beyond what was ever in use, or such as were given
 * back before. It is also done when the process does not shrink: with huge pages, or another
 * malloc, a fresh block may have pages, too.
 *
 * This holds for any malloc: what is written to are blocks of ours. */
#include "bellhop/base/heap.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/mem.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define MMAP_FROM ((size_t)1 << 20)
#define PAGES_MAX (MMAP_FROM / 4096)
#define SLACK     (2 * MMAP_FROM)
#define SIZES     8                /* each half of the one before: the last is 8 KiB */
#define OVERHEAD  64               /* of malloc, so that the largest is not above the threshold */
#define ENOUGH    24               /* blocks without pages, in a row */
#define CHECKED   (16 * MMAP_FROM) /* so much is taken before the process must have shrunk */
#define SHRUNK    (2 * MMAP_FROM)

void bh_heap_set_up(void) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, (int)MMAP_FROM);
    mallopt(M_TRIM_THRESHOLD, (int)SLACK);
#endif
}

static size_t resident(size_t page) {
    char text[128];
    size_t pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return sscanf(text, "%*u %zu", &pages) == 1 ? pages * page : 0;
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
static bool give_pages(void *block, size_t bytes, size_t page) {
    uintptr_t from = ((uintptr_t)block + sizeof(void *) + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)block + bytes) & ~(page - 1);
    if (from >= to || !has_pages((void *)from, to - from, page))
        return false;
    return madvise((void *)from, to - from, MADV_DONTNEED) == 0;
}

static bool has_shrunk(struct bh_heap_return *r, size_t page) {
    size_t before = r->resident;
    r->unchecked = 0;
    r->resident = resident(page);
    return r->resident + SHRUNK <= before;
}

static void next_size(struct bh_heap_return *r, size_t page) {
    r->size++;
    r->without = 0;
    has_shrunk(r, page);
}

static void take_block(struct bh_heap_return *r) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (MMAP_FROM >> r->size) - OVERHEAD;
    if (!r->taken)
        has_shrunk(r, page);
    void *block = bh_malloc(bytes);
    *(void **)block = r->taken;
    r->taken = block;
    r->unchecked += bytes;
    r->without = give_pages(block, bytes, page) ? 0 : r->without + 1;
    if (r->without == ENOUGH || (r->unchecked >= CHECKED && !has_shrunk(r, page)))
        next_size(r, page);
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
