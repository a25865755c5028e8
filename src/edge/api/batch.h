/* batch.h - the batches of one worker that are under way. Thread: the worker's. */
#ifndef BELLHOP_EDGE_BATCH_H
#define BELLHOP_EDGE_BATCH_H

#include "bellhop/base/list.h"
#include "bellhop/base/slots.h"

struct bh_batches {
    struct bh_slots items; /* under way -> struct item */
    struct bh_list list;
};

void bh_batches_init(struct bh_batches *b);
/* Frees what is left; nothing may complete any more. */
void bh_batches_deinit(struct bh_batches *b);

#endif
