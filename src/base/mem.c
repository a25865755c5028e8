/* mem.c - allocation that aborts or, for sizes from a peer, returns NULL.
 *
 * A request for 0 bytes gets 1, so that NULL always means failure. The switch that makes a test's
 * nth bh_try_ call fail is one per thread, so it needs no lock and affects no other thread. */
#include "bellhop/base/mem.h"

#include "stderr.h"

#include <stdlib.h>
#include <string.h>

#define STDERR_WAIT_MS 100

static _Thread_local unsigned calls_until_failure;

static void *or_abort(void *p) {
    if (p)
        return p;
    /* The logger allocates; only a plain write is sure to work here, if stderr is read. */
    static const char text[] = "bellhop: out of memory\n";
    bh_stderr_write(text, sizeof text - 1, STDERR_WAIT_MS);
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

void bh_mem_fail_nth(unsigned nth) {
    calls_until_failure = nth;
}
