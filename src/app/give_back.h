/* give_back.h - after a peak, each thread gives the free memory of its heap back to the system.
 *
 * _start runs on the bus, before the workers do; _stop when no worker runs any more. */
#ifndef BELLHOP_SRC_APP_GIVE_BACK_H
#define BELLHOP_SRC_APP_GIVE_BACK_H

#include "peak.h"

#include "bellhop/base/heap.h"
#include "bellhop/io/timer.h"

struct bh_server;

/* One thread's. */
struct bh_give_back {
    struct bh_heap_return heap;
    struct bh_timer step;
};

/* The bus's. */
struct bh_give_back_watch {
    struct bh_timer timer;
    struct bh_peak peak;
    struct bh_give_back own;
};

void bh_give_back_start(struct bh_server *s);
void bh_give_back_stop(struct bh_server *s);

#endif
