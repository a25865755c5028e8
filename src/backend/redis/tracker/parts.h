/* parts.h - the tracker as 16 parts, each with a share of the users. Private to the tracker.
 *
 * A part is a tracker of its own (tracker.h): it has its own keys, registration, lease and link,
 * and knows nothing of the others. bellhop/backend/redis.h tells which users and which keys are
 * whose, and on which node. What goes wrong with one part concerns its users only. Thread: the bus;
 * lookups on the workers'. */
#ifndef BELLHOP_BACKEND_REDIS_PARTS_H
#define BELLHOP_BACKEND_REDIS_PARTS_H

#include "cluster/slots.h"
#include "tracker/tracker.h"

#define BH_REDIS_PARTS      16
#define BH_REDIS_PART_NAME  "{ws%u}:" /* the prefix of its keys */
#define BH_REDIS_PART_NAMES 16        /* bytes for it */
/* How long a part that was complete may register again before readiness says so. */
#define BH_REDIS_PART_AWAY_MS 5000

enum bh_redis_part_restore {
    BH_PART_SETTLED,
    BH_PART_ASKS,       /* it needs a restore */
    BH_PART_IN_RESTORE, /* the current one is for it */
};

struct bh_redis_parts {
    struct bh_tracker base;
    struct bh_tracker_sink sink;
    struct bh_timer gather; /* until the next restore begins */
    struct bh_redis_tracker *tracker[BH_REDIS_PARTS];
    struct bh_redis_part {
        struct bh_redis_parts *owner;
        enum bh_redis_part_restore restore;
    } part[BH_REDIS_PARTS];
};

static inline unsigned bh_redis_part_of(struct bh_slice user) {
    return bh_redis_slot(user) % BH_REDIS_PARTS;
}

/* The node (bh_redis_broker_node) of each part. */
void bh_redis_parts_place(struct bh_broker *broker, unsigned node_of[BH_REDIS_PARTS]);
/* 16 parts, also on one node; as bh_redis_tracker_new. */
struct bh_tracker *bh_redis_parts_new(const struct bh_redis_tracker_config *tracker,
                                      struct bh_broker *broker);

#endif
