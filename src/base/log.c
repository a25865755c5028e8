/* log.c - which lines are logged.
 *
 * A line is built in memory (log_line.c) and handed over as a whole (log_output.c).
 *
 * The limiter is a leaky bucket in one atomic word: the upper bits hold the time until which the
 * allowance is spent, the lower bits the number of lines suppressed since the last one written. */
#include "bellhop/base/log.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log_output.h"
#include "log_line.h"

#include <errno.h>

#define LIMIT_PERIOD_MS 50 /* 20 lines a second */
#define LIMIT_BURST     50
#define SUPPRESSED_BITS 24
#define SUPPRESSED_MAX  ((1u << SUPPRESSED_BITS) - 1)

_Atomic int bh_log_threshold = BH_LOG_INFO;

void bh_log_init(enum bh_log_level level, enum bh_log_format format, bool use_syslog,
                 const char *instance) {
    bh_log_threshold = level;
    bh_log_line_init(format, instance);
    bh_log_output_init(use_syslog);
}

int bh_log_parse_level(const char *name, enum bh_log_level *out) {
    for (int i = BH_LOG_DEBUG; i <= BH_LOG_OFF; i++)
        if (strcmp(name, bh_log_level_names[i]) == 0) {
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

void bh_log_write(enum bh_log_level level, struct bh_log_limit *limit, const char *message,
                  const struct bh_kv *fields) {
    unsigned suppressed = 0;
    if (level >= BH_LOG_OFF || (limit && !allow(limit, &suppressed)))
        return;
    int saved_errno = errno;
    struct bh_bytes line = {0};
    bh_log_line(&line, level, message, fields, suppressed);
    bh_log_output_put(level, bh_bytes_slice(&line));
    bh_bytes_free(&line);
    errno = saved_errno;
}
