/* suggest.h - "did you mean": the known word that is nearest to an unknown one. Pure. */
#ifndef BELLHOP_BASE_SUGGEST_H
#define BELLHOP_BASE_SUGGEST_H

#include <stddef.h>

/* words ends with NULL. The nearest by edit distance, or NULL when none is near enough. */
const char *bh_suggest(const char *unknown, const char *const *words);
/* The same as the end of a sentence: `; did you mean "x"?`, or "". Returns out. */
const char *bh_suggest_phrase(const char *unknown, const char *const *words, char *out, size_t cap);

#endif
