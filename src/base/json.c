/* json.c - readers of accepted text, cJSON trees, and writing strings.
 *
 * The readers (root, next, member, ...) work on text that the scanner has accepted; they skip
 * values by counting brackets, and stay inside their slice for any content.
 *
 * Trees are cJSON's, built only from texts that the scanner accepts in tree mode. In both, the last
 * of several members with one name wins, so no two parts of the program can read one text
 * differently. */
#include "bellhop/base/json.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "json_scan.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>

int bh_json_check(struct bh_slice text, struct bh_json_error *error) {
    return bh_json_scan(text, false, error);
}

/* --- readers of accepted text --- */

static struct bh_json_value make_value(const char *p, const char *end) {
    static const enum bh_json_type types[256] = {
        ['{'] = BH_JSON_OBJECT, ['['] = BH_JSON_ARRAY,          ['"'] = BH_JSON_STRING,
        ['t'] = BH_JSON_TRUE,   ['f'] = BH_JSON_FALSE,          ['n'] = BH_JSON_NULL,
        ['-'] = BH_JSON_NUMBER, ['0' ... '9'] = BH_JSON_NUMBER,
    };
    enum bh_json_type type = p < end ? types[(unsigned char)*p] : BH_JSON_NULL;
    return (struct bh_json_value){type, bh_slice(p, (size_t)(end - p))};
}

struct bh_json_value bh_json_root(struct bh_slice text) {
    if (!text.p)
        text.p = "";
    const char *end = text.p + text.n;
    const char *p = bh_json_skip_blanks(text.p, end);
    while (end > p && bh_json_is_blank(end[-1]))
        end--;
    return make_value(p, end);
}

static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end)
            p++;
    return p < end ? p + 1 : end;
}

static const char *skip_container(const char *p, const char *end) {
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if ((*p == '}' || *p == ']') && --depth == 0)
            return p + 1;
        p++;
    }
    return end;
}

static const char *skip_value(const char *p, const char *end) {
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    while (p < end && !bh_json_is_blank(*p) && *p != ',' && *p != ']' && *p != '}')
        p++;
    return p;
}

/* To the next byte that is neither a blank nor the given separator. */
static const char *skip_separator(const char *p, const char *end, char separator) {
    p = bh_json_skip_blanks(p, end);
    if (p < end && *p == separator)
        p = bh_json_skip_blanks(p + 1, end);
    return p;
}

bool bh_json_next(struct bh_json_value container, size_t *cursor, struct bh_json_value *key,
                  struct bh_json_value *value) {
    bool is_object = container.type == BH_JSON_OBJECT;
    if (!is_object && container.type != BH_JSON_ARRAY)
        return false;
    const char *start = container.raw.p, *end = start + container.raw.n;
    const char *p =
        *cursor ? skip_separator(start + *cursor, end, ',') : bh_json_skip_blanks(start + 1, end);
    if (p >= end || *p == '}' || *p == ']')
        return false;
    if (is_object) {
        const char *name = p;
        p = skip_string(p, end);
        if (key)
            *key = make_value(name, p);
        p = skip_separator(p, end, ':');
        if (p == end)
            return false;
    }
    const char *after = skip_value(p, end);
    *value = make_value(p, after);
    *cursor = (size_t)(after - start);
    return true;
}

static struct bh_slice without_quotes(struct bh_slice raw) {
    return raw.n >= 2 ? bh_slice(raw.p + 1, raw.n - 2) : bh_slice(raw.p, 0);
}

/* `scratch` is for names with escapes. */
static bool is_named(struct bh_json_value key, struct bh_slice name, struct bh_bytes *scratch) {
    struct bh_slice plain = without_quotes(key.raw);
    if (plain.n < name.n)
        return false; /* an escape is longer than what it stands for */
    if (plain.n == 0 || !memchr(plain.p, '\\', plain.n))
        return bh_slice_eq(plain, name);
    bh_bytes_clear(scratch);
    bh_json_string(key, scratch);
    return bh_slice_eq(bh_bytes_slice(scratch), name);
}

bool bh_json_member(struct bh_json_value object, struct bh_slice name,
                    struct bh_json_value *value) {
    if (object.type != BH_JSON_OBJECT)
        return false;
    struct bh_bytes scratch = {0};
    struct bh_json_value key, each;
    bool found = false;
    for (size_t cursor = 0; bh_json_next(object, &cursor, &key, &each);) {
        if (is_named(key, name, &scratch)) {
            *value = each;
            found = true;
        }
    }
    bh_bytes_free(&scratch);
    return found;
}

static bool element(struct bh_json_value array, struct bh_slice index,
                    struct bh_json_value *value) {
    uint64_t left;
    if (bh_slice_u64(index, SIZE_MAX, &left) != 0)
        return false;
    for (size_t cursor = 0; bh_json_next(array, &cursor, NULL, value); left--)
        if (left == 0)
            return true;
    return false;
}

bool bh_json_path(struct bh_json_value root, struct bh_slice path, struct bh_json_value *value) {
    struct bh_slice step;
    struct bh_json_value here = root;
    if (path.n == 0)
        path.p = NULL; /* no step, rather than one step with an empty name */
    while (bh_slice_split(&path, '.', &step)) {
        struct bh_json_value next;
        bool found = here.type == BH_JSON_ARRAY ? element(here, step, &next)
                                                : bh_json_member(here, step, &next);
        if (!found)
            return false;
        here = next;
    }
    *value = here;
    return true;
}

static void add_code_point(struct bh_bytes *out, uint32_t code) {
    if (code < 0x80) {
        bh_bytes_addc(out, (char)code);
        return;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xc0, 0xe0, 0xf0};
    bh_bytes_addc(out, (char)(leads[more] | code >> (6 * more)));
    while (more-- > 0)
        bh_bytes_addc(out, (char)(0x80 | (code >> (6 * more) & 0x3f)));
}

/* Decodes what follows a backslash; returns where the text continues. */
static const char *decode_escape(const char *p, const char *end, struct bh_bytes *out) {
    static const char plain[256] = {
        ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    char c = *p++;
    if (c != 'u') {
        char special = plain[(unsigned char)c];
        bh_bytes_addc(out, special ? special : c);
        return p;
    }
    int code = bh_json_hex4(p, end);
    if (code < 0)
        return end;
    p += 4;
    int low = bh_json_is_high_surrogate(code) && end - p >= 6 ? bh_json_hex4(p + 2, end) : -1;
    if (bh_json_is_low_surrogate(low)) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    add_code_point(out, (uint32_t)code);
    return p;
}

void bh_json_string(struct bh_json_value string, struct bh_bytes *out) {
    if (string.type != BH_JSON_STRING)
        return;
    struct bh_slice raw = without_quotes(string.raw);
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        const char *stop = escape ? escape : end;
        bh_bytes_add(out, bh_slice(p, (size_t)(stop - p)));
        p = stop < end - 1 ? decode_escape(stop + 1, end, out) : end;
    }
}

int bh_json_int64(struct bh_json_value number, int64_t *out) {
    if (number.type != BH_JSON_NUMBER)
        return BH_EINVAL;
    struct bh_slice digits = number.raw;
    bool negative = digits.p[0] == '-';
    if (negative)
        digits = bh_slice(digits.p + 1, digits.n - 1);
    uint64_t magnitude;
    int rc = bh_slice_u64(digits, (uint64_t)INT64_MAX + negative, &magnitude);
    if (rc != 0)
        return rc;
    *out = (int64_t)(negative ? -magnitude : magnitude);
    return 0;
}

/* --- trees --- */

static const cJSON *node_of(const struct bh_json *node) {
    return (const cJSON *)node;
}

static const struct bh_json *from_node(const cJSON *node) {
    return (const struct bh_json *)node;
}

static void install_allocator(void) {
    cJSON_InitHooks(&(cJSON_Hooks){bh_try_malloc, bh_free});
}

int bh_json_parse(struct bh_slice text, struct bh_json **root, struct bh_json_error *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_allocator);
    int rc = bh_json_scan(text, true, error);
    if (rc != 0)
        return rc;
    *root = (struct bh_json *)cJSON_ParseWithLength(text.p, text.n);
    if (*root)
        return 0;
    if (error)
        *error = (struct bh_json_error){0, "out of memory"};
    return BH_ENOMEM;
}

void bh_json_free(struct bh_json *root) {
    cJSON_Delete((cJSON *)root);
}

enum bh_json_type bh_json_type(const struct bh_json *node) {
    switch (node_of(node)->type & 0xff) {
    case cJSON_False:
        return BH_JSON_FALSE;
    case cJSON_True:
        return BH_JSON_TRUE;
    case cJSON_Number:
        return BH_JSON_NUMBER;
    case cJSON_String:
        return BH_JSON_STRING;
    case cJSON_Array:
        return BH_JSON_ARRAY;
    case cJSON_Object:
        return BH_JSON_OBJECT;
    default:
        return BH_JSON_NULL;
    }
}

const struct bh_json *bh_json_get(const struct bh_json *object, const char *name) {
    const struct bh_json *last = NULL;
    if (!object || bh_json_type(object) != BH_JSON_OBJECT)
        return NULL;
    for (const struct bh_json *m = bh_json_child(object); m; m = bh_json_sibling(m))
        if (strcmp(bh_json_name(m), name) == 0)
            last = m;
    return last;
}

const struct bh_json *bh_json_child(const struct bh_json *container) {
    return from_node(node_of(container)->child);
}

const struct bh_json *bh_json_sibling(const struct bh_json *node) {
    return from_node(node_of(node)->next);
}

const char *bh_json_name(const struct bh_json *member) {
    return node_of(member)->string;
}

const char *bh_json_str(const struct bh_json *string) {
    return bh_json_type(string) == BH_JSON_STRING ? node_of(string)->valuestring : NULL;
}

double bh_json_num(const struct bh_json *number) {
    return node_of(number)->valuedouble;
}

bool bh_json_is_int(const struct bh_json *number, int64_t *out) {
    if (bh_json_type(number) != BH_JSON_NUMBER)
        return false;
    double value = bh_json_num(number);
    if (trunc(value) != value || fabs(value) > BH_JSON_INT_MAX)
        return false;
    *out = (int64_t)value;
    return true;
}

/* --- writing --- */

/* The control characters of ASCII and Latin-1: harmless in JSON, but not in a terminal that shows
 * the log. */
static bool is_control(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static void quote_special(struct bh_bytes *out, uint32_t code) {
    static const char *const shorts[256] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\b'] = "\\b", ['\f'] = "\\f",
        ['\n'] = "\\n", ['\r'] = "\\r",  ['\t'] = "\\t",
    };
    if (shorts[code])
        bh_bytes_adds(out, shorts[code]);
    else
        bh_bytes_addf(out, "\\u%04x", (unsigned)code);
}

void bh_json_quote(struct bh_bytes *out, struct bh_slice s) {
    bh_bytes_reserve(out, s.n + 2);
    bh_bytes_addc(out, '"');
    size_t clean = 0; /* start of the run that can be copied unchanged */
    for (size_t i = 0; i < s.n;) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        size_t n = *p < 0x80 ? 1 : bh_utf8_sequence(bh_slice(p, s.n - i));
        uint32_t code = n == 2 && *p == 0xc2 ? p[1] : *p;
        bool special = (n == 1 && (code == '"' || code == '\\')) || (n <= 2 && is_control(code));
        if (n > 0 && !special) {
            i += n;
            continue;
        }
        bh_bytes_add(out, bh_slice(s.p + clean, i - clean));
        if (n == 0)
            bh_bytes_adds(out, "\xef\xbf\xbd");
        else
            quote_special(out, code);
        i += n ? n : 1;
        clean = i;
    }
    if (clean < s.n)
        bh_bytes_add(out, bh_slice(s.p + clean, s.n - clean));
    bh_bytes_addc(out, '"');
}
