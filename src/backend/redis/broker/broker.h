/* broker.h - what other modules of the backend borrow from the broker of one node. Private to the
 * backend; shards.h has the same for a broker over several nodes. */
#ifndef BELLHOP_BACKEND_REDIS_BROKER_H
#define BELLHOP_BACKEND_REDIS_BROKER_H

#include "broker/publish_queue.h"
#include "broker/route.h"
#include "link/link.h"

/* As bh_redis_broker_commands. */
struct bh_redis *bh_redis_node_commands(struct bh_broker *node);
/* The command link of that worker (the number of workers: of the bus, at a master of a cluster),
 * for its thread, as of now (command_link.h); NULL for a worker that the broker does not know. It
 * is IDLE before worker_start and after worker_stop. */
struct bh_redis_link *bh_redis_node_link(struct bh_broker *node, unsigned worker);
/* A locator for a link on that loop and thread, which must stop before the broker is freed; NULL
 * when the configuration names the server. */
struct bh_redis_locator *bh_redis_node_locator(struct bh_broker *node, struct bh_loop *loop);
/* With its defaults; lives as long as the node. Any thread. */
const struct bh_redis_config *bh_redis_node_config(const struct bh_broker *node);
/* An append follows the rules of a publish: out->append is called once, when it can be sent: now,
 * or in the order of the worker's publishes when Redis is back, with room in its link as the link
 * has. Else out->done is called with BH_EUNAVAIL. Copies out. Worker's thread. */
void bh_redis_node_append(struct bh_broker *node, unsigned worker,
                          const struct bh_redis_outgoing *out);

/* --- a master of a cluster --- */

struct bh_redis_feed;
/* The server has answered MOVED for that channel, the probe's maybe: as bh_redis_subscriptions has
 * it. Bus thread. */
typedef bool (*bh_redis_moved_cb)(void *ud, struct bh_slice channel, struct bh_slice answer);

/* Before its start. */
void bh_redis_node_on_moved(struct bh_broker *node, bh_redis_moved_cb on_moved, void *ud);
/* Its topics, as far as they are not the matter of subscribe and unsubscribe. Bus thread. */
struct bh_redis_feed *bh_redis_node_feed(struct bh_broker *node);
/* Probes go to the slot of that hash tag; before its start, and when the slot has moved. */
void bh_redis_node_set_probe(struct bh_broker *node, const char *tag);

/* At a master of a cluster, whose sides are started when they are needed: hears of the link of that
 * side, on its thread; before it is started. */
void bh_redis_node_watch(struct bh_broker *node, unsigned side, const struct bh_redis_watch *watch);
/* Why nothing is to be published there now, or NULL: a link that is coming up for the first time is
 * no reason. When Redis is in doubt it asks. The side's thread. */
const char *bh_redis_node_blocked(struct bh_broker *node, unsigned side);

#endif
