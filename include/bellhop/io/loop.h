/* loop.h - the event loop of one thread, its tick, its timers and its shared read buffer.
 *
 * A tick is: wait for events, run their callbacks, then mail, then runnable work, then the flush
 * phase, then the reap phase. Callbacks queue work that is done once, at the end of the tick: the
 * flush phase writes what was queued, the reap phase frees what was closed, so nothing is freed
 * inside its own callback. Everything here belongs to the thread that runs the loop; other threads
 * reach it only through a mailbox. */
#ifndef BELLHOP_IO_LOOP_H
#define BELLHOP_IO_LOOP_H

#include "bellhop/base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bh_loop; /* opaque */
struct event_base;

/* Work for the end of this tick. Embed it; queueing it twice is harmless; cancel it with
 * bh_defer_cancel before its memory is freed. A deferred callback may queue more, also in its own
 * phase: a phase runs until it is empty, flush before reap. */
enum bh_phase { BH_PHASE_FLUSH, BH_PHASE_REAP };

struct bh_defer {
    struct bh_list node;
    void (*fn)(struct bh_defer *);
};

/* What is prefetched of its owner, counted from the bh_defer, while the one before it runs. */
#define BH_DEFER_HOT_FROM (-192)
#define BH_DEFER_HOT_TO   128

#define BH_LOOP_READ_BUFFER (64 * 1024)

/* --- shares of a tick ---
 *
 * A connection that has more to do than fits into its share keeps the rest and puts itself off. Its
 * step begins where the previous one ended. */

/* Reads the clock, in microseconds; also the end of a step. */
uint64_t bh_loop_read_clock(struct bh_loop *loop);
/* At the last reading of the clock. Done for each event of a stream and each entry put off. */
void bh_loop_share_begin(struct bh_loop *loop);
/* The step has lasted 0.25 ms; less while many wait. Reads the clock. */
bool bh_loop_share_used(struct bh_loop *loop);
/* Queues work for which there was no time. Each tick serves these entries in order, after fresh
 * events and mail: one at least, then further ones for 0.5 ms, each once. While one waits the loop
 * polls without blocking. Queueing twice is harmless; bh_defer_cancel cancels. */
void bh_loop_put_off(struct bh_loop *loop, struct bh_defer *d);

void bh_loop_metrics_register(void);
struct bh_loop *bh_loop_new(void);
void bh_loop_free(struct bh_loop *loop); /* runs what is deferred or put off */
/* Runs until bh_loop_stop; then finishes the current tick, flush and reap included. */
void bh_loop_run(struct bh_loop *loop);
/* One tick; waits for an event only if may_block. For tests. */
void bh_loop_tick(struct bh_loop *loop, bool may_block);
void bh_loop_stop(struct bh_loop *loop); /* the loop's own thread only */
/* Monotonic milliseconds as of the start of this tick's callbacks; outside of a tick, the clock. */
uint64_t bh_loop_now(const struct bh_loop *loop);
/* One buffer of BH_LOOP_READ_BUFFER bytes for all streams of the loop; its contents live until the
 * callback returns. */
unsigned char *bh_loop_read_buffer(struct bh_loop *loop);
/* For the other modules of io only. */
struct event_base *bh_loop_base(struct bh_loop *loop);

void bh_defer_init(struct bh_defer *d, void (*fn)(struct bh_defer *));
void bh_defer(struct bh_loop *loop, enum bh_phase phase, struct bh_defer *d);
void bh_defer_cancel(struct bh_defer *d);

#endif
