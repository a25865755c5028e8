/* metrics.h - what the Redis backend counts. Private to it. */
#ifndef BELLHOP_BACKEND_REDIS_METRICS_H
#define BELLHOP_BACKEND_REDIS_METRICS_H

#include "bellhop/base/metrics.h"

enum {
    BH_REDIS_LINKS_UP,
    BH_REDIS_CONNECTS,
    BH_REDIS_DROPS,
    BH_REDIS_PUBLISHES,
    BH_REDIS_PUBLISH_ERRORS,
    BH_REDIS_COMMANDS,
    BH_REDIS_MESSAGES,
    BH_REDIS_MALFORMED,
    BH_REDIS_SUBSCRIPTIONS,
    BH_REDIS_PROBES_LOST,
    BH_REDIS_METRIC_COUNT,
};

extern struct bh_metric bh_redis_metrics[BH_REDIS_METRIC_COUNT];

#endif
