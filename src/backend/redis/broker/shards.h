/* shards.h - which node a topic lives on, and the way from a broker over several nodes to the first
 * of them. Private to the backend; the hash is described in bellhop/backend/redis.h. Any thread. */
#ifndef BELLHOP_BACKEND_REDIS_SHARDS_H
#define BELLHOP_BACKEND_REDIS_SHARDS_H

#include "bellhop/backend/redis.h"

/* The name of the node in the hash; free it. It holds no secret. */
char *bh_redis_shard_name(const struct bh_redis_config *config);
/* How much the node wants the topic. */
uint64_t bh_redis_shard_weight(struct bh_slice node, struct bh_slice topic);
/* The broker of the first node; of a broker over a single one, itself. */
struct bh_broker *bh_redis_shards_first(struct bh_broker *b);

#endif
