/* thread.h - a thread with a loop and a mailbox: the bus and each worker are one.
 *
 * Life: _new (creates the loop and the mailbox; the creator may set up both until _start), _start,
 * ... , _stop (asynchronous, from any thread), _join, _free. All signals except those of faults are
 * blocked in the started thread. */
#ifndef BELLHOP_IO_THREAD_H
#define BELLHOP_IO_THREAD_H

#include "bellhop/io/mailbox.h"

struct bh_thread; /* opaque */

struct bh_thread *bh_thread_new(const char *name); /* at most 15 characters show in ps */
struct bh_loop *bh_thread_loop(struct bh_thread *t);
struct bh_mailbox *bh_thread_mailbox(struct bh_thread *t);
/* Runs on_start (may be NULL) on the new thread, then the loop until stopped. 0 or BH_EIO. */
int bh_thread_start(struct bh_thread *t, void (*on_start)(void *ud), void *ud);
void bh_thread_stop(struct bh_thread *t);
void bh_thread_join(struct bh_thread *t);
void bh_thread_free(struct bh_thread *t);

#endif
