/* log_output.c - a ring of lines, and the thread that writes them.
 *
 * Threads that log take the lock, put their line into the ring and wake the writer. The writer
 * holds no lock while it waits for stderr or syslog. When the ring is full, lines are dropped until
 * it is empty again: so the gap is at one place, and there the writer puts a line that tells its
 * size.
 *
 * At the end of the process the caller takes over, maybe in a signal handler and maybe while
 * another thread holds the lock. So lines are taken from the ring without the lock: the right to
 * write is the flag `writing`, which is held for one write that does not block. syslog() blocks and
 * is not async-signal-safe, so the writer takes the line out of the ring there, and holds nothing.
 * With syslog a line in the ring begins with its priority, "<4>", as sd-daemon(3) has it: the
 * caller writes the rest to stderr. */
#include "bellhop/base/log_output.h"

#include "bellhop/base/buf.h"
#include "bellhop/base/metrics.h"
#include "bellhop/base/spawn.h"
#include "log_line.h"
#include "log_ring.h"
#include "stderr.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <syslog.h>

#define RING_BYTES ((size_t)1 << 20)
#define WAIT_MS    100
#define WAITS_MAX  10
#define PREFIX     3 /* <4> */

static struct bh_metric lost_metric = {"bellhop_base_log_lost_total", NULL,
                                       "log lines lost because the log was not read or failed",
                                       BH_COUNTER, 0};

static bool to_syslog; /* set before other threads start, constant afterwards */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the next three; putting into the ring */
static enum { DIRECT, QUEUED, STOPPED } mode;
static bool has_writer;
static bool is_dropping; /* until the ring is empty */
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

static char ring_bytes[RING_BYTES];
static struct bh_log_ring ring = {.bytes = ring_bytes, .size = RING_BYTES};

static atomic_flag writing = ATOMIC_FLAG_INIT; /* taking from the ring */
static atomic_bool in_syslog;

static atomic_uint_fast64_t lost; /* lines, that no line has told yet */
static atomic_bool is_failing;    /* so was the last write of the writer */

void bh_log_metrics_register(void) {
    bh_metrics_register(&lost_metric, 1);
}

void bh_log_output_init(bool use_syslog) {
    to_syslog = use_syslog;
    if (use_syslog)
        openlog("bellhop", LOG_PID, LOG_DAEMON);
}

static void count_lost(unsigned lines) {
    atomic_fetch_add(&lost, lines);
    bh_metric_add(&lost_metric, lines);
}

/* --- threads that log --- */

static int priority_of(enum bh_log_level level) {
    static const int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};
    return priorities[level];
}

/* The caller holds the lock, and wakes the writer also for a lost line, which it has to tell. */
static void put(enum bh_log_level level, struct bh_slice line) {
    char priority[PREFIX] = {'<', (char)('0' + priority_of(level)), '>'};
    struct bh_slice head = bh_slice(priority, to_syslog ? PREFIX : 0);
    if (is_dropping || !bh_log_ring_put(&ring, head, line)) {
        is_dropping = true;
        count_lost(1);
    }
    pthread_cond_signal(&wake);
}

static void write_directly(enum bh_log_level level, struct bh_slice line) {
    if (to_syslog && mode == DIRECT)
        syslog(priority_of(level), "%.*s", (int)line.n - 1, line.p);
    else if (!bh_stderr_write(line.p, line.n, mode == DIRECT ? -1 : WAIT_MS))
        count_lost(1);
}

void bh_log_output_put(enum bh_log_level level, struct bh_slice line) {
    pthread_mutex_lock(&lock);
    if (mode == QUEUED)
        put(level, line);
    else
        write_directly(level, line);
    pthread_mutex_unlock(&lock);
}

/* --- the writer --- */

static bool may_write(void) {
    return !atomic_flag_test_and_set(&writing);
}

static void end_write(void) {
    atomic_flag_clear(&writing);
}

static void pause_ms(int ms) {
    poll(NULL, 0, ms);
}

/* Whole lines, unless the first one is longer. */
static size_t peek_lines(char part[PIPE_BUF]) {
    size_t n = bh_log_ring_peek(&ring, part, PIPE_BUF);
    const char *end = memrchr(part, '\n', n);
    return end ? (size_t)(end - part) + 1 : n;
}

static unsigned count_lines(const char *p, size_t n) {
    unsigned lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += p[i] == '\n';
    return lines;
}

/* One write. Returns the number of lines that were dropped because it failed. */
static unsigned write_some(void) {
    char part[PIPE_BUF];
    size_t n = peek_lines(part);
    ssize_t written = n ? bh_stderr_write_some(part, n) : 0;
    bool failed = written < 0 && errno != EINTR && errno != EAGAIN;
    bh_log_ring_take(&ring, failed ? n : written > 0 ? (size_t)written : 0);
    return failed ? count_lines(part, n) : 0;
}

static void write_next(void) {
    if (!bh_stderr_ready(WAIT_MS))
        return;
    if (!may_write()) {
        pause_ms(1);
        return;
    }
    unsigned dropped = write_some();
    end_write();
    if (dropped)
        count_lost(dropped);
    atomic_store(&is_failing, dropped > 0);
}

/* The first line, without its line feed. False when the end has come, and another thread writes. */
static bool take_line(struct bh_bytes *out) {
    char part[PIPE_BUF];
    bh_bytes_clear(out);
    if (!may_write())
        return false;
    atomic_store(&in_syslog, true);
    for (const char *end = NULL; !end && !bh_log_ring_is_empty(&ring);) {
        size_t n = bh_log_ring_peek(&ring, part, sizeof part);
        end = memchr(part, '\n', n);
        bh_bytes_add(out, bh_slice(part, end ? (size_t)(end - part) : n));
        bh_log_ring_take(&ring, end ? (size_t)(end - part) + 1 : n);
    }
    end_write();
    return out->len > PREFIX;
}

static void send_next(struct bh_bytes *line) {
    if (take_line(line))
        syslog(line->p[1] - '0', "%.*s", (int)line->len - PREFIX, line->p + PREFIX);
    else
        pause_ms(1);
    atomic_store(&in_syslog, false);
}

static void tell_loss(void (*to)(enum bh_log_level level, struct bh_slice line)) {
    uint64_t count = atomic_exchange(&lost, 0);
    struct bh_kv fields[] = {bh_kv_int("lines", (int64_t)count), {0}};
    struct bh_bytes line = {0};
    bh_log_line(&line, BH_LOG_WARN, "log lines were lost", fields, 0);
    to(BH_LOG_WARN, bh_bytes_slice(&line));
    bh_bytes_free(&line);
}

/* The ring is empty; the caller holds the lock. While writes fail, the line would be lost, too. */
static void end_dropping(void) {
    is_dropping = false;
    if (atomic_load(&lost) && !atomic_load(&is_failing))
        tell_loss(put);
}

/* False when the writer has to end. */
static bool wait_for_lines(void) {
    pthread_mutex_lock(&lock);
    if (mode == QUEUED && bh_log_ring_is_empty(&ring))
        end_dropping();
    while (mode == QUEUED && bh_log_ring_is_empty(&ring) && !is_dropping)
        pthread_cond_wait(&wake, &lock);
    has_writer = mode == QUEUED || !bh_log_ring_is_empty(&ring);
    bool go_on = has_writer;
    pthread_mutex_unlock(&lock);
    return go_on;
}

static void *write_lines(void *ud) {
    (void)ud;
    struct bh_bytes line = {0};
    pthread_setname_np(pthread_self(), "bellhop-log");
    while (wait_for_lines()) {
        if (to_syslog)
            send_next(&line);
        else
            write_next();
    }
    bh_bytes_free(&line);
    return NULL;
}

/* --- start and end --- */

int bh_log_output_start(void) {
    pthread_t writer;
    pthread_mutex_lock(&lock);
    int error = has_writer ? 0 : bh_spawn(&writer, write_lines, NULL);
    if (!error && !has_writer)
        pthread_detach(writer);
    if (!error) {
        has_writer = true;
        mode = QUEUED;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

/* As long as it makes progress. */
static void let_writer_finish(void) {
    size_t before = atomic_load(&ring.taken);
    for (int same = 0, all = 0; same < WAIT_MS && all < WAIT_MS * WAITS_MAX; same++, all++) {
        if (bh_log_ring_is_empty(&ring) && !atomic_load(&in_syslog))
            return;
        pause_ms(1);
        if (atomic_load(&ring.taken) != before)
            same = 0;
        before = atomic_load(&ring.taken);
    }
}

static bool take_over(void) {
    for (int i = 0; i < WAIT_MS; i++) {
        if (may_write())
            return true;
        pause_ms(1);
    }
    return false;
}

/* Only what is there now: other threads may go on. */
static void write_rest(void) {
    size_t end = atomic_load(&ring.put);
    for (int waits = 0; (ptrdiff_t)(end - atomic_load(&ring.taken)) > 0; write_some())
        if (!bh_stderr_ready(0) && (waits++ == WAITS_MAX || !bh_stderr_ready(WAIT_MS)))
            return;
}

void bh_log_output_drain(void) {
    int saved_errno = errno;
    if (to_syslog)
        let_writer_finish();
    if (take_over()) {
        write_rest();
        end_write();
    }
    errno = saved_errno;
}

void bh_log_output_last_words(const char *text) {
    bh_log_output_drain();
    bh_stderr_write(text, strlen(text), WAIT_MS);
}

void bh_log_output_stop(void) {
    pthread_mutex_lock(&lock);
    bool was_queued = mode == QUEUED;
    if (was_queued)
        mode = STOPPED;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&lock);
    if (!was_queued)
        return;
    bh_log_output_drain();
    pthread_mutex_lock(&lock);
    if (atomic_load(&lost) && bh_log_ring_is_empty(&ring))
        tell_loss(write_directly);
    pthread_mutex_unlock(&lock);
}
