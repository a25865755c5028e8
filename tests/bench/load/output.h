/* output.h - the clock, error exits and memory, for all of bench_load. */
#ifndef BELLHOP_BENCH_OUTPUT_H
#define BELLHOP_BENCH_OUTPUT_H

#include <stdarg.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Prints a line to stderr and ends this process with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* realloc that ends the process instead of failing. */
void *must_realloc(void *old, size_t size);

#endif
