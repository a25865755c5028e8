/* metrics.c - what core counts: one table, in the order of the enum. Any thread may count. */
#include "metrics.h"

#include "bellhop/core/node.h"

struct bh_metric bh_core_metrics[BH_CORE_METRIC_COUNT] = {
    [BH_CORE_PUBLISHED] = {"bellhop_core_published_total", NULL,
                           "Messages published on this instance and accepted", BH_COUNTER, 0},
    [BH_CORE_STORED] = {"bellhop_core_stored_total", NULL,
                        "Messages appended to the history of their topic", BH_COUNTER, 0},
    [BH_CORE_HISTORY_FULL] = {"bellhop_core_history_full_total", NULL,
                              "Publishes refused because the history is full", BH_COUNTER, 0},
    [BH_CORE_DELIVERED] = {"bellhop_core_delivered_total", NULL,
                           "Messages delivered to a connection", BH_COUNTER, 0},
    [BH_CORE_DUPLICATES] = {"bellhop_core_duplicates_total", NULL,
                            "Messages dropped as duplicates, by their id", BH_COUNTER, 0},
    [BH_CORE_EXPIRED] = {"bellhop_core_expired_total", NULL,
                         "Messages dropped because their ttl had passed", BH_COUNTER, 0},
    [BH_CORE_OFFLINE] = {"bellhop_core_offline_total", NULL,
                         "Messages that reached no connection on any instance", BH_COUNTER, 0},
    [BH_CORE_OFFLINE_RETRIED] = {"bellhop_core_offline_retried_total", NULL,
                                 "Retries requested by on_offline", BH_COUNTER, 0},
    [BH_CORE_OFFLINE_DROPPED] = {"bellhop_core_offline_dropped_total", NULL,
                                 "Messages dropped after on_offline", BH_COUNTER, 0},
};

void bh_core_metrics_register(void) {
    bh_metrics_register(bh_core_metrics, BH_CORE_METRIC_COUNT);
}
