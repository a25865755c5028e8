/* rate.c - the arithmetic of owed time. Times are 32 bits of milliseconds: after a pause of more
 * than 49 days too little may be paid back, once. */
#include "limits/rate.h"

/* A client that has to wait does so until half of the bucket is free, so that it continues in
 * bursts and not message by message. */
#define BURST_US BH_RATE_BURST_US
#define OWED_MAX (BURST_US + 10000000u) /* one huge message must not silence a client for hours */

static void pay_back(struct bh_rate *r, uint32_t now_ms) {
    uint32_t elapsed_ms = now_ms - r->at_ms;
    uint32_t paid_us = elapsed_ms > OWED_MAX / 1000 ? OWED_MAX : elapsed_ms * 1000;
    r->at_ms = now_ms;
    for (int i = 0; i < BH_RATE_COUNT; i++)
        r->owed_us[i] -= r->owed_us[i] < paid_us ? r->owed_us[i] : paid_us;
}

uint32_t bh_rate_charge(struct bh_rate *r, enum bh_rate_of what, uint64_t n, uint64_t per_second,
                        uint64_t now_ms) {
    if (per_second == 0)
        return 0;
    if ((uint32_t)now_ms != r->at_ms)
        pay_back(r, (uint32_t)now_ms);
    uint64_t most = OWED_MAX / 1000000u * per_second; /* units that OWED_MAX stands for */
    uint64_t cost_us = n < most ? (n * 1000000u + per_second - 1) / per_second : OWED_MAX;
    uint64_t owed_us = r->owed_us[what] + cost_us;
    r->owed_us[what] = owed_us < OWED_MAX ? (uint32_t)owed_us : OWED_MAX;
    if (r->owed_us[what] <= BURST_US)
        return 0;
    return (r->owed_us[what] - BURST_US / 2) / 1000 + 1;
}
