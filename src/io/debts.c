/* debts.c - the list of debtors, in the order in which they are released.
 *
 * One timer of the loop serves all of them. It is set for the first in the list; all that are due
 * then join the end of the runnable work. Thread: the loop's. */
#include "debts.h"

#include "bellhop/io/timer.h"

#define FACTOR  10
#define WAIT_US 1000000 /* the longest */

static struct bh_turn *first(struct bh_loop *loop) {
    return BH_CONTAINER_OF(loop->debtors.next, struct bh_turn, defer.node);
}

static void set_timer(struct bh_loop *loop) {
    uint64_t now = bh_loop_now(loop), due = first(loop)->due_ms;
    bh_timer_set(&loop->debt_timer, due > now ? due - now : 0);
}

static void on_timer(struct bh_timer *t) {
    struct bh_loop *loop = t->loop;
    while (!bh_list_empty(&loop->debtors) && first(loop)->due_ms <= bh_loop_now(loop)) {
        struct bh_turn *turn = first(loop);
        bh_defer_cancel(&turn->defer);
        bh_loop_put_off(loop, &turn->defer);
    }
    if (!bh_list_empty(&loop->debtors))
        set_timer(loop);
}

void bh_debts_add(struct bh_loop *loop, struct bh_turn *turn, uint64_t spent_us) {
    uint64_t now_us = loop->clock_us, most_us = now_us + WAIT_US;
    uint64_t from_us = loop->debts_end_us > now_us ? loop->debts_end_us : now_us;
    uint64_t due_us = from_us + (spent_us - BH_DEBT_FROM_US) * FACTOR;
    loop->debts_end_us = due_us < most_us ? due_us : most_us;
    turn->due_ms = loop->debts_end_us / 1000;
    bh_defer_cancel(&turn->defer);
    bh_list_append(&loop->debtors, &turn->defer.node);
    if (!loop->debt_timer.fn)
        bh_timer_init(&loop->debt_timer, loop, on_timer);
    if (!bh_timer_pending(&loop->debt_timer))
        set_timer(loop);
}
