/* pattern.h - Lua's patterns, matched by a loop that the watchdog can stop.
 *
 * Usage: compile once, begin with a subject, search as often as needed. A struct bh_pattern and its
 * items belong to the caller, borrow the text of the pattern and the subject, and hold nothing that
 * must be freed: errors may be raised out of any call. Thread: the one that runs L.
 *
 * A malformed pattern is an error only when matching comes to the malformed part, as in Lua. */
#ifndef BELLHOP_SCRIPT_PATTERN_H
#define BELLHOP_SCRIPT_PATTERN_H

#include "bellhop/base/slice.h"

#include <lua.h>

#define BH_PATTERN_CAPTURES 32
/* As many are enough for most patterns, and can stand on a stack. */
#define BH_PATTERN_ITEMS_USUAL 48

/* What must match next. Its members are for pattern.c and pattern_compile.c only. */
struct bh_pattern_item {
    uint8_t op;       /* enum op in pattern_private.h */
    uint8_t index;    /* of a capture */
    uint8_t need;     /* repetitions of which the item cannot do with fewer */
    bool any;         /* all bytes are in bits */
    int32_t back;     /* the last item before it that may match otherwise, or -1 */
    int16_t next;     /* the byte that must follow, or -1 when that is not known */
    char open, close; /* of a balanced pair */
    union {
        uint64_t bits[4]; /* the set of bytes that match */
        struct bh_slice text;
        const char *error;
    };
    const char *low, *at; /* while matching: what is matched ends at `at`, and not before `low` */
};

struct bh_pattern_capture {
    const char *start;
    ptrdiff_t n; /* or one of the following */
};
#define BH_PATTERN_UNFINISHED (-1)
#define BH_PATTERN_POSITION   (-2)

struct bh_pattern {
    struct bh_pattern_item *items;
    size_t count;
    size_t lead;   /* the first item that can fail */
    bool anchored; /* matches at the place where a search starts, or not at all */
    unsigned captures;
    struct bh_pattern_capture capture[BH_PATTERN_CAPTURES];
    const char *begin, *end; /* the subject */
    unsigned steps;          /* since the limits were checked */
    lua_State *L;
};

/* Compiles into at most `max` items. Returns how many it takes: when these are more, the pattern
 * is not usable, and to be compiled again into as many. The text must stay where it is.
 * with_anchor: a ^ at the start is an anchor; else it is a byte like others. */
size_t bh_pattern_compile(struct bh_pattern *p, lua_State *L, struct bh_slice text,
                          bool with_anchor, struct bh_pattern_item *items, size_t max);

/* Whether the text holds no byte that has a meaning in patterns. */
bool bh_pattern_is_plain(struct bh_slice text);

/* The subject must stay where it is while it is searched. L may be another coroutine than at
 * compile time. */
void bh_pattern_begin(struct bh_pattern *p, lua_State *L, struct bh_slice subject);

/* The first match that starts at or after `from` and does not end at `avoid` (NULL: wherever it
 * ends). False: none. Raises when the pattern is malformed, or the script's time is up. */
bool bh_pattern_search(struct bh_pattern *p, const char *from, const char *avoid,
                       struct bh_slice *match);

/* The place of the first match of text in subject, or NULL; in linear time, with checks. */
const char *bh_pattern_find_plain(lua_State *L, struct bh_slice subject, struct bh_slice text);

#endif
