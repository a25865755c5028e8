/* moves.c - topics, and their ways from one master to another.
 *
 * A master that gives away a slot drops its channels one by one: each is lost, subscribed again
 * there, and the answer, MOVED, names the new home of the slot, where the topic goes. The other
 * channels of the slot are in the same stream of pushes, so nothing has to be searched.
 *
 * Where a link is down, or its server says nothing (it does not know yet, or is cut off), the map
 * has the new home, and the topics of the old one are searched for: in steps, each a share of a
 * tick, until a search finds none. How many there may be is known, so that slots which move one by
 * one cost no search when their topics have gone already.
 *
 * A topic whose link is up is left, and not unsubscribed, before it is live at its new master:
 * meanwhile it may still get messages there, from a demoted master that follows the new one. Such
 * messages may come twice, so all that have an id are marked for a while; those without are
 * compared (twins.h) once the new master may bring them, too. */
#include "cluster/bus.h"

#include "bellhop/base/mem.h"
#include "bellhop/core/topic.h"
#include "broker/broker.h"
#include "broker/feed.h"
#include "link/metrics.h"

/* A redirection of a slot counts once in so many ticks: masters that contradict each other would
 * send topics to and fro. */
#define REDIRECTED_TICKS 2
#define LEAVING_TICKS    2
/* Publishes that have waited for a master that was lost wait so much longer, until other instances
 * have subscribed at the new one, too. */
#define SETTLING_TICKS 2
/* Entries that are looked at between two readings of the clock. */
#define STEP 32

struct orphan {
    uint16_t len;
    char topic[];
};

static struct bh_slice key_of(const void *value) {
    const struct orphan *o = value;
    return bh_slice(o->topic, o->len);
}

static struct bh_redis_feed *feed_of(const struct bh_redis_place *place) {
    return bh_redis_node_feed(place->master->broker);
}

unsigned bh_redis_bus_slot(const struct bh_redis_cluster_bus *bus, struct bh_slice topic) {
    char channel[BH_CHANNEL_MAX + 1];
    struct bh_topic parsed;
    if (bh_topic_parse(topic, &parsed) != 0)
        return 0; /* never live anywhere */
    struct bh_slice prefix = bh_slice_cstr(bus->config->channel_prefix);
    return bh_redis_slot(bh_slice(channel, bh_topic_to_channel(&parsed, prefix, channel)));
}

static bool is_group_up(const struct bh_redis_cluster_bus *bus, unsigned slot) {
    return bus->up & UINT32_C(1) << bh_redis_group(slot);
}

/* --- topics without a home --- */

static void add_orphan(struct bh_redis_cluster_bus *bus, struct bh_slice topic) {
    if (bh_map_get(&bus->orphans, topic))
        return;
    struct orphan *o = bh_malloc(BH_SIZE_WITH(struct orphan, topic, topic.n));
    o->len = (uint16_t)topic.n;
    memcpy(o->topic, topic.p, topic.n);
    bh_map_put(&bus->orphans, o);
}

/* Subscribes it at the home of its slot; true: it is live at once. */
static bool put(struct bh_redis_cluster_bus *bus, struct bh_slice topic, unsigned slot) {
    struct bh_redis_place *home = bh_redis_bus_home(bus, slot);
    if (home)
        return bh_redis_feed_add(feed_of(home), topic);
    add_orphan(bus, topic);
    return false;
}

/* Topics that were left elsewhere, and are live, or not wanted any more. */
static void release(struct bh_redis_cluster_bus *bus, const struct bh_redis_place *except,
                    struct bh_slice topic) {
    for (unsigned i = 0; bus->leaving_ticks && i < bus->place_count; i++)
        if (bus->places[i] && bus->places[i] != except)
            bh_redis_feed_release(feed_of(bus->places[i]), topic);
}

void bh_redis_moves_live(struct bh_redis_place *place, struct bh_slice topic) {
    struct bh_redis_cluster_bus *bus = place->bus;
    release(bus, place, topic);
    bus->sink.on_subscribed(bus->sink.ud, topic);
}

static void put_moved(struct bh_redis_cluster_bus *bus, struct bh_slice topic, unsigned slot) {
    if (put(bus, topic, slot))
        bh_redis_moves_live(bh_redis_bus_home(bus, slot), topic);
}

/* --- strays --- */

static void search_soon(struct bh_redis_cluster_bus *bus, uint64_t delay_ms) {
    struct bh_timer *t = &bus->stray_timer;
    if (!bh_timer_pending(t) || t->due_ms > bh_loop_now(bus->loop) + delay_ms)
        bh_timer_set(t, delay_ms);
}

static void count_stray_gone(struct bh_redis_place *place) {
    place->strays -= place->strays > 0;
}

/* live: the sink takes it for live. */
static void move(struct bh_redis_place *from, struct bh_slice topic, unsigned slot, bool live) {
    struct bh_redis_cluster_bus *bus = from->bus;
    if (!bh_redis_feed_leave(feed_of(from), topic))
        return; /* not wanted */
    count_stray_gone(from);
    if (live)
        bus->leaving_ticks = LEAVING_TICKS;
    if (is_group_up(bus, slot) && (live || !from->up))
        bus->sink.on_lost(bus->sink.ud, topic);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_CLUSTER_MOVED]);
    put_moved(bus, topic, slot);
}

/* False: the share of the tick is used up. */
static bool search_place(struct bh_redis_place *place) {
    struct bh_redis_cluster_bus *bus = place->bus;
    struct bh_slice prefix = bh_slice_cstr(bus->config->channel_prefix), channel;
    struct bh_topic topic;
    bool live, found = false;
    for (unsigned i = 1; bh_redis_subscriptions_next(bh_redis_feed_active(feed_of(place)),
                                                     &place->cursor, &channel, &live);
         i++) {
        unsigned slot = bh_redis_slot(channel);
        if (bus->home[slot] != place->index &&
            bh_topic_from_channel(channel, prefix, &topic) == 0) {
            move(place, bh_topic_name(&topic), slot, live);
            place->cursor--; /* another one may be there now */
            found = true;
        }
        if (i % STEP == 0 && bh_loop_share_used(bus->loop)) {
            place->in_vain = found ? 0 : place->in_vain;
            return false;
        }
    }
    place->cursor = 0;
    place->in_vain = found ? 0 : place->in_vain + 1;
    /* A search may miss some when topics come and go between its steps. */
    if (place->in_vain > 1)
        place->strays = 0;
    return true;
}

/* Again while some are found: removing them may have moved others behind the cursor. */
static bool search_orphans(struct bh_redis_cluster_bus *bus) {
    struct orphan *o;
    for (unsigned i = 1; (o = bh_map_next(&bus->orphans, &bus->orphan_cursor)); i++) {
        unsigned slot = bh_redis_bus_slot(bus, key_of(o));
        if (bh_redis_bus_home(bus, slot)) {
            bh_map_remove(&bus->orphans, key_of(o));
            bus->orphan_cursor--;
            bus->orphans_found = true;
            put_moved(bus, key_of(o), slot);
            bh_free(o);
        }
        if (i % STEP == 0 && bh_loop_share_used(bus->loop))
            return false;
    }
    bus->orphan_cursor = 0;
    bus->orphans_due = bus->orphans_found;
    bus->orphans_found = false;
    return true;
}

/* A further search while one has found some: the map may have been changed between its steps. */
static bool search(struct bh_redis_cluster_bus *bus) {
    if (!bh_redis_groups_report(bus))
        return false;
    while (bus->orphans_due)
        if (!search_orphans(bus))
            return false;
    for (unsigned i = 0; i < bus->place_count; i++) {
        struct bh_redis_place *place = bus->places[i];
        while (place && place->strays)
            if (!search_place(place))
                return false;
    }
    return true;
}

static void on_moving(struct bh_defer *d) {
    struct bh_redis_cluster_bus *bus = BH_CONTAINER_OF(d, struct bh_redis_cluster_bus, moving);
    if (!search(bus))
        bh_loop_put_off(bus->loop, &bus->moving);
}

static void on_stray_timer(struct bh_timer *t) {
    struct bh_redis_cluster_bus *bus = BH_CONTAINER_OF(t, struct bh_redis_cluster_bus, stray_timer);
    bh_loop_put_off(bus->loop, &bus->moving);
}

void bh_redis_moves_begin(struct bh_redis_cluster_bus *bus) {
    bool any = false;
    for (unsigned i = 0; i < bus->place_count; i++)
        any = any || (bus->places[i] && bus->places[i]->strays && !bus->places[i]->up);
    if (any || bus->orphans_due)
        search_soon(bus, 0);
}

static bool is_answering(const struct bh_redis_place *place) {
    const char *why;
    return place->master->broker->vt->ready(place->master->broker, &why) == 0;
}

/* Topics are on their way from there. */
static void on_strays(struct bh_redis_place *from, unsigned slot) {
    struct bh_redis_cluster_bus *bus = from->bus;
    unsigned group = bh_redis_group(slot);
    bool answering = is_answering(from);
    from->strays += bus->topics[slot];
    search_soon(bus, answering ? BH_REDIS_STRAY_MS : 0);
    if (answering)
        return;
    bus->settling_ticks[group] = SETTLING_TICKS;
    atomic_fetch_or(bus->published_settling, UINT32_C(1) << group);
}

void bh_redis_moves_set_home(struct bh_redis_cluster_bus *bus, unsigned slot, unsigned to) {
    struct bh_redis_place *from = bh_redis_bus_home(bus, slot);
    if (bus->home[slot] == to)
        return;
    bus->home[slot] = (uint16_t)to;
    bus->orphans_due = bus->orphans.count > 0;
    if (to != BH_REDIS_NOBODY)
        bus->places[to]->slots++;
    if (!from)
        return;
    from->slots--;
    from->since_ms = bh_loop_now(bus->loop);
    from->in_vain = 0;
    if (bus->topics[slot])
        on_strays(from, slot);
}

/* --- the verbs --- */

bool bh_redis_moves_subscribe(struct bh_redis_cluster_bus *bus, struct bh_slice topic) {
    unsigned slot = bh_redis_bus_slot(bus, topic);
    bus->topics[slot]++;
    return put(bus, topic, slot);
}

static bool remove_from(struct bh_redis_place *place, struct bh_slice topic) {
    return place && bh_redis_feed_remove(feed_of(place), topic);
}

static bool remove_orphan(struct bh_redis_cluster_bus *bus, struct bh_slice topic) {
    struct orphan *o = bh_map_remove(&bus->orphans, topic);
    bool was_there = o;
    bh_free(o);
    return was_there;
}

static bool remove_stray(struct bh_redis_cluster_bus *bus, struct bh_slice topic) {
    for (unsigned i = 0; i < bus->place_count; i++) {
        struct bh_redis_place *place = bus->places[i];
        if (place && place->strays && remove_from(place, topic)) {
            count_stray_gone(place);
            return true;
        }
    }
    return false;
}

void bh_redis_moves_unsubscribe(struct bh_redis_cluster_bus *bus, struct bh_slice topic) {
    unsigned slot = bh_redis_bus_slot(bus, topic);
    release(bus, NULL, topic);
    if (remove_from(bh_redis_bus_home(bus, slot), topic) || remove_orphan(bus, topic) ||
        remove_stray(bus, topic))
        bus->topics[slot]--;
}

/* --- what the servers say --- */

void bh_redis_moves_lost(struct bh_redis_place *place, struct bh_slice topic) {
    struct bh_redis_cluster_bus *bus = place->bus;
    unsigned slot = bh_redis_bus_slot(bus, topic);
    bh_redis_topology_refresh(bus->topology);
    if (is_group_up(bus, slot))
        bus->sink.on_lost(bus->sink.ud, topic);
    if (bus->home[slot] != place->index)
        move(place, topic, slot, false);
}

static struct bh_redis_place *find_place(const struct bh_redis_cluster_bus *bus,
                                         struct bh_slice host, uint16_t port) {
    for (unsigned i = 0; i < bus->place_count; i++) {
        struct bh_redis_place *place = bus->places[i];
        if (place && place->master->port == port &&
            bh_slice_eq(bh_slice_cstr(place->master->host), host))
            return place;
    }
    return NULL;
}

/* A master that is not known yet will be in the next map. */
static void note_home(struct bh_redis_place *from, const struct bh_redis_redirection *r) {
    struct bh_redis_cluster_bus *bus = from->bus;
    if (bus->home[r->slot] != from->index || bus->redirected[r->slot])
        return;
    struct bh_slice host = r->host.n ? r->host : bh_slice_cstr(from->master->host);
    const struct bh_redis_place *to = find_place(bus, host, r->port);
    bus->redirected[r->slot] = REDIRECTED_TICKS;
    bus->any_redirected = true;
    bh_redis_moves_set_home(bus, r->slot, to ? to->index : BH_REDIS_NOBODY);
    if (to && !to->up)
        bh_redis_groups_check(bus);
    bh_redis_moves_begin(bus);
}

bool bh_redis_moves_moved(struct bh_redis_place *place, struct bh_slice channel,
                          struct bh_slice answer) {
    struct bh_redis_cluster_bus *bus = place->bus;
    struct bh_redis_redirection r;
    struct bh_topic topic;
    if (!bh_redis_redirection_parse(answer, &r) || r.ask || r.slot != bh_redis_slot(channel))
        return false;
    bh_redis_topology_refresh(bus->topology);
    note_home(place, &r);
    bh_redis_moves_probe(place);
    struct bh_slice prefix = bh_slice_cstr(bus->config->channel_prefix);
    if (bus->home[r.slot] != place->index && bh_topic_from_channel(channel, prefix, &topic) == 0)
        move(place, bh_topic_name(&topic), r.slot, false);
    return true;
}

/* Messages of a stream are told apart by their positions. */
bool bh_redis_moves_is_twin(struct bh_redis_place *place, const struct bh_message *m) {
    struct bh_redis_cluster_bus *bus = place->bus;
    struct bh_slice topic = bh_topic_name(m->topic);
    if (m->position.epoch)
        return false;
    const struct bh_redis_place *home = bh_redis_bus_home(bus, bh_redis_bus_slot(bus, topic));
    uint64_t now_ms = bh_loop_now(bus->loop);
    if (home == place)
        return !bh_redis_twins_pass(&bus->twins, m, place->index, now_ms);
    return home && bh_redis_subscriptions_has_sent(bh_redis_feed_active(feed_of(home)), topic) &&
           !bh_redis_twins_note(&bus->twins, m, place->index, now_ms);
}

/* --- probes --- */

static bool is_home(const void *ud, unsigned slot) {
    const struct bh_redis_place *place = ud;
    return place->bus->home[slot] == place->index;
}

void bh_redis_moves_probe(struct bh_redis_place *place) {
    char tag[BH_REDIS_SLOT_TAG_MAX];
    bool is_good = place->probe_slot < BH_REDIS_SLOTS && is_home(place, place->probe_slot);
    if (is_good || !place->slots || !bh_redis_slot_tag(is_home, place, tag))
        return;
    place->probe_slot = bh_redis_slot(bh_slice_cstr(tag));
    bh_redis_node_set_probe(place->master->broker, tag);
}

/* --- the tick --- */

/* A slot without a home was redirected to a master that no map has: back to the one that the map
 * has. */
static void count_redirected(struct bh_redis_cluster_bus *bus) {
    bool any = false;
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++) {
        if (!bus->redirected[slot] || --bus->redirected[slot])
            any = any || bus->redirected[slot];
        else if (bus->home[slot] == BH_REDIS_NOBODY)
            bh_redis_moves_set_home(bus, slot, bus->mapped[slot]);
    }
    bus->any_redirected = any;
    bh_redis_moves_begin(bus);
}

static void count_settling(struct bh_redis_cluster_bus *bus) {
    for (unsigned group = 0; group < BH_REDIS_GROUPS; group++)
        if (bus->settling_ticks[group] && --bus->settling_ticks[group] == 0)
            atomic_fetch_and(bus->published_settling, ~(UINT32_C(1) << group));
}

static bool is_leaving(const struct bh_redis_cluster_bus *bus) {
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i] && bh_redis_feed_active(feed_of(bus->places[i]))->sharded.leaving)
            return true;
    return false;
}

void bh_redis_moves_tick(struct bh_redis_cluster_bus *bus) {
    if (bus->any_redirected)
        count_redirected(bus);
    count_settling(bus);
    if (!bus->leaving_ticks)
        return;
    bus->leaving_ticks = is_leaving(bus) ? LEAVING_TICKS : bus->leaving_ticks - 1;
    if (!bus->leaving_ticks)
        bh_redis_twins_clear(&bus->twins);
}

/* --- life --- */

void bh_redis_moves_init(struct bh_redis_cluster_bus *bus) {
    bh_map_init(&bus->orphans, key_of);
    bh_redis_twins_init(&bus->twins);
    memset(bus->home, 0xff, sizeof bus->home); /* BH_REDIS_NOBODY */
    memset(bus->mapped, 0xff, sizeof bus->mapped);
    bh_defer_init(&bus->moving, on_moving);
}

void bh_redis_moves_start(struct bh_redis_cluster_bus *bus) {
    bh_timer_init(&bus->stray_timer, bus->loop, on_stray_timer);
}

void bh_redis_moves_stop(struct bh_redis_cluster_bus *bus) {
    bh_timer_cancel(&bus->stray_timer);
    bh_defer_cancel(&bus->moving);
}

void bh_redis_moves_deinit(struct bh_redis_cluster_bus *bus) {
    struct orphan *o;
    size_t cursor = 0;
    while ((o = bh_map_next(&bus->orphans, &cursor)))
        bh_free(o);
    bh_map_deinit(&bus->orphans);
    bh_redis_twins_clear(&bus->twins);
}
