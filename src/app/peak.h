/* peak.h - has the use of memory fallen so far that it is worth while to give some back? Thread:
 * the owner's. */
#ifndef BELLHOP_SRC_APP_PEAK_H
#define BELLHOP_SRC_APP_PEAK_H

#include <stdbool.h>
#include <stdint.h>

#define BH_PEAK_WORTH       (4 << 20) /* a smaller fall is none */
#define BH_PEAK_INTERVAL_MS 60000

/* Zero-initialise to start. */
struct bh_peak {
    uint64_t most;
    uint64_t next_ms; /* not again before */
};

/* True once when `used` is below half of the most that it was since the last time; at most once a
 * minute. */
bool bh_peak_passed(struct bh_peak *p, uint64_t used, uint64_t now_ms);

#endif
