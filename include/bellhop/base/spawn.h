/* spawn.h - pthread_create with signals blocked in the new thread from its first instruction, so
 * that they go to the thread that handles them. Faults still reach their handler. Thread: any. */
#ifndef BELLHOP_BASE_SPAWN_H
#define BELLHOP_BASE_SPAWN_H

#include <pthread.h>

/* 0 or BH_EIO. The caller joins or detaches the thread. */
int bh_spawn(pthread_t *out, void *(*run)(void *), void *ud);

#endif
