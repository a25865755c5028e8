/* twins.h - messages without an id that come twice while their topic moves. Private to the cluster.
 *
 * Until a topic is live at its new master, it is subscribed at the old one, too, and a master and
 * its replica pass on to each other what is published there: both links may bring a message. One
 * with an id is marked, and the node drops the second. One without (SPUBLISH of a backend) is known
 * by its topic and content here.
 *
 * Identical messages that were published twice come twice on each link. So the links are counted,
 * and a message passes when its link has brought more of them than have passed. Too much is dropped
 * only when the old link alone has brought one, because the subscription at the new master did not
 * stand yet, and an identical one is published within BH_REDIS_TWIN_MS: one of the two.
 *
 * The number is bounded: beyond BH_REDIS_TWINS_MAX messages pass as they come.
 *
 * Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_TWINS_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_TWINS_H

#include "bellhop/base/list.h"
#include "bellhop/base/map.h"
#include "bellhop/core/message.h"

/* How much later than the first one a twin is recognised. */
#define BH_REDIS_TWIN_MS   1000
#define BH_REDIS_TWINS_MAX 100000

struct bh_redis_twins {
    struct bh_map known;
    struct bh_list by_age;
};

void bh_redis_twins_init(struct bh_redis_twins *t);
/* Forgets all; *t may go on being used. */
void bh_redis_twins_clear(struct bh_redis_twins *t);

/* A message that the link of the old master has brought, and the new one may bring, too. False: it
 * is the twin of one that has passed. `link`: any number. */
bool bh_redis_twins_note(struct bh_redis_twins *t, const struct bh_message *m, unsigned link,
                         uint64_t now_ms);
/* The same for one that no other link will bring later: it is only compared. */
bool bh_redis_twins_pass(struct bh_redis_twins *t, const struct bh_message *m, unsigned link,
                         uint64_t now_ms);

#endif
