/* expiry.h - when an identity expires, for the protocols of clients. Thread: the worker's. */
#ifndef BELLHOP_EDGE_CLIENT_EXPIRY_H
#define BELLHOP_EDGE_CLIENT_EXPIRY_H

#include "bellhop/base/clock.h"
#include "bellhop/core/subscriber.h"

#define BH_CLOSE_EXPIRED 4401, BH_SLICE("expired")

/* In how many milliseconds; UINT64_MAX: never. */
static inline uint64_t bh_expires_in(const struct bh_identity *identity) {
    if (!identity || identity->expires == 0)
        return UINT64_MAX;
    int64_t now = bh_clock_wall_ms();
    if (identity->expires <= now / 1000)
        return 0;
    if (identity->expires > INT64_MAX / 1000)
        return UINT64_MAX;
    return (uint64_t)(identity->expires * 1000 - now);
}

#endif
