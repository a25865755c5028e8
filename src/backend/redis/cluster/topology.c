/* topology.c - a conversation with the nodes of a cluster about the map of slots.
 *
 * As with Sentinels (link/sentinel.c) the conversation runs over a link whose configuration names
 * the current node; the host in it is replaced by that of the next node when an attempt fails or
 * the link is lost, before the link tries again. A node that says that the cluster is down is left
 * too, but by a timer: while there is no majority they all say so, and a back-off would grow.
 *
 * Threads that want a refresh ring a bell: a mail that is under way at most once, and that outlives
 * the topology. */
#include "cluster/topology.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/addr.h"
#include "link/errors.h"
#include "link/metrics.h"

#include <stdio.h>

/* --- the nodes to ask --- */

static unsigned seeds(const struct bh_redis_topology *t) {
    unsigned count = 1;
    for (const char *p = t->config->cluster; *p; p++)
        count += *p == ',';
    return count;
}

static void set_node(struct bh_redis_topology *t, struct bh_slice host, uint16_t port) {
    snprintf(t->host, sizeof t->host, "%.*s", BH_SLICE_ARG(host));
    t->node.port = port;
}

static void set_seed(struct bh_redis_topology *t, unsigned number) {
    struct bh_slice rest = bh_slice_cstr(t->config->cluster), one, host;
    uint16_t port;
    for (unsigned i = 0; i <= number; i++)
        bh_slice_split(&rest, ',', &one);
    if (bh_addr_split(one, &host, &port) == 0)
        set_node(t, host, port);
}

static void choose_next(struct bh_redis_topology *t) {
    unsigned masters = t->map ? t->map->count : 0;
    t->current = (t->current + 1) % (masters + seeds(t));
    if (t->current >= masters)
        set_seed(t, t->current - masters);
    else
        set_node(t, bh_slice_cstr(t->map->masters[t->current]->host),
                 t->map->masters[t->current]->port);
}

/* --- the map --- */

static bool is_same(const struct bh_redis_cluster_map *a, const struct bh_redis_cluster_map *b) {
    if (!a || a->count != b->count)
        return false;
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++) {
        unsigned x = a->owner[slot], y = b->owner[slot];
        if ((x == BH_REDIS_NOBODY) != (y == BH_REDIS_NOBODY) ||
            (x != BH_REDIS_NOBODY && a->masters[x] != b->masters[y]))
            return false;
    }
    return true;
}

/* Masters that both maps have are the same objects. */
static void adopt(struct bh_redis_topology *t, struct bh_redis_cluster_map *map) {
    if (is_same(t->map, map)) {
        bh_redis_cluster_map_unref(map);
        return;
    }
    bh_redis_cluster_map_unref(t->map);
    t->map = map;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_CLUSTER_MAPS]);
    bh_info_limited("map of the Redis Cluster", bh_kv_int("masters", map->count),
                    bh_kv_str("slots", bh_redis_cluster_map_incomplete(map) ? "incomplete" : "all"),
                    bh_kv_str("host", t->host), bh_kv_int("port", t->node.port));
    t->on_map(t, bh_redis_cluster_map_ref(map));
}

/* --- answers --- */

static struct bh_redis_topology *of(struct bh_redis_link *link) {
    return BH_CONTAINER_OF(link, struct bh_redis_topology, link);
}

static void on_rejected(struct bh_redis_topology *t, struct bh_slice answer) {
    const struct bh_redis_error *e = bh_redis_classify_error(answer);
    if (e->reconnect)
        return; /* the link does */
    bool alone = bh_slice_starts(answer, BH_SLICE("ERR This instance has cluster support"));
    bool forbidden = bh_slice_starts(answer, BH_SLICE("NOPERM"));
    const char *why = alone       ? "this Redis is not a cluster: use redis:// in redis.url"
                      : forbidden ? "the Redis user lacks a permission: +cluster|info and "
                                    "+cluster|slots"
                                  : e->why;
    BH_LOG_LIMITED(e->transient ? BH_LOG_WARN : BH_LOG_ERROR, "no map of the Redis Cluster",
                   bh_kv_str("host", t->host), bh_kv_int("port", t->node.port),
                   bh_kv_slice("answer", answer), bh_kv_str("reason", why));
    bh_redis_link_drop(&t->link, BH_EDENIED, why);
}

static bool says_ok(struct bh_slice info) {
    struct bh_slice line;
    while (bh_slice_split(&info, '\n', &line))
        if (bh_slice_starts(line, BH_SLICE("cluster_state:ok")))
            return true;
    return false;
}

static void on_info(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_topology *t = c->ud;
    if (error)
        return;
    if (reply->type == BH_REPLY_ERROR)
        on_rejected(t, reply->str);
    else
        t->sound = says_ok(reply->str);
}

static void take(struct bh_redis_topology *t, struct bh_redis_cluster_map *map) {
    bool soon = !t->sound || bh_loop_now(t->link.loop) < t->alert_ms;
    bh_timer_set(&t->timer, soon ? BH_REDIS_REFRESH_MIN_MS : BH_REDIS_REFRESH_MS);
    atomic_store(&t->trouble, t->sound ? NULL : "the Redis Cluster is down (cluster_state:fail)");
    if (!t->sound)
        bh_warn_limited("a node says that the Redis Cluster is down", bh_kv_str("host", t->host),
                        bh_kv_int("port", t->node.port));
    if (t->sound || !t->map || !t->map->count)
        adopt(t, map);
    else
        bh_redis_cluster_map_unref(map);
}

static void on_slots(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_topology *t = c->ud;
    const char *why;
    t->asked = false;
    if (error)
        return;
    if (reply->type == BH_REPLY_ERROR) {
        on_rejected(t, reply->str);
        return;
    }
    struct bh_redis_cluster_map *map =
        bh_redis_cluster_map_parse(reply, t->host, t->map, t->make, t->ud, &why);
    if (map)
        take(t, map);
    else
        bh_redis_link_drop(&t->link, BH_EPROTO, why);
}

static void on_hello(struct bh_redis_hello *h) {
    struct bh_redis_topology *t = BH_CONTAINER_OF(h, struct bh_redis_topology, hello);
    if (h->sharded)
        return;
    BH_LOG_LIMITED(BH_LOG_ERROR, "a Redis Cluster needs Redis 7 or later, or Valkey",
                   bh_kv_str("host", t->host), bh_kv_int("port", t->node.port),
                   bh_kv_str("version", h->version));
    bh_redis_link_drop(&t->link, BH_EDENIED,
                       "this Redis has no SSUBSCRIBE: a Redis Cluster needs Redis 7 or later");
}

/* --- questions --- */

static void ask(struct bh_redis_topology *t) {
    const struct bh_slice info[] = {BH_SLICE("CLUSTER"), BH_SLICE("INFO")};
    const struct bh_slice slots[] = {BH_SLICE("CLUSTER"), BH_SLICE("SLOTS")};
    t->asked = true;
    t->asked_ms = bh_loop_now(t->link.loop);
    bh_redis_link_send(&t->link, 2, info, &(struct bh_redis_completion){.fire = on_info, .ud = t});
    bh_redis_link_send(&t->link, 2, slots,
                       &(struct bh_redis_completion){.fire = on_slots, .ud = t});
}

static void alert(struct bh_redis_topology *t) {
    t->alert_ms = bh_loop_now(t->link.loop) + BH_REDIS_ALERT_MS;
}

/* A link that is not up asks when it is. */
static void refresh(struct bh_redis_topology *t) {
    uint64_t now = bh_loop_now(t->link.loop), from = t->asked_ms + BH_REDIS_REFRESH_MIN_MS;
    alert(t);
    if (bh_redis_link_is_ready(&t->link) && !t->asked && t->timer.due_ms > from)
        bh_timer_set(&t->timer, from > now ? from - now : 0);
}

static void on_up(struct bh_redis_link *link) {
    struct bh_redis_topology *t = of(link);
    t->sound = false;
    bh_redis_hello_ask(&t->hello, link, on_hello);
    ask(t);
}

static void on_failed(struct bh_redis_link *link) {
    struct bh_redis_topology *t = of(link);
    bh_timer_cancel(&t->timer);
    alert(t);
    if (!t->map)
        atomic_store(&t->trouble, atomic_load(&link->down_reason));
    choose_next(t);
}

static const struct bh_redis_link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_failed, .on_failed = on_failed, .quiet = true};

static void open_link(struct bh_redis_topology *t, struct bh_loop *bus) {
    bh_redis_link_start(&t->link, bus, &t->node, "cluster", &callbacks, NULL);
}

static void on_timer(struct bh_timer *timer) {
    struct bh_redis_topology *t = BH_CONTAINER_OF(timer, struct bh_redis_topology, timer);
    if (t->sound) {
        ask(t);
        return;
    }
    bh_redis_link_stop(&t->link);
    choose_next(t);
    open_link(t, timer->loop);
}

/* --- the bell --- */

struct bh_redis_topology_bell {
    struct bh_mail mail;
    atomic_uint refs;                   /* of the topology, and of the mail under way */
    atomic_bool ringing;                /* the mail is under way */
    _Atomic(struct bh_mailbox *) bus;   /* NULL: not started */
    struct bh_redis_topology *topology; /* the bus'; NULL: it has stopped */
};

static void release(struct bh_redis_topology_bell *bell) {
    if (atomic_fetch_sub(&bell->refs, 1) == 1)
        bh_free(bell);
}

static void on_ring(struct bh_mail *mail) {
    struct bh_redis_topology_bell *bell =
        BH_CONTAINER_OF(mail, struct bh_redis_topology_bell, mail);
    atomic_store(&bell->ringing, false);
    if (bell->topology)
        refresh(bell->topology);
    release(bell);
}

void bh_redis_topology_refresh(struct bh_redis_topology *t) {
    struct bh_redis_topology_bell *bell = t->bell;
    struct bh_mailbox *bus = atomic_load(&bell->bus);
    if (!bus || atomic_exchange(&bell->ringing, true))
        return;
    atomic_fetch_add(&bell->refs, 1);
    if (bh_mailbox_post(bus, &bell->mail) != 0) {
        atomic_store(&bell->ringing, false);
        release(bell);
    }
}

/* --- life --- */

static uint64_t at_most(uint64_t ms, uint64_t limit) {
    return ms < limit ? ms : limit;
}

void bh_redis_topology_init(struct bh_redis_topology *t, const struct bh_redis_config *config) {
    *t = (struct bh_redis_topology){.config = config, .node = *config};
    t->node.host = t->host;
    t->node.connect_timeout_ms = at_most(config->connect_timeout_ms, BH_REDIS_TOPOLOGY_TIMEOUT_MS);
    t->node.command_timeout_ms = at_most(config->command_timeout_ms, BH_REDIS_TOPOLOGY_TIMEOUT_MS);
    t->bell = bh_calloc(1, sizeof *t->bell);
    t->bell->mail.fn = on_ring;
    atomic_init(&t->bell->refs, 1);
    atomic_init(&t->trouble, "the map of the Redis Cluster is not known yet");
}

void bh_redis_topology_start(struct bh_redis_topology *t, struct bh_loop *bus,
                             struct bh_mailbox *bus_mailbox) {
    bh_timer_init(&t->timer, bus, on_timer);
    t->current = bh_random_below(seeds(t)); /* spreads instances over them */
    choose_next(t);
    open_link(t, bus);
    t->bell->topology = t;
    atomic_store(&t->bell->bus, bus_mailbox);
}

void bh_redis_topology_stop(struct bh_redis_topology *t) {
    if (t->link.state == BH_REDIS_IDLE)
        return;
    t->bell->topology = NULL;
    bh_timer_cancel(&t->timer);
    bh_redis_link_stop(&t->link);
}

void bh_redis_topology_deinit(struct bh_redis_topology *t) {
    bh_redis_cluster_map_unref(t->map);
    t->map = NULL;
    release(t->bell);
}

const char *bh_redis_topology_trouble(const struct bh_redis_topology *t) {
    return atomic_load(&t->trouble);
}
