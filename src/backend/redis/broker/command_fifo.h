/* command_fifo.h - the commands of a link in the order of sending, until they are answered. For
 * answers that do not name what they belong to. Private to the broker.
 *
 * Each entry is a pointer (NULL is allowed) and one bit, in 8 bytes: a link that subscribes again
 * has thousands. Zeroed, it is empty. Thread: its owner's. */
#ifndef BELLHOP_BACKEND_REDIS_COMMAND_FIFO_H
#define BELLHOP_BACKEND_REDIS_COMMAND_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bh_redis_command_fifo {
    uintptr_t *ring;
    size_t mask, head, count;
};

/* `what` is aligned to two bytes at least. */
void bh_redis_command_fifo_push(struct bh_redis_command_fifo *f, void *what, bool bit);
/* The oldest one. False: it is empty. */
bool bh_redis_command_fifo_head(const struct bh_redis_command_fifo *f, void **what, bool *bit);
/* Removes the oldest one; there must be one. */
void bh_redis_command_fifo_shift(struct bh_redis_command_fifo *f);
/* Empties it, and frees its memory. */
void bh_redis_command_fifo_clear(struct bh_redis_command_fifo *f);

#endif
