/* wheel.h - the timing wheel of a loop: the timers that are set, by the time they are due. The loop
 * embeds one and sweeps it; timer.c adds and removes. Thread: the loop's. Private to src/io. */
#ifndef BELLHOP_SRC_IO_WHEEL_H
#define BELLHOP_SRC_IO_WHEEL_H

#include "bellhop/io/timer.h"

#define BH_WHEEL_SLOTS   8192
#define BH_WHEEL_SLOT_MS 4
#define BH_WHEEL_NEVER   UINT64_MAX

/* Slot s holds the timers with due_ms / SLOT_MS % SLOTS == s; a timer beyond the horizon stays for
 * further rotations. `occupied` has a bit for each slot that is not empty. */
struct bh_wheel {
    struct bh_list slots[BH_WHEEL_SLOTS];
    uint64_t occupied[BH_WHEEL_SLOTS / 64];
    uint64_t earliest; /* in units of SLOT_MS: no timer is due in a slot before it */
    size_t pending;
};

void bh_wheel_init(struct bh_wheel *w); /* of zeroed memory */
/* A timer that is not on the wheel; it is due at t->due_ms. */
void bh_wheel_add(struct bh_wheel *w, struct bh_timer *t);
/* A timer that is on the wheel. */
void bh_wheel_remove(struct bh_wheel *w, struct bh_timer *t);
/* Fires every timer that is due at now_ms. */
void bh_wheel_sweep(struct bh_wheel *w, uint64_t now_ms);
/* When the next sweep has something to do; BH_WHEEL_NEVER without timers. */
uint64_t bh_wheel_next(struct bh_wheel *w);

#endif
