/* wheel.c - a timing wheel: 8192 slots of 4 ms, each a list.
 *
 * Adding and removing a timer links or unlinks one node, whatever the number of timers; a heap
 * needs log n. The bitmap of occupied slots finds the next slot to visit without looking at empty
 * lists, so the loop sleeps until that slot, or indefinitely without timers.
 *
 * The loop sweeps the wheel once per tick. A sweep fires what is due by now, not by the end of the
 * slot, so a timer fires in the first tick at or after its time. Only the wake-up is rounded, to
 * the end of the slot.
 *
 * Timers are embedded in their owners; the wheel owns none. Thread: the loop's. */
#include "wheel.h"

#define SLOT_OF(tick) ((unsigned)((tick) % BH_WHEEL_SLOTS))

void bh_wheel_init(struct bh_wheel *w) {
    for (unsigned i = 0; i < BH_WHEEL_SLOTS; i++)
        bh_list_init(&w->slots[i]);
}

/* The first tick from `tick` on, and before `end`, whose slot is occupied; else `end`.
 * end - tick is at most BH_WHEEL_SLOTS. */
static uint64_t first_occupied(const struct bh_wheel *w, uint64_t tick, uint64_t end) {
    while (tick < end) {
        unsigned slot = SLOT_OF(tick);
        uint64_t word = w->occupied[slot / 64] >> (slot % 64);
        if (word) {
            tick += (unsigned)__builtin_ctzll(word);
            return tick < end ? tick : end;
        }
        tick += 64 - slot % 64;
    }
    return end;
}

static void update_bitmap(struct bh_wheel *w, uint64_t tick) {
    unsigned slot = SLOT_OF(tick);
    if (bh_list_empty(&w->slots[slot]))
        w->occupied[slot / 64] &= ~(1ull << (slot % 64));
}

static void collect_due(struct bh_wheel *w, uint64_t tick, uint64_t now_ms, struct bh_list *due) {
    struct bh_list *slot = &w->slots[SLOT_OF(tick)];
    for (struct bh_list *node = slot->next, *next; node != slot; node = next) {
        next = node->next;
        if (BH_CONTAINER_OF(node, struct bh_timer, node)->due_ms > now_ms)
            continue;
        bh_list_unlink(node);
        bh_list_append(due, node);
    }
    update_bitmap(w, tick);
}

void bh_wheel_sweep(struct bh_wheel *w, uint64_t now_ms) {
    uint64_t end = now_ms / BH_WHEEL_SLOT_MS + 1;
    if (w->pending == 0 || w->earliest >= end)
        return;
    if (end - w->earliest > BH_WHEEL_SLOTS)
        w->earliest = end - BH_WHEEL_SLOTS; /* one rotation visits every slot */
    struct bh_list due;
    bh_list_init(&due);
    for (uint64_t tick = w->earliest; (tick = first_occupied(w, tick, end)) < end; tick++)
        collect_due(w, tick, now_ms, &due);
    w->earliest = (now_ms + 1) / BH_WHEEL_SLOT_MS;

    struct bh_list *node;
    while ((node = bh_list_shift(&due))) {
        struct bh_timer *t = BH_CONTAINER_OF(node, struct bh_timer, node);
        w->pending--;
        t->fn(t);
    }
}

uint64_t bh_wheel_next(struct bh_wheel *w) {
    if (w->pending == 0)
        return BH_WHEEL_NEVER;
    w->earliest = first_occupied(w, w->earliest, w->earliest + BH_WHEEL_SLOTS);
    return w->earliest * BH_WHEEL_SLOT_MS + BH_WHEEL_SLOT_MS - 1;
}

void bh_wheel_add(struct bh_wheel *w, struct bh_timer *t) {
    uint64_t tick = t->due_ms / BH_WHEEL_SLOT_MS;
    unsigned slot = SLOT_OF(tick);
    bh_list_append(&w->slots[slot], &t->node);
    w->occupied[slot / 64] |= 1ull << (slot % 64);
    if (w->pending++ == 0 || tick < w->earliest)
        w->earliest = tick;
}

void bh_wheel_remove(struct bh_wheel *w, struct bh_timer *t) {
    bh_list_unlink(&t->node);
    update_bitmap(w, t->due_ms / BH_WHEEL_SLOT_MS);
    w->pending--;
}
