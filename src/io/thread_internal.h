/* thread_internal.h - private to src/io. */
#ifndef BELLHOP_SRC_IO_THREAD_INTERNAL_H
#define BELLHOP_SRC_IO_THREAD_INTERNAL_H

#include "bellhop/io/thread.h"

#include <pthread.h>

/* pthread_create with signals blocked in the new thread from its first instruction, so that they go
 * to the thread that handles them. 0 or BH_EIO. */
int bh_thread_spawn(pthread_t *out, void *(*run)(void *), void *ud);

#endif
