/* memory.h - how much memory this process may use, and the part of it that clients may fill.
 * Thread: main. */
#ifndef BELLHOP_SRC_APP_MEMORY_H
#define BELLHOP_SRC_APP_MEMORY_H

#include "config.h"

/* The least of the machine's memory and the limits of the cgroup and its ancestors (v1 and v2), in
 * bytes; 0: unknown. root: a directory that stands for "/", for tests; "" otherwise. */
uint64_t bh_app_memory_available(const char *root);
/* server.memory_budget in bytes, 0: none. "auto" is half of what is available. */
uint64_t bh_app_memory_budget(const struct bh_config *config, const char *root);

#endif
