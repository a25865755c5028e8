/* ws_inflation.h - one compressed message, inflated step by step, with its text checked.
 *
 * Embedded in the reader's unfinished message. Thread: the reader's. */
#ifndef BELLHOP_PROTO_WS_INFLATION_H
#define BELLHOP_PROTO_WS_INFLATION_H

#include "bellhop/base/utf8.h"
#include "bellhop/proto/ws_inflaters.h"

#define BH_INFLATION_AGAIN 1 /* not complete: another step */
#define BH_INFLATION_WAIT  2 /* not complete: another step when it is woken */

struct bh_inflation {
    struct bh_inflaters *all;
    struct bh_inflater *own;
    struct bh_inflater *inflater; /* in use, or NULL */
    struct bh_bytes out;
    size_t at;    /* compressed bytes that have been read */
    size_t gains; /* bytes by which the last step's output exceeded its input */
    struct bh_utf8 utf8;
    bool text;
    struct bh_inflate_place place;
};

/* *x is zeroed. own: of a connection with context takeover, or NULL. The reader is the one to wake.
 */
void bh_inflation_begin(struct bh_inflation *x, struct bh_inflaters *all, struct bh_inflater *own,
                        struct bh_ws_reader *reader, bool text);
/* Always the same compressed bytes, all frames together; they may be elsewhere in the next step.
 * 0: `out` is complete. Or one of the two above, or an error of bh_inflater_step, or BH_EUTF8. */
int bh_inflation_step(struct bh_inflation *x, struct bh_slice compressed, uint64_t limit);
/* After BH_INFLATION_AGAIN, when the next step has to wait for something else: leaves the place.
 * Without context takeover the message will begin again. */
void bh_inflation_postpone(struct bh_inflation *x);
/* At any time, also when it has not begun. Frees `out`. */
void bh_inflation_end(struct bh_inflation *x);

#endif
