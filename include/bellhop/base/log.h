/* log.h - structured logs: a message and typed fields, as logfmt or JSON, to stderr or syslog.
 *
 *     bh_info("connection open", bh_kv_slice("user", user), bh_kv_int("code", 1000));
 *
 * The message is a constant; every variable part is a field. Values are quoted and escaped by the
 * writer, so a peer cannot forge a line. Lines of different threads do not mix; log_output.h
 * says where they go, and what happens when nobody reads them. Fields named like
 * secrets (password, token, authorization, secret, key, cookie) are masked. Lines that a peer can
 * cause use the _limited form: a token bucket per call site (20 a second, burst 50); the next line
 * counts the suppressed ones in `suppressed`. Thread: any, after bh_log_init. */
#ifndef BELLHOP_BASE_LOG_H
#define BELLHOP_BASE_LOG_H

#include "bellhop/base/slice.h"

#include <stdatomic.h>
#include <stdint.h>

enum bh_log_level { BH_LOG_DEBUG, BH_LOG_INFO, BH_LOG_WARN, BH_LOG_ERROR, BH_LOG_OFF };
enum bh_log_format { BH_LOG_LOGFMT, BH_LOG_JSON };

struct bh_kv {
    const char *key; /* NULL ends the list */
    enum { BH_KV_SLICE, BH_KV_INT, BH_KV_BOOL, BH_KV_DOUBLE } type;
    union {
        struct bh_slice slice;
        int64_t i;
        double d;
    } v;
};

static inline struct bh_kv bh_kv_slice(const char *key, struct bh_slice s) {
    return (struct bh_kv){key, BH_KV_SLICE, {.slice = s}};
}
static inline struct bh_kv bh_kv_str(const char *key, const char *s) {
    return bh_kv_slice(key, bh_slice_cstr(s));
}
static inline struct bh_kv bh_kv_int(const char *key, int64_t i) {
    return (struct bh_kv){key, BH_KV_INT, {.i = i}};
}
static inline struct bh_kv bh_kv_bool(const char *key, bool b) {
    return (struct bh_kv){key, BH_KV_BOOL, {.i = b}};
}
static inline struct bh_kv bh_kv_double(const char *key, double d) {
    return (struct bh_kv){key, BH_KV_DOUBLE, {.d = d}};
}

struct bh_log_limit {
    atomic_uint_fast64_t state;
};

extern _Atomic int bh_log_threshold; /* lines below it are skipped before their fields are built */

/* Defaults before any call: info, logfmt, stderr. `instance` (may be NULL) is a field of each line.
 * Call it before other threads start. */
void bh_log_init(enum bh_log_level level, enum bh_log_format format, bool use_syslog,
                 const char *instance);
int bh_log_parse_level(const char *name, enum bh_log_level *out); /* 0 or BH_EINVAL */

/* Whether a field of that name is masked. */
bool bh_log_is_secret(const char *key);
void bh_log_write(enum bh_log_level level, struct bh_log_limit *limit, const char *message,
                  const struct bh_kv *fields);

#define BH_LOG(level, limit, message, ...)                                                         \
    do {                                                                                           \
        if ((int)(level) >= bh_log_threshold)                                                      \
            bh_log_write(level, limit, message,                                                    \
                         (const struct bh_kv[]){__VA_ARGS__ __VA_OPT__(, ){0}});                   \
    } while (0)
#define BH_LOG_LIMITED(level, message, ...)                                                        \
    do {                                                                                           \
        static struct bh_log_limit bh_log_limit_here;                                              \
        BH_LOG(level, &bh_log_limit_here, message __VA_OPT__(, ) __VA_ARGS__);                     \
    } while (0)

#define bh_debug(...)        BH_LOG(BH_LOG_DEBUG, NULL, __VA_ARGS__)
#define bh_info(...)         BH_LOG(BH_LOG_INFO, NULL, __VA_ARGS__)
#define bh_warn(...)         BH_LOG(BH_LOG_WARN, NULL, __VA_ARGS__)
#define bh_error(...)        BH_LOG(BH_LOG_ERROR, NULL, __VA_ARGS__)
#define bh_info_limited(...) BH_LOG_LIMITED(BH_LOG_INFO, __VA_ARGS__)
#define bh_warn_limited(...) BH_LOG_LIMITED(BH_LOG_WARN, __VA_ARGS__)

#endif
