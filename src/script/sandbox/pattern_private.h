/* pattern_private.h - the items that pattern_compile.c writes and pattern.c runs. */
#ifndef BELLHOP_SCRIPT_PATTERN_PRIVATE_H
#define BELLHOP_SCRIPT_PATTERN_PRIVATE_H

#include "lua/limits.h"
#include "sandbox/pattern.h"

enum op {
    OP_TEXT,     /* these bytes */
    OP_ONE,      /* a byte of the set */
    OP_MANY,     /* as many as there are, then fewer, down to `need` (* and +) */
    OP_MAYBE,    /* one, or else none (?) */
    OP_FEW,      /* none, then more (-) */
    OP_OPEN,     /* capture `index` starts */
    OP_CLOSE,    /* capture `index` ends */
    OP_POSITION, /* capture `index` is a position */
    OP_SAME,     /* what capture `index` holds */
    OP_BALANCED, /* from `open` to its `close` */
    OP_FRONTIER, /* between a byte that is not in the set and one that is */
    OP_NEVER,    /* does not match */
    OP_END,      /* the end of the subject */
    OP_DONE,     /* the pattern matches */
    OP_ERROR,    /* the pattern is malformed here */
};

#define BH_PATTERN_STEPS 4096 /* between two checks of the limits: about ten microseconds */

/* Counts work, and checks the limits when it is enough. */
static inline void bh_pattern_charge(struct bh_pattern *p, size_t steps) {
    size_t sum = p->steps + steps;
    p->steps = (unsigned)sum;
    if (sum >= BH_PATTERN_STEPS) {
        p->steps = 0;
        bh_limits_check(p->L);
    }
}

static inline bool bh_pattern_has(const struct bh_pattern_item *i, char byte) {
    unsigned char c = (unsigned char)byte;
    return i->bits[c >> 6] >> (c & 63) & 1;
}

#endif
