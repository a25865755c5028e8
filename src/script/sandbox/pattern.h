/* pattern.h - Lua's patterns, matched by a loop that the watchdog can stop.
 *
 * Usage: compile once, begin with a subject, search as often as needed. struct bh_pattern and its
 * items belong to the caller, refer to the text of the pattern and to the subject, and hold nothing
 * that must be freed, so every call may raise. Thread: the one that runs L.
 *
 * A malformed pattern is an error only when matching reaches the malformed part, as in Lua. */
#ifndef BELLHOP_SCRIPT_PATTERN_H
#define BELLHOP_SCRIPT_PATTERN_H

#include "bellhop/base/slice.h"

#include <lua.h>

#define BH_PATTERN_CAPTURES 32
/* Enough for most patterns, and small enough for the C stack. */
#define BH_PATTERN_ITEMS_USUAL 48

/* One step of a pattern. Private to pattern.c and pattern_compile.c. */
struct bh_pattern_item {
    uint8_t op;       /* enum op in pattern_private.h */
    uint8_t index;    /* of a capture */
    uint8_t need;     /* the fewest repetitions */
    bool any;         /* all bytes are in bits */
    int32_t back;     /* the last item before it with another way to match, or -1 */
    int16_t next;     /* the byte that must follow, or -1: unknown */
    char open, close; /* of a balanced pair */
    union {
        uint64_t bits[4]; /* the set of bytes that match */
        struct bh_slice text;
        const char *error;
    };
    const char *low,
        *at; /* while matching: the match of the item ends at `at`, at the earliest at `low` */
};

struct bh_pattern_capture {
    const char *start;
    ptrdiff_t n; /* or one of these two */
};
#define BH_PATTERN_UNFINISHED (-1)
#define BH_PATTERN_POSITION   (-2)

struct bh_pattern {
    struct bh_pattern_item *items;
    size_t count;
    size_t lead;   /* the first item that can fail */
    bool anchored; /* matches only where the search starts */
    unsigned captures;
    struct bh_pattern_capture capture[BH_PATTERN_CAPTURES];
    const char *begin, *end; /* the subject */
    unsigned steps;          /* since the limits were checked */
    lua_State *L;
};

/* Compiles into at most `max` items and returns how many are needed. When these are more, the
 * pattern is not usable; compile it again with that many. The text must not move. with_anchor: a ^
 * at the start is an anchor, else an ordinary byte. */
size_t bh_pattern_compile(struct bh_pattern *p, lua_State *L, struct bh_slice text,
                          bool with_anchor, struct bh_pattern_item *items, size_t max);

/* Whether the text has no byte with a special meaning in patterns. */
bool bh_pattern_is_plain(struct bh_slice text);

/* The subject must not move while it is searched. L may be another coroutine than at compile time.
 */
void bh_pattern_begin(struct bh_pattern *p, lua_State *L, struct bh_slice subject);

/* The first match that starts at or after `from` and does not end at `avoid` (NULL: any end).
 * False: none. Raises when the pattern is malformed or the CPU limit is reached. */
bool bh_pattern_search(struct bh_pattern *p, const char *from, const char *avoid,
                       struct bh_slice *match);

/* The first occurrence of text in subject, or NULL; in linear time, checking the limits. */
const char *bh_pattern_find_plain(lua_State *L, struct bh_slice subject, struct bh_slice text);

#endif
