/* mem.h - allocation: one family aborts on failure, the other returns NULL.
 *
 * bh_malloc and the like are for sizes that we choose: they abort on failure, so callers need no
 * error path. bh_try_malloc and bh_try_realloc are for sizes that a peer chooses: callers bound the
 * size first and handle NULL. Tests can make the nth bh_try_ call fail. Thread: any. */
#ifndef BELLHOP_BASE_MEM_H
#define BELLHOP_BASE_MEM_H

#include <stddef.h>

#define BH_NEVER_NULL __attribute__((returns_nonnull))
BH_NEVER_NULL void *bh_malloc(size_t size);
BH_NEVER_NULL void *bh_calloc(size_t count, size_t size);
BH_NEVER_NULL void *bh_realloc(void *p, size_t size);
BH_NEVER_NULL char *bh_strdup(const char *s);
BH_NEVER_NULL char *bh_strndup(const char *s, size_t n); /* n bytes, also NULs, and a NUL */
void bh_free(void *p);

void *bh_try_malloc(size_t size);
void *bh_try_realloc(void *p, size_t size);

/* Tests only: the nth bh_try_ call of this thread from now on (1 = the next) returns NULL, once.
 * 0 switches it off. */
void bh_mem_fail_nth(unsigned nth);

/* The size of a struct that ends with an array of n bytes, which begins where the padding would. */
#define BH_SIZE_WITH(type, array, n) bh_size_with(sizeof(type), offsetof(type, array), n)
static inline size_t bh_size_with(size_t alone, size_t offset, size_t n) {
    return offset + n > alone ? offset + n : alone;
}

#endif
