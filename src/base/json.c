/* json.c - readers of accepted text, scalars, cJSON trees, and writing strings.
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
#include <stdlib.h>

#define REPLACEMENT 0xfffd /* for half of a surrogate pair */

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

bool bh_json_member(struct bh_json_value object, struct bh_slice name,
                    struct bh_json_value *value) {
    if (object.type != BH_JSON_OBJECT)
        return false;
    struct bh_json_value key, each;
    bool found = false;
    for (size_t cursor = 0; bh_json_next(object, &cursor, &key, &each);) {
        if (bh_json_equals(key, name)) {
            *value = each;
            found = true;
        }
    }
    return found;
}

/* --- strings --- */

static struct bh_slice without_quotes(struct bh_slice raw) {
    return raw.n >= 2 ? bh_slice(raw.p + 1, raw.n - 2) : bh_slice(raw.p, 0);
}

/* Writes at most 4 bytes; returns how many. */
static size_t put_code_point(uint32_t code, char *out) {
    if (code < 0x80) {
        *out = (char)code;
        return 1;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(leads[more] | code >> (6 * more));
    for (size_t left = more; left-- > 0;)
        *out++ = (char)(0x80 | (code >> (6 * left) & 0x3f));
    return more + 1;
}

/* p is behind the escape of a surrogate. Returns where the text continues. */
static const char *join_surrogates(const char *p, const char *end, int *code) {
    bool pair = bh_json_is_high_surrogate(*code) && end - p >= 6 && p[0] == '\\' && p[1] == 'u';
    int low = pair ? bh_json_hex4(p + 2, end) : -1;
    if (!bh_json_is_low_surrogate(low)) {
        *code = REPLACEMENT;
        return p;
    }
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return p + 6;
}

/* Decodes what follows a backslash, into fewer bytes than it has; returns where the text continues.
 */
static const char *decode_escape(const char *p, const char *end, char *out, size_t *n) {
    static const char plain[256] = {
        ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};
    char c = *p++;
    *n = 1;
    if (c != 'u') {
        char special = plain[(unsigned char)c];
        *out = special ? special : c;
        return p;
    }
    int code = bh_json_hex4(p, end);
    *n = 0;
    if (code < 0)
        return end;
    p += 4;
    if (bh_json_is_high_surrogate(code) || bh_json_is_low_surrogate(code))
        p = join_surrogates(p, end, &code);
    *n = put_code_point((uint32_t)code, out);
    return p;
}

size_t bh_json_unescape(struct bh_json_value string, char *out) {
    struct bh_slice raw = without_quotes(string.raw);
    const char *p = raw.p, *end = raw.p + raw.n;
    char *start = out;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t n = (size_t)((escape ? escape : end) - p);
        memcpy(out, p, n);
        out += n;
        p += n;
        if (end - p < 2)
            break;
        p = decode_escape(p + 1, end, out, &n);
        out += n;
    }
    return (size_t)(out - start);
}

void bh_json_string(struct bh_json_value string, struct bh_bytes *out) {
    if (string.type != BH_JSON_STRING)
        return;
    bh_bytes_reserve(out, string.raw.n);
    out->len += bh_json_unescape(string, out->p + out->len);
}

static bool equals_escaped(struct bh_slice raw, struct bh_slice text) {
    const char *p = raw.p, *end = raw.p + raw.n;
    while (p < end) {
        char bytes[4] = {*p};
        size_t n = 1;
        p = *p == '\\' && end - p >= 2 ? decode_escape(p + 1, end, bytes, &n) : p + 1;
        if (!bh_slice_starts(text, bh_slice(bytes, n)))
            return false;
        text = bh_slice(text.p + n, text.n - n);
    }
    return text.n == 0;
}

bool bh_json_equals(struct bh_json_value string, struct bh_slice text) {
    struct bh_slice raw = without_quotes(string.raw);
    if (string.type != BH_JSON_STRING || raw.n < text.n)
        return false; /* an escape is longer than what it stands for */
    if (raw.n == 0 || !memchr(raw.p, '\\', raw.n))
        return bh_slice_eq(raw, text);
    return equals_escaped(raw, text);
}

/* --- numbers --- */

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

/* Digits below 2^53 and a power of ten below 10^16 are exact, so that one division rounds once and
 * gives the nearest double. */
static bool read_short_decimal(struct bh_slice literal, double *out) {
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const char *p = literal.p, *end = p + literal.n, *point = end - 1;
    uint64_t digits = 0;
    bool negative = *p == '-';
    if (literal.n > sizeof powers / sizeof *powers)
        return false;
    for (p += negative; p < end; p++) {
        if (*p == '.')
            point = p;
        else if (*p >= '0' && *p <= '9')
            digits = digits * 10 + (uint64_t)(*p - '0');
        else
            return false; /* an exponent */
    }
    double value = (double)digits / powers[end - 1 - point];
    *out = negative ? -value : value;
    return digits <= BH_JSON_INT_MAX;
}

int bh_json_double(struct bh_json_value number, double *out) {
    char text[BH_JSON_NUMBER_MAX + 1];
    struct bh_slice literal = number.raw;
    if (number.type != BH_JSON_NUMBER)
        return BH_EINVAL;
    if (read_short_decimal(literal, out))
        return 0;
    if (literal.n > BH_JSON_NUMBER_MAX)
        return BH_ETOOBIG;
    memcpy(text, literal.p, literal.n);
    text[literal.n] = '\0'; /* for strtod */
    *out = strtod(text, NULL);
    return isfinite(*out) ? 0 : BH_ETOOBIG;
}

bool bh_json_whole(double number, int64_t *out) {
    if (trunc(number) != number || fabs(number) > BH_JSON_INT_MAX)
        return false;
    *out = (int64_t)number;
    return true;
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
    return bh_json_type(number) == BH_JSON_NUMBER && bh_json_whole(bh_json_num(number), out);
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
