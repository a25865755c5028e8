/* config_lines.c - a table of Lua has no line numbers, so the text is read as its author wrote it.
 *
 * A scanner skips comments and strings, counts braces, and keeps the last name before `=` at each
 * depth. The names of all depths, joined, end with the path where the key is set, in
 * `return { redis = { url = ... } }`, in `local redis = { url = ... }` and in `c.redis.url = ...`.
 * If no line does, the first one that sets a key with the same last name is the best guess. */
#include "config_lines.h"

#include "bellhop/base/buf.h"

#include <ctype.h>
#include <string.h>

#define DEPTH_MAX 16

struct scan {
    const char *p;
    int line;
    int depth;
    struct bh_slice names[DEPTH_MAX]; /* the name that is being set at each depth */
    size_t tables[DEPTH_MAX];         /* that have begun at each depth, in the one around them */
};

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static void step(struct scan *s) {
    s->line += *s->p == '\n';
    s->p++;
}

static void skip_to(struct scan *s, const char *end) {
    while (*s->p && s->p < end)
        step(s);
}

static void skip_blanks(struct scan *s) {
    while (*s->p && isspace((unsigned char)*s->p))
        step(s);
}

/* "[[", "[=[" and so on begin a long string: its level, or -1. */
static int long_level(const char *p) {
    size_t n = *p == '[' ? strspn(p + 1, "=") : 0;
    return *p == '[' && p[1 + n] == '[' ? (int)n : -1;
}

static void skip_long(struct scan *s, int level) {
    for (; *s->p; step(s)) {
        if (*s->p != ']' || strspn(s->p + 1, "=") != (size_t)level || s->p[1 + level] != ']')
            continue;
        skip_to(s, s->p + level + 2);
        return;
    }
}

static void skip_comment(struct scan *s) {
    s->p += 2;
    int level = long_level(s->p);
    if (level >= 0)
        skip_long(s, level);
    else
        skip_to(s, s->p + strcspn(s->p, "\n"));
}

/* Returns what is between the quotes. */
static struct bh_slice skip_string(struct scan *s) {
    const char *start = s->p + 1, quote = *s->p;
    for (s->p++; *s->p && *s->p != quote && *s->p != '\n'; s->p++)
        if (*s->p == '\\' && s->p[1] && s->p[1] != '\n')
            s->p++;
    struct bh_slice text = bh_slice(start, (size_t)(s->p - start));
    s->p += *s->p == quote;
    return text;
}

/* `a`, or `a.b.c` */
static struct bh_slice read_name(struct scan *s) {
    const char *start = s->p;
    while (is_word(*s->p) || (*s->p == '.' && is_word(s->p[1])))
        s->p++;
    return bh_slice(start, (size_t)(s->p - start));
}

static void begin_table(struct scan *s) {
    s->names[s->depth] = bh_slice(NULL, 0);
    s->tables[s->depth]++;
    if (s->depth + 1 < DEPTH_MAX)
        s->tables[s->depth + 1] = 0;
}

/* The next name that is followed by `=`; false at the end. */
static bool next_name(struct scan *s, struct bh_slice *name, int *line) {
    while (*s->p) {
        int level = long_level(s->p);
        bool bracket = *s->p == '[' && level < 0;
        *line = s->line;
        if (s->p[0] == '-' && s->p[1] == '-') {
            skip_comment(s);
            continue;
        }
        if (level >= 0) {
            skip_long(s, level);
            continue;
        }
        if (bracket) {
            step(s);
            skip_blanks(s);
            *line = s->line;
        }
        if (*s->p == '"' || *s->p == '\'') {
            *name = skip_string(s);
            skip_blanks(s);
            if (!bracket || *s->p != ']')
                continue;
            step(s);
        } else if (is_word(*s->p)) {
            *name = read_name(s);
        } else {
            if (*s->p == '{' && ++s->depth < DEPTH_MAX)
                begin_table(s);
            else if (*s->p == '}' && s->depth > 0)
                s->depth--;
            if (*s->p)
                step(s);
            continue;
        }
        skip_blanks(s);
        if (s->p[0] == '=' && s->p[1] != '=')
            return true;
    }
    return false;
}

static bool ends_with(struct bh_slice text, struct bh_slice end) {
    return text.n >= end.n && bh_slice_eq(bh_slice(text.p + text.n - end.n, end.n), end) &&
           (text.n == end.n || text.p[text.n - end.n - 1] == '.');
}

static bool is_path(const struct scan *s, struct bh_slice path) {
    struct bh_bytes joined = {0};
    for (int i = 0; i <= s->depth; i++)
        if (s->names[i].n)
            bh_bytes_addf(&joined, "%s%.*s", joined.len ? "." : "", BH_SLICE_ARG(s->names[i]));
    bool is = ends_with(bh_bytes_slice(&joined), path);
    bh_bytes_free(&joined);
    return is;
}

int bh_config_find_line(const char *text, const char *path) {
    struct scan s = {.p = text, .line = 1};
    struct bh_slice name, whole = bh_slice_cstr(path);
    const char *dot = strrchr(path, '.');
    struct bh_slice last = bh_slice_cstr(dot ? dot + 1 : path);
    int line, guess = 0;
    while (next_name(&s, &name, &line)) {
        if (s.depth >= DEPTH_MAX)
            continue;
        s.names[s.depth] = name;
        if (is_path(&s, whole))
            return line;
        if (!guess && ends_with(name, last))
            guess = line;
    }
    return guess;
}

/* A named table between the entries counts as one, too: `history = { window = {}, {...} }` is no
 * configuration. */
int bh_config_find_entry(const char *text, const char *path, size_t entry, const char *key) {
    struct scan s = {.p = text, .line = 1};
    struct bh_slice name;
    int line, depth = -1, first = 0;
    while (next_name(&s, &name, &line)) {
        if (s.depth >= DEPTH_MAX)
            continue;
        s.names[s.depth] = name;
        if (depth < 0) {
            if (is_path(&s, bh_slice_cstr(path)))
                depth = s.depth + 2;
            continue;
        }
        if (s.depth <= depth - 2)
            break;
        if (s.depth != depth || s.tables[depth] != entry + 1)
            continue;
        if (key && bh_slice_eq(name, bh_slice_cstr(key)))
            return line;
        first = first ? first : line;
    }
    return first;
}
