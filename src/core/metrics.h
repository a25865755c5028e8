/* metrics.h - the counters of core, by name. Any thread. */
#ifndef BELLHOP_SRC_CORE_METRICS_H
#define BELLHOP_SRC_CORE_METRICS_H

#include "bellhop/base/metrics.h"

enum {
    BH_CORE_PUBLISHED,
    BH_CORE_STORED,
    BH_CORE_HISTORY_FULL,
    BH_CORE_DELIVERED,
    BH_CORE_DUPLICATES,
    BH_CORE_EXPIRED,
    BH_CORE_OFFLINE,
    BH_CORE_OFFLINE_RETRIED,
    BH_CORE_OFFLINE_DROPPED,
    BH_CORE_METRIC_COUNT,
};

extern struct bh_metric bh_core_metrics[BH_CORE_METRIC_COUNT];

#endif
