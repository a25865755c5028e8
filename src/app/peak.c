/* peak.c - see the header. A fall within the minute is not forgotten: it counts when the minute is
 * over, if the use is still low. */
#include "peak.h"

bool bh_peak_passed(struct bh_peak *p, uint64_t used, uint64_t now_ms) {
    if (used > p->most)
        p->most = used;
    if (now_ms < p->next_ms || used >= p->most / 2 || p->most - used < BH_PEAK_WORTH)
        return false;
    p->most = used;
    p->next_ms = now_ms + BH_PEAK_INTERVAL_MS;
    return true;
}
