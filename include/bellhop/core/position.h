/* position.h - a place in a stream: `<epoch>-<offset>`.
 *
 * An epoch names one unbroken life of the stream and is compared for equality only; offsets count
 * its messages 1, 2, 3 without holes. Both are below 2^53, because Redis' scripts count in doubles.
 * Values; any thread. */
#ifndef BELLHOP_CORE_POSITION_H
#define BELLHOP_CORE_POSITION_H

#include "bellhop/base/slice.h"

#define BH_POSITION_END      (UINT64_C(1) << 53) /* epochs and offsets are less */
#define BH_POSITION_TEXT_MAX 33                  /* two numbers of 16 digits, and '-' */

struct bh_position {
    uint64_t epoch; /* 0: no position */
    uint64_t offset;
};

static inline bool bh_position_eq(struct bh_position a, struct bh_position b) {
    return a.epoch == b.epoch && a.offset == b.offset;
}
/* NUL-terminated; returns the length. Only of a position. */
size_t bh_position_format(struct bh_position p, char out[BH_POSITION_TEXT_MAX + 1]);
/* 0, or BH_EINVAL for what bh_position_format never writes. */
int bh_position_parse(struct bh_slice text, struct bh_position *out);

#endif
