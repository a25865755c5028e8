/* history.c - placeholder of the build. */
#include "bellhop/backend/memory.h"

struct bh_history *bh_memory_history_new(const struct bh_history_config *config,
                                         struct bh_broker *broker, uint64_t bytes_max) {
    return NULL;
}
