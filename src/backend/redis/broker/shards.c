/* shards.c - one broker over several independent Redis servers.
 *
 * Each node has a complete single-node broker, and this one only chooses: subscribe, unsubscribe
 * and publish go to the node of the topic (`choose`), everything else to all nodes. Callbacks pass
 * through, the state under the number of the node. The array is sorted by name, so that among equal
 * weights the least name wins and the order of the list has no effect, except for `first`.
 *
 * Threads as in the single-node broker: what both sides read does not change after the start;
 * `down` and `logged` belong to the bus. A timer there checks the nodes at the interval of their
 * probes, because no callback reports that a probe is missing or that a worker has lost its link.
 */
#include "broker/shards.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/io/timer.h"
#include "broker/broker.h"
#include "broker/route.h"

#include <stdio.h>
#include <stdlib.h>

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static struct bh_metric nodes_down = {"bellhop_redis_shards_down", NULL,
                                      "Redis nodes that are down", BH_GAUGE, 0};

struct shard {
    struct shards *owner;
    struct bh_broker *broker;
    char *name;
    uint64_t seed; /* the hash after the name */
    bool down;     /* at the last check */
    bool logged;   /* that it is down */
};

struct shards {
    struct bh_redis_routing routing;
    struct bh_broker_sink sink;
    struct bh_timer timer;
    uint64_t check_ms;
    bool started;
    struct { /* while `waiting` */
        unsigned waiting;
        bool proven;
        void (*done)(void *ud, bool proven);
        void *ud;
    } fence;
    struct bh_broker *first; /* in the list */
    unsigned count;
    struct shard shard[];
};

static struct shards *of(const struct bh_broker *b) {
    return BH_CONTAINER_OF((struct bh_broker *)b, struct shards, routing.base);
}

/* --- the choice --- */

static uint64_t fnv1a(uint64_t h, struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * FNV_PRIME;
    return h;
}

static uint64_t seed_of(struct bh_slice node) {
    return fnv1a(fnv1a(FNV_BASIS, node), bh_slice("", 1));
}

static uint64_t weigh(uint64_t seed, struct bh_slice topic) {
    uint64_t h = fnv1a(seed, topic);
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

uint64_t bh_redis_shard_weight(struct bh_slice node, struct bh_slice topic) {
    return weigh(seed_of(node), topic);
}

static unsigned choose(const struct shards *s, struct bh_slice topic) {
    unsigned best = 0;
    uint64_t greatest = 0;
    for (unsigned i = 0; i < s->count; i++) {
        uint64_t weight = weigh(s->shard[i].seed, topic);
        if (i == 0 || weight > greatest) {
            greatest = weight;
            best = i;
        }
    }
    return best;
}

static struct bh_broker *node_of(struct bh_broker *base, struct bh_slice key) {
    return of(base)->shard[choose(of(base), key)].broker;
}

static unsigned shard_of(struct bh_broker *base, struct bh_slice topic) {
    return choose(of(base), topic);
}

/* --- the state of the nodes, on the bus --- */

static void check_node(struct shard *s) {
    const char *why;
    bool down = s->broker->vt->ready(s->broker, &why) != 0;
    if (down != s->down)
        bh_metric_add(&nodes_down, down ? 1 : -1);
    if (down && !s->logged)
        bh_warn_limited("a Redis node is down, so are its topics", bh_kv_str("node", s->name),
                        bh_kv_str("reason", why));
    else if (!down && s->down)
        bh_info_limited("a Redis node is up", bh_kv_str("node", s->name));
    s->down = s->logged = down;
}

static void on_timer(struct bh_timer *timer) {
    struct shards *s = BH_CONTAINER_OF(timer, struct shards, timer);
    for (unsigned i = 0; i < s->count; i++)
        check_node(&s->shard[i]);
    bh_timer_set(&s->timer, s->check_ms);
}

static void on_message(void *ud, struct bh_message *m) {
    struct shards *s = ((struct shard *)ud)->owner;
    s->sink.on_message(s->sink.ud, m);
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    struct shards *s = ((struct shard *)ud)->owner;
    s->sink.on_subscribed(s->sink.ud, topic);
}

/* A link that comes up has not been probed yet; the timer notices when it has. */
static void on_state(void *ud, unsigned inner, bool up) {
    struct shard *shard = ud;
    struct shards *s = shard->owner;
    if (!up)
        check_node(shard);
    s->sink.on_state(s->sink.ud, (unsigned)(shard - s->shard), up);
}

/* --- the bus side --- */

static void stop_some(struct shards *s, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        s->shard[i].broker->vt->stop(s->shard[i].broker);
}

static int start(struct bh_broker *base, struct bh_loop *bus, struct bh_mailbox *mailbox,
                 const struct bh_broker_sink *sink) {
    struct shards *s = of(base);
    s->sink = *sink;
    for (unsigned i = 0; i < s->count; i++) {
        struct shard *shard = &s->shard[i];
        struct bh_broker_sink own = {on_message, on_subscribed, NULL, on_state, shard};
        int error = shard->broker->vt->start(shard->broker, bus, mailbox, &own);
        if (error) {
            stop_some(s, i);
            return error;
        }
    }
    for (unsigned i = 0; i < s->count; i++)
        s->shard[i].down = true;
    bh_metric_add(&nodes_down, s->count);
    bh_timer_init(&s->timer, bus, on_timer);
    bh_timer_set(&s->timer, s->check_ms);
    s->started = true;
    return 0;
}

static void stop(struct bh_broker *base) {
    struct shards *s = of(base);
    if (!s->started)
        return;
    s->started = false;
    stop_some(s, s->count);
    bh_timer_cancel(&s->timer);
    for (unsigned i = 0; i < s->count; i++) {
        bh_metric_add(&nodes_down, -(int64_t)s->shard[i].down);
        s->shard[i].down = s->shard[i].logged = false;
    }
}

static bool subscribe(struct bh_broker *base, struct bh_slice topic) {
    struct bh_broker *b = node_of(base, topic);
    return b->vt->subscribe(b, topic);
}

static void unsubscribe(struct bh_broker *base, struct bh_slice topic) {
    struct bh_broker *b = node_of(base, topic);
    b->vt->unsubscribe(b, topic);
}

static void on_fence(void *ud, bool proven) {
    struct shards *s = ud;
    s->fence.proven = s->fence.proven && proven;
    if (--s->fence.waiting == 0)
        s->fence.done(s->fence.ud, s->fence.proven);
}

static void fence(struct bh_broker *base, void (*done)(void *ud, bool proven), void *ud) {
    struct shards *s = of(base);
    s->fence.waiting = s->count;
    s->fence.proven = true;
    s->fence.done = done;
    s->fence.ud = ud;
    for (unsigned i = 0; i < s->count; i++)
        s->shard[i].broker->vt->fence(s->shard[i].broker, on_fence, s);
}

static int ready(const struct bh_broker *base, const char **why) {
    const struct shards *s = of(base);
    *why = NULL;
    for (unsigned i = 0; i < s->count; i++)
        if (s->shard[i].broker->vt->ready(s->shard[i].broker, why) != 0) {
            *why = "a Redis node is down, so are its topics; see the log";
            return BH_EUNAVAIL;
        }
    return 0;
}

/* --- the worker side --- */

static void worker_stop(struct bh_broker *base, unsigned worker) {
    struct shards *s = of(base);
    for (unsigned i = 0; i < s->count; i++)
        s->shard[i].broker->vt->worker_stop(s->shard[i].broker, worker);
}

static int worker_start(struct bh_broker *base, unsigned worker, struct bh_loop *loop) {
    struct shards *s = of(base);
    for (unsigned i = 0; i < s->count; i++) {
        struct bh_broker *b = s->shard[i].broker;
        int error = b->vt->worker_start(b, worker, loop);
        if (error) {
            while (i-- > 0)
                s->shard[i].broker->vt->worker_stop(s->shard[i].broker, worker);
            return error;
        }
    }
    return 0;
}

struct publishing {
    struct bh_broker *broker;
    bh_broker_published_cb done;
    void *ud;
};

/* A publish also fails when a queue is full, on a node that is up: then the reason stays. */
static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {
    struct publishing p = *(struct publishing *)ud;
    const char *reason;
    bh_free(ud);
    if (error == BH_EUNAVAIL && p.broker->vt->ready(p.broker, &reason) != 0)
        why = "the Redis node of this topic is down";
    p.done(p.ud, handle, error, receivers, why);
}

static void publish(struct bh_broker *base, unsigned worker, struct bh_message *m,
                    bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct bh_broker *b = node_of(base, bh_topic_name(m->topic));
    struct publishing *p = bh_malloc(sizeof *p);
    *p = (struct publishing){b, done, ud};
    b->vt->publish(b, worker, m, on_published, p, handle);
}

static void free_shards(struct bh_broker *base) {
    struct shards *s = of(base);
    for (unsigned i = 0; i < s->count; i++) {
        struct bh_broker *b = s->shard[i].broker;
        if (b)
            b->vt->free(b);
        bh_free(s->shard[i].name);
    }
    bh_free(s);
}

static const struct bh_broker_vt shards_vt = {
    .name = "redis",
    .shared = true,
    .start = start,
    .shard_of = shard_of,
    .subscribe = subscribe,
    .unsubscribe = unsubscribe,
    .fence = fence,
    .stop = stop,
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .publish = publish,
    .ready = ready,
    .free = free_shards,
};

char *bh_redis_shard_name(const struct bh_redis_config *c) {
    if (c->unix_path || c->cluster)
        return bh_strdup(c->unix_path ? c->unix_path : c->cluster);
    const char *where = c->sentinels ? c->master : c->host;
    size_t size = strlen(where) + sizeof "[]:65535/4294967295";
    char *name = bh_malloc(size);
    if (c->sentinels)
        snprintf(name, size, "%s/%u", where, c->database);
    else
        snprintf(name, size, strchr(where, ':') ? "[%s]:%u/%u" : "%s:%u/%u", where, c->port,
                 c->database);
    return name;
}

/* --- for the rest of the backend --- */

static void route(struct bh_broker *base, unsigned worker, struct bh_redis_routed *r,
                  struct bh_slice key) {
    bh_redis_route_to(bh_redis_node_link(node_of(base, key), worker), r);
}

static void append(struct bh_broker *base, unsigned worker, const struct bh_redis_outgoing *out) {
    bh_redis_node_append(node_of(base, bh_topic_name(out->message->topic)), worker, out);
}

static struct bh_redis_locator *locator(struct bh_broker *base, struct bh_loop *loop,
                                        struct bh_slice key) {
    return bh_redis_node_locator(node_of(base, key), loop);
}

static const struct bh_redis_config *config_of(struct bh_broker *base, struct bh_slice key) {
    return bh_redis_node_config(node_of(base, key));
}

static struct bh_redis *commands(struct bh_broker *base) {
    return bh_redis_node_commands(of(base)->first);
}

static const struct bh_redis_ways ways = {
    .route = route,
    .append = append,
    .locator = locator,
    .config = config_of,
    .commands = commands,
};

/* --- life --- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct shard *)a)->name, ((const struct shard *)b)->name);
}

bool bh_redis_shards_twins(const struct bh_redis_config *configs, size_t count, size_t *a,
                           size_t *b) {
    for (*a = 0; *a < count; ++*a) {
        char *name = bh_redis_shard_name(&configs[*a]);
        for (*b = *a + 1; *b < count; ++*b) {
            char *other = bh_redis_shard_name(&configs[*b]);
            bool same = strcmp(name, other) == 0;
            bh_free(other);
            if (same)
                break;
        }
        bh_free(name);
        if (*b < count)
            return true;
    }
    return false;
}

static struct shards *shards_new(const struct bh_redis_config *configs, unsigned count,
                                 unsigned workers) {
    struct shards *s = bh_calloc(1, sizeof *s + count * sizeof s->shard[0]);
    s->routing.base.vt = &shards_vt;
    s->routing.ways = &ways;
    s->count = count;
    s->check_ms = configs[0].probe_ms ? configs[0].probe_ms : BH_REDIS_PROBE_MS;
    for (unsigned i = 0; i < count; i++) {
        struct shard *shard = &s->shard[i];
        shard->owner = s;
        shard->name = bh_redis_shard_name(&configs[i]);
        shard->seed = seed_of(bh_slice_cstr(shard->name));
        shard->broker = bh_redis_broker_new(&configs[i], workers);
    }
    s->first = s->shard[0].broker;
    qsort(s->shard, count, sizeof s->shard[0], by_name);
    return s;
}

struct bh_broker *bh_redis_nodes_new(const struct bh_redis_config *configs, size_t count,
                                     unsigned workers) {
    size_t a, b;
    if (count == 0 || count > BH_SHARDS_MAX || bh_redis_shards_twins(configs, count, &a, &b))
        return NULL;
    bh_metrics_register(&nodes_down, 1);
    if (count == 1)
        return bh_redis_broker_new(configs, workers);
    return &shards_new(configs, (unsigned)count, workers)->routing.base;
}

/* --- the nodes --- */

unsigned bh_redis_broker_nodes(const struct bh_broker *broker) {
    return broker->vt == &shards_vt ? of(broker)->count : 1;
}

struct bh_broker *bh_redis_broker_node(struct bh_broker *broker, unsigned node) {
    return broker->vt == &shards_vt ? of(broker)->shard[node].broker : broker;
}

unsigned bh_redis_broker_node_of(struct bh_broker *broker, struct bh_slice topic) {
    return broker->vt == &shards_vt ? choose(of(broker), topic) : 0;
}

/* --- what is on the first node alone --- */

struct bh_broker *bh_redis_broker_first(struct bh_broker *b) {
    return b->vt == &shards_vt ? of(b)->first : b;
}
