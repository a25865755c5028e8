/* debts.h - waiting that a connection owes to the others.
 *
 * Some steps cannot be cut: a hook, a large message. What such a step took beyond what is tolerable
 * is a debt, and its connection waits ten times as long before its next turn. Debtors wait in
 * line, one after the other, so that a hundred of them together cost the others no more than one;
 * none waits longer than a second. Thread: the loop's. Private to src/io. */
#ifndef BELLHOP_SRC_IO_DEBTS_H
#define BELLHOP_SRC_IO_DEBTS_H

#include "loop_internal.h"

#define BH_DEBT_FROM_US 1000 /* of CPU time in one step */

struct bh_stream;

/* A turn that a stream waits for. */
struct bh_turn {
    struct bh_defer defer; /* in the loop's list of runnable work, of debtors, or of long steps */
    struct bh_stream *stream;
    uint64_t due_ms;
    bool overdue; /* has waited too long for a long step */
};

/* The turn is put off until the debt for spent_us > BH_DEBT_FROM_US is waited off. It may be queued
 * already. */
void bh_debts_add(struct bh_loop *loop, struct bh_turn *turn, uint64_t spent_us);

#endif
