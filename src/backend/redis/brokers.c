/* brokers.c - the kind of broker that a configuration asks for. */
#include "broker/shards.h"
#include "cluster/cluster.h"

struct bh_broker *bh_redis_shards_new(const struct bh_redis_config *configs, size_t count,
                                      unsigned workers) {
    return count == 1 && configs->cluster ? bh_redis_cluster_new(configs, workers)
                                          : bh_redis_nodes_new(configs, count, workers);
}
