/* route.c - commands that go to the server of their key: the kind of the broker says how. */
#include "broker/route.h"

#include "bellhop/base/error.h"

static const struct bh_redis_ways *ways_of(const struct bh_broker *broker) {
    return BH_CONTAINER_OF((struct bh_broker *)broker, struct bh_redis_routing, base)->ways;
}

void bh_redis_route_to(struct bh_redis_link *link, struct bh_redis_routed *r) {
    const char *why = link ? r->vt->send(r, link) : "no such worker";
    if (why)
        r->vt->fail(r, BH_EUNAVAIL, why);
}

void bh_redis_route(struct bh_broker *broker, unsigned worker, struct bh_redis_routed *r,
                    struct bh_slice key) {
    ways_of(broker)->route(broker, worker, r, key);
}

bool bh_redis_reroute(struct bh_broker *broker, unsigned worker, struct bh_redis_routed *r,
                      const struct bh_reply *reply) {
    const struct bh_redis_ways *ways = ways_of(broker);
    return ways->reroute && reply->type == BH_REPLY_ERROR &&
           ways->reroute(broker, worker, r, reply);
}

void bh_redis_broker_append(struct bh_broker *broker, unsigned worker,
                            const struct bh_redis_outgoing *out) {
    ways_of(broker)->append(broker, worker, out);
}

bool bh_redis_broker_is_cluster(const struct bh_broker *broker) {
    return ways_of(broker)->reroute != NULL;
}

void bh_redis_broker_watch(struct bh_broker *broker, const struct bh_redis_watch *watch) {
    const struct bh_redis_ways *ways = ways_of(broker);
    if (ways->watch)
        ways->watch(broker, watch);
}

struct bh_redis_locator *bh_redis_broker_locator(struct bh_broker *broker, struct bh_loop *loop,
                                                 struct bh_slice key) {
    return ways_of(broker)->locator(broker, loop, key);
}

const struct bh_redis_config *bh_redis_broker_config(struct bh_broker *broker,
                                                     struct bh_slice key) {
    return ways_of(broker)->config(broker, key);
}

struct bh_redis *bh_redis_broker_commands(struct bh_broker *broker) {
    return ways_of(broker)->commands(broker);
}
