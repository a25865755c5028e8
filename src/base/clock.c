/* clock.c - time from the kernel, or from a test.
 *
 * The fake is three plain variables that only single-threaded tests write, so the real clock pays
 * one predictable branch and no atomics. */
#include "bellhop/base/clock.h"

#include <stdbool.h>
#include <time.h>

static bool faked;
static uint64_t fake_us;
static uint64_t fake_run_us;
static int64_t fake_wall_ms;

static struct timespec now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t;
}

static uint64_t to_us(struct timespec t) {
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t bh_clock_ms(void) {
    return bh_clock_us() / 1000;
}

uint64_t bh_clock_us(void) {
    if (!faked)
        return to_us(now(CLOCK_MONOTONIC));
    if (fake_run_us)
        bh_clock_fake_advance_us(fake_run_us);
    return fake_us;
}

uint64_t bh_clock_thread_us(void) {
    return faked ? fake_us : to_us(now(CLOCK_THREAD_CPUTIME_ID));
}

int64_t bh_clock_wall_ms(void) {
    if (faked)
        return fake_wall_ms;
    struct timespec t = now(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void bh_clock_fake(uint64_t monotonic_ms, int64_t wall_ms) {
    faked = true;
    fake_us = monotonic_ms * 1000;
    fake_wall_ms = wall_ms;
    fake_run_us = 0;
}

void bh_clock_fake_advance(uint64_t ms) {
    fake_us += ms * 1000;
    fake_wall_ms += (int64_t)ms;
}

void bh_clock_fake_advance_us(uint64_t us) {
    uint64_t before_ms = fake_us / 1000;
    fake_us += us;
    fake_wall_ms += (int64_t)(fake_us / 1000 - before_ms);
}

void bh_clock_fake_run(uint64_t us) {
    fake_run_us = us;
}

void bh_clock_real(void) {
    faked = false;
}
