/* position.c - positions as text. Decimal, without leading zeros, so that each has one spelling. */
#include "bellhop/core/position.h"

#include "bellhop/base/error.h"

#include <stdio.h>

size_t bh_position_format(struct bh_position p, char out[BH_POSITION_TEXT_MAX + 1]) {
    return (size_t)snprintf(out, BH_POSITION_TEXT_MAX + 1, "%llu-%llu", (unsigned long long)p.epoch,
                            (unsigned long long)p.offset);
}

static int parse_number(struct bh_slice text, uint64_t *out) {
    if (text.n == 0 || (text.n > 1 && text.p[0] == '0'))
        return BH_EINVAL;
    return bh_slice_u64(text, BH_POSITION_END - 1, out) == 0 ? 0 : BH_EINVAL;
}

int bh_position_parse(struct bh_slice text, struct bh_position *out) {
    struct bh_slice epoch;
    if (!bh_slice_split(&text, '-', &epoch) || parse_number(epoch, &out->epoch) ||
        parse_number(text, &out->offset) || out->epoch == 0)
        return BH_EINVAL;
    return 0;
}
