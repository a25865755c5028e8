/* pattern_compile.c - compiles a Lua pattern into a sequence of items.
 *
 * A Lua pattern repeats single bytes only, never groups. So a match passes each item once, from the
 * first to the last, and all about captures except their places is known here: which one a `)`
 * closes, which ones `%1` may name, how many there are. An error becomes an item too, the last one,
 * because Lua reports it only when matching reaches it.
 *
 * A set of bytes is a map of 256 bits. The classes are constants: scripts run in the C locale,
 * where no byte above 127 is in a class.
 *
 * Compiling takes some nanoseconds per byte and allocates nothing. */
#include "sandbox/pattern_private.h"

struct reader {
    struct bh_pattern *p;
    const char *at, *end;
    size_t max, count;
    int32_t back;
    struct bh_pattern_item *text; /* the last item, when it is text */
    struct bh_pattern_item scratch;
    uint8_t open[BH_PATTERN_CAPTURES], depth; /* captures that are open, the innermost last */
};

/* --- sets --- */

struct ascii {
    uint64_t low, high; /* bytes 0 to 63, 64 to 127 */
};

#define DIGITS  0x03ff000000000000u
#define CAPITAL 0x0000000007fffffeu
#define SMALL   0x07fffffe00000000u
#define PUNCT_L 0xfc00fffe00000000u
#define PUNCT_H 0x78000001f8000001u
#define HEX_H   0x0000007e0000007eu
#define SPACES  0x0000000100003e00u
#define CONTROL 0x00000000ffffffffu
#define DELETE  0x8000000000000000u

/* By lower-case letter; an empty entry is not a class. */
static const struct ascii classes[] = {
    ['a' - 'a'] = {0, CAPITAL | SMALL},
    ['c' - 'a'] = {CONTROL, DELETE},
    ['d' - 'a'] = {DIGITS, 0},
    ['g' - 'a'] = {PUNCT_L | DIGITS, PUNCT_H | CAPITAL | SMALL},
    ['l' - 'a'] = {0, SMALL},
    ['p' - 'a'] = {PUNCT_L, PUNCT_H},
    ['s' - 'a'] = {SPACES, 0},
    ['u' - 'a'] = {0, CAPITAL},
    ['w' - 'a'] = {DIGITS, CAPITAL | SMALL},
    ['x' - 'a'] = {DIGITS, HEX_H},
    ['z' - 'a'] = {1, 0}, /* deprecated since Lua 5.2, still accepted */
};

static void add_byte(uint64_t bits[4], char byte) {
    unsigned char c = (unsigned char)byte;
    bits[c >> 6] |= (uint64_t)1 << (c & 63);
}

static void add_range(uint64_t bits[4], char from, char to) {
    unsigned first = (unsigned char)from, last = (unsigned char)to;
    for (unsigned word = first / 64; word <= last / 64; word++) {
        unsigned low = word == first / 64 ? first % 64 : 0;
        unsigned high = word == last / 64 ? last % 64 : 63;
        if (low <= high)
            bits[word] |= UINT64_MAX >> (63 - (high - low)) << low;
    }
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The letter after a %. Upper case is the complement of lower case. */
static void add_class(uint64_t bits[4], char letter) {
    struct ascii set = {0, 0};
    uint64_t inverted = letter <= 'Z' ? UINT64_MAX : 0;
    if (is_letter(letter))
        set = classes[(letter | 0x20) - 'a'];
    if (!(set.low | set.high)) {
        add_byte(bits, letter);
        return;
    }
    bits[0] |= set.low ^ inverted;
    bits[1] |= set.high ^ inverted;
    bits[2] |= inverted;
    bits[3] |= inverted;
}

/* The ] of the set whose contents start at `at`, or NULL. The first byte, and a byte after a %, do
 * not close it. */
static const char *set_end(const char *at, const char *end) {
    for (bool first = true; at < end; first = false) {
        if (*at == ']' && !first)
            return at;
        at += *at == '%' ? 2 : 1;
    }
    return NULL;
}

/* The contents between the brackets. A % that ends a range can leave another % as the last byte;
 * then Lua lets it escape the bracket, and so does this. */
static void read_set(uint64_t bits[4], const char *at, const char *end) {
    while (at < end) {
        if (*at == '%') {
            add_class(bits, at[1]);
            at += 2;
        } else if (end - at > 2 && at[1] == '-') {
            add_range(bits, at[0], at[2]);
            at += 3;
        } else {
            add_byte(bits, *at++);
        }
    }
}

/* --- items --- */

/* Beyond `max` items are only counted. */
static struct bh_pattern_item *add(struct reader *r, enum op op) {
    struct bh_pattern_item *i = r->count < r->max ? &r->p->items[r->count] : &r->scratch;
    r->count++;
    r->text = op == OP_TEXT ? i : NULL;
    i->op = (uint8_t)op;
    i->index = 0;
    i->back = r->back;
    i->next = -1;
    return i;
}

/* Makes it an item with a choice. */
static void add_choice(struct reader *r, struct bh_pattern_item *i, enum op op, uint8_t need) {
    i->op = (uint8_t)op;
    i->need = need;
    r->back = (int32_t)(r->count - 1);
    r->at++;
}

/* Stops reading. */
static void fail(struct reader *r, const char *error, uint8_t index) {
    struct bh_pattern_item *i = add(r, OP_ERROR);
    i->error = error;
    i->index = index;
    r->at = r->end;
}

static bool repeats(const struct reader *r) {
    return r->at < r->end && (*r->at == '*' || *r->at == '+' || *r->at == '-' || *r->at == '?');
}

static void read_repetition(struct reader *r, struct bh_pattern_item *i) {
    if (r->at == r->end)
        return;
    switch (*r->at) {
    case '*':
        add_choice(r, i, OP_MANY, 0);
        break;
    case '+':
        add_choice(r, i, OP_MANY, 1);
        break;
    case '-':
        add_choice(r, i, OP_FEW, 0);
        break;
    case '?':
        add_choice(r, i, OP_MAYBE, 0);
        break;
    }
}

static struct bh_pattern_item *add_set(struct reader *r, enum op op, bool any) {
    struct bh_pattern_item *i = add(r, op);
    memset(i->bits, any ? 0xff : 0, sizeof i->bits);
    i->any = any;
    return i;
}

/* r->at is after the [. False: there is no ]. */
static bool read_brackets(struct reader *r, enum op op, struct bh_pattern_item **out) {
    bool inverted = r->at < r->end && *r->at == '^';
    const char *start = r->at + inverted, *end = set_end(start, r->end);
    if (!end) {
        fail(r, "malformed pattern (missing ']')", 0);
        return false;
    }
    struct bh_pattern_item *i = *out = add_set(r, op, false);
    read_set(i->bits, start, end);
    for (int word = 0; inverted && word < 4; word++)
        i->bits[word] = ~i->bits[word];
    r->at = end + 1;
    return true;
}

/* An ordinary byte, at `byte`; r->at is after it. */
static void read_byte(struct reader *r, const char *byte) {
    if (repeats(r)) {
        struct bh_pattern_item *i = add_set(r, OP_ONE, false);
        add_byte(i->bits, *byte);
        read_repetition(r, i);
    } else if (r->text && r->text->text.p + r->text->text.n == byte) {
        r->text->text.n++;
    } else {
        add(r, OP_TEXT)->text = bh_slice(byte, 1);
    }
}

/* --- captures --- */

static void read_open(struct reader *r) {
    struct bh_pattern *p = r->p;
    bool position = r->end - r->at > 1 && r->at[1] == ')';
    if (p->captures == BH_PATTERN_CAPTURES) {
        fail(r, "too many captures", 0);
        return;
    }
    uint8_t index = (uint8_t)p->captures++;
    p->capture[index].n = position ? BH_PATTERN_POSITION : BH_PATTERN_UNFINISHED;
    add(r, position ? OP_POSITION : OP_OPEN)->index = index;
    if (!position)
        r->open[r->depth++] = index;
    r->at += position ? 2 : 1;
}

static void read_close(struct reader *r) {
    if (r->depth == 0) {
        fail(r, "invalid pattern capture", 0);
        return;
    }
    uint8_t index = r->open[--r->depth];
    r->p->capture[index].n = 0;
    add(r, OP_CLOSE)->index = index;
    r->at++;
}

static void read_same(struct reader *r, char digit) {
    unsigned index = (unsigned char)(digit - '1');
    if (index >= r->p->captures || r->p->capture[index].n == BH_PATTERN_UNFINISHED) {
        fail(r, "invalid capture index %%%d", (uint8_t)(digit - '0'));
        return;
    }
    bool position = r->p->capture[index].n == BH_PATTERN_POSITION;
    add(r, position ? OP_NEVER : OP_SAME)->index = (uint8_t)index;
    r->at += 2;
}

/* --- escapes --- */

static void read_balanced(struct reader *r) {
    if (r->end - r->at < 4) {
        fail(r, "malformed pattern (missing arguments to '%%b')", 0);
        return;
    }
    struct bh_pattern_item *i = add(r, OP_BALANCED);
    i->open = r->at[2];
    i->close = r->at[3];
    r->at += 4;
}

static void read_frontier(struct reader *r) {
    struct bh_pattern_item *i;
    if (r->end - r->at < 3 || r->at[2] != '[') {
        fail(r, "missing '[' after '%%f' in pattern", 0);
        return;
    }
    r->at += 3;
    read_brackets(r, OP_FRONTIER, &i);
}

static void read_escape(struct reader *r) {
    if (r->end - r->at < 2) {
        fail(r, "malformed pattern (ends with '%%')", 0);
        return;
    }
    char c = r->at[1];
    if (c == 'b') {
        read_balanced(r);
    } else if (c == 'f') {
        read_frontier(r);
    } else if (c >= '0' && c <= '9') {
        read_same(r, c);
    } else if (!is_letter(c)) {
        r->at += 2;
        read_byte(r, r->at - 1);
    } else {
        struct bh_pattern_item *i = add_set(r, OP_ONE, false);
        add_class(i->bits, c);
        r->at += 2;
        read_repetition(r, i);
    }
}

/* --- the pattern --- */

static void read_next(struct reader *r) {
    struct bh_pattern_item *i;
    switch (*r->at) {
    case '(':
        read_open(r);
        return;
    case ')':
        read_close(r);
        return;
    case '%':
        read_escape(r);
        return;
    case '[':
        r->at++;
        if (read_brackets(r, OP_ONE, &i))
            read_repetition(r, i);
        return;
    case '.':
        r->at++;
        read_repetition(r, add_set(r, OP_ONE, true));
        return;
    case '$':
        if (r->end - r->at == 1) {
            add(r, OP_END);
            r->at++;
            return;
        }
        break;
    }
    r->at++;
    read_byte(r, r->at - 1);
}

/* The item that decides what a match starts with, or what follows a repetition: items that cannot
 * fail are skipped. */
static size_t first_that_can_fail(const struct bh_pattern *p, size_t i) {
    while (p->items[i].op == OP_OPEN || p->items[i].op == OP_CLOSE || p->items[i].op == OP_POSITION)
        i++;
    return i;
}

static void look_ahead(struct bh_pattern *p) {
    p->lead = first_that_can_fail(p, 0);
    for (size_t i = 0; i < p->count; i++) {
        if (p->items[i].op != OP_MANY && p->items[i].op != OP_FEW)
            continue;
        const struct bh_pattern_item *next = &p->items[first_that_can_fail(p, i + 1)];
        if (next->op == OP_TEXT)
            p->items[i].next = (unsigned char)next->text.p[0];
    }
}

size_t bh_pattern_compile(struct bh_pattern *p, lua_State *L, struct bh_slice text,
                          bool with_anchor, struct bh_pattern_item *items, size_t max) {
    struct reader r = {.p = p, .at = text.p, .end = text.p + text.n, .max = max, .back = -1};
    p->items = items;
    p->captures = 0;
    p->steps = 0;
    p->L = L;
    p->anchored = with_anchor && text.n && text.p[0] == '^';
    r.at += p->anchored;
    while (r.at < r.end) {
        read_next(&r);
        bh_pattern_charge(p, 1);
    }
    add(&r, OP_DONE);
    p->count = r.count;
    if (r.count <= max)
        look_ahead(p);
    return r.count;
}
