/* bus.c - the masters of a cluster, as the maps bring and take them.
 *
 * What a map changes for a slot is what it says other than the map before: about the rest MOVED may
 * have said something younger. A master without slots stays until its topics have gone. */
#include "cluster/bus.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "broker/broker.h"
#include "broker/feed.h"
#include "link/metrics.h"

#define TICK_MAX_MS 1000

/* --- the brokers of the masters --- */

static void on_message(void *ud, struct bh_message *m) {
    struct bh_redis_cluster_bus *bus = ((struct bh_redis_place *)ud)->bus;
    if (bus->leaving_ticks && m->id.n > 0)
        m->flags |= BH_MESSAGE_DEDUP; /* nobody else has it yet */
    else if (bus->leaving_ticks && bh_redis_moves_is_twin(ud, m))
        return;
    bus->sink.on_message(bus->sink.ud, m);
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    bh_redis_moves_live(ud, topic);
}

static void on_lost(void *ud, struct bh_slice topic) {
    bh_redis_moves_lost(ud, topic);
}

static void on_state(void *ud, unsigned shard, bool up) {
    struct bh_redis_place *place = ud;
    place->up = up;
    if (up) {
        place->fresh = false;
        place->up_event = ++place->bus->events;
        bh_redis_groups_check(place->bus);
        return;
    }
    bh_redis_topology_refresh(place->bus->topology);
    bh_redis_groups_place_down(place->bus, place);
    bh_redis_moves_begin(place->bus);
}

static bool on_moved(void *ud, struct bh_slice channel, struct bh_slice answer) {
    return bh_redis_moves_moved(ud, channel, answer);
}

/* --- places --- */

static unsigned free_index(struct bh_redis_cluster_bus *bus) {
    unsigned i = 0;
    while (i < bus->place_count && bus->places[i])
        i++;
    if (i == bus->place_count) {
        bus->places = bh_realloc(bus->places, (i + 1) * sizeof *bus->places);
        bus->places[bus->place_count++] = NULL;
    }
    return i;
}

static void free_place(struct bh_redis_place *place) {
    bh_redis_cluster_master_unref(place->master);
    bh_free(place);
}

static void on_reap(struct bh_defer *d) {
    free_place(BH_CONTAINER_OF(d, struct bh_redis_place, reap));
}

static struct bh_redis_place *add_place(struct bh_redis_cluster_bus *bus,
                                        struct bh_redis_cluster_master *master) {
    struct bh_redis_place *place = bh_calloc(1, sizeof *place);
    place->bus = bus;
    place->master = bh_redis_cluster_master_ref(master);
    place->probe_slot = BH_REDIS_SLOTS;
    place->since_ms = bh_loop_now(bus->loop);
    place->fresh = bus->up != 0;
    bh_defer_init(&place->reap, on_reap);
    place->index = free_index(bus);
    bus->places[place->index] = place;
    bh_redis_node_on_moved(master->broker, on_moved, place);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_CLUSTER_MASTERS]);
    bh_info_limited("master of the Redis Cluster", bh_kv_str("host", master->host),
                    bh_kv_int("port", master->port));
    return place;
}

static void start_place(struct bh_redis_place *place) {
    struct bh_redis_cluster_bus *bus = place->bus;
    struct bh_broker *b = place->master->broker;
    struct bh_broker_sink sink = {on_message, on_subscribed, on_lost, on_state, place};
    place->started = true;
    b->vt->start(b, bus->loop, bus->mailbox, &sink);
}

static void stop_place(struct bh_redis_place *place) {
    struct bh_broker *b = place->master->broker;
    b->vt->stop(b);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_CLUSTER_MASTERS], -1);
}

static struct bh_redis_place *place_of(const struct bh_redis_cluster_bus *bus,
                                       const struct bh_redis_cluster_master *master) {
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i] && bus->places[i]->master == master)
            return bus->places[i];
    return NULL;
}

struct bh_redis_cluster_master *bh_redis_bus_known(const struct bh_redis_cluster_bus *bus,
                                                   const char *host, uint16_t port) {
    for (unsigned i = 0; i < bus->place_count; i++) {
        struct bh_redis_place *place = bus->places[i];
        if (place && place->master->port == port && strcmp(place->master->host, host) == 0)
            return bh_redis_cluster_master_ref(place->master);
    }
    return NULL;
}

/* --- maps --- */

/* The index in `places` for each master of the map. */
static uint16_t *places_of(struct bh_redis_cluster_bus *bus,
                           const struct bh_redis_cluster_map *map) {
    uint16_t *index = bh_malloc((map->count + 1) * sizeof *index);
    for (unsigned i = 0; i < map->count; i++) {
        struct bh_redis_place *place = place_of(bus, map->masters[i]);
        index[i] = (uint16_t)(place ? place : add_place(bus, map->masters[i]))->index;
    }
    return index;
}

static void take_slot(struct bh_redis_cluster_bus *bus, unsigned slot, unsigned to) {
    if (bus->mapped[slot] != BH_REDIS_NOBODY)
        bus->places[bus->mapped[slot]]->mapped--;
    if (to != BH_REDIS_NOBODY)
        bus->places[to]->mapped++;
    bus->mapped[slot] = (uint16_t)to;
    bus->redirected[slot] = 0;
    bh_redis_moves_set_home(bus, slot, to);
}

void bh_redis_bus_adopt(struct bh_redis_cluster_bus *bus, const struct bh_redis_cluster_map *map) {
    uint16_t *index = places_of(bus, map);
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++) {
        unsigned owner = map->owner[slot];
        unsigned to = owner == BH_REDIS_NOBODY ? BH_REDIS_NOBODY : index[owner];
        if (bus->mapped[slot] != to)
            take_slot(bus, slot, to);
    }
    bh_free(index);
    for (unsigned i = 0; i < bus->place_count; i++) {
        struct bh_redis_place *place = bus->places[i];
        if (!place)
            continue;
        bh_redis_moves_probe(place);
        if (!place->started)
            start_place(place);
    }
    bh_redis_groups_check(bus);
    bh_redis_moves_begin(bus);
}

/* --- the tick --- */

/* Nothing is to be moved away, and what was left there is live elsewhere, or has had time. */
static bool is_over(const struct bh_redis_place *place) {
    const struct bh_redis_cluster_bus *bus = place->bus;
    const struct bh_redis_subscriptions *s =
        bh_redis_feed_active(bh_redis_node_feed(place->master->broker));
    struct bh_slice channel;
    size_t cursor = 0;
    bool live;
    if (place->slots || place->mapped || place->strays ||
        bh_redis_subscriptions_next(s, &cursor, &channel, &live))
        return false;
    uint64_t age_ms = bh_loop_now(bus->loop) - place->since_ms;
    return !place->up || !s->sharded.leaving || age_ms >= bus->config->command_timeout_ms;
}

static void check_place(struct bh_redis_place *place) {
    struct bh_redis_cluster_bus *bus = place->bus;
    const struct bh_broker *b = place->master->broker;
    const char *why;
    if (is_over(place)) {
        bh_info_limited("a master has left the Redis Cluster, or has no slots any more",
                        bh_kv_str("host", place->master->host),
                        bh_kv_int("port", place->master->port));
        stop_place(place);
        bus->places[place->index] = NULL;
        bh_defer(bus->loop, BH_PHASE_REAP, &place->reap);
        return;
    }
    if (b->vt->ready(b, &why) != 0)
        bh_redis_topology_refresh(bus->topology);
    if (place->fresh && bh_loop_now(bus->loop) - place->since_ms >= TICK_MAX_MS)
        place->fresh = false;
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_cluster_bus *bus = BH_CONTAINER_OF(t, struct bh_redis_cluster_bus, timer);
    bh_timer_set(t, bus->tick_ms);
    bh_redis_moves_tick(bus);
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i])
            check_place(bus->places[i]);
    bh_redis_groups_check(bus);
    if (bus->up != (UINT32_C(1) << BH_REDIS_GROUPS) - 1)
        bh_redis_topology_refresh(bus->topology);
}

/* --- the fence --- */

static void on_fence(void *ud, bool proven) {
    struct bh_redis_cluster_bus *bus = ud;
    bus->fence.proven = bus->fence.proven && proven;
    if (--bus->fence.waiting == 0)
        bus->fence.done(bus->fence.ud, bus->fence.proven);
}

void bh_redis_bus_fence(struct bh_redis_cluster_bus *bus, void (*done)(void *ud, bool proven),
                        void *ud) {
    bus->fence.waiting = 1;
    bus->fence.proven = bus->place_count > 0;
    bus->fence.done = done;
    bus->fence.ud = ud;
    for (unsigned i = 0; i < bus->place_count; i++)
        bus->fence.waiting += bus->places[i] != NULL;
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i]) {
            struct bh_broker *b = bus->places[i]->master->broker;
            b->vt->fence(b, on_fence, bus);
        }
    on_fence(bus, true);
}

/* --- life --- */

void bh_redis_bus_init(struct bh_redis_cluster_bus *bus, const struct bh_redis_config *config,
                       struct bh_redis_topology *topology, atomic_uint_fast32_t *up,
                       atomic_uint_fast32_t *settling) {
    bus->config = config;
    bus->topology = topology;
    bus->published_up = up;
    bus->published_settling = settling;
    bh_redis_moves_init(bus);
}

void bh_redis_bus_start(struct bh_redis_cluster_bus *bus, struct bh_loop *loop,
                        struct bh_mailbox *mailbox, const struct bh_broker_sink *sink) {
    bus->loop = loop;
    bus->mailbox = mailbox;
    bus->sink = *sink;
    bus->tick_ms = bus->config->probe_ms < TICK_MAX_MS ? bus->config->probe_ms : TICK_MAX_MS;
    bh_timer_init(&bus->timer, loop, on_timer);
    bh_timer_set(&bus->timer, bus->tick_ms);
    bh_redis_moves_start(bus);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_CLUSTER_GROUPS_DOWN], BH_REDIS_GROUPS);
}

void bh_redis_bus_stop(struct bh_redis_cluster_bus *bus) {
    bh_timer_cancel(&bus->timer);
    bh_redis_moves_stop(bus);
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i])
            stop_place(bus->places[i]);
    for (unsigned group = 0; group < BH_REDIS_GROUPS; group++)
        if (!(bus->up & UINT32_C(1) << group))
            bh_metric_add(&bh_redis_metrics[BH_REDIS_CLUSTER_GROUPS_DOWN], -1);
    bus->up = 0;
    atomic_store(bus->published_up, 0);
    bus->loop = NULL;
}

void bh_redis_bus_deinit(struct bh_redis_cluster_bus *bus) {
    for (unsigned i = 0; i < bus->place_count; i++)
        if (bus->places[i])
            free_place(bus->places[i]);
    bh_free(bus->places);
    bh_redis_moves_deinit(bus);
}
