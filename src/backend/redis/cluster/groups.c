/* groups.c - which groups of slots are up: those whose slots all have a home, whose link is up.
 *
 * A topic that is subscribed while its group is down becomes live with the group. Its link may have
 * been up all the time, so when the group comes up, the topics of those links are reported, in
 * steps. Links that came up later have reported theirs.
 *
 * A master that has just been added to the cluster takes no group down while it is connected: the
 * topics that move there are lost one by one. Nor does a slot whose new master is not known yet. */
#include "cluster/bus.h"

#include "bellhop/base/log.h"
#include "broker/broker.h"
#include "broker/feed.h"
#include "link/metrics.h"

/* Entries that are looked at between two readings of the clock, and at the end of one step and the
 * beginning of the next. */
#define STEP    32
#define OVERLAP 64

static uint32_t bit(unsigned group) {
    return UINT32_C(1) << group;
}

static const char nobody[] = "none";

/* The host of the master that takes the group down, or `nobody`; NULL: none does. */
static const char *slot_is_down(const struct bh_redis_cluster_bus *bus, unsigned slot) {
    const struct bh_redis_place *home = bh_redis_bus_home(bus, slot);
    bool was_up = bus->up & bit(bh_redis_group(slot));
    if (!home)
        return was_up && bus->mapped[slot] != BH_REDIS_NOBODY ? NULL : nobody;
    return home->up || (home->fresh && was_up) ? NULL : home->master->host;
}

static const char *group_is_down(const struct bh_redis_cluster_bus *bus, unsigned group) {
    const char *why = NULL;
    for (unsigned i = 0; i < BH_REDIS_GROUP_SLOTS && !why; i++)
        why = slot_is_down(bus, group * BH_REDIS_GROUP_SLOTS + i);
    return why;
}

/* --- topics that are live all the time --- */

/* Topics come and go between the steps, and those behind a hole move back: some are looked at
 * again.
 */
static void resume_cursor(struct bh_redis_place *place, size_t size) {
    size_t overlap = place->report_cursor < OVERLAP ? place->report_cursor : OVERLAP;
    place->report_cursor = size == place->report_size ? place->report_cursor - overlap : 0;
    place->report_size = size;
}

static bool report_some(struct bh_redis_place *place) {
    const struct bh_redis_cluster_bus *bus = place->bus;
    struct bh_slice prefix = bh_slice_cstr(bus->config->channel_prefix), channel;
    const struct bh_redis_subscriptions *s =
        bh_redis_feed_active(bh_redis_node_feed(place->master->broker));
    struct bh_topic topic;
    bool live;
    resume_cursor(place, s->channels.mask);
    for (unsigned i = 1; bh_redis_subscriptions_next(s, &place->report_cursor, &channel, &live);
         i++) {
        if (live && place->reports & bit(bh_redis_group(bh_redis_slot(channel))) &&
            bh_topic_from_channel(channel, prefix, &topic) == 0)
            bus->sink.on_subscribed(bus->sink.ud, bh_topic_name(&topic));
        if (i % STEP == 0 && bh_loop_share_used(bus->loop))
            return false;
    }
    place->reports = 0;
    return true;
}

bool bh_redis_groups_report(struct bh_redis_cluster_bus *bus) {
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i] && bus->places[i]->reports && !report_some(bus->places[i]))
            return false;
    return true;
}

/* Those of the groups that have slots here, and have gone down since its link came up. */
static uint32_t unreported(const struct bh_redis_place *place, uint32_t groups) {
    const struct bh_redis_cluster_bus *bus = place->bus;
    uint32_t found = 0;
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++)
        if (bus->home[slot] == place->index)
            found |= bit(bh_redis_group(slot));
    for (unsigned group = 0; group < BH_REDIS_GROUPS; group++)
        if (bus->down_event[group] < place->up_event)
            found &= ~bit(group);
    return found & groups;
}

static void report(struct bh_redis_cluster_bus *bus, uint32_t ups, uint32_t downs) {
    for (unsigned i = 0; i < bus->place_count; i++) {
        struct bh_redis_place *place = bus->places[i];
        uint32_t some = place && place->up ? unreported(place, ups) : 0;
        if (place)
            place->reports &= ~downs;
        if (!some)
            continue;
        place->reports |= some;
        place->report_cursor = 0;
        bh_loop_put_off(bus->loop, &bus->moving);
    }
}

/* --- */

static void log_states(const struct bh_redis_cluster_bus *bus, uint32_t ups, uint32_t downs,
                       const char *master) {
    int64_t down = BH_REDIS_GROUPS - __builtin_popcount(bus->up);
    if (downs)
        bh_warn_limited("groups of slots of the Redis Cluster are down, so are their topics",
                        bh_kv_int("groups", __builtin_popcount(downs)), bh_kv_int("down", down),
                        bh_kv_str("master", master));
    if (ups)
        bh_info_limited("groups of slots of the Redis Cluster are up",
                        bh_kv_int("groups", __builtin_popcount(ups)), bh_kv_int("down", down));
}

static void tell(struct bh_redis_cluster_bus *bus, uint32_t groups, bool up) {
    for (unsigned group = 0; group < BH_REDIS_GROUPS; group++)
        if (groups & bit(group))
            bus->sink.on_state(bus->sink.ud, group, up);
}

void bh_redis_groups_check(struct bh_redis_cluster_bus *bus) {
    uint32_t ups = 0, downs = 0;
    const char *master = NULL;
    for (unsigned group = 0; group < BH_REDIS_GROUPS; group++) {
        const char *down = group_is_down(bus, group);
        if (!down == !!(bus->up & bit(group)))
            continue;
        bh_metric_add(&bh_redis_metrics[BH_REDIS_CLUSTER_GROUPS_DOWN], down ? 1 : -1);
        if (down) {
            downs |= bit(group);
            master = down;
            bus->down_event[group] = ++bus->events;
        } else {
            ups |= bit(group);
        }
    }
    bus->up = (bus->up | ups) & ~downs;
    atomic_store(bus->published_up, bus->up);
    log_states(bus, ups, downs, master);
    tell(bus, downs, false);
    tell(bus, ups, true);
    if (ups || downs)
        report(bus, ups, downs);
}

void bh_redis_groups_place_down(struct bh_redis_cluster_bus *bus, struct bh_redis_place *place) {
    uint32_t again = 0;
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++)
        if (bus->home[slot] == place->index)
            again |= bit(bh_redis_group(slot));
    for (unsigned group = 0; group < BH_REDIS_GROUPS; group++)
        if (place->up_event < bus->down_event[group])
            again &= ~bit(group); /* it has reported nothing since */
    again &= ~bus->up;
    place->reports = 0;
    bh_redis_groups_check(bus);
    tell(bus, again, false);
}
