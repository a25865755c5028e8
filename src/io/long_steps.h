/* long_steps.h - steps that are known to be long before they begin: one at a time, and seldom.
 *
 * A debt (debts.h) comes after the step, so a hundred connections that take one long step each
 * stall the others a hundred times in a row. Therefore a stream begins such a step only when no
 * other stream of the loop has one, and when the last one is waited off: ten times what it took
 * beyond 1 ms, two hundred times what it took beyond 5 ms, so that most of the others never meet
 * one. Where nobody was delayed, nothing is waited off. The streams wait in line; one that has
 * waited for 30 s is refused. Thread: the loop's. Private to src/io. */
#ifndef BELLHOP_SRC_IO_LONG_STEPS_H
#define BELLHOP_SRC_IO_LONG_STEPS_H

#include "debts.h"

/* True: the long step of this stream begins now. False: another has one, or had one lately. */
bool bh_long_steps_begin(struct bh_loop *loop, struct bh_stream *s);
/* To the end of the line. The turn then joins the loop's runnable work: it is for its stream to
 * begin, or turn->overdue. */
void bh_long_steps_wait(struct bh_loop *loop, struct bh_turn *turn);
/* The long step of this stream, if it has one, has ended. */
void bh_long_steps_end(struct bh_loop *loop, struct bh_stream *s);

#endif
