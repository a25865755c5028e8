/* rate.h - token buckets for what one connection may send, three in 16 bytes.
 *
 * The capacity of a bucket is one second's worth. It is stored as the time that is owed: each unit
 * costs 1/rate seconds, elapsed time pays it back, and a debt of more than a second is too much.
 * Zero-initialise to start. Thread: the owner's. */
#ifndef BELLHOP_EDGE_RATE_H
#define BELLHOP_EDGE_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define BH_RATE_BURST_US 1000000u

enum bh_rate_of { BH_RATE_MESSAGES, BH_RATE_BYTES, BH_RATE_CONTROL, BH_RATE_COUNT };

struct bh_rate {
    uint32_t at_ms; /* when it was last paid back, truncated */
    uint32_t owed_us[BH_RATE_COUNT];
};

/* Charges n units at per_second (0: no limit). Returns how many milliseconds to wait, 0: none. The
 * debt is bounded to some seconds. */
uint32_t bh_rate_charge(struct bh_rate *r, enum bh_rate_of what, uint64_t n, uint64_t per_second,
                        uint64_t now_ms);
/* The last charge was too much, or an earlier one that was not waited for. */
static inline bool bh_rate_is_over(const struct bh_rate *r, enum bh_rate_of what) {
    return r->owed_us[what] > BH_RATE_BURST_US;
}

#endif
