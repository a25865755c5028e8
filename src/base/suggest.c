/* suggest.c - most errors in a policy or a configuration are typing errors, so the error for an
 * unknown key names the known key that it resembles.
 *
 * Levenshtein's distance with one row. Known words are short; a much longer unknown word is not
 * compared. */
#include "bellhop/base/suggest.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 32

static unsigned least(unsigned a, unsigned b, unsigned c) {
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

static unsigned distance(const char *a, size_t an, const char *b, size_t bn) {
    unsigned row[WORD_MAX + 1];
    for (size_t j = 0; j <= bn; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= an; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= bn; j++) {
            unsigned above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[bn];
}

const char *bh_suggest(const char *unknown, const char *const *words) {
    size_t n = strlen(unknown);
    const char *best = NULL;
    unsigned best_distance = (unsigned)(n / 3 + 2); /* at this distance it is another word */
    if (n > WORD_MAX)
        return NULL;
    for (; *words; words++) {
        size_t wn = strlen(*words);
        unsigned d = wn <= WORD_MAX ? distance(unknown, n, *words, wn) : best_distance;
        if (d < best_distance && d < wn) {
            best_distance = d;
            best = *words;
        }
    }
    return best;
}

const char *bh_suggest_phrase(const char *unknown, const char *const *words, char *out,
                              size_t cap) {
    const char *word = bh_suggest(unknown, words);
    out[0] = '\0';
    if (word)
        snprintf(out, cap, "; did you mean \"%s\"?", word);
    return out;
}
