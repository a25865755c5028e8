/* log.c - one line for each event, for any content of the fields.
 *
 * A line is built in memory and leaves by one write, so lines of different threads do not mix. Both
 * formats quote values as JSON strings (bh_json_quote escapes quotes, backslashes, control
 * characters and bytes that are not UTF-8); logfmt leaves the quotes out where a value is a plain
 * word. Keys are reduced to word characters, because scripts choose some of them.
 *
 * The limiter is a leaky bucket in one atomic word: the upper bits hold the time until which the
 * allowance is spent, the lower bits the number of lines suppressed since the last one written. */
#include "bellhop/base/log.h"

#include "bellhop/base/buf.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define VALUE_MAX       2048
#define CUT_MARK        "...[cut]"
#define LIMIT_PERIOD_MS 50 /* 20 lines a second */
#define LIMIT_BURST     50
#define SUPPRESSED_BITS 24
#define SUPPRESSED_MAX  ((1u << SUPPRESSED_BITS) - 1)

_Atomic int bh_log_threshold = BH_LOG_INFO;

/* Set before other threads start, constant afterwards. */
static enum bh_log_format line_format = BH_LOG_LOGFMT;
static bool to_syslog;
static char instance_id[BH_ID_MAX + 1];

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};
static const int syslog_priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};

void bh_log_init(enum bh_log_level level, enum bh_log_format format, bool use_syslog,
                 const char *instance) {
    bh_log_threshold = level;
    line_format = format;
    to_syslog = use_syslog;
    snprintf(instance_id, sizeof instance_id, "%s", instance ? instance : "");
    if (use_syslog)
        openlog("bellhop", LOG_PID, LOG_DAEMON);
}

int bh_log_parse_level(const char *name, enum bh_log_level *out) {
    for (int i = BH_LOG_DEBUG; i <= BH_LOG_OFF; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum bh_log_level)i;
            return 0;
        }
    return BH_EINVAL;
}

/* --- the limiter --- */

/* True when the line may be written; then *suppressed is the number of lines suppressed before it.
 */
static bool allow(struct bh_log_limit *limit, unsigned *suppressed) {
    uint64_t now = bh_clock_ms();
    uint_fast64_t seen = atomic_load_explicit(&limit->state, memory_order_relaxed);
    for (;;) {
        uint64_t spent_until = seen >> SUPPRESSED_BITS;
        *suppressed = (unsigned)(seen & SUPPRESSED_MAX);
        bool allowed = spent_until <= now + (LIMIT_BURST - 1) * LIMIT_PERIOD_MS;
        uint_fast64_t next = seen;
        if (allowed)
            next = ((spent_until > now ? spent_until : now) + LIMIT_PERIOD_MS) << SUPPRESSED_BITS;
        else if (*suppressed < SUPPRESSED_MAX)
            next = seen + 1;
        if (atomic_compare_exchange_weak_explicit(&limit->state, &seen, next, memory_order_relaxed,
                                                  memory_order_relaxed))
            return allowed;
    }
}

/* --- the line --- */

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
    for (const char *c = *key ? key : "_"; *c; c++)
        bh_bytes_addc(line, is_word_char((unsigned char)*c) ? *c : '_');
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

static bool is_secret(const char *key) {
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
    if (is_secret(kv.key)) {
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

static void add_line(struct bh_bytes *line, enum bh_log_level level, const char *message,
                     const struct bh_kv *fields, unsigned suppressed) {
    add_time(line);
    add_field(line, bh_kv_str("level", level_names[level]));
    add_field(line, bh_kv_str("msg", message));
    if (*instance_id)
        add_field(line, bh_kv_str("instance", instance_id));
    for (const struct bh_kv *kv = fields; kv && kv->key; kv++)
        add_field(line, *kv);
    if (suppressed)
        add_field(line, bh_kv_int("suppressed", suppressed));
    if (line_format == BH_LOG_JSON)
        bh_bytes_addc(line, '}');
}

static void emit(enum bh_log_level level, struct bh_bytes *line) {
    if (to_syslog) {
        syslog(syslog_priorities[level], "%.*s", (int)line->len, line->p);
        return;
    }
    bh_bytes_addc(line, '\n');
    /* A failure to write to stderr cannot be reported. */
    ssize_t n;
    do
        n = write(STDERR_FILENO, line->p, line->len);
    while (n < 0 && errno == EINTR);
}

void bh_log_write(enum bh_log_level level, struct bh_log_limit *limit, const char *message,
                  const struct bh_kv *fields) {
    unsigned suppressed = 0;
    if (level >= BH_LOG_OFF || (limit && !allow(limit, &suppressed)))
        return;
    int saved_errno = errno;
    struct bh_bytes line = {0};
    bh_bytes_reserve(&line, 512);
    add_line(&line, level, message, fields, suppressed);
    emit(level, &line);
    bh_bytes_free(&line);
    errno = saved_errno;
}
