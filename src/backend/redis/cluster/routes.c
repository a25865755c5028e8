/* routes.c - which master a command goes to, and again when the cluster answers that it is another.
 *
 * A peer is a master as this thread sees it: its side of the master's broker, started when a
 * command goes there first. It holds the master, and is kept a while after its link is closed,
 * because who has sent a command may still look at the link.
 *
 * A slot is held (waiting.h) while its commands cannot be sent, or while others that were sent
 * before them may still come back. What is held is tried again when the link comes up, when a
 * barrier is lifted, and at an interval. */
#include "cluster/routes.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "broker/broker.h"
#include "link/metrics.h"

#define RETRY_MS 20
#define PAUSE_MS 20 /* at least */
#define CHECK_MS 1000
/* A command that was redirected more often pauses each time. */
#define REDIRECTIONS 4

static const char moving[] = "the Redis cluster is moving the slot of this key";
static const char down[] = "the Redis cluster is down";
static const char unconnected[] = "not connected to Redis";
static const char stopping[] = "this instance is shutting down";

struct bh_redis_peer {
    struct bh_list node; /* in `open` */
    struct bh_redis_routes *routes;
    struct bh_redis_cluster_master *master; /* a reference */
    bool started;
    bool gone;          /* it has no slots */
    uint64_t closed_ms; /* when it was gone, and closed */
};

static uint64_t now_of(const struct bh_redis_routes *r) {
    return bh_loop_now(r->loop);
}

const char *bh_redis_routes_nobody(const struct bh_redis_routes *r) {
    const char *trouble = bh_redis_topology_trouble(r->topology);
    return trouble ? trouble : "no master in the Redis cluster has the slot of this key";
}

/* --- peers --- */

static struct bh_redis_link *link_of(const struct bh_redis_peer *peer) {
    return bh_redis_node_link(peer->master->broker, peer->routes->side);
}

static bool is_ready(const struct bh_redis_peer *peer) {
    return peer->started && bh_redis_link_is_ready(link_of(peer));
}

static bool is_busy(const struct bh_redis_peer *peer) {
    return peer->started && link_of(peer)->pending.count > 0;
}

static void release_peer(struct bh_redis_peer *peer);

static void on_up(void *ud, struct bh_redis_link *link) {
    struct bh_redis_peer *peer = ud;
    const struct bh_redis_watch *watch = &peer->routes->watch;
    if (watch->up)
        watch->up(watch->ud, link);
    release_peer(peer);
}

static void on_check(void *ud, struct bh_redis_link *link) {
    const struct bh_redis_watch *watch = &((struct bh_redis_peer *)ud)->routes->watch;
    if (watch->check)
        watch->check(watch->ud, link);
}

static void on_down(void *ud, struct bh_redis_link *link) {
    const struct bh_redis_watch *watch = &((struct bh_redis_peer *)ud)->routes->watch;
    if (watch->down)
        watch->down(watch->ud, link);
}

static void start_peer(struct bh_redis_peer *peer) {
    struct bh_broker *b = peer->master->broker;
    const struct bh_redis_watch watch = {on_up, on_check, on_down, peer};
    bh_redis_node_watch(b, peer->routes->side, &watch);
    peer->started = true;
    b->vt->worker_start(b, peer->routes->side, peer->routes->loop);
}

static void close_peer(struct bh_redis_peer *peer) {
    struct bh_broker *b = peer->master->broker;
    if (peer->started)
        b->vt->worker_stop(b, peer->routes->side);
    peer->started = false;
}

static void free_peer(struct bh_redis_peer *peer) {
    bh_list_unlink(&peer->node);
    bh_redis_cluster_master_unref(peer->master);
    bh_free(peer);
}

static struct bh_redis_peer *new_peer(struct bh_redis_routes *r,
                                      struct bh_redis_cluster_master *master) {
    struct bh_redis_peer *peer = bh_calloc(1, sizeof *peer);
    peer->routes = r;
    peer->master = bh_redis_cluster_master_ref(master);
    bh_list_init(&peer->node);
    bh_list_append(&r->open, &peer->node);
    return peer;
}

/* Opened, if it was not. NULL: nobody. */
static struct bh_redis_peer *peer_at(struct bh_redis_routes *r, unsigned place) {
    if (place == BH_REDIS_NOBODY)
        return NULL;
    if (!r->peers[place])
        r->peers[place] = new_peer(r, r->map->masters[place]);
    if (!r->peers[place]->started)
        start_peer(r->peers[place]);
    return r->peers[place];
}

static void send_to(struct bh_redis_peer *peer, struct bh_redis_routed *one) {
    one->sent_to = peer;
    bh_redis_route_to(link_of(peer), one);
}

/* --- what is held --- */

static void wake_within(struct bh_redis_routes *r, uint64_t ms) {
    if (!bh_timer_pending(&r->timer) || r->timer.due_ms > now_of(r) + ms)
        bh_timer_set(&r->timer, ms);
}

static struct bh_redis_held *hold(struct bh_redis_routes *r, unsigned slot, const char *why) {
    wake_within(r, RETRY_MS);
    return bh_redis_waiting_hold(&r->waiting, slot, why);
}

/* Longer for one that was redirected often. */
static void pause_held(struct bh_redis_routes *r, struct bh_redis_held *held,
                       const struct bh_redis_routed *one) {
    unsigned times = one->redirected < REDIRECTIONS ? one->redirected : REDIRECTIONS;
    uint32_t ms = PAUSE_MS << (times ? times - 1 : 0);
    if (now_of(r) >= held->pause_until_ms)
        held->pause_until_ms = now_of(r) + ms + bh_random_below(ms * 3 / 2);
}

/* Those that come back at once, because a link is full, are not tried again at once. */
static void send_held(struct bh_redis_routes *r, struct bh_redis_held *held,
                      struct bh_redis_peer *peer) {
    struct bh_redis_routed *one;
    for (size_t n = held->count; n > 0 && (one = bh_redis_waiting_take(&r->waiting, held)); n--)
        send_to(peer, one);
}

/* Sends what waits for the slot, if it can be sent now; may free held. */
static void release(struct bh_redis_routes *r, struct bh_redis_held *held) {
    if (!bh_redis_waiting_may_send(&r->waiting, held, now_of(r)))
        return;
    if (held->count) {
        struct bh_redis_peer *peer = peer_at(r, r->owner[held->slot]);
        if (!peer) {
            held->why = bh_redis_routes_nobody(r);
            return;
        }
        if (!is_ready(peer)) {
            const char *reason = atomic_load(&link_of(peer)->down_reason);
            held->why = reason ? reason : unconnected;
            return;
        }
        send_held(r, held, peer);
    }
    bh_redis_waiting_tidy(&r->waiting, held);
}

static void release_peer(struct bh_redis_peer *peer) {
    struct bh_redis_routes *r = peer->routes;
    struct bh_list *node = r->waiting.list.next, *next;
    for (; node != &r->waiting.list; node = next) {
        struct bh_redis_held *held = BH_CONTAINER_OF(node, struct bh_redis_held, node);
        uint16_t owner = r->owner[held->slot];
        next = node->next;
        if (owner != BH_REDIS_NOBODY && r->peers[owner] == peer)
            release(r, held);
    }
}

/* --- barriers --- */

struct barrier {
    struct bh_redis_routes *routes;
    uint64_t number;
    size_t count;
    uint16_t slots[];
};

static void on_barrier(const struct bh_redis_completion *c, int error,
                       const struct bh_reply *reply) {
    struct barrier *b = c->ud;
    for (size_t i = 0; i < b->count; i++) {
        struct bh_redis_held *held =
            bh_redis_waiting_lift(&b->routes->waiting, b->slots[i], b->number);
        if (held)
            release(b->routes, held);
    }
    bh_free(b);
}

static struct barrier *new_barrier(struct bh_redis_routes *r, size_t room) {
    struct barrier *b = bh_malloc(BH_SIZE_WITH(struct barrier, slots, room * sizeof b->slots[0]));
    b->routes = r;
    b->count = 0;
    return b;
}

/* What is sent to the slots of b waits until what was sent to the peer is answered. */
static void put_barrier(struct barrier *b, struct bh_redis_peer *peer) {
    static const struct bh_slice ping = BH_SLICE("PING");
    struct bh_redis_routes *r = b->routes;
    struct bh_redis_completion c = {.fire = on_barrier, .ud = b};
    if (!bh_redis_link_send(link_of(peer), 1, &ping, &c)) {
        bh_free(b);
        return;
    }
    for (size_t i = 0; i < b->count; i++)
        bh_redis_waiting_bar(hold(r, b->slots[i], moving), now_of(r) + BH_REDIS_BARRIER_MS);
    b->number = ++r->waiting.barrier;
}

/* --- a new map --- */

static unsigned place_of(const struct bh_redis_cluster_map *map,
                         const struct bh_redis_cluster_master *master) {
    for (unsigned i = 0; i < map->count; i++)
        if (map->masters[i] == master)
            return i;
    return BH_REDIS_NOBODY;
}

/* The slots of the peer that the map gives to others. */
static size_t slots_lost(const struct bh_redis_routes *r, const struct bh_redis_peer *peer,
                         const struct bh_redis_cluster_map *map, uint16_t *out) {
    unsigned now = place_of(map, peer->master);
    size_t count = 0;
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++) {
        uint16_t owner = r->owner[slot];
        if (owner == BH_REDIS_NOBODY || r->peers[owner] != peer || map->owner[slot] == now)
            continue;
        if (out)
            out[count] = (uint16_t)slot;
        count++;
    }
    return count;
}

static void bar_what_moves(struct bh_redis_routes *r, const struct bh_redis_cluster_map *map) {
    for (struct bh_list *node = r->open.next; node != &r->open; node = node->next) {
        struct bh_redis_peer *peer = BH_CONTAINER_OF(node, struct bh_redis_peer, node);
        size_t count = is_busy(peer) ? slots_lost(r, peer, map, NULL) : 0;
        if (count == 0)
            continue;
        struct barrier *b = new_barrier(r, count);
        b->count = slots_lost(r, peer, map, b->slots);
        put_barrier(b, peer);
    }
}

static struct bh_redis_peer **place_peers(struct bh_redis_routes *r,
                                          const struct bh_redis_cluster_map *map) {
    struct bh_redis_peer **peers = bh_calloc(map->count + 1, sizeof(struct bh_redis_peer *));
    for (struct bh_list *node = r->open.next; node != &r->open; node = node->next) {
        struct bh_redis_peer *peer = BH_CONTAINER_OF(node, struct bh_redis_peer, node);
        unsigned place = place_of(map, peer->master);
        peer->gone = place == BH_REDIS_NOBODY;
        if (!peer->gone)
            peers[place] = peer;
    }
    return peers;
}

static struct bh_redis_cluster_map *shared_map(struct bh_redis_routes *r) {
    struct bh_redis_shared_map *shared = r->shared;
    pthread_mutex_lock(&shared->lock);
    struct bh_redis_cluster_map *map = shared->map ? bh_redis_cluster_map_ref(shared->map) : NULL;
    r->version = atomic_load(&shared->version);
    pthread_mutex_unlock(&shared->lock);
    return map;
}

static void adopt(struct bh_redis_routes *r) {
    struct bh_redis_cluster_map *map = shared_map(r);
    if (!map)
        return;
    bar_what_moves(r, map);
    struct bh_redis_peer **peers = place_peers(r, map);
    bh_free(r->peers);
    bh_redis_cluster_map_unref(r->map);
    r->peers = peers;
    r->map = map;
    memcpy(r->owner, map->owner, sizeof r->owner);
    for (unsigned i = 0; r->watch.up && i < map->count; i++)
        peer_at(r, i);
    wake_within(r, 0);
}

static void adopt_if_new(struct bh_redis_routes *r) {
    if (r->version != atomic_load_explicit(&r->shared->version, memory_order_relaxed))
        adopt(r);
}

/* --- the interval --- */

static void try_all(struct bh_redis_routes *r) {
    struct bh_list *node = r->waiting.list.next, *next;
    for (; node != &r->waiting.list; node = next) {
        struct bh_redis_held *held = BH_CONTAINER_OF(node, struct bh_redis_held, node);
        unsigned slot = held->slot;
        next = node->next;
        release(r, held);
        if (bh_redis_waiting_held(&r->waiting, slot) == held) {
            bh_redis_waiting_expire(&r->waiting, held, now_of(r));
            bh_redis_waiting_tidy(&r->waiting, held);
        }
    }
}

static void close_gone(struct bh_redis_routes *r) {
    struct bh_list *node = r->open.next, *next;
    for (; node != &r->open; node = next) {
        struct bh_redis_peer *peer = BH_CONTAINER_OF(node, struct bh_redis_peer, node);
        next = node->next;
        if (!peer->gone || is_busy(peer))
            continue;
        if (peer->started) {
            peer->closed_ms = now_of(r);
            close_peer(peer);
        } else if (now_of(r) - peer->closed_ms > BH_REDIS_LINK_KEPT_MS) {
            free_peer(peer);
        }
    }
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_routes *r = BH_CONTAINER_OF(t, struct bh_redis_routes, timer);
    adopt_if_new(r);
    try_all(r);
    close_gone(r);
    bh_timer_set(&r->timer, bh_list_empty(&r->waiting.list) ? CHECK_MS : RETRY_MS);
}

/* --- verbs --- */

static void wait_held(struct bh_redis_routes *r, struct bh_redis_held *held,
                      struct bh_redis_routed *one, bool back) {
    bh_redis_waiting_add(&r->waiting, held, one, back, now_of(r));
}

void bh_redis_routes_send(struct bh_redis_routes *r, struct bh_redis_routed *one, unsigned slot) {
    if (!r->loop) {
        one->vt->fail(one, BH_EUNAVAIL, stopping);
        return;
    }
    adopt_if_new(r);
    one->slot = (uint16_t)slot;
    if (!one->until_ms)
        one->until_ms = now_of(r) + r->config->command_timeout_ms;
    struct bh_redis_held *held = bh_redis_waiting_held(&r->waiting, slot);
    struct bh_redis_peer *peer = held ? NULL : peer_at(r, r->owner[slot]);
    if (peer && is_ready(peer)) {
        send_to(peer, one);
        return;
    }
    if (!held && !peer)
        bh_redis_topology_refresh(r->topology);
    if (!held)
        held = hold(r, slot, peer ? unconnected : bh_redis_routes_nobody(r));
    wait_held(r, held, one, false);
}

/* --- redirections --- */

static const struct kind {
    struct bh_slice starts;
    int metric;
    bool refresh;    /* the map may be old */
    const char *why; /* to wait; NULL: it says where to */
} kinds[] = {
    {BH_SLICE("MOVED "), BH_REDIS_MOVED, true, NULL},
    {BH_SLICE("ASK "), BH_REDIS_ASK, false, NULL},
    {BH_SLICE("TRYAGAIN "), BH_REDIS_TRYAGAIN, false, moving},
    {BH_SLICE("CLUSTERDOWN "), BH_REDIS_CLUSTERDOWN, true, down},
    {BH_SLICE("READONLY "), BH_REDIS_MOVED, true, moving}, /* a master that was demoted */
};

static const struct kind *kind_of(struct bh_slice error) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (bh_slice_starts(error, kinds[i].starts))
            return &kinds[i];
    return NULL;
}

/* A node that does not know its own name leaves it out. */
static unsigned find(const struct bh_redis_routes *r, const struct bh_redis_routed *one,
                     const struct bh_redis_redirection *to) {
    struct bh_slice host = to->host.n ? to->host : bh_slice_cstr(one->sent_to->master->host);
    return r->map ? bh_redis_cluster_map_find(r->map, host, to->port) : BH_REDIS_NOBODY;
}

/* The slot is the command's: Redis names no other one. A master that is not known yet will be in
 * the next map; until then the old one is asked. */
static void on_moved(struct bh_redis_routes *r, struct bh_redis_routed *one,
                     const struct bh_redis_redirection *to) {
    struct bh_redis_peer *from = one->sent_to;
    unsigned slot = one->slot;
    unsigned place = find(r, one, to);
    if (place != BH_REDIS_NOBODY)
        r->owner[slot] = (uint16_t)place;
    struct bh_redis_held *held = hold(r, slot, moving);
    if (held->barriers == 0 && is_busy(from)) {
        struct barrier *b = new_barrier(r, 1);
        b->slots[b->count++] = (uint16_t)slot;
        put_barrier(b, from);
    }
    if (place == BH_REDIS_NOBODY || one->redirected > REDIRECTIONS)
        pause_held(r, held, one);
    wait_held(r, held, one, true);
    release(r, held);
}

static void pause_one(struct bh_redis_routes *r, struct bh_redis_routed *one, const char *why) {
    struct bh_redis_held *held = hold(r, one->slot, why);
    if (held->barriers == 0)
        pause_held(r, held, one);
    wait_held(r, held, one, true);
}

static void on_asked(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
}

/* While others of the slot wait, it goes behind those, and to the slot's owner again: else it could
 * overtake one of them. So it does when the link is not up, which it is a little later. */
static void on_ask(struct bh_redis_routes *r, struct bh_redis_routed *one,
                   const struct bh_redis_redirection *to) {
    static const struct bh_slice asking = BH_SLICE("ASKING");
    static const struct bh_redis_completion c = {.fire = on_asked};
    struct bh_redis_peer *peer = peer_at(r, find(r, one, to));
    if (!peer)
        bh_redis_topology_refresh(r->topology);
    if (!peer || one->redirected > REDIRECTIONS || one->until_ms <= now_of(r) ||
        bh_redis_waiting_held(&r->waiting, one->slot) || !is_ready(peer) ||
        !bh_redis_link_send(link_of(peer), 1, &asking, &c))
        pause_one(r, one, moving);
    else
        send_to(peer, one);
}

bool bh_redis_routes_again(struct bh_redis_routes *r, struct bh_redis_routed *one,
                           const struct bh_reply *reply) {
    struct bh_redis_redirection to;
    const struct kind *kind = kind_of(reply->str);
    if (!r->loop || !kind || (!kind->why && !bh_redis_redirection_parse(reply->str, &to)))
        return false;
    adopt_if_new(r);
    bh_metric_inc(&bh_redis_metrics[kind->metric]);
    if (!kind->why)
        one->slot = (uint16_t)to.slot; /* another one: its key is not where it was looked for */
    one->redirected += one->redirected < UINT8_MAX;
    if (kind->refresh)
        bh_redis_topology_refresh(r->topology);
    if (kind->why)
        pause_one(r, one, kind->why);
    else if (to.ask)
        on_ask(r, one, &to);
    else
        on_moved(r, one, &to);
    return true;
}

/* --- for others of the side --- */

struct bh_redis_cluster_master *bh_redis_routes_master(struct bh_redis_routes *r, unsigned slot) {
    adopt_if_new(r);
    return r->owner[slot] == BH_REDIS_NOBODY ? NULL : r->map->masters[r->owner[slot]];
}

struct bh_redis_link *bh_redis_routes_link(struct bh_redis_routes *r, unsigned slot) {
    adopt_if_new(r);
    struct bh_redis_peer *peer = r->loop ? peer_at(r, r->owner[slot]) : NULL;
    return peer ? link_of(peer) : NULL;
}

/* --- life --- */

void bh_redis_routes_init(struct bh_redis_routes *r, struct bh_redis_shared_map *shared,
                          struct bh_redis_topology *topology, const struct bh_redis_config *config,
                          unsigned side) {
    r->shared = shared;
    r->topology = topology;
    r->config = config;
    r->side = side;
    bh_list_init(&r->open);
    bh_redis_waiting_init(&r->waiting);
    memset(r->owner, 0xff, sizeof r->owner); /* BH_REDIS_NOBODY */
}

void bh_redis_routes_watch(struct bh_redis_routes *r, const struct bh_redis_watch *watch) {
    r->watch = *watch;
}

void bh_redis_routes_start(struct bh_redis_routes *r, struct bh_loop *loop) {
    r->loop = loop;
    bh_timer_init(&r->timer, loop, on_timer);
    bh_timer_set(&r->timer, CHECK_MS);
}

void bh_redis_routes_refresh(struct bh_redis_routes *r) {
    if (r->loop)
        adopt_if_new(r);
}

void bh_redis_routes_stop(struct bh_redis_routes *r) {
    if (!r->loop)
        return;
    bh_timer_cancel(&r->timer);
    r->loop = NULL;
    bh_redis_waiting_fail(&r->waiting, stopping);
    for (struct bh_list *node = r->open.next; node != &r->open; node = node->next)
        close_peer(BH_CONTAINER_OF(node, struct bh_redis_peer, node));
}

void bh_redis_routes_deinit(struct bh_redis_routes *r) {
    while (!bh_list_empty(&r->open))
        free_peer(BH_CONTAINER_OF(r->open.next, struct bh_redis_peer, node));
    bh_redis_cluster_map_unref(r->map);
    bh_free(r->peers);
}
