/* streams_order.c - what is dispatched, and in which order.
 *
 * `known` only moves here, and each step of it is dispatched to the workers: a message, or a note
 * (GAP, REWOUND, TOMBSTONE) with the position where the stream goes on. What arrives and does not
 * follow is held, and marks the stream to be read; what a read has found is dispatched first, then
 * what is held. A message that no read brings, twice, is a gap.
 *
 * Entries of an older epoch may be in a range: their place in it counts, not their own position.
 * Thread: the bus. */
#include "node_internal.h"
#include "streams_internal.h"

#include "bellhop/base/mem.h"
#include "metrics.h"

#include <assert.h>

#define HOLES_MAX 2 /* reads that leave a hole; the next one makes it a gap */
#define MOVES_MAX 5 /* reads of a rule `latest` that were overtaken */

static void dispatch(struct bh_stream *s, struct bh_message *m) {
    bh_node_dispatch(s->streams->node, m, 0, (struct bh_receipt){0});
}

static void pass_on(struct bh_stream *s, struct bh_message *m, uint64_t offset) {
    if (offset != s->known.offset + 1)
        bh_stream_tail_clear(s);
    s->known.offset = offset;
    bh_stream_tail_push(s, m);
    dispatch(s, m);
}

/* The stream goes on at this position. */
static void jump(struct bh_stream *s, enum bh_message_kind kind, struct bh_position to,
                 const char *why) {
    struct bh_message *m = bh_stream_note(s, kind, to, why);
    bh_stream_tail_clear(s);
    s->known = to;
    dispatch(s, m);
    bh_message_unref(m);
}

void bh_stream_tell_live(struct bh_stream *s) {
    if (!s->live || s->told_live)
        return;
    s->told_live = true;
    bh_interest_map_live(&s->streams->node->interest, bh_stream_name(s));
}

void bh_stream_learn(struct bh_stream *s, struct bh_position top) {
    if (s->absent && top.offset > 0) {
        s->behind = true;
        top.offset = 0;
    }
    if (s->unsure)
        jump(s, BH_MESSAGE_GAP, top, BH_GAP_LOST);
    else if (s->pending)
        jump(s, BH_MESSAGE_TOMBSTONE, top, NULL);
    else
        s->known = top;
    s->absent = s->unsure = s->pending = false;
}

void bh_stream_learn_top(struct bh_stream *s, struct bh_position top) {
    s->unsure |= s->told_live && !s->absent && top.offset > 0;
    bh_stream_learn(s, top);
}

/* --- held messages --- */

static void unhold(struct bh_stream *s, const struct bh_message *m) {
    s->held_bytes -= m->payload.n;
    s->streams->held_bytes -= m->payload.n;
    bh_metric_add(&bh_core_metrics[BH_CORE_STREAM_HELD], -1);
}

void bh_stream_forget_held(struct bh_stream *s) {
    for (uint32_t i = 0; i < s->held_count; i++) {
        unhold(s, s->held[i]);
        bh_message_unref(s->held[i]);
    }
    bh_free(s->held);
    s->held = NULL;
    s->held_count = s->held_cap = s->held_judged = 0;
}

/* Beyond the limits it is forgotten: a read will bring it. */
static void hold(struct bh_stream *s, struct bh_message *m) {
    if (s->held_count == BH_STREAM_HELD_MAX ||
        s->held_bytes + m->payload.n > BH_STREAM_HELD_BYTES ||
        s->streams->held_bytes + m->payload.n > BH_STREAM_HELD_BYTES_ALL) {
        s->behind = true;
        return;
    }
    if (s->held_count == s->held_cap) {
        s->held_cap = s->held_cap ? s->held_cap * 2 : 4;
        s->held = bh_realloc(s->held, s->held_cap * sizeof *s->held);
    }
    s->held[s->held_count++] = bh_message_ref(m);
    s->held_bytes += m->payload.n;
    s->streams->held_bytes += m->payload.n;
    bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_HELD]);
}

enum fate { KEEP, DROP, PASS };

static enum fate fate_of(const struct bh_stream *s, const struct bh_message *m, bool judged) {
    struct bh_position p = m->position;
    if (p.epoch != s->known.epoch)
        return judged ? DROP : KEEP; /* the read began later, and knows nothing of that epoch */
    if (p.offset <= s->known.offset)
        return DROP;
    return p.offset == s->known.offset + 1 ? PASS : KEEP;
}

/* One pass over what is held. True: something followed, so more may. */
static bool drain_once(struct bh_stream *s) {
    uint32_t kept = 0, judged = 0;
    bool moved = false;
    for (uint32_t i = 0; i < s->held_count; i++) {
        struct bh_message *m = s->held[i];
        bool is_judged = i < s->held_judged;
        enum fate fate = fate_of(s, m, is_judged);
        if (fate == KEEP) {
            s->held[kept++] = m;
            judged += is_judged;
            continue;
        }
        unhold(s, m);
        if (fate == PASS)
            pass_on(s, m, m->position.offset);
        moved |= fate == PASS;
        bh_message_unref(m);
    }
    s->held_count = kept;
    s->held_judged = judged;
    return moved;
}

static void drain(struct bh_stream *s) {
    while (s->held_count && drain_once(s)) {
    }
    if (s->held_count)
        return;
    bh_stream_forget_held(s);
    s->holes = 0;
}

/* The first one of the epoch; 0: none. */
static uint64_t first_held(const struct bh_stream *s, uint64_t epoch) {
    uint64_t first = 0;
    for (uint32_t i = 0; i < s->held_count; i++) {
        struct bh_position p = s->held[i]->position;
        if (p.epoch == epoch && (!first || p.offset < first))
            first = p.offset;
    }
    return first;
}

/* Up to `top` nothing can be read; what is held goes on behind the gap. */
static void jump_over(struct bh_stream *s, struct bh_position top) {
    uint64_t first = first_held(s, top.epoch);
    struct bh_position to = top;
    if (first && first <= top.offset)
        to.offset = first - 1;
    s->behind |= to.offset < top.offset; /* they may have holes */
    jump(s, BH_MESSAGE_GAP, to, BH_GAP_EXPIRED);
}

/* Each of those that are left has seen a read that did not bring what is before it. */
static void settle_held(struct bh_stream *s) {
    drain(s);
    if (!s->held_judged || ++s->holes <= HOLES_MAX)
        return;
    uint64_t first;
    while ((first = first_held(s, s->known.epoch))) {
        jump(s, BH_MESSAGE_GAP, (struct bh_position){s->known.epoch, first - 1}, BH_GAP_LOST);
        drain(s);
    }
    s->holes = 0;
}

/* --- messages from the broker --- */

/* False: it does not follow. */
static bool follows(struct bh_stream *s, struct bh_position p) {
    if (s->known.epoch == 0) /* the first since the subscription is live */
        bh_stream_learn(s, (struct bh_position){p.epoch, p.offset - 1});
    if (p.epoch != s->known.epoch)
        return false;
    return p.offset == s->known.offset + 1 || (s->rule->latest && p.offset > s->known.offset);
}

void bh_stream_message(struct bh_stream *s, struct bh_message *m) {
    struct bh_position p = m->position;
    if (p.offset == 0)
        return;
    if (follows(s, p)) {
        pass_on(s, m, p.offset);
        if (s->held_count)
            drain(s);
    } else if (p.epoch == s->known.epoch && p.offset <= s->known.offset) {
        bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_STALE]);
    } else {
        hold(s, m);
    }
}

/* --- what a read has found --- */

/* The entries of r behind `known`, which is in r's epoch; then the stream is at r's top. */
static void pass_range(struct bh_stream *s, const struct bh_range *r) {
    const struct bh_message *last = NULL;
    for (size_t i = 0; i < r->count; i++) {
        uint64_t offset = r->since.offset + 1 + i;
        if (offset <= s->known.offset)
            continue;
        last = r->messages[i];
        pass_on(s, r->messages[i], offset);
    }
    if (last)
        bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_HEALS]);
    if (!last) /* only the epoch is another one */
        bh_stream_tail_clear(s);
    if (!last ||
        !bh_position_eq(last->position, r->top)) { /* the workers do not know of r's epoch */
        struct bh_message *m = bh_stream_note(s, BH_MESSAGE_TOMBSTONE, r->top, NULL);
        s->known = r->top;
        dispatch(s, m);
        bh_message_unref(m);
    }
}

/* What is read from a place that was dispatched begins later only where all before was removed. */
static void skip_removed(struct bh_stream *s, const struct bh_range *r) {
    if (r->outcome == BH_HISTORY_OK && r->since.offset > s->known.offset &&
        s->asked.epoch == s->known.epoch && s->asked.offset <= s->known.offset)
        jump(s, BH_MESSAGE_TOMBSTONE, r->since, NULL);
}

static void apply_same_epoch(struct bh_stream *s, const struct bh_range *r) {
    skip_removed(s, r);
    if (r->top.offset <= s->known.offset)
        return;
    if (r->outcome == BH_HISTORY_OK && r->since.offset <= s->known.offset)
        pass_range(s, r);
    else if (r->outcome == BH_HISTORY_GAP && bh_position_eq(s->asked, s->known))
        jump_over(s, r->top);
    else
        s->behind = true;
}

static void apply_new_epoch(struct bh_stream *s, const struct bh_range *r) {
    if (!bh_position_eq(s->asked, s->known)) {
        s->behind = true;
        return;
    }
    if (r->outcome != BH_HISTORY_OK) {
        jump_over(s, r->top);
        return;
    }
    if (r->rewound || r->since.offset < s->known.offset)
        jump(s, BH_MESSAGE_REWOUND, r->since, NULL);
    else if (r->since.offset > s->known.offset) /* all before was removed */
        jump(s, BH_MESSAGE_TOMBSTONE, r->since, NULL);
    s->known = r->since;
    pass_range(s, r);
}

/* Only the last entry counts, so nothing is ever missing. */
static void apply_latest(struct bh_stream *s, const struct bh_range *r) {
    bool same = r->top.epoch == s->known.epoch;
    if (same && r->top.offset <= s->known.offset)
        return;
    s->latest = (struct bh_position){0};
    if (r->outcome == BH_HISTORY_OK) {
        if (!same || r->since.offset > s->known.offset) {
            bh_stream_tail_clear(s);
            s->known = r->since;
        }
        s->holes = 0;
        pass_range(s, r);
    } else if (r->top.offset == 0 || ++s->holes > MOVES_MAX) {
        s->holes = 0;
        jump(s, r->top.offset ? BH_MESSAGE_GAP : BH_MESSAGE_TOMBSTONE, r->top,
             r->top.offset ? BH_GAP_LOST : NULL);
    } else {
        s->latest = (struct bh_position){r->top.epoch, r->top.offset - 1};
        s->behind = true;
    }
}

void bh_stream_apply(struct bh_stream *s, struct bh_range *r) {
    if (s->known.epoch == 0)
        bh_stream_learn_top(s, r->top);
    else if (s->rule->latest)
        apply_latest(s, r);
    else if (r->top.epoch == s->known.epoch)
        apply_same_epoch(s, r);
    else
        apply_new_epoch(s, r);
    if (r->outcome == BH_HISTORY_OK && r->top.epoch == s->known.epoch)
        bh_stream_tail_extend(s, r);
    settle_held(s);
}
