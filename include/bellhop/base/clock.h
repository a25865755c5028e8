/* clock.h - the only source of time.
 *
 * Monotonic time for deadlines and intervals, wall time (Unix epoch) for people and other machines.
 * A test may replace the clock; then only the functions of the fake clock move it. Thread: any
 * (the fake clock: single-threaded tests only). */
#ifndef BELLHOP_BASE_CLOCK_H
#define BELLHOP_BASE_CLOCK_H

#include <stdint.h>

uint64_t bh_clock_ms(void);     /* monotonic, milliseconds */
uint64_t bh_clock_us(void);     /* monotonic, microseconds */
int64_t bh_clock_wall_ms(void); /* Unix time, milliseconds */
/* The CPU time of this thread, microseconds: a system call. With the fake clock, that one. */
uint64_t bh_clock_thread_us(void);

/* Tests only. */
void bh_clock_fake(uint64_t monotonic_ms, int64_t wall_ms);
void bh_clock_fake_advance(uint64_t ms);
void bh_clock_fake_advance_us(uint64_t us);
/* From now on each bh_clock_us moves the fake clock by so much: work takes time. 0: not. */
void bh_clock_fake_run(uint64_t us);
void bh_clock_real(void);

#endif
