/* prometheus.h - writing the Prometheus text format 0.0.4. Names and help are the caller's to
 * check. Pure functions; thread: any. */
#ifndef BELLHOP_BASE_PROMETHEUS_H
#define BELLHOP_BASE_PROMETHEUS_H

#include "bellhop/base/buf.h"

#include <stdint.h>

/* The two lines before the first sample of a name. type: "counter", "gauge", "histogram". */
void bh_prometheus_describe(struct bh_bytes *out, const char *name, const char *type,
                            const char *help);
/* `labels` is empty or a list as bh_prometheus_label writes it: route="ws",code="101" */
void bh_prometheus_int(struct bh_bytes *out, const char *name, struct bh_slice labels,
                       int64_t value);
void bh_prometheus_double(struct bh_bytes *out, const char *name, struct bh_slice labels,
                          double value);
/* `count` bounds and count + 1 counts: counts[i] are the observations in (bounds[i - 1],
 * bounds[i]], the last those above every bound. */
void bh_prometheus_histogram(struct bh_bytes *out, const char *name, struct bh_slice labels,
                             const double *bounds, const uint64_t *counts, size_t count,
                             double sum);
/* Appends a label to the list in out; the value is escaped. */
void bh_prometheus_label(struct bh_bytes *out, const char *name, struct bh_slice value);

#endif
