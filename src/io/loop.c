/* loop.c - one libevent base, driven tick by tick.
 *
 * libevent waits and runs the callbacks of descriptors, once for each tick; the timers, the flush
 * phase and the reap phase follow. Timers are not libevent's: they live on the wheel (wheel.c), and
 * a single libevent timer, set before each wait, bounds the waiting.
 *
 * libevent hands over up to 4,096 events at once. When their callbacks take long, as when thousands
 * of connections end, the tick is cut short: the output so far is written, and libevent keeps the
 * other events for the next tick.
 *
 * One client must not delay the others. A connection works for its share of a tick and puts the
 * rest off: that work is runnable and has a budget of its own, so that the next poll for fresh
 * events is never far away, however many connections are busy. An event that comes late in its tick
 * gets a smaller share, and so does a turn when not all of them fit into a tick: a round of all
 * must not take long either. The clock is read by those who work, at the end of a step; the limits
 * here use that reading.
 *
 * Mail is served once per tick, between the callbacks and the phases. Mail that those mails post to
 * their own loop is served in the next tick, which then does not wait.
 *
 * The base has no locks, because one thread owns a loop and everything attached to it; a mailbox
 * wakes it through a descriptor.
 *
 * A loop owns its base, its buffers and its resolver, but not the timers and the work queued on it.
 */
#include "bellhop/io/loop.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/base/prefetch.h"
#include "loop_internal.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>

#define SLOW_TICK_US     20000
#define CALLBACKS_US     4000
#define LATE_US          250
#define SHARE_US         250
#define SHARE_LATE_US    50
#define SHARE_CROWDED_US 100
#define RUNNABLE_US      500
#define AT_ONCE_US       500

static _Thread_local struct bh_loop *current;

static struct bh_metric metrics[] = {
    {"bellhop_io_slow_ticks_total", NULL,
     "ticks of a worker's loop that took over 20 ms, during which its connections waited",
     BH_COUNTER, 0},
    {"bellhop_io_put_off_total", NULL,
     "times that a connection had used its share of a tick and waited for its next turn",
     BH_COUNTER, 0},
};
enum { SLOW_TICKS, PUT_OFF };

void bh_loop_metrics_register(void) {
    bh_metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

static void on_libevent_log(int severity, const char *message) {
    if (severity != EVENT_LOG_DEBUG)
        bh_warn_limited("libevent", bh_kv_str("message", message));
}

/* libevent's allocations are small and their sizes are ours, so they follow the same rule: abort.
 */
static void set_up_libevent(void) {
    event_set_mem_functions(bh_malloc, bh_realloc, bh_free);
    event_set_log_callback(on_libevent_log);
}

static struct event_base *new_base(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up_libevent);
    struct event_config *config = event_config_new();
    /* No changelist: it would remove a descriptor from epoll after its close, when another worker
     * may already have its number. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    if (!base) {
        bh_error("cannot create an event loop: out of file descriptors?");
        abort();
    }
    return base;
}

static void on_wake_timer(evutil_socket_t fd, short what, void *arg) {
    struct bh_loop *loop = arg;
    loop->wake_ms = BH_WHEEL_NEVER;
    bh_loop_enter(loop);
}

struct bh_loop *bh_loop_new(void) {
    struct bh_loop *loop = bh_calloc(1, sizeof *loop);
    loop->base = new_base();
    loop->wake_ms = BH_WHEEL_NEVER;
    bh_list_init(&loop->phases[BH_PHASE_FLUSH]);
    bh_list_init(&loop->phases[BH_PHASE_REAP]);
    bh_list_init(&loop->mail);
    bh_list_init(&loop->runnable);
    bh_list_init(&loop->debtors);
    bh_list_init(&loop->long_steps.line);
    bh_wheel_init(&loop->wheel);
    evtimer_assign(&loop->wake_timer, loop->base, on_wake_timer, loop);
    return loop;
}

static void run(struct bh_list *node) {
    struct bh_defer *d = BH_CONTAINER_OF(node, struct bh_defer, node);
    d->fn(d);
}

static void serve_mail(struct bh_loop *loop) {
    struct bh_list boxes, *node;
    if (bh_list_empty(&loop->mail))
        return;
    bh_list_init(&boxes);
    while ((node = bh_list_shift(&loop->mail)))
        bh_list_append(&boxes, node);
    while ((node = bh_list_shift(&boxes)))
        run(node);
}

/* What an entry puts off during this is behind the mark and waits for the next tick, so nothing
 * runs twice in one. */
static void run_runnable(struct bh_loop *loop) {
    struct bh_list mark;
    if (bh_list_empty(&loop->runnable)) {
        loop->crowded = false;
        return;
    }
    uint64_t end_us = bh_loop_read_clock(loop) + RUNNABLE_US;
    bh_list_append(&loop->runnable, &mark);
    loop->in_turn = true;
    do {
        bh_loop_share_begin(loop);
        run(bh_list_shift(&loop->runnable));
    } while (bh_loop_read_clock(loop) < end_us && loop->runnable.next != &mark);
    loop->in_turn = false;
    loop->crowded = loop->runnable.next != &mark;
    bh_list_unlink(&mark);
}

static void run_phases(struct bh_loop *loop) {
    struct bh_list *node;
    while ((node = bh_list_shift(&loop->phases[BH_PHASE_FLUSH])) ||
           (node = bh_list_shift(&loop->phases[BH_PHASE_REAP]))) {
        bh_prefetch(loop->phases[BH_PHASE_FLUSH].next, BH_DEFER_HOT_FROM, BH_DEFER_HOT_TO);
        run(node);
    }
}

static void drain_runnable(struct bh_loop *loop) {
    struct bh_list *node;
    loop->draining = true;
    while (bh_list_shift(&loop->debtors) || bh_list_shift(&loop->long_steps.line))
        ;
    while ((node = bh_list_shift(&loop->runnable)))
        run(node);
}

void bh_loop_free(struct bh_loop *loop) {
    if (!loop)
        return;
    drain_runnable(loop);
    run_phases(loop);
    if (loop->resolver)
        loop->free_resolver(loop->resolver);
    event_del(&loop->wake_timer);
    event_base_free(loop->base);
    bh_free(loop->tls_buffer);
    bh_free(loop);
}

static void limit_callbacks(struct bh_loop *loop) {
    if (loop->clock_us - loop->tick_began_us > CALLBACKS_US)
        event_base_loopbreak(loop->base);
}

void bh_loop_enter(struct bh_loop *loop) {
    if (loop->in_tick) {
        limit_callbacks(loop);
        return;
    }
    loop->in_tick = true;
    loop->tick_began_us = loop->clock_us = bh_clock_us();
    loop->now_ms = loop->tick_began_us / 1000;
}

static void set_wake_timer(struct bh_loop *loop) {
    uint64_t wake_ms = bh_wheel_next(&loop->wheel);
    if (wake_ms == loop->wake_ms)
        return;
    loop->wake_ms = wake_ms;
    if (wake_ms == BH_WHEEL_NEVER) {
        event_del(&loop->wake_timer);
        return;
    }
    uint64_t now = bh_clock_ms();
    uint64_t delay = wake_ms > now ? wake_ms - now : 0;
    struct timeval tv = {(time_t)(delay / 1000), (suseconds_t)(delay % 1000 * 1000)};
    event_add(&loop->wake_timer, &tv);
}

static void count_slow_tick(struct bh_loop *loop) {
    uint64_t took = bh_clock_us() - loop->tick_began_us;
    if (took > SLOW_TICK_US)
        bh_metric_inc(&metrics[SLOW_TICKS]);
}

/* Who had to wait for a long step has its own in the same tick, or in the next one if that begins
 * at once. */
static void judge_long_step(struct bh_loop *loop) {
    struct bh_long_steps *l = &loop->long_steps;
    bool at_once = l->judging == 2 || loop->tick_began_us < l->tick_end_us + AT_ONCE_US;
    if (l->others && at_once)
        l->judging = 0;
    else if (--l->judging == 0)
        l->free_ms = 0;
    l->tick_end_us = bh_clock_us();
}

struct bh_loop *bh_loop_current(void) {
    return current;
}

static bool is_idle(const struct bh_loop *loop) {
    return bh_list_empty(&loop->phases[BH_PHASE_FLUSH]) &&
           bh_list_empty(&loop->phases[BH_PHASE_REAP]) && bh_list_empty(&loop->mail) &&
           bh_list_empty(&loop->runnable);
}

void bh_loop_tick(struct bh_loop *loop, bool may_block) {
    struct bh_loop *outer = current;
    int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;
    current = loop;
    if (may_block && is_idle(loop))
        set_wake_timer(loop);
    else
        flags |= EVLOOP_NONBLOCK;
    event_base_loop(loop->base, flags);
    bh_loop_enter(loop);
    bh_wheel_sweep(&loop->wheel, loop->now_ms);
    serve_mail(loop);
    run_runnable(loop);
    run_phases(loop);
    count_slow_tick(loop);
    if (loop->long_steps.judging)
        judge_long_step(loop);
    loop->in_tick = false;
    current = outer;
}

void bh_loop_run(struct bh_loop *loop) {
    while (!loop->stopped)
        bh_loop_tick(loop, true);
    loop->stopped = false;
}

void bh_loop_stop(struct bh_loop *loop) {
    loop->stopped = true;
}

uint64_t bh_loop_now(const struct bh_loop *loop) {
    return loop->in_tick ? loop->now_ms : bh_clock_ms();
}

unsigned char *bh_loop_read_buffer(struct bh_loop *loop) {
    return loop->read_buffer;
}

struct event_base *bh_loop_base(struct bh_loop *loop) {
    return loop->base;
}

void bh_defer_init(struct bh_defer *d, void (*fn)(struct bh_defer *)) {
    bh_list_init(&d->node);
    d->fn = fn;
}

void bh_defer(struct bh_loop *loop, enum bh_phase phase, struct bh_defer *d) {
    if (bh_list_empty(&d->node))
        bh_list_append(&loop->phases[phase], &d->node);
}

void bh_loop_put_off(struct bh_loop *loop, struct bh_defer *d) {
    if (loop->draining || !bh_list_empty(&d->node))
        return;
    bh_metric_inc(&metrics[PUT_OFF]);
    bh_list_append(&loop->runnable, &d->node);
}

uint64_t bh_loop_read_clock(struct bh_loop *loop) {
    return loop->clock_us = bh_clock_us();
}

void bh_loop_share_begin(struct bh_loop *loop) {
    loop->share_began_us = loop->clock_us;
}

/* Others wait, in this tick or in the list. */
static bool is_late(const struct bh_loop *loop, uint64_t now_us) {
    return now_us - loop->tick_began_us > LATE_US || !bh_list_empty(&loop->runnable);
}

static uint64_t share_us(const struct bh_loop *loop) {
    if (loop->in_turn)
        return loop->crowded ? SHARE_CROWDED_US : SHARE_US;
    return is_late(loop, loop->share_began_us) ? SHARE_LATE_US : SHARE_US;
}

bool bh_loop_share_used(struct bh_loop *loop) {
    return bh_loop_read_clock(loop) - loop->share_began_us >= share_us(loop);
}

bool bh_loop_is_late(const struct bh_loop *loop) {
    return is_late(loop, loop->clock_us);
}

void bh_defer_cancel(struct bh_defer *d) {
    bh_list_unlink(&d->node);
}
