/* metrics.c - the names of what the Redis backend counts. Thread: any. */
#include "metrics.h"

#include "bellhop/backend/redis.h"

struct bh_metric bh_redis_metrics[BH_REDIS_METRIC_COUNT] = {
    [BH_REDIS_LINKS_UP] = {"bellhop_redis_links_up", NULL, "Links to Redis that are up", BH_GAUGE},
    [BH_REDIS_CONNECTS] = {"bellhop_redis_connects_total", NULL, "Links to Redis that came up"},
    [BH_REDIS_DROPS] = {"bellhop_redis_drops_total", NULL, "Links to Redis that were lost"},
    [BH_REDIS_PUBLISHES] = {"bellhop_redis_publishes_total", NULL, "Messages given to Redis"},
    [BH_REDIS_PUBLISH_ERRORS] = {"bellhop_redis_publish_errors_total", NULL,
                                 "Messages that Redis did not take or not confirm"},
    [BH_REDIS_COMMANDS] = {"bellhop_redis_commands_total", NULL, "Commands of scripts"},
    [BH_REDIS_MESSAGES] = {"bellhop_redis_messages_total", NULL, "Messages received from Redis"},
    [BH_REDIS_MALFORMED] = {"bellhop_redis_malformed_total", NULL,
                            "Messages from Redis that were not understood"},
    [BH_REDIS_SUBSCRIPTIONS] = {"bellhop_redis_subscriptions", NULL, "Channels wanted from Redis",
                                BH_GAUGE},
    [BH_REDIS_PROBES_LOST] = {"bellhop_redis_probes_lost_total", NULL,
                              "Probes that Redis took and that did not come back"},
};

void bh_redis_metrics_register(void) {
    bh_metrics_register(bh_redis_metrics, BH_REDIS_METRIC_COUNT);
}
