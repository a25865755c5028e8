/* mem.c - allocation that aborts or, for sizes from a peer, returns NULL.
 *
 * A request for 0 bytes gets 1, so that NULL always means failure. The switch that makes a test's
 * nth bh_try_ call fail is one per thread, so it needs no lock and affects no other thread.
 *
 * Growing areas: malloc keeps large blocks in its heap once one was freed, and from then on may
 * copy them when they grow. mremap never does: it moves 8 MiB in 30 us, a copy takes 3 ms. Its
 * price is new pages for each area, so smaller ones stay with malloc. */
#include "bellhop/base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local unsigned calls_until_failure;

static void *or_abort(void *p) {
    if (p)
        return p;
    /* The logger allocates; only a plain write is sure to work here. */
    static const char text[] = "bellhop: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    abort();
}

static size_t at_least_one(size_t size) {
    return size ? size : 1;
}

void *bh_malloc(size_t size) {
    return or_abort(malloc(at_least_one(size)));
}

void *bh_calloc(size_t count, size_t size) {
    return or_abort(calloc(at_least_one(count), at_least_one(size)));
}

void *bh_realloc(void *p, size_t size) {
    return or_abort(realloc(p, at_least_one(size)));
}

char *bh_strdup(const char *s) {
    return bh_strndup(s, strlen(s));
}

char *bh_strndup(const char *s, size_t n) {
    char *copy = bh_malloc(n + 1);
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void bh_free(void *p) {
    free(p);
}

static int must_fail(void) {
    return calls_until_failure && --calls_until_failure == 0;
}

void *bh_try_malloc(size_t size) {
    return must_fail() ? NULL : malloc(at_least_one(size));
}

void *bh_try_realloc(void *p, size_t size) {
    return must_fail() ? NULL : realloc(p, at_least_one(size));
}

static bool is_large(size_t size) {
    return size > BH_MEM_LARGE;
}

static void *or_null(void *p) {
    return p == MAP_FAILED ? NULL : p;
}

static void *to_pages(void *p, size_t from, size_t to) {
    void *pages =
        or_null(mmap(NULL, to, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages && from)
        memcpy(pages, p, from);
    if (pages)
        free(p);
    return pages;
}

static void *regrow(void *p, size_t from, size_t to) {
    if (!is_large(to))
        return realloc(p, at_least_one(to));
    if (!is_large(from))
        return to_pages(p, from, to);
    return or_null(mremap(p, from, to, MREMAP_MAYMOVE));
}

void *bh_regrow(void *p, size_t from, size_t to) {
    return or_abort(regrow(p, from, to));
}

void *bh_try_regrow(void *p, size_t from, size_t to) {
    return must_fail() ? NULL : regrow(p, from, to);
}

void bh_free_grown(void *p, size_t size) {
    if (is_large(size))
        munmap(p, size);
    else
        free(p);
}

void bh_mem_fail_nth(unsigned nth) {
    calls_until_failure = nth;
}
