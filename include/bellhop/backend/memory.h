/* memory.h - the built-in default for a single instance, without other processes. */
#ifndef BELLHOP_BACKEND_MEMORY_H
#define BELLHOP_BACKEND_MEMORY_H

#include "bellhop/core/broker.h"
#include "bellhop/core/history.h"
#include "bellhop/core/tracker.h"

/* Published messages return as on_message on the bus thread, as from any broker. Always up. */
struct bh_broker *bh_memory_broker_new(void);
/* Lookups read the hubs of this instance. For presence events the connections of each user are
 * counted. */
struct bh_tracker *bh_memory_tracker_new(uint64_t debounce_ms);
/* Streams of this process, gone with it: a new process has new epochs. broker: the one above, whose
 * on_message brings what is appended, in the order of its other messages. All streams together have
 * at most bytes_max bytes (0: no limit); an append beyond is refused with BH_ENOMEM. Copies config,
 * not its rules. */
struct bh_history *bh_memory_history_new(const struct bh_history_config *config,
                                         struct bh_broker *broker, uint64_t bytes_max);

void bh_memory_metrics_register(void);

#endif
