/* json_scan.c - the strict scanner: bytes in, events out.
 *
 * A pull reader over RFC 8259. Between two events its whole state is a position, a depth, and one
 * bit for each open container that says whether it is an object; so it allocates nothing, does not
 * recurse, may be abandoned at any event, and takes time linear in the length of the text.
 *
 * Strings are checked a machine word at a time up to the next byte that needs a look.
 *
 * In tree mode the scan also rejects what cJSON would corrupt silently: NUL inside a string,
 * integers that a double cannot hold, numbers that overflow or do not fit cJSON's number buffer. */
#include "json_scan.h"

#include "bellhop/base/error.h"
#include "bellhop/base/utf8.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>

#define TREE_NUMBER_MAX 62 /* cJSON cuts longer literals */
#define EACH_BYTE       0x0101010101010101u
#define HIGH_BITS       0x8080808080808080u

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
    int code = bh_json_hex4(r->p, r->end);
    if (code < 0)
        return "\\u needs four hexadecimal digits";
    if (bh_json_is_low_surrogate(code))
        return "a low surrogate without a high one before it";
    r->p += 4;
    if (!bh_json_is_high_surrogate(code))
        return NULL;
    if (r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u' ||
        !bh_json_is_low_surrogate(bh_json_hex4(r->p + 2, r->end)))
        return "a high surrogate without a low one after it";
    r->p += 6;
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

static enum bh_json_event open_container(struct bh_json_reader *r, enum bh_json_type type) {
    if (r->depth == BH_JSON_DEPTH_MAX)
        return fail(r, "nested too deeply");
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
    r->depth--;
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

void bh_json_reader_init(struct bh_json_reader *r, struct bh_slice text) {
    const char *p = text.p ? text.p : "";
    *r = (struct bh_json_reader){.start = p, .p = p, .end = p + text.n, .expects = EXPECTS_VALUE};
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
    while (!r->plain && (p = memchr(p, '\\', (size_t)(end - p)))) {
        if (p[1] == 'u' && bh_json_hex4(p + 2, end) == 0)
            return "the escape \\u0000 is not supported here";
        p += 2;
    }
    return NULL;
}

static enum bh_json_event check_tree(struct bh_json_reader *r, enum bh_json_event event) {
    const char *why = NULL;
    if (event == BH_JSON_VALUE && r->value.type == BH_JSON_NUMBER)
        why = check_tree_number(r);
    else if (event == BH_JSON_NAME || (event == BH_JSON_VALUE && r->value.type == BH_JSON_STRING))
        why = check_tree_string(r);
    if (!why)
        return event;
    r->p = r->value.raw.p;
    return fail(r, why);
}

int bh_json_scan(struct bh_slice text, bool for_tree, struct bh_json_error *error) {
    struct bh_json_reader r;
    enum bh_json_event event;
    bh_json_reader_init(&r, text);
    do {
        event = bh_json_read(&r);
        if (for_tree)
            event = check_tree(&r, event);
    } while (event > BH_JSON_END);
    if (event == BH_JSON_INVALID && error)
        *error = r.error;
    return event == BH_JSON_END ? 0 : BH_ESYNTAX;
}
