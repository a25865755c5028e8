/* metrics.c - the names of what the Redis backend counts. Thread: any. */
#include "link/metrics.h"

#include "bellhop/backend/redis.h"

struct bh_metric bh_redis_metrics[BH_REDIS_METRIC_COUNT] = {
    [BH_REDIS_LINKS_UP] = {"bellhop_redis_links_up", NULL,
                           "Links to Redis and its Sentinels that are up", BH_GAUGE},
    [BH_REDIS_CONNECTS] = {"bellhop_redis_connects_total", NULL,
                           "Links to Redis and its Sentinels that came up"},
    [BH_REDIS_DROPS] = {"bellhop_redis_drops_total", NULL,
                        "Links to Redis and its Sentinels that were lost"},
    [BH_REDIS_PUBLISHES] = {"bellhop_redis_publishes_total", NULL, "Messages given to Redis"},
    [BH_REDIS_PUBLISH_ERRORS] = {"bellhop_redis_publish_errors_total", NULL,
                                 "Messages that Redis did not take or not confirm"},
    [BH_REDIS_PUBLISHES_WAITING] = {"bellhop_redis_publishes_waiting", NULL,
                                    "Messages that wait for Redis to come back", BH_GAUGE},
    [BH_REDIS_COMMANDS] = {"bellhop_redis_commands_total", NULL, "Commands of scripts"},
    [BH_REDIS_MESSAGES] = {"bellhop_redis_messages_total", NULL, "Messages received from Redis"},
    [BH_REDIS_MALFORMED] = {"bellhop_redis_malformed_total", NULL,
                            "Messages from Redis that were not understood"},
    [BH_REDIS_SUBSCRIPTIONS] = {"bellhop_redis_subscriptions", NULL, "Channels wanted from Redis",
                                BH_GAUGE},
    [BH_REDIS_PROBES_LOST] = {"bellhop_redis_probes_lost_total", NULL,
                              "Probes that Redis took and that did not come back"},
    [BH_REDIS_FAILOVERS] = {"bellhop_redis_failovers_total", NULL,
                            "Moves of the master that a Sentinel told of"},
    [BH_REDIS_TRACKED] = {"bellhop_redis_tracked", NULL,
                          "Connections of this instance that Redis has confirmed", BH_GAUGE},
    [BH_REDIS_TRACK_BATCHES] = {"bellhop_redis_track_batches_total", NULL,
                                "Batches of connections that came or went, written to Redis"},
    [BH_REDIS_TRACK_ERRORS] = {"bellhop_redis_track_errors_total", NULL,
                               "Writes of the tracker that Redis did not take"},
    [BH_REDIS_REGISTRATIONS] = {"bellhop_redis_registrations_total", NULL,
                                "Times that this instance has registered its connections"},
    [BH_REDIS_REAPED] = {"bellhop_redis_reaped_total", NULL,
                         "Connections removed after registrations that have ended"},
    [BH_REDIS_PRESENCE_EVENTS] = {"bellhop_redis_presence_events_total", NULL,
                                  "Users who came online or went offline, as raised here"},
};

void bh_redis_metrics_register(void) {
    bh_metrics_register(bh_redis_metrics, BH_REDIS_METRIC_COUNT);
}
