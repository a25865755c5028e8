/* log_line.c - one line for each event, for any content of the fields.
 *
 * Both formats quote values as JSON strings (bh_json_quote escapes quotes, backslashes, control
 * characters and bytes that are not UTF-8); logfmt leaves the quotes out where a value is a plain
 * word. Keys are reduced to word characters, because scripts choose some of them. */
#include "log_line.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/id.h"
#include "bellhop/base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#define KEY_MAX   128
#define VALUE_MAX 2048
#define CUT_MARK  "...[cut]"

const char *const bh_log_level_names[] = {"debug", "info", "warn", "error", "off"};

/* Set before other threads start, constant afterwards. */
static enum bh_log_format line_format = BH_LOG_LOGFMT;
static char instance_id[BH_ID_MAX + 1];

void bh_log_line_init(enum bh_log_format format, const char *instance) {
    line_format = format;
    snprintf(instance_id, sizeof instance_id, "%s", instance ? instance : "");
}

static bool is_word_char(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

/* Printable ASCII without the characters that logfmt gives a meaning. */
static bool is_plain(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("=\"\\", s.p[i]))
            return false;
    return s.n > 0;
}

static void add_key(struct bh_bytes *line, const char *key) {
    bool json = line_format == BH_LOG_JSON, first = line->len == 0;
    bh_bytes_adds(line, json ? first ? "{\"" : ",\"" : first ? "" : " ");
    if (!*key)
        key = "_";
    for (size_t i = 0; key[i] && i < KEY_MAX; i++)
        bh_bytes_addc(line, is_word_char((unsigned char)key[i]) ? key[i] : '_');
    bh_bytes_adds(line, json ? "\":" : "=");
}

static void add_text(struct bh_bytes *line, struct bh_slice s) {
    if (s.n <= VALUE_MAX) {
        if (line_format == BH_LOG_LOGFMT && is_plain(s))
            bh_bytes_add(line, s);
        else
            bh_json_quote(line, s);
        return;
    }
    s.n = VALUE_MAX;
    for (int i = 0; i < 3 && (s.p[s.n] & 0xc0) == 0x80; i++)
        s.n--; /* do not cut inside a character */
    bh_json_quote(line, s);
    line->len--;
    bh_bytes_adds(line, CUT_MARK "\"");
}

static void add_double(struct bh_bytes *line, double d) {
    if (isfinite(d))
        bh_bytes_addf(line, "%.15g", d);
    else
        bh_bytes_adds(line, "null"); /* JSON has no NaN and no infinity */
}

bool bh_log_is_secret(const char *key) {
    static const char *const marks[] = {"password",      "passwd", "token",
                                        "authorization", "secret", "cookie"};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strcasestr(key, marks[i]))
            return true;
    size_t n = strlen(key);
    return n >= 3 && strcasecmp(key + n - 3, "key") == 0;
}

static void add_field(struct bh_bytes *line, struct bh_kv kv) {
    add_key(line, kv.key);
    if (bh_log_is_secret(kv.key)) {
        add_text(line, BH_SLICE("***"));
        return;
    }
    switch (kv.type) {
    case BH_KV_SLICE:
        add_text(line, kv.v.slice);
        break;
    case BH_KV_INT:
        bh_bytes_addf(line, "%" PRId64, kv.v.i);
        break;
    case BH_KV_BOOL:
        bh_bytes_adds(line, kv.v.i ? "true" : "false");
        break;
    case BH_KV_DOUBLE:
        add_double(line, kv.v.d);
        break;
    }
}

static void add_time(struct bh_bytes *line) {
    int64_t wall = bh_clock_wall_ms();
    time_t seconds = (time_t)(wall / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[64];
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(wall % 1000));
    add_key(line, "ts");
    add_text(line, bh_slice_cstr(text));
}

void bh_log_line(struct bh_bytes *line, enum bh_log_level level, const char *message,
                 const struct bh_kv *fields, unsigned suppressed) {
    bh_bytes_reserve(line, 512);
    add_time(line);
    add_field(line, bh_kv_str("level", bh_log_level_names[level]));
    add_field(line, bh_kv_str("msg", message));
    if (*instance_id)
        add_field(line, bh_kv_str("instance", instance_id));
    for (const struct bh_kv *kv = fields; kv && kv->key; kv++)
        add_field(line, *kv);
    if (suppressed)
        add_field(line, bh_kv_int("suppressed", suppressed));
    if (line_format == BH_LOG_JSON)
        bh_bytes_addc(line, '}');
    bh_bytes_addc(line, '\n');
}
