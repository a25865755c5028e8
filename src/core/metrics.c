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
    [BH_CORE_STREAMS] = {"bellhop_core_streams", NULL,
                         "Topics with history that this instance is subscribed to", BH_GAUGE, 0},
    [BH_CORE_STREAM_HEALS] = {"bellhop_core_stream_heals_total", NULL,
                              "Reads that brought messages that had not arrived", BH_COUNTER, 0},
    [BH_CORE_STREAM_REWINDS] = {"bellhop_core_stream_rewinds_total", NULL,
                                "Rewinds that connections were told of", BH_COUNTER, 0},
    [BH_CORE_STREAM_STALE] = {"bellhop_core_stream_stale_total", NULL,
                              "Messages dropped because their position had passed", BH_COUNTER, 0},
    [BH_CORE_STREAM_RAW] = {"bellhop_core_stream_raw_total", NULL,
                            "Plain PUBLISHes to topics with history, which are not stored",
                            BH_COUNTER, 0},
    [BH_CORE_STREAM_READS] = {"bellhop_core_stream_reads_total", NULL,
                              "Reads of the history, to heal and for clients that come back",
                              BH_COUNTER, 0},
    [BH_CORE_STREAM_READ_ERRORS] = {"bellhop_core_stream_read_errors_total", NULL,
                                    "Reads and checks of a history that failed and are repeated",
                                    BH_COUNTER, 0},
    [BH_CORE_STREAM_CHECKS] = {"bellhop_core_stream_checks_total", NULL,
                               "Topics whose last position was compared", BH_COUNTER, 0},
    [BH_CORE_STREAM_WINDOW] = {"bellhop_core_stream_window_bytes", NULL,
                               "Messages kept for clients that come back, in bytes", BH_GAUGE, 0},
    [BH_CORE_STREAM_HELD] = {"bellhop_core_stream_held", NULL,
                             "Messages that wait for those before them", BH_GAUGE, 0},
#define RECOVERIES(outcome)                                                                        \
    {                                                                                              \
        "bellhop_core_stream_recoveries_total", "outcome=\"" outcome "\"",                         \
            "Streams given to clients that came back", BH_COUNTER, 0                               \
    }
    [BH_CORE_STREAM_RECOVERIES_OK] = RECOVERIES("ok"),
    [BH_CORE_STREAM_RECOVERIES_NEW] = RECOVERIES("new"),
    [BH_CORE_STREAM_RECOVERIES_REWOUND] = RECOVERIES("rewound"),
    [BH_CORE_STREAM_RECOVERIES_GAP] = RECOVERIES("gap"),
#define GAPS(reason)                                                                               \
    {                                                                                              \
        "bellhop_core_stream_gaps_total", "reason=\"" reason "\"",                                 \
            "Gaps that connections were told of", BH_COUNTER, 0                                    \
    }
    [BH_CORE_STREAM_GAPS] = GAPS(BH_GAP_EXPIRED),
    GAPS(BH_GAP_UNAVAILABLE),
    GAPS(BH_GAP_LOST),
    GAPS(BH_GAP_SIZE),
    GAPS(BH_GAP_OFF),
    GAPS(BH_GAP_SLOW),
};

const char *const bh_gap_reasons[BH_GAP_REASONS] = {
    BH_GAP_EXPIRED, BH_GAP_UNAVAILABLE, BH_GAP_LOST, BH_GAP_SIZE, BH_GAP_OFF, BH_GAP_SLOW};

void bh_core_metrics_register(void) {
    bh_metrics_register(bh_core_metrics, BH_CORE_METRIC_COUNT);
}
