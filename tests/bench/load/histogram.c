/* histogram.c - quantiles, and the merge of several histograms. */
#include "histogram.h"

#include <math.h>

void histogram_merge(struct histogram *h, const struct histogram *other) {
    h->count += other->count;
    if (other->max > h->max)
        h->max = other->max;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        h->buckets[i] += other->buckets[i];
}

static uint64_t middle(size_t bucket) {
    if (bucket < 2 * HISTOGRAM_PER_OCTAVE)
        return bucket;
    size_t shift = bucket / HISTOGRAM_PER_OCTAVE - 1;
    uint64_t lowest = (uint64_t)(bucket - shift * HISTOGRAM_PER_OCTAVE) << shift;
    return lowest + ((uint64_t)1 << shift) / 2;
}

uint64_t histogram_quantile(const struct histogram *h, double q) {
    uint64_t wanted = (uint64_t)ceil(q * (double)h->count), seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen && seen >= wanted)
            return middle(i) < h->max ? middle(i) : h->max;
    }
    return h->max;
}
