/* shards.h - which node a topic lives on, and what a broker over one or several nodes lends to the
 * rest of the backend. Private to the backend; bellhop/backend/redis.h describes the hash. */
#ifndef BELLHOP_BACKEND_REDIS_SHARDS_H
#define BELLHOP_BACKEND_REDIS_SHARDS_H

#include "link/link.h"

/* As bh_redis_shards_new, without a cluster. */
struct bh_broker *bh_redis_nodes_new(const struct bh_redis_config *configs, size_t count,
                                     unsigned workers);

/* The name of the node in the hash, without secrets; free it with bh_free. Any thread. */
char *bh_redis_shard_name(const struct bh_redis_config *config);
/* The weight of the topic on that node. Any thread. */
uint64_t bh_redis_shard_weight(struct bh_slice node, struct bh_slice topic);

/* The brokers of the nodes (broker.h), by number, and the number of the topic's node. Any thread.
 */
unsigned bh_redis_broker_nodes(const struct bh_broker *broker);
struct bh_broker *bh_redis_broker_node(struct bh_broker *broker, unsigned node);
unsigned bh_redis_broker_node_of(struct bh_broker *broker, struct bh_slice topic);
/* The broker of the first node in the list. */
struct bh_broker *bh_redis_broker_first(struct bh_broker *broker);

#endif
