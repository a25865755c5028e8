/* timer.h - one-shot timers on a timing wheel: O(1) to set, move and cancel, 40 bytes each, so that
 * each of 100,000 connections can own one. Resolution 4 ms; never early. Embed it; cancel it before
 * its memory is freed. The callback may set its timer again or cancel any other. Thread: the
 * loop's. */
#ifndef BELLHOP_IO_TIMER_H
#define BELLHOP_IO_TIMER_H

#include "bellhop/io/loop.h"

struct bh_timer {
    struct bh_list node;
    uint64_t due_ms;
    void (*fn)(struct bh_timer *);
    struct bh_loop *loop;
};

void bh_timer_init(struct bh_timer *t, struct bh_loop *loop, void (*fn)(struct bh_timer *));
/* (Re)arms it to fire delay_ms from bh_loop_now, in the first tick at or after. */
void bh_timer_set(struct bh_timer *t, uint64_t delay_ms);
void bh_timer_cancel(struct bh_timer *t);
bool bh_timer_pending(const struct bh_timer *t);

#endif
