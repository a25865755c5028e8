/* mem.h - allocation: one family aborts on failure, the other returns NULL.
 *
 * bh_malloc and the like are for sizes that we choose: they abort on failure, so callers need no
 * error path. bh_try_malloc and bh_try_realloc are for sizes that a peer chooses: callers bound the
 * size first and handle NULL. Tests can make the nth bh_try_ call fail. Thread: any.
 *
 * bh_regrow and bh_try_regrow are for one area that grows step by step: above BH_MEM_LARGE it
 * is pages of its own, which the kernel moves without a copy, so that no step takes longer because
 * much is there already. */
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

#define BH_MEM_LARGE ((size_t)1 << 20)

/* p has `from` bytes (NULL: 0) and gets `to`, which is more. Freed only by bh_free_grown. */
void *bh_regrow(void *p, size_t from, size_t to);
void *bh_try_regrow(void *p, size_t from, size_t to);
/* The size that it has grown to; NULL is allowed. Large areas go back to the system at once. */
void bh_free_grown(void *p, size_t size);

/* Tests only: the nth bh_try_ call of this thread from now on (1 = the next) returns NULL, once.
 * 0 switches it off. */
void bh_mem_fail_nth(unsigned nth);

/* The size of a struct that ends with an array of n bytes, which begins where the padding would. */
#define BH_SIZE_WITH(type, array, n) bh_size_with(sizeof(type), offsetof(type, array), n)
static inline size_t bh_size_with(size_t alone, size_t offset, size_t n) {
    return offset + n > alone ? offset + n : alone;
}

#endif
