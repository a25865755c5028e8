/* json_scan.c - the strict scanner.
 *
 * Recursive descent over RFC 8259 with a depth limit, so its stack is bounded and its time is
 * linear in the length of the text. It allocates nothing and shares nothing.
 *
 * In tree mode it also rejects what cJSON would corrupt silently: NUL inside a string, integers
 * that a double cannot hold, numbers that overflow or do not fit cJSON's number buffer. */
#include "json_scan.h"

#include "bellhop/base/error.h"
#include "bellhop/base/utf8.h"

#include <math.h>
#include <stdlib.h>

#define TREE_NUMBER_MAX 62 /* cJSON cuts longer literals */

struct scan {
    const char *p, *end;
    const char *why;
    unsigned depth;
    bool for_tree;
};

static bool scan_value(struct scan *s);

static bool fail(struct scan *s, const char *why) {
    s->why = why;
    return false;
}

static bool at(const struct scan *s, char c) {
    return s->p < s->end && *s->p == c;
}

static bool take(struct scan *s, char c) {
    if (!at(s, c))
        return false;
    s->p++;
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool take_digits(struct scan *s) {
    const char *start = s->p;
    while (s->p < s->end && is_digit(*s->p))
        s->p++;
    return s->p > start || fail(s, "a digit is missing in a number");
}

/* s->p is behind the u. */
static bool scan_unicode_escape(struct scan *s) {
    int code = bh_json_hex4(s->p, s->end);
    if (code < 0)
        return fail(s, "\\u needs four hexadecimal digits");
    if (code == 0 && s->for_tree)
        return fail(s, "the escape \\u0000 is not supported here");
    if (bh_json_is_low_surrogate(code))
        return fail(s, "a low surrogate without a high one before it");
    s->p += 4;
    if (!bh_json_is_high_surrogate(code))
        return true;
    if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u' ||
        !bh_json_is_low_surrogate(bh_json_hex4(s->p + 2, s->end)))
        return fail(s, "a high surrogate without a low one after it");
    s->p += 6;
    return true;
}

/* s->p is behind the backslash. */
static bool scan_escape(struct scan *s) {
    if (s->p == s->end || *s->p == '\0' || !strchr("\"\\/bfnrtu", *s->p))
        return fail(s, "an unknown escape in a string");
    return *s->p++ != 'u' || scan_unicode_escape(s);
}

static bool scan_string(struct scan *s) {
    s->p++;
    while (s->p < s->end) {
        unsigned char c = (unsigned char)*s->p;
        if (c < 0x20)
            return fail(s, "a control character in a string; write it as an escape");
        if (c >= 0x80) {
            size_t n = bh_utf8_sequence(bh_slice(s->p, (size_t)(s->end - s->p)));
            if (n == 0)
                return fail(s, "a string that is not valid UTF-8");
            s->p += n;
            continue;
        }
        s->p++;
        if (c == '"')
            return true;
        if (c == '\\' && !scan_escape(s))
            return false;
    }
    return fail(s, "a string is not terminated");
}

/* True when cJSON keeps the number's value. */
static bool check_tree_number(struct scan *s, struct bh_slice literal, bool is_integer) {
    if (literal.n > TREE_NUMBER_MAX)
        return fail(s, "a number with too many digits");
    char text[TREE_NUMBER_MAX + 1];
    memcpy(text, literal.p, literal.n);
    text[literal.n] = '\0';
    if (is_integer) {
        char *magnitude = *text == '-' ? text + 1 : text;
        uint64_t ignored;
        if (bh_slice_u64(bh_slice_cstr(magnitude), BH_JSON_INT_MAX, &ignored) != 0)
            return fail(s, "an integer beyond 2^53 would lose digits; write it as a string");
    }
    return isfinite(strtod(text, NULL)) || fail(s, "a number too big for a double");
}

static bool scan_number(struct scan *s) {
    const char *start = s->p;
    bool is_integer = true;
    take(s, '-');
    if (!take(s, '0') && !take_digits(s))
        return false;
    if (take(s, '.')) {
        is_integer = false;
        if (!take_digits(s))
            return false;
    }
    if (take(s, 'e') || take(s, 'E')) {
        is_integer = false;
        if (!take(s, '+'))
            take(s, '-');
        if (!take_digits(s))
            return false;
    }
    struct bh_slice literal = bh_slice(start, (size_t)(s->p - start));
    if (!s->for_tree || check_tree_number(s, literal, is_integer))
        return true;
    s->p = start;
    return false;
}

static bool scan_word(struct scan *s, struct bh_slice word) {
    if (!bh_slice_starts(bh_slice(s->p, (size_t)(s->end - s->p)), word))
        return fail(s, "a value is expected here");
    s->p += word.n;
    return true;
}

static bool scan_name(struct scan *s) {
    s->p = bh_json_skip_blanks(s->p, s->end);
    if (!at(s, '"'))
        return fail(s, "a member name in double quotes is expected here");
    if (!scan_string(s))
        return false;
    s->p = bh_json_skip_blanks(s->p, s->end);
    return take(s, ':') || fail(s, "a colon is expected here");
}

static bool scan_container(struct scan *s, char close) {
    if (++s->depth > BH_JSON_DEPTH_MAX)
        return fail(s, "nested too deeply");
    s->p = bh_json_skip_blanks(s->p + 1, s->end);
    if (!at(s, close)) {
        do {
            if ((close == '}' && !scan_name(s)) || !scan_value(s))
                return false;
            s->p = bh_json_skip_blanks(s->p, s->end);
        } while (take(s, ','));
    }
    if (!take(s, close))
        return fail(s, close == '}' ? "a comma or } is expected here"
                                    : "a comma or ] is expected here");
    s->depth--;
    return true;
}

static bool scan_value(struct scan *s) {
    s->p = bh_json_skip_blanks(s->p, s->end);
    switch (s->p < s->end ? *s->p : '\0') {
    case '{':
        return scan_container(s, '}');
    case '[':
        return scan_container(s, ']');
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, BH_SLICE("true"));
    case 'f':
        return scan_word(s, BH_SLICE("false"));
    case 'n':
        return scan_word(s, BH_SLICE("null"));
    case '-':
    case '0' ... '9':
        return scan_number(s);
    default:
        return fail(s, "a value is expected here");
    }
}

int bh_json_scan(struct bh_slice text, bool for_tree, struct bh_json_error *error) {
    if (!text.p)
        text.p = "";
    struct scan s = {.p = text.p, .end = text.p + text.n, .for_tree = for_tree};
    bool good = scan_value(&s);
    if (good) {
        s.p = bh_json_skip_blanks(s.p, s.end);
        good = s.p == s.end || fail(&s, "the text goes on after its value");
    }
    if (!good && error)
        *error = (struct bh_json_error){(size_t)(s.p - text.p), s.why};
    return good ? 0 : BH_ESYNTAX;
}
