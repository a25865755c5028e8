/* timer.c - one-shot timers, kept on the wheel of their loop (wheel.c). Thread: the loop's. */
#include "bellhop/io/timer.h"

#include "loop_internal.h"

void bh_timer_init(struct bh_timer *t, struct bh_loop *loop, void (*fn)(struct bh_timer *)) {
    *t = (struct bh_timer){.fn = fn, .loop = loop};
    bh_list_init(&t->node);
}

void bh_timer_set(struct bh_timer *t, uint64_t delay_ms) {
    bh_timer_cancel(t);
    uint64_t now = bh_loop_now(t->loop);
    t->due_ms = delay_ms < UINT64_MAX - now ? now + delay_ms : UINT64_MAX;
    bh_wheel_add(&t->loop->wheel, t);
}

void bh_timer_cancel(struct bh_timer *t) {
    if (bh_timer_pending(t))
        bh_wheel_remove(&t->loop->wheel, t);
}

bool bh_timer_pending(const struct bh_timer *t) {
    return !bh_list_empty(&t->node);
}
