/* timer.c - the timing wheel of a loop.
 *
 * 8192 slots of 4 ms, each a list. Setting, moving and cancelling a timer is unlinking one node and
 * linking it elsewhere, whatever the number of timers, which a heap cannot offer. The bitmap of
 * occupied slots finds the next one to visit without looking at empty lists, so the loop sleeps
 * right up to it, and for good when there is no timer.
 *
 * The loop sweeps the wheel once in each tick. A slot is swept for what is due by now, not for what
 * is due by its end, hence a timer fires in the first tick at or after its time; only the waking up
 * is rounded, to the end of the slot.
 *
 * Timers are embedded in their owners; the wheel owns none. Thread: the loop's. */
#include "bellhop/io/timer.h"

#include "loop_internal.h"

#define SLOT_OF(tick) ((unsigned)((tick) % BH_WHEEL_SLOTS))
#define WORDS         (BH_WHEEL_SLOTS / 64)

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

static void release_slot(struct bh_wheel *w, uint64_t tick) {
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
    release_slot(w, tick);
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

void bh_timer_init(struct bh_timer *t, struct bh_loop *loop, void (*fn)(struct bh_timer *)) {
    *t = (struct bh_timer){.fn = fn, .loop = loop};
    bh_list_init(&t->node);
}

void bh_timer_set(struct bh_timer *t, uint64_t delay_ms) {
    bh_timer_cancel(t);
    struct bh_wheel *w = &t->loop->wheel;
    uint64_t now = bh_loop_now(t->loop);
    t->due_ms = delay_ms < UINT64_MAX - now ? now + delay_ms : UINT64_MAX;

    uint64_t tick = t->due_ms / BH_WHEEL_SLOT_MS;
    unsigned slot = SLOT_OF(tick);
    bh_list_append(&w->slots[slot], &t->node);
    w->occupied[slot / 64] |= 1ull << (slot % 64);
    if (w->pending++ == 0 || tick < w->earliest)
        w->earliest = tick;
}

void bh_timer_cancel(struct bh_timer *t) {
    if (bh_list_empty(&t->node))
        return;
    bh_list_unlink(&t->node);
    release_slot(&t->loop->wheel, t->due_ms / BH_WHEEL_SLOT_MS);
    t->loop->wheel.pending--;
}

bool bh_timer_pending(const struct bh_timer *t) {
    return !bh_list_empty(&t->node);
}
