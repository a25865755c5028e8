/* budget.c - see the header.
 *
 * The total and its parts change with each step only, so threads seldom meet at them. A part may be
 * below zero for a moment: what one thread has charged and not added yet, another may release. */
#include "bellhop/base/budget.h"

#include <stdatomic.h>

static uint64_t limit;
static _Atomic int64_t total, parts[BH_BUDGET_KINDS];
static _Thread_local int64_t gathered[BH_BUDGET_KINDS];

static int64_t load(_Atomic int64_t *number) {
    int64_t n = atomic_load_explicit(number, memory_order_relaxed);
    return n > 0 ? n : 0;
}

void bh_budget_set_limit(uint64_t bytes) {
    limit = bytes < INT64_MAX ? bytes : INT64_MAX;
}

uint64_t bh_budget_limit(void) {
    return limit;
}

static void add(enum bh_budget_kind kind) {
    int64_t bytes = gathered[kind];
    gathered[kind] = 0;
    atomic_fetch_add_explicit(&parts[kind], bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&total, bytes, memory_order_relaxed);
}

void bh_budget_charge(enum bh_budget_kind kind, int64_t bytes) {
    int64_t now = gathered[kind] += bytes;
    if (now >= BH_BUDGET_STEP || now <= -BH_BUDGET_STEP)
        add(kind);
}

void bh_budget_settle(void) {
    for (int kind = 0; kind < BH_BUDGET_KINDS; kind++)
        if (gathered[kind])
            add((enum bh_budget_kind)kind);
}

bool bh_budget_has_room(uint64_t bytes) {
    uint64_t used = (uint64_t)load(&total);
    return !limit || (used <= limit && bytes <= limit - used);
}

bool bh_budget_exceeded(void) {
    return !bh_budget_has_room(0);
}

int64_t bh_budget_used(void) {
    return load(&total);
}

int64_t bh_budget_used_by(enum bh_budget_kind kind) {
    return load(&parts[kind]);
}
