/* json_scan.c - the strict scanner: bytes in, events out.
 *
 * A pull reader over RFC 8259. Between two events its whole state is a position, a depth, and one
 * bit for each open container that says whether it is an object; so it allocates nothing, does not
 * recurse, may be abandoned at any event, and takes time linear in the length of the text. The bits
 * of the innermost containers are in one word, which is all that most texts need; the others are
 * put aside, 64 at a time.
 *
 * Strings are checked a machine word at a time up to the next byte that needs a look.
 *
 * In tree mode the scan also rejects what cJSON would corrupt silently: NUL and half surrogates
 * inside a string, integers that a double cannot hold, numbers that overflow or do not fit cJSON's
 * number buffer. */
#include "json_scan.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>

#define TREE_NUMBER_MAX 62 /* cJSON cuts longer literals */
#define TREE_DEPTH_MAX  64 /* cJSON recurses */
#define LEVELS          64 /* in a word */
#define EACH_BYTE       0x0101010101010101u
#define HIGH_BITS       0x8080808080808080u

static const char too_deep[] = "nested too deeply";

/* What the grammar allows at the reader's position. */
enum { EXPECTS_VALUE, EXPECTS_FIRST, EXPECTS_NEXT, FAILED };

static enum bh_json_event fail(struct bh_json_reader *r, const char *why) {
    r->expects = FAILED;
    r->error = (struct bh_json_error){(size_t)(r->p - r->start), why};
    return BH_JSON_INVALID;
}

static bool at(const struct bh_json_reader *r, char c) {
    return r->p < r->end && *r->p == c;
}

static bool take(struct bh_json_reader *r, char c) {
    if (!at(r, c))
        return false;
    r->p++;
    return true;
}

/* --- strings --- */

/* r->p is behind the u. NULL, or what is wrong. */
static const char *scan_unicode_escape(struct bh_json_reader *r) {
    if (bh_json_hex4(r->p, r->end) < 0)
        return "\\u needs four hexadecimal digits";
    r->p += 4;
    return NULL;
}

/* At a backslash. */
static const char *scan_escape(struct bh_json_reader *r) {
    r->p++;
    if (r->p == r->end || *r->p == '\0' || !strchr("\"\\/bfnrtu", *r->p))
        return "an unknown escape in a string";
    return *r->p++ != 'u' ? NULL : scan_unicode_escape(r);
}

/* Marks bytes that are a quote, a backslash, a control character or not ASCII. The lowest mark is
 * exact; above it, a borrow may mark others. */
static uint64_t special_bytes(uint64_t word) {
    uint64_t quotes = (word ^ EACH_BYTE * '"') - EACH_BYTE;
    uint64_t backslashes = (word ^ EACH_BYTE * '\\') - EACH_BYTE;
    uint64_t controls = word - EACH_BYTE * 0x20;
    return (quotes | backslashes | controls | word) & HIGH_BITS;
}

static bool is_special(unsigned char c) {
    return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

static const char *skip_plain(const char *p, const char *end) {
    for (uint64_t word; end - p >= (ptrdiff_t)sizeof word; p += sizeof word) {
        memcpy(&word, p, sizeof word);
        uint64_t special = special_bytes(le64toh(word));
        if (special)
            return p + __builtin_ctzll(special) / 8;
    }
    while (p < end && !is_special((unsigned char)*p))
        p++;
    return p;
}

/* At a byte that is neither plain nor a quote; afterwards behind what it begins. NULL, or what is
 * wrong. */
static const char *scan_special(struct bh_json_reader *r) {
    unsigned char c = (unsigned char)*r->p;
    if (c == '\\') {
        r->plain = false;
        return scan_escape(r);
    }
    if (c < 0x20)
        return "a control character in a string; write it as an escape";
    size_t n = bh_utf8_sequence(bh_slice(r->p, (size_t)(r->end - r->p)));
    r->p += n;
    return n ? NULL : "a string that is not valid UTF-8";
}

/* At the opening quote; afterwards behind the closing one. NULL, or what is wrong. */
static const char *scan_string(struct bh_json_reader *r) {
    const char *start = r->p, *p = start + 1, *why;
    r->plain = true;
    while ((p = skip_plain(p, r->end)) < r->end) {
        if (*p == '"') {
            r->p = p + 1;
            r->value =
                (struct bh_json_value){BH_JSON_STRING, bh_slice(start, (size_t)(p + 1 - start))};
            return NULL;
        }
        r->p = p;
        if ((why = scan_special(r)))
            return why;
        p = r->p;
    }
    r->p = r->end;
    return "a string is not terminated";
}

/* p is at an escape; behind the escapes of one character, or NULL for half of a surrogate pair. */
static const char *skip_character(const char *p, const char *end) {
    int code = p[1] == 'u' ? bh_json_hex4(p + 2, end) : -1;
    p += code < 0 ? 2 : 6;
    if (!bh_json_is_high_surrogate(code))
        return bh_json_is_low_surrogate(code) ? NULL : p;
    bool pair = end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
                bh_json_is_low_surrogate(bh_json_hex4(p + 2, end));
    return pair ? p + 6 : NULL;
}

/* A surrogate is always an escape: as UTF-8, none is accepted. */
bool bh_json_is_exact(struct bh_json_value string) {
    const char *p = string.raw.p, *end = p + string.raw.n;
    while (p < end && (p = memchr(p, '\\', (size_t)(end - p))) && end - p >= 2)
        if (!(p = skip_character(p, end)))
            return false;
    return true;
}

/* --- values --- */

static enum bh_json_event scalar(struct bh_json_reader *r, enum bh_json_type type,
                                 const char *start) {
    r->value = (struct bh_json_value){type, bh_slice(start, (size_t)(r->p - start))};
    r->expects = EXPECTS_NEXT;
    return BH_JSON_VALUE;
}

static enum bh_json_event read_string(struct bh_json_reader *r) {
    const char *why = scan_string(r);
    if (why)
        return fail(r, why);
    r->expects = EXPECTS_NEXT;
    return BH_JSON_VALUE;
}

static bool take_digits(struct bh_json_reader *r) {
    const char *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > start;
}

static enum bh_json_event read_number(struct bh_json_reader *r) {
    const char *start = r->p;
    r->plain = true;
    take(r, '-');
    bool good = take(r, '0') || take_digits(r);
    if (good && take(r, '.')) {
        r->plain = false;
        good = take_digits(r);
    }
    if (good && (take(r, 'e') || take(r, 'E'))) {
        r->plain = false;
        if (!take(r, '+'))
            take(r, '-');
        good = take_digits(r);
    }
    return good ? scalar(r, BH_JSON_NUMBER, start) : fail(r, "a digit is missing in a number");
}

static enum bh_json_event read_word(struct bh_json_reader *r, enum bh_json_type type,
                                    struct bh_slice word) {
    const char *start = r->p;
    if (!bh_slice_starts(bh_slice(start, (size_t)(r->end - start)), word))
        return fail(r, "a value is expected here");
    r->p += word.n;
    return scalar(r, type, start);
}

/* At the depth of a whole number of words, not 0: puts a full word aside. False: there is no room.
 */
static bool put_aside(struct bh_json_reader *r) {
    unsigned word = r->depth / LEVELS;
    if (word > r->outer_max)
        return false;
    (r->outer ? r->outer : r->outer_room)[word - 1] = r->objects;
    return true;
}

static void take_back(struct bh_json_reader *r) {
    r->objects = (r->outer ? r->outer : r->outer_room)[r->depth / LEVELS - 1];
}

static enum bh_json_event open_container(struct bh_json_reader *r, enum bh_json_type type) {
    if (r->depth % LEVELS == 0 && r->depth && !put_aside(r))
        return fail(r, too_deep);
    r->value = (struct bh_json_value){type, bh_slice(r->p++, 1)};
    r->objects = r->objects << 1 | (type == BH_JSON_OBJECT);
    r->depth++;
    r->expects = EXPECTS_FIRST;
    return BH_JSON_OPEN;
}

static enum bh_json_event read_value(struct bh_json_reader *r) {
    switch (r->p < r->end ? *r->p : '\0') {
    case '{':
        return open_container(r, BH_JSON_OBJECT);
    case '[':
        return open_container(r, BH_JSON_ARRAY);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, BH_JSON_TRUE, BH_SLICE("true"));
    case 'f':
        return read_word(r, BH_JSON_FALSE, BH_SLICE("false"));
    case 'n':
        return read_word(r, BH_JSON_NULL, BH_SLICE("null"));
    case '-':
    case '0' ... '9':
        return read_number(r);
    default:
        return fail(r, "a value is expected here");
    }
}

/* --- inside containers --- */

static bool in_object(const struct bh_json_reader *r) {
    return r->objects & 1;
}

static enum bh_json_event read_name(struct bh_json_reader *r) {
    if (!at(r, '"'))
        return fail(r, "a member name in double quotes is expected here");
    const char *why = scan_string(r);
    if (why)
        return fail(r, why);
    r->p = bh_json_skip_blanks(r->p, r->end);
    if (!take(r, ':'))
        return fail(r, "a colon is expected here");
    r->expects = EXPECTS_VALUE;
    return BH_JSON_NAME;
}

static enum bh_json_event read_entry(struct bh_json_reader *r) {
    return in_object(r) ? read_name(r) : read_value(r);
}

static enum bh_json_event close_container(struct bh_json_reader *r) {
    bool object = in_object(r);
    if (!at(r, object ? '}' : ']'))
        return fail(r, object ? "a comma or } is expected here" : "a comma or ] is expected here");
    r->value = (struct bh_json_value){object ? BH_JSON_OBJECT : BH_JSON_ARRAY, bh_slice(r->p++, 1)};
    r->objects >>= 1;
    if (--r->depth % LEVELS == 0 && r->depth)
        take_back(r);
    r->expects = EXPECTS_NEXT;
    return BH_JSON_CLOSE;
}

static enum bh_json_event read_next(struct bh_json_reader *r) {
    if (r->depth == 0)
        return r->p == r->end ? BH_JSON_END : fail(r, "the text goes on after its value");
    if (!take(r, ','))
        return close_container(r);
    r->p = bh_json_skip_blanks(r->p, r->end);
    return read_entry(r);
}

/* Member by member, because most texts need no room for outer levels, nor an error. */
void bh_json_reader_init(struct bh_json_reader *r, struct bh_slice text) {
    r->start = r->p = text.p ? text.p : "";
    r->end = r->p + text.n;
    r->value = (struct bh_json_value){0};
    r->plain = false;
    r->expects = EXPECTS_VALUE;
    r->depth = 0;
    r->objects = 0;
    r->outer = NULL;
    r->outer_max = sizeof r->outer_room / sizeof *r->outer_room;
}

enum bh_json_event bh_json_read(struct bh_json_reader *r) {
    r->p = bh_json_skip_blanks(r->p, r->end);
    switch (r->expects) {
    case EXPECTS_VALUE:
        return read_value(r);
    case EXPECTS_FIRST:
        return at(r, in_object(r) ? '}' : ']') ? close_container(r) : read_entry(r);
    case EXPECTS_NEXT:
        return read_next(r);
    default:
        return BH_JSON_INVALID;
    }
}

/* --- whole texts --- */

/* NULL, or why cJSON would not keep the number's value. */
static const char *check_tree_number(const struct bh_json_reader *r) {
    struct bh_slice literal = r->value.raw;
    if (literal.n > TREE_NUMBER_MAX)
        return "a number with too many digits";
    char text[TREE_NUMBER_MAX + 1];
    memcpy(text, literal.p, literal.n);
    text[literal.n] = '\0';
    if (r->plain) {
        char *magnitude = *text == '-' ? text + 1 : text;
        uint64_t ignored;
        if (bh_slice_u64(bh_slice_cstr(magnitude), BH_JSON_INT_MAX, &ignored) != 0)
            return "an integer beyond 2^53 would lose digits; write it as a string";
    }
    return isfinite(strtod(text, NULL)) ? NULL : "a number too big for a double";
}

static const char *check_tree_string(const struct bh_json_reader *r) {
    const char *p = r->value.raw.p, *end = p + r->value.raw.n;
    if (!r->plain && !bh_json_is_exact(r->value))
        return "half of a surrogate pair";
    while (!r->plain && (p = memchr(p, '\\', (size_t)(end - p)))) {
        if (p[1] == 'u' && bh_json_hex4(p + 2, end) == 0)
            return "the escape \\u0000 is not supported here";
        p += 2;
    }
    return NULL;
}

static enum bh_json_event check_tree(struct bh_json_reader *r, enum bh_json_event event) {
    const char *why = NULL;
    if (event == BH_JSON_OPEN && r->depth > TREE_DEPTH_MAX)
        why = too_deep;
    else if (event == BH_JSON_VALUE && r->value.type == BH_JSON_NUMBER)
        why = check_tree_number(r);
    else if (event == BH_JSON_NAME || (event == BH_JSON_VALUE && r->value.type == BH_JSON_STRING))
        why = check_tree_string(r);
    if (!why)
        return event;
    r->p = r->value.raw.p;
    return fail(r, why);
}

static enum bh_json_event read_all(struct bh_json_reader *r, bool for_tree) {
    enum bh_json_event event;
    do {
        event = bh_json_read(r);
        if (for_tree)
            event = check_tree(r, event);
    } while (event > BH_JSON_END);
    return event;
}

/* Again, with room for as many levels as a text of this length can have. */
static enum bh_json_event read_deep(struct bh_json_reader *r) {
    struct bh_slice text = bh_slice(r->start, (size_t)(r->end - r->start));
    size_t words = text.n / 2 / LEVELS;
    uint64_t *outer = words > r->outer_max ? bh_try_malloc(words * sizeof *outer) : NULL;
    if (!outer)
        return BH_JSON_INVALID;
    bh_json_reader_init(r, text);
    r->outer = outer;
    r->outer_max = (unsigned)words;
    enum bh_json_event event = read_all(r, false);
    bh_free(outer);
    return event;
}

int bh_json_scan(struct bh_slice text, bool for_tree, struct bh_json_error *error) {
    struct bh_json_reader r;
    bh_json_reader_init(&r, text);
    enum bh_json_event event = read_all(&r, for_tree);
    if (event == BH_JSON_INVALID && r.error.why == too_deep && !for_tree)
        event = read_deep(&r);
    if (event == BH_JSON_INVALID && error)
        *error = r.error;
    return event == BH_JSON_END ? 0 : BH_ESYNTAX;
}
