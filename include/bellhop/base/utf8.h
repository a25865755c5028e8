/* utf8.h - streaming UTF-8 validation (RFC 3629: no surrogates, no overlong forms, at most
 * U+10FFFF), which fails at the first bad byte. ASCII runs are checked a machine word at a time. */
#ifndef BELLHOP_BASE_UTF8_H
#define BELLHOP_BASE_UTF8_H

#include "bellhop/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise to start. */
struct bh_utf8 {
    uint8_t need;  /* continuation bytes still to come */
    uint8_t lower; /* bounds of the next continuation byte, when need > 0 */
    uint8_t upper;
};

/* Feeds bytes; 0, or BH_EUTF8 at the first byte that no valid text can have; a failure is final. */
int bh_utf8_feed(struct bh_utf8 *u, struct bh_slice s);
/* True when the text may end here. */
static inline bool bh_utf8_complete(const struct bh_utf8 *u) {
    return u->need == 0;
}
/* The whole slice at once. */
bool bh_utf8_valid(struct bh_slice s);
/* The length (1..4) of the valid sequence that begins s, or 0; s is not empty. */
size_t bh_utf8_sequence(struct bh_slice s);

#endif
