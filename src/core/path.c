/* path.c - compares pattern and path segment by segment; nothing is compiled.
 *
 * Text is compared as it was sent, without decoding: a proxy in front decides by the same bytes, so
 * "/%61dmin" must not become "/admin" behind it. Any thread. */
#include "bellhop/core/path.h"

#include "bellhop/base/error.h"

enum kind { ENDED, TEXT, PARAM, REST };

static enum kind kind_of(struct bh_slice segment) {
    if (segment.n && segment.p[0] == ':')
        return PARAM;
    return segment.n && segment.p[0] == '*' ? REST : TEXT;
}

static struct bh_slice without_first(struct bh_slice s) {
    return bh_slice(s.p + 1, s.n - 1);
}

/* --- checking --- */

static bool is_letter(char c) {
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_letter(s.p[i]) && !(i > 0 && is_digit(s.p[i])))
            return false;
    return s.n > 0;
}

static bool escapes_are_whole(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '%' &&
            (s.n - i < 3 || bh_hex_digit(s.p[i + 1]) < 0 || bh_hex_digit(s.p[i + 2]) < 0))
            return false;
    return true;
}

static int check_text(struct bh_slice s, const char **why) {
    for (size_t i = 0; i < s.n; i++) {
        *why = "a parameter must be a whole segment: \"/:name/\", or \"/*name\" at the end";
        if (s.p[i] == ':' || s.p[i] == '*')
            return BH_EINVAL;
        *why = "bytes other than letters, digits and -._~!$&'()+,;=@ must be escaped as %XX";
        if (!is_letter(s.p[i]) && !is_digit(s.p[i]) &&
            (s.p[i] == 0 || !strchr("-.~!$&'()+,;=@%", s.p[i])))
            return BH_EINVAL;
    }
    return escapes_are_whole(s) ? 0 : BH_EINVAL;
}

static int add_param(struct bh_path_params *to, struct bh_slice name, struct bh_slice value) {
    to->list[to->count++] = (struct bh_path_param){name, value};
    return 0;
}

static int check_name(struct bh_path_params *seen, struct bh_slice name, const char **why) {
    *why =
        "the name of a parameter must consist of letters, digits and _, and not begin with a digit";
    if (!is_name(name))
        return BH_EINVAL;
    *why = "two parameters have the same name";
    for (size_t i = 0; i < seen->count; i++)
        if (bh_slice_eq(seen->list[i].name, name))
            return BH_EINVAL;
    *why = "a pattern has at most 16 parameters";
    return seen->count == BH_PATH_PARAMS_MAX ? BH_EINVAL : add_param(seen, name, name);
}

static int check_segment(struct bh_path_params *seen, struct bh_slice segment, bool last,
                         const char **why) {
    switch (kind_of(segment)) {
    case PARAM:
        return check_name(seen, without_first(segment), why);
    case REST:
        *why = "a segment that begins with * must be the last one";
        if (!last)
            return BH_EINVAL;
        return segment.n == 1 ? 0 : check_name(seen, without_first(segment), why);
    default:
        *why = "a segment is empty (\"//\")";
        return segment.n == 0 && !last ? BH_EINVAL : check_text(segment, why);
    }
}

int bh_path_check(struct bh_slice pattern, const char **why) {
    struct bh_path_params seen = {.count = 0};
    struct bh_slice segment;
    int error = 0;
    *why = "a path must begin with \"/\"";
    if (pattern.n == 0 || pattern.p[0] != '/')
        return BH_EINVAL;
    for (struct bh_slice rest = without_first(pattern);
         !error && bh_slice_split(&rest, '/', &segment);)
        error = check_segment(&seen, segment, !rest.p, why);
    return error;
}

/* --- matching --- */

static bool take(struct bh_path_params *to, struct bh_slice segment, struct bh_slice value) {
    if (!escapes_are_whole(value) || to->count == BH_PATH_PARAMS_MAX)
        return false;
    return add_param(to, segment.n > 1 ? without_first(segment) : segment, value) == 0;
}

bool bh_path_match(struct bh_slice pattern, struct bh_slice path, struct bh_path_params *out) {
    struct bh_slice segment, part;
    out->count = 0;
    if (path.n == 0 || path.p[0] != '/')
        return false;
    path = without_first(path);
    for (pattern = without_first(pattern); bh_slice_split(&pattern, '/', &segment);) {
        if (!path.p)
            return false;
        enum kind kind = kind_of(segment);
        if (kind == REST)
            return take(out, segment, path);
        bh_slice_split(&path, '/', &part);
        if (kind == PARAM ? part.n == 0 || !take(out, segment, part) : !bh_slice_eq(segment, part))
            return false;
    }
    return !path.p;
}

/* --- comparing --- */

static enum kind next(struct bh_slice *rest, struct bh_slice *segment) {
    return bh_slice_split(rest, '/', segment) ? kind_of(*segment) : ENDED;
}

static int compare(struct bh_slice a, struct bh_slice b, bool *same_text) {
    struct bh_slice in_a, in_b;
    *same_text = true;
    for (a = without_first(a), b = without_first(b);;) {
        enum kind of_a = next(&a, &in_a), of_b = next(&b, &in_b);
        if (of_a != of_b)
            return (int)of_a - (int)of_b;
        if (of_a == ENDED)
            return 0;
        if (of_a == TEXT && !bh_slice_eq(in_a, in_b))
            *same_text = false;
    }
}

int bh_path_compare(struct bh_slice a, struct bh_slice b) {
    bool same_text;
    return compare(a, b, &same_text);
}

bool bh_path_same(struct bh_slice a, struct bh_slice b) {
    bool same_text;
    return compare(a, b, &same_text) == 0 && same_text;
}

bool bh_path_find(const struct bh_slice *patterns, size_t count, struct bh_slice path,
                  struct bh_path_params *out) {
    const struct bh_slice *best = NULL;
    for (size_t i = 0; i < count; i++)
        if ((!best || bh_path_compare(patterns[i], *best) < 0) &&
            bh_path_match(patterns[i], path, out))
            best = &patterns[i];
    return best && bh_path_match(*best, path, out);
}
