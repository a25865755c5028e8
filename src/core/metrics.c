/* metrics.c - what core counts: one table, in the order of the enum. Any thread may count. */
#include "metrics.h"

#include "bellhop/core/node.h"

struct bh_metric bh_core_metrics[BH_CORE_METRIC_COUNT] = {
    [BH_CORE_PUBLISHED] = {"bellhop_core_published_total", NULL,
                           "Messages that entered on this instance and were accepted", BH_COUNTER,
                           0},
    [BH_CORE_DELIVERED] = {"bellhop_core_delivered_total", NULL, "Messages handed to a connection",
                           BH_COUNTER, 0},
    [BH_CORE_DUPLICATES] = {"bellhop_core_duplicates_total", NULL,
                            "Messages dropped because their id had been seen", BH_COUNTER, 0},
    [BH_CORE_EXPIRED] = {"bellhop_core_expired_total", NULL,
                         "Messages dropped because their ttl had passed", BH_COUNTER, 0},
    [BH_CORE_OFFLINE] = {"bellhop_core_offline_total", NULL,
                         "Messages that reached nobody on any instance", BH_COUNTER, 0},
    [BH_CORE_OFFLINE_RETRIED] = {"bellhop_core_offline_retried_total", NULL,
                                 "Further attempts that on_offline asked for", BH_COUNTER, 0},
    [BH_CORE_OFFLINE_DROPPED] = {"bellhop_core_offline_dropped_total", NULL,
                                 "Messages given up after on_offline", BH_COUNTER, 0},
};

void bh_core_metrics_register(void) {
    bh_metrics_register(bh_core_metrics, BH_CORE_METRIC_COUNT);
}
