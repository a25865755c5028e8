/* slots.h - handles: index + generation instead of a pointer.
 *
 * An asynchronous completion keeps a handle and looks the object up when it arrives; an object
 * removed meanwhile is not found, even if its slot is in use again. Generations are 32 bits and
 * never 0, so handle 0 is "none". Not thread-safe: one owner. */
#ifndef BELLHOP_BASE_SLOTS_H
#define BELLHOP_BASE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t bh_handle; /* generation << 32 | index */

struct bh_slot {
    uint32_t generation;
    uint32_t next_free;
    void *object;
};

struct bh_slots {
    struct bh_slot *slots;
    uint32_t cap;
    uint32_t used; /* slots ever handed out */
    uint32_t free_head;
    size_t count; /* live objects */
};

void bh_slots_init(struct bh_slots *s);
void bh_slots_deinit(struct bh_slots *s);
bh_handle bh_slots_add(struct bh_slots *s, void *object);
/* NULL for a handle that is 0, unknown or outdated. */
void *bh_slots_get(const struct bh_slots *s, bh_handle handle);
/* No effect on an outdated handle. */
void bh_slots_remove(struct bh_slots *s, bh_handle handle);
/* Iteration: start with *cursor = 0; NULL at the end. Removing the current object is allowed. */
void *bh_slots_next(const struct bh_slots *s, uint32_t *cursor);

#endif
