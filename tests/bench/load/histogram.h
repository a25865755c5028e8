/* histogram.h - the distribution of values (nanoseconds) in fixed memory: 64 buckets for each power
 * of two, so a quantile is at most 1/128 off; the largest value is exact. It has no pointers, so it
 * may lie in shared memory, and is empty when zeroed. One writer; others read when the writer is
 * done. */
#ifndef BELLHOP_BENCH_HISTOGRAM_H
#define BELLHOP_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_PER_OCTAVE 64
#define HISTOGRAM_BUCKETS    (HISTOGRAM_PER_OCTAVE * 40) /* up to 2^45 ns, almost ten hours */

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline size_t histogram_bucket(uint64_t value) {
    if (value < HISTOGRAM_PER_OCTAVE)
        return value;
    unsigned shift = 63 - 6 - (unsigned)__builtin_clzll(value);
    size_t bucket = shift * HISTOGRAM_PER_OCTAVE + (value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t value) {
    h->count++;
    if (value > h->max)
        h->max = value;
    h->buckets[histogram_bucket(value)]++;
}

/* Adds all of `other`. */
void histogram_merge(struct histogram *h, const struct histogram *other);

/* The value that the share q (0..1) of all values does not exceed; 0 if empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
