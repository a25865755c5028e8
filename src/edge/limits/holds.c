/* holds.c - the holds of a worker, and which connections are closed when the budget is exceeded.
 *
 * The counters of owners, under a lock, say which one holds most in the process. A worker goes
 * through its list once, chooses a few holds of that owner, and closes them one by one while the
 * budget is exceeded, for a bounded time in each tick. It does so at the end of a tick in which a
 * hold has grown, and ten times a second, in case another worker's have. The list is not kept in
 * any order: closing is rare.
 *
 * A small hold counts in the total, but not for its owner, which would take the lock. When no owner
 * is counted, the oldest holds of all are closed. */
#include "limits/holds.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/log.h"
#include "limits/admission.h"
#include "limits/counters.h"
#include "limits/edge_metrics.h"

#define SWEEP_MS   100
#define KIB        1024
#define OWNED_FROM 4  /* KiB; smaller holds are not counted for their owner */
#define OWNED_STEP 16 /* KiB; smaller changes neither */
#define CHOSEN_MAX 16
#define CLOSING_US 1000 /* of a tick: freeing 16 MiB takes one */

static struct bh_counters owners = BH_COUNTERS_INIT; /* in KiB */

/* --- the sum --- */

uint64_t bh_hold_owner(struct bh_slice user, const struct bh_ip *ip) {
    return user.n ? bh_counters_hash('u', user)
                  : bh_counters_hash('a', bh_admission_address_key(ip));
}

static void on_deadline(struct bh_timer *t);

void bh_hold_init(struct bh_hold *h, struct bh_holds *s, const struct bh_hold_ops *ops,
                  uint64_t owner) {
    *h = (struct bh_hold){.holds = s, .ops = ops, .owner = owner};
    bh_list_init(&h->node);
    bh_list_init(&h->chosen);
    bh_timer_init(&h->deadline, s->loop, on_deadline);
}

static size_t sum(const struct bh_hold *h) {
    return h->unfinished + h->held + h->queued;
}

static void charge(struct bh_hold *h, size_t unfinished, size_t held, size_t queued) {
    const struct bh_hold_ops *ops = h->ops;
    bh_budget_charge(ops->kind, (int64_t)(unfinished - h->unfinished));
    bh_budget_charge(BH_BUDGET_HELD, (int64_t)(held - h->held));
    if (ops->charges_queue)
        bh_budget_charge(BH_BUDGET_QUEUES, (int64_t)(queued - h->queued));
    h->unfinished = unfinished;
    h->held = held;
    h->queued = queued;
}

static void charge_owner(struct bh_hold *h) {
    uint32_t now = h->may_close && sum(h) / KIB >= OWNED_FROM ? (uint32_t)(sum(h) / KIB) : 0;
    uint32_t change = now > h->owned ? now - h->owned : h->owned - now;
    if (change == 0 || (now && h->owned && change < OWNED_STEP))
        return;
    if (now > h->owned)
        bh_counters_add(&owners, h->owner, change, UINT32_MAX);
    else
        bh_counters_subtract(&owners, h->owner, change);
    h->owned = now;
}

static void watch(struct bh_holds *s) {
    if (!bh_timer_pending(&s->sweep))
        bh_timer_set(&s->sweep, SWEEP_MS);
}

void bh_hold_set(struct bh_hold *h, size_t unfinished, size_t held, size_t queued, bool may_close) {
    struct bh_holds *s = h->holds;
    size_t before = sum(h);
    charge(h, unfinished, held, queued);
    h->may_close = may_close;
    charge_owner(h);
    if (bh_list_empty(&h->node)) {
        bh_list_append(&s->list, &h->node);
        watch(s);
    }
    if (sum(h) > before && bh_budget_exceeded())
        bh_defer(s->loop, BH_PHASE_FLUSH, &s->relief);
}

void bh_hold_end(struct bh_hold *h) {
    charge(h, 0, 0, 0);
    charge_owner(h);
    bh_hold_wait_no_more(h);
    bh_list_unlink(&h->node);
    bh_list_unlink(&h->chosen);
}

/* --- the deadline --- */

static void begin_time(struct bh_hold *h) {
    h->due_ms = bh_loop_now(h->holds->loop) + h->holds->message_ms;
    if (h->holds->message_ms && !h->paused)
        bh_timer_set(&h->deadline, h->holds->message_ms);
}

static void move_deadline(struct bh_hold *h) {
    uint64_t latest = bh_loop_now(h->holds->loop) + h->holds->message_ms;
    uint64_t ms = (h->ops->progress(h) - h->progress) * 1000 / BH_HOLD_RATE;
    h->progress += ms * BH_HOLD_RATE / 1000;
    h->due_ms = h->due_ms + ms < latest ? h->due_ms + ms : latest;
}

void bh_hold_begin(struct bh_hold *h) {
    h->began_ms = bh_loop_now(h->holds->loop);
}

void bh_hold_wait(struct bh_hold *h) {
    if (h->waits) {
        move_deadline(h);
        return;
    }
    h->waits = true;
    bh_hold_begin(h);
    h->progress = h->ops->progress(h);
    begin_time(h);
}

void bh_hold_wait_no_more(struct bh_hold *h) {
    h->waits = false;
    bh_timer_cancel(&h->deadline);
}

void bh_hold_set_paused(struct bh_hold *h, bool paused) {
    h->paused = paused;
    bh_timer_cancel(&h->deadline);
    if (h->waits)
        begin_time(h);
}

static void on_deadline(struct bh_timer *t) {
    struct bh_hold *h = BH_CONTAINER_OF(t, struct bh_hold, deadline);
    uint64_t now = bh_loop_now(h->holds->loop);
    if (h->due_ms > now)
        bh_timer_set(t, h->due_ms - now);
    else
        h->ops->on_stalled(h);
}

/* --- relief --- */

/* Unfinished messages before anything else, older before younger, larger queues before smaller. */
static bool goes_before(const struct bh_hold *a, const struct bh_hold *b) {
    bool message_a = a->unfinished > 0, message_b = b->unfinished > 0;
    if (message_a != message_b)
        return message_a;
    return message_a ? a->began_ms < b->began_ms : a->queued > b->queued;
}

struct choice {
    struct bh_hold *of[CHOSEN_MAX]; /* in order */
    size_t count;
};

static void consider(struct choice *c, struct bh_hold *h) {
    size_t i = c->count;
    if (i == CHOSEN_MAX && !goes_before(h, c->of[i - 1]))
        return;
    if (i == CHOSEN_MAX)
        i--;
    else
        c->count++;
    for (; i > 0 && goes_before(h, c->of[i - 1]); i--)
        c->of[i] = c->of[i - 1];
    c->of[i] = h;
}

/* owner 0: anybody. */
static void consider_all(struct choice *c, struct bh_list *list, uint64_t owner) {
    for (struct bh_list *n = list->next; n != list; n = n->next) {
        struct bh_hold *h = BH_CONTAINER_OF(n, struct bh_hold, node);
        if (owner ? h->owner == owner && h->owned : h->may_close)
            consider(c, h);
    }
}

static void log_excess(uint64_t most) {
    bh_warn_limited("memory budget exceeded, closing connections",
                    bh_kv_int("used", bh_budget_used()),
                    bh_kv_int("budget", (int64_t)bh_budget_limit()),
                    bh_kv_int("bodies", bh_budget_used_by(BH_BUDGET_BODIES)),
                    bh_kv_int("messages", bh_budget_used_by(BH_BUDGET_MESSAGES)),
                    bh_kv_int("queues", bh_budget_used_by(BH_BUDGET_QUEUES)),
                    bh_kv_int("held", bh_budget_used_by(BH_BUDGET_HELD)),
                    bh_kv_int("largest_owner", (int64_t)most));
}

/* Closing one may end others, which then leave the list. */
static size_t close_chosen(struct bh_list *chosen) {
    struct bh_list *node;
    size_t closed = 0;
    uint64_t end_us = bh_clock_us() + CLOSING_US;
    while (bh_budget_exceeded() && (closed == 0 || bh_clock_us() < end_us) &&
           (node = bh_list_shift(chosen))) {
        struct bh_hold *h = BH_CONTAINER_OF(node, struct bh_hold, chosen);
        bh_edge_count(BH_EDGE_LIMIT_MEMORY, 1);
        h->ops->on_excess(h);
        bh_budget_settle();
        closed++;
    }
    while (bh_list_shift(chosen))
        ;
    return closed;
}

static size_t relieve_once(struct bh_holds *s) {
    struct choice choice = {0};
    struct bh_list chosen;
    uint64_t owner, bytes = (uint64_t)bh_counters_largest(&owners, &owner) * KIB;
    bh_list_init(&chosen);
    consider_all(&choice, &s->list, owner);
    if (choice.count)
        log_excess(bytes);
    for (size_t i = 0; i < choice.count; i++)
        bh_list_append(&chosen, &choice.of[i]->chosen);
    return close_chosen(&chosen);
}

static void relieve(struct bh_holds *s) {
    bh_budget_settle();
    if (bh_budget_exceeded() && relieve_once(s) > 0 && bh_budget_exceeded())
        bh_timer_set(&s->sweep, 0); /* the rest in the next tick */
}

static void on_relief(struct bh_defer *d) {
    relieve(BH_CONTAINER_OF(d, struct bh_holds, relief));
}

static void on_sweep(struct bh_timer *t) {
    struct bh_holds *s = BH_CONTAINER_OF(t, struct bh_holds, sweep);
    relieve(s);
    if (!bh_list_empty(&s->list))
        watch(s);
}

/* --- life --- */

void bh_holds_init(struct bh_holds *s, struct bh_loop *loop, uint64_t message_ms) {
    *s = (struct bh_holds){.loop = loop, .message_ms = message_ms};
    bh_list_init(&s->list);
    bh_timer_init(&s->sweep, loop, on_sweep);
    bh_defer_init(&s->relief, on_relief);
}

void bh_holds_deinit(struct bh_holds *s) {
    bh_timer_cancel(&s->sweep);
    bh_defer_cancel(&s->relief);
}
