/* metrics.c - the metrics of the Redis backend. Thread: any. */
#include "link/metrics.h"

#include "bellhop/backend/redis.h"

struct bh_metric bh_redis_metrics[BH_REDIS_METRIC_COUNT] = {
    [BH_REDIS_LINKS_UP] = {"bellhop_redis_links_up", NULL,
                           "Links to Redis and its Sentinels that are up", BH_GAUGE},
    [BH_REDIS_CONNECTS] = {"bellhop_redis_connects_total", NULL,
                           "Connects to Redis and its Sentinels"},
    [BH_REDIS_DROPS] = {"bellhop_redis_drops_total", NULL, "Lost links to Redis and its Sentinels"},
    [BH_REDIS_PUBLISHES] = {"bellhop_redis_publishes_total", NULL, "Messages sent to Redis"},
    [BH_REDIS_PUBLISH_ERRORS] = {"bellhop_redis_publish_errors_total", NULL,
                                 "Messages that Redis rejected or did not confirm"},
    [BH_REDIS_PUBLISHES_WAITING] = {"bellhop_redis_publishes_waiting", NULL,
                                    "Messages queued until Redis is back", BH_GAUGE},
    [BH_REDIS_COMMANDS] = {"bellhop_redis_commands_total", NULL, "Commands of scripts"},
    [BH_REDIS_MESSAGES] = {"bellhop_redis_messages_total", NULL, "Messages received from Redis"},
    [BH_REDIS_MALFORMED] = {"bellhop_redis_malformed_total", NULL, "Malformed messages from Redis"},
    [BH_REDIS_SUBSCRIPTIONS] = {"bellhop_redis_subscriptions", NULL, "Channels subscribed in Redis",
                                BH_GAUGE},
    [BH_REDIS_PROBES_LOST] = {"bellhop_redis_probes_lost_total", NULL,
                              "Probes that Redis accepted and did not deliver"},
    [BH_REDIS_TAKEOVERS] = {"bellhop_redis_takeovers_total", NULL,
                            "Links that swallowed what was sent, and were replaced"},
    [BH_REDIS_FAILOVERS] = {"bellhop_redis_failovers_total", NULL,
                            "Failovers announced by Sentinel"},
    [BH_REDIS_TRACKED] = {"bellhop_redis_tracked", NULL,
                          "Connections of this instance that Redis has confirmed", BH_GAUGE},
    [BH_REDIS_TRACK_BATCHES] = {"bellhop_redis_track_batches_total", NULL,
                                "Batches of connections that came or went, written to Redis"},
    [BH_REDIS_TRACK_ERRORS] = {"bellhop_redis_track_errors_total", NULL,
                               "Writes of the tracker that Redis rejected"},
    [BH_REDIS_REGISTRATIONS] = {"bellhop_redis_registrations_total", NULL,
                                "Registrations of this instance and its connections"},
    [BH_REDIS_REAPED] = {"bellhop_redis_reaped_total", NULL,
                         "Connections of dead registrations removed by this instance"},
    [BH_REDIS_PRESENCE_EVENTS] = {"bellhop_redis_presence_events_total", NULL,
                                  "Presence events raised by this instance"},
};

void bh_redis_metrics_register(void) {
    bh_metrics_register(bh_redis_metrics, BH_REDIS_METRIC_COUNT);
}
