/* slots.c - the table behind handles.
 *
 * An array that only grows, with the free slots chained through next_free. The generation of a slot
 * advances when its object is removed, which makes every handle to it stale at once. Only after
 * 2^32 reuses of the slot could an old handle match again. */
#include "bellhop/base/slots.h"

#include "bellhop/base/mem.h"

#include <stdlib.h>

#define SLOTS_MIN 8
#define NO_SLOT   UINT32_MAX

void bh_slots_init(struct bh_slots *s) {
    *s = (struct bh_slots){.free_head = NO_SLOT};
}

void bh_slots_deinit(struct bh_slots *s) {
    bh_free(s->slots);
    bh_slots_init(s);
}

static uint32_t fresh_slot(struct bh_slots *s) {
    if (s->used == s->cap) {
        if (s->cap >= UINT32_MAX / 2)
            abort();
        s->cap = s->cap ? s->cap * 2 : SLOTS_MIN;
        s->slots = bh_realloc(s->slots, s->cap * sizeof *s->slots);
    }
    s->slots[s->used].generation = 1;
    return s->used++;
}

bh_handle bh_slots_add(struct bh_slots *s, void *object) {
    uint32_t index = s->free_head;
    if (index == NO_SLOT)
        index = fresh_slot(s);
    else
        s->free_head = s->slots[index].next_free;
    s->slots[index].object = object;
    s->count++;
    return (bh_handle)s->slots[index].generation << 32 | index;
}

static struct bh_slot *find(const struct bh_slots *s, bh_handle handle) {
    uint32_t index = (uint32_t)handle;
    if (index >= s->used || s->slots[index].generation != handle >> 32)
        return NULL;
    return s->slots[index].object ? &s->slots[index] : NULL;
}

void *bh_slots_get(const struct bh_slots *s, bh_handle handle) {
    struct bh_slot *slot = find(s, handle);
    return slot ? slot->object : NULL;
}

void bh_slots_remove(struct bh_slots *s, bh_handle handle) {
    struct bh_slot *slot = find(s, handle);
    if (!slot)
        return;
    slot->object = NULL;
    if (++slot->generation == 0)
        slot->generation = 1;
    slot->next_free = s->free_head;
    s->free_head = (uint32_t)(slot - s->slots);
    s->count--;
}

void *bh_slots_next(const struct bh_slots *s, uint32_t *cursor) {
    while (*cursor < s->used) {
        void *object = s->slots[(*cursor)++].object;
        if (object)
            return object;
    }
    return NULL;
}
