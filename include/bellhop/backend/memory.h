/* memory.h - the embedded default: one instance, no other process. */
#ifndef BELLHOP_BACKEND_MEMORY_H
#define BELLHOP_BACKEND_MEMORY_H

#include "bellhop/core/broker.h"
#include "bellhop/core/tracker.h"

/* What is published comes back as on_message on the bus thread, like from any broker. Always up. */
struct bh_broker *bh_memory_broker_new(void);
/* Asks the hubs of this instance: nothing is kept that could be wrong. For presence events it
 * counts the connections of each user. */
struct bh_tracker *bh_memory_tracker_new(uint64_t debounce_ms);

#endif
