/* memory.h - the built-in default for a single instance, without other processes. */
#ifndef BELLHOP_BACKEND_MEMORY_H
#define BELLHOP_BACKEND_MEMORY_H

#include "bellhop/core/broker.h"
#include "bellhop/core/tracker.h"

/* Published messages return as on_message on the bus thread, as from any broker. Always up. */
struct bh_broker *bh_memory_broker_new(void);
/* Lookups read the hubs of this instance. For presence events the connections of each user are
 * counted. */
struct bh_tracker *bh_memory_tracker_new(uint64_t debounce_ms);

#endif
