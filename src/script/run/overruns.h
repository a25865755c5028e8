/* overruns.h - counts how often a limit was exceeded within a minute. */
#ifndef BELLHOP_SCRIPT_OVERRUNS_H
#define BELLHOP_SCRIPT_OVERRUNS_H

#include <stdbool.h>
#include <stdint.h>

#define BH_OVERRUNS_WINDOW_MS 60000

struct bh_overruns {
    unsigned known;    /* of these two */
    uint64_t at_ms[2]; /* the last one, and the one before it */
};

/* True when this is at least the third one within the window. */
static inline bool bh_overruns_add(struct bh_overruns *o, uint64_t now_ms) {
    bool third = o->known == 2 && now_ms - o->at_ms[1] < BH_OVERRUNS_WINDOW_MS;
    o->known = o->known == 0 ? 1 : 2;
    o->at_ms[1] = o->at_ms[0];
    o->at_ms[0] = now_ms;
    return third;
}

#endif
