/* long_steps.c - see the header.
 *
 * One timer of the loop: it is set while there is a line, for the next to enter or for the first
 * that has waited too long. */
#include "long_steps.h"

#include "bellhop/base/clock.h"
#include "bellhop/io/timer.h"

#define FREE_US     1000
#define TOLERATE_US 5000
#define FACTOR      10
#define FACTOR_LONG 200
#define WAIT_MS     30000

static struct bh_turn *first(struct bh_loop *loop) {
    return BH_CONTAINER_OF(loop->long_steps.line.next, struct bh_turn, defer.node);
}

static bool is_free(const struct bh_loop *loop) {
    const struct bh_long_steps *l = &loop->long_steps;
    return !l->holder && l->free_ms <= bh_loop_now(loop);
}

static void set_timer(struct bh_loop *loop) {
    struct bh_long_steps *l = &loop->long_steps;
    if (bh_list_empty(&l->line))
        return;
    uint64_t now = bh_loop_now(loop), due = first(loop)->due_ms;
    if (!l->holder && l->free_ms < due)
        due = l->judging ? now + 1 : l->free_ms;
    bh_timer_set(&l->timer, due > now ? due - now : 0);
}

static void release_first(struct bh_loop *loop) {
    struct bh_turn *turn = first(loop);
    turn->overdue = !is_free(loop);
    if (!turn->overdue)
        loop->long_steps.holder = turn->stream;
    bh_defer_cancel(&turn->defer);
    bh_loop_put_off(loop, &turn->defer);
}

static void on_timer(struct bh_timer *t) {
    struct bh_loop *loop = t->loop;
    while (!bh_list_empty(&loop->long_steps.line) &&
           (is_free(loop) || first(loop)->due_ms <= bh_loop_now(loop)))
        release_first(loop);
    set_timer(loop);
}

bool bh_long_steps_begin(struct bh_loop *loop, struct bh_stream *s) {
    struct bh_long_steps *l = &loop->long_steps;
    if (bh_list_empty(&l->line) && is_free(loop))
        l->holder = s;
    if (l->holder != s)
        return false;
    l->cpu_us = bh_clock_thread_us();
    return true;
}

void bh_long_steps_wait(struct bh_loop *loop, struct bh_turn *turn) {
    turn->due_ms = bh_loop_now(loop) + WAIT_MS;
    bh_defer_cancel(&turn->defer);
    bh_list_append(&loop->long_steps.line, &turn->defer.node);
    if (!loop->long_steps.timer.fn)
        bh_timer_init(&loop->long_steps.timer, loop, on_timer);
    if (!bh_timer_pending(&loop->long_steps.timer))
        set_timer(loop);
}

static uint64_t wait_us(uint64_t spent_us) {
    uint64_t tolerated_us = spent_us < TOLERATE_US ? spent_us : TOLERATE_US;
    return (tolerated_us > FREE_US ? tolerated_us - FREE_US : 0) * FACTOR +
           (spent_us - tolerated_us) * FACTOR_LONG;
}

void bh_long_steps_end(struct bh_loop *loop, struct bh_stream *s) {
    struct bh_long_steps *l = &loop->long_steps;
    if (l->holder != s)
        return;
    l->holder = NULL;
    l->last = s;
    l->others = false;
    l->judging = 2;
    l->free_ms = (bh_loop_read_clock(loop) + wait_us(bh_clock_thread_us() - l->cpu_us)) / 1000;
    set_timer(loop);
}
