/* metrics.h - counters and gauges, cheap enough for each message.
 *
 * A metric is a static struct in the module that counts; a layer hands its metrics to
 * bh_metrics_register once, at start, so that each appears in /metrics from 0 on. Each thread
 * counts in cells of its own, without locked instructions; reading sums the cells. A metric that
 * was never registered counts into a cell that is never read. A gauge is a counter that may go
 * down. Names: bellhop_<layer>_<what>_total for counters, without _total for gauges. Thread: add
 * from any; register before other threads start. */
#ifndef BELLHOP_BASE_METRICS_H
#define BELLHOP_BASE_METRICS_H

#include "bellhop/base/buf.h"

#include <stdint.h>

#define BH_METRICS_MAX 256

enum bh_metric_type { BH_COUNTER, BH_GAUGE };

struct bh_metric {
    const char *name;   /* bellhop_edge_messages_in_total */
    const char *labels; /* NULL or: route="ws" */
    const char *help;
    enum bh_metric_type type;
    unsigned cell; /* set by register */
};

/* Metrics with one name and different labels must be adjacent in the array. Registering an array
 * again changes nothing. */
void bh_metrics_register(struct bh_metric *metrics, size_t count);
void bh_metric_add(const struct bh_metric *m, int64_t n);
static inline void bh_metric_inc(const struct bh_metric *m) {
    bh_metric_add(m, 1);
}
int64_t bh_metric_read(const struct bh_metric *m);
/* Further text for bh_metrics_render, in the same format; called with no lock held. */
void bh_metrics_add_source(void (*render)(struct bh_bytes *out));
/* Appends everything in the Prometheus text format 0.0.4. */
void bh_metrics_render(struct bh_bytes *out);

#endif
