/* bench.h - shared by benchmarks over Redis: a redis-server that ends with the program, waiting on
 * a loop, and checks that the work was done. */
#ifndef BELLHOP_BENCH_BENCH_H
#define BELLHOP_BENCH_BENCH_H

#define TEST_DEADLINE_MS 600000
#include "redis_server.h"

#include "bellhop/base/log.h"

static struct test_redis bench_server;
static volatile sig_atomic_t bench_interrupted;

static inline void bench_on_signal(int number) {
    bench_interrupted = number;
}

static inline void bench_stop(void) {
    test_redis_stop(&bench_server);
}

static inline void bench_start(void) {
    signal(SIGINT, bench_on_signal);
    signal(SIGTERM, bench_on_signal);
    signal(SIGPIPE, SIG_IGN);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    atexit(bench_stop);
    test_redis_start(&bench_server);
}

/* Always true; ends the program after a signal. */
static inline bool bench_goes_on(void) {
    if (bench_interrupted)
        exit(128 + bench_interrupted);
    return true;
}

#define BENCH_WAIT(loop, condition) TICK_UNTIL(loop, bench_goes_on() && (condition))

static inline void bench_on_waited(struct bh_timer *timer) {}

/* Waits without a busy loop. */
static inline void bench_wait_ms(struct bh_loop *loop, uint64_t ms) {
    struct bh_timer timer;
    bh_timer_init(&timer, loop, bench_on_waited);
    bh_timer_set(&timer, ms);
    while (bench_goes_on() && bh_timer_pending(&timer))
        bh_loop_tick(loop, true);
}

/* Ends the program with a message and status 1 unless both are equal. */
static inline void bench_must_be(const char *what, long long found, long long wanted) {
    if (found == wanted)
        return;
    fflush(stdout);
    fprintf(stderr, "bench: %s: %lld instead of %lld\n", what, found, wanted);
    exit(1);
}

#endif
