/* budget.h - how much memory peers make this process hold, and the limit of it.
 *
 * What is unfinished, queued or held is charged when it grows and released when it shrinks, by
 * kind. Each thread gathers its changes and adds them to the total of the process in steps of
 * BH_BUDGET_STEP: a change costs an addition and a comparison, and the total is off by less than a
 * step for each thread and kind. Nothing is refused here: callers ask bh_budget_exceeded and decide
 * what to refuse or to close. Thread: any. */
#ifndef BELLHOP_BASE_BUDGET_H
#define BELLHOP_BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define BH_BUDGET_STEP (64 * 1024)

enum bh_budget_kind {
    BH_BUDGET_BODIES,   /* of HTTP requests, with their heads */
    BH_BUDGET_MESSAGES, /* of WebSockets, unfinished */
    BH_BUDGET_QUEUES,   /* not sent yet; a buffer that several queues share counts once */
    BH_BUDGET_HELD,     /* received and not looked at yet */
    BH_BUDGET_KINDS,
};

/* In bytes; 0: none. Before other threads start. */
void bh_budget_set_limit(uint64_t bytes);
uint64_t bh_budget_limit(void);

/* bytes < 0: released. */
void bh_budget_charge(enum bh_budget_kind kind, int64_t bytes);
/* Adds what this thread has gathered to the total, so that the next questions know of it. */
void bh_budget_settle(void);

bool bh_budget_exceeded(void);
/* It would not be exceeded with so many bytes more. */
bool bh_budget_has_room(uint64_t bytes);
int64_t bh_budget_used(void); /* the total */
int64_t bh_budget_used_by(enum bh_budget_kind kind);

#endif
