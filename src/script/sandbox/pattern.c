/* pattern.c - runs the items of a pattern along a subject.
 *
 * There is no recursion. A match passes each item once and in order, so each item with a choice
 * makes one choice, which is kept in the item: `at` is where its bytes end now. When an item fails,
 * the last choice before it (`back`, known since compile time) is changed and what follows is tried
 * again; when that item has no other choice, the one before it. So matching allocates nothing, its
 * depth needs no bound, and leaving by an error is safe.
 *
 * Time needs a bound: n choices over m bytes are up to m^n ways. All work is counted in steps of
 * some nanoseconds, and the limits are checked every few thousand steps; long scans of the subject
 * stop in between for a check. */
#include "sandbox/pattern_private.h"

#include <lauxlib.h>

/* Bytes scanned between two checks. */
#define RUN              (4 * BH_PATTERN_STEPS)
#define BYTES_A_STEP     4
#define MEM_BYTES_A_STEP 64 /* for memcmp and the like */
#define PLAIN_RUN        (256u * 1024)

/* --- items --- */

/* The end of the run of bytes in the set. */
static const char *span(struct bh_pattern *p, const struct bh_pattern_item *i, const char *s) {
    if (i->any)
        return p->end;
    for (;;) {
        const char *start = s, *stop = p->end - s > RUN ? s + RUN : p->end;
        while (s < stop && bh_pattern_has(i, *s))
            s++;
        bh_pattern_charge(p, (size_t)(s - start) / BYTES_A_STEP);
        if (s < stop || s == p->end)
            return s;
    }
}

static bool starts(struct bh_pattern *p, const char *s, struct bh_slice text) {
    if ((size_t)(p->end - s) < text.n)
        return false;
    if (text.n > MEM_BYTES_A_STEP)
        bh_pattern_charge(p, text.n / MEM_BYTES_A_STEP);
    return text.n == 0 || (*s == *text.p && memcmp(s, text.p, text.n) == 0);
}

static const char *balanced(struct bh_pattern *p, const struct bh_pattern_item *i, const char *s) {
    const char *start = s;
    size_t depth = 0;
    if (s == p->end || *s != i->open)
        return NULL;
    for (; s < p->end; s++) {
        if (s - start == RUN) {
            bh_pattern_charge(p, RUN / BYTES_A_STEP);
            start = s;
        }
        if (depth && *s == i->close) {
            if (--depth == 0)
                break;
        } else if (*s == i->open) {
            depth++;
        }
    }
    bh_pattern_charge(p, (size_t)(s - start) / BYTES_A_STEP);
    return s < p->end ? s + 1 : NULL;
}

/* As if a zero byte stood before and after the subject. */
static bool at_frontier(const struct bh_pattern *p, const struct bh_pattern_item *i,
                        const char *s) {
    char before = s == p->begin ? '\0' : s[-1], here = s == p->end ? '\0' : *s;
    return !bh_pattern_has(i, before) && bh_pattern_has(i, here);
}

/* --- choices --- */

/* Of the other choices, only those followed by the byte `next` are useful. */
static const char *fewer(struct bh_pattern *p, struct bh_pattern_item *i) {
    if (i->at == i->low)
        return NULL;
    if (i->next < 0)
        return --i->at;
    const char *s = memrchr(i->low, i->next, (size_t)(i->at - i->low));
    bh_pattern_charge(p, (size_t)(i->at - (s ? s : i->low)) / MEM_BYTES_A_STEP);
    return s ? i->at = s : NULL;
}

static const char *more_of_any(struct bh_pattern *p, struct bh_pattern_item *i) {
    const char *start = i->at;
    if (start == p->end)
        return NULL;
    if (i->next < 0)
        return ++i->at;
    const char *s = memchr(start + 1, i->next, (size_t)(p->end - start - 1));
    bh_pattern_charge(p, (size_t)((s ? s : p->end) - start) / MEM_BYTES_A_STEP);
    return s ? i->at = s : NULL;
}

static const char *more(struct bh_pattern *p, struct bh_pattern_item *i) {
    const char *s = i->at, *checked = s;
    bool found = false;
    if (i->any)
        return more_of_any(p, i);
    while (!found && s < p->end && bh_pattern_has(i, *s)) {
        s++;
        found = i->next < 0 || (s < p->end && (unsigned char)*s == i->next);
        if (s - checked == RUN) {
            bh_pattern_charge(p, RUN / BYTES_A_STEP);
            checked = s;
        }
    }
    bh_pattern_charge(p, (size_t)(s - checked) / BYTES_A_STEP);
    return found ? i->at = s : NULL;
}

/* --- the match --- */

static const char *choose(struct bh_pattern_item *i, const char *low, const char *at) {
    i->low = low;
    return i->at = at;
}

static const char *end_capture(struct bh_pattern_capture *c, const char *s) {
    c->n = s - c->start;
    return s;
}

/* The end of the match of item i at s, or NULL. */
static inline const char *pass(struct bh_pattern *p, struct bh_pattern_item *i, const char *s) {
    struct bh_pattern_capture *c = &p->capture[i->index];
    const char *at;
    switch ((enum op)i->op) {
    case OP_TEXT:
        return starts(p, s, i->text) ? s + i->text.n : NULL;
    case OP_ONE:
        return s < p->end && bh_pattern_has(i, *s) ? s + 1 : NULL;
    case OP_MANY:
        at = span(p, i, s);
        return at - s >= i->need ? choose(i, s + i->need, at) : NULL;
    case OP_MAYBE:
        return choose(i, s, s < p->end && bh_pattern_has(i, *s) ? s + 1 : s);
    case OP_FEW:
        return choose(i, s, s);
    case OP_OPEN:
    case OP_POSITION:
        return c->start = s;
    case OP_CLOSE:
        return end_capture(c, s);
    case OP_SAME:
        return starts(p, s, bh_slice(c->start, (size_t)c->n)) ? s + c->n : NULL;
    case OP_BALANCED:
        return balanced(p, i, s);
    case OP_FRONTIER:
        return at_frontier(p, i, s) ? s : NULL;
    case OP_END:
        return s == p->end ? s : NULL;
    case OP_ERROR:
        luaL_error(p->L, i->error, (int)i->index);
        return NULL;
    case OP_NEVER:
    case OP_DONE:
        break;
    }
    return NULL;
}

/* The end of the match of the pattern at s, or NULL. */
static const char *match_at(struct bh_pattern *p, const char *s) {
    struct bh_pattern_item *i = p->items, *resumed = i;
    while (i->op != OP_DONE) {
        const char *at = pass(p, i, s);
        if (!at)
            bh_pattern_charge(p, (size_t)(i - resumed) + 1);
        while (!at) {
            if (i->back < 0)
                return NULL;
            i = resumed = &p->items[i->back];
            at = i->op == OP_FEW ? more(p, i) : fewer(p, i);
        }
        s = at;
        i++;
    }
    bh_pattern_charge(p, (size_t)(i - resumed) + 1);
    return s;
}

/* --- the search --- */

/* The first place at or after s where a match can start, or NULL. */
static const char *next_start(struct bh_pattern *p, const char *s) {
    const struct bh_pattern_item *lead = &p->items[p->lead];
    const char *checked = s;
    if (lead->op == OP_TEXT)
        return memchr(s, lead->text.p[0], (size_t)(p->end - s));
    if (lead->op != OP_ONE && !(lead->op == OP_MANY && lead->need))
        return s;
    for (; s < p->end && !bh_pattern_has(lead, *s); s++) {
        if (s - checked == RUN) {
            bh_pattern_charge(p, RUN / BYTES_A_STEP);
            checked = s;
        }
    }
    bh_pattern_charge(p, (size_t)(s - checked) / BYTES_A_STEP);
    return s < p->end ? s : NULL;
}

void bh_pattern_begin(struct bh_pattern *p, lua_State *L, struct bh_slice subject) {
    p->L = L;
    p->begin = subject.p;
    p->end = subject.p + subject.n;
}

bool bh_pattern_search(struct bh_pattern *p, const char *from, const char *avoid,
                       struct bh_slice *match) {
    for (const char *s = from;; s++) {
        if (!p->anchored && !(s = next_start(p, s)))
            return false;
        const char *end = match_at(p, s);
        if (end && end != avoid) {
            *match = bh_slice(s, (size_t)(end - s));
            return true;
        }
        if (p->anchored || s == p->end)
            return false;
    }
}

/* --- without a pattern --- */

bool bh_pattern_is_plain(struct bh_slice text) {
    for (size_t i = 0; i < text.n; i++) {
        switch (text.p[i]) {
        case '^':
        case '$':
        case '*':
        case '+':
        case '?':
        case '.':
        case '(':
        case '[':
        case '%':
        case '-':
            return false;
        }
    }
    return true;
}

/* memmem prepares the text for each call, so a window is at least twice as long as the text. */
const char *bh_pattern_find_plain(lua_State *L, struct bh_slice subject, struct bh_slice text) {
    while (subject.n >= text.n) {
        size_t window = PLAIN_RUN + 2 * text.n;
        const char *found =
            memmem(subject.p, subject.n < window ? subject.n : window, text.p, text.n);
        if (found || subject.n <= window)
            return found;
        bh_limits_check(L);
        size_t done = window - text.n + 1;
        subject = bh_slice(subject.p + done, subject.n - done);
    }
    return NULL;
}
