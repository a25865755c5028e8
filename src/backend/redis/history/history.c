/* history.c - the history over the Redis servers of a broker.
 *
 * A topic's history is where its channel is. On the bus there is a link of the history's own to
 * each server; the workers' side goes over the links that the broker has for publishes, with the
 * calls of each worker and server beside each other, because a link may load functions for them.
 *
 * A cluster is one server here: both sides route their calls (broker/route.h). */
#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "broker/broker.h"
#include "broker/shards.h"
#include "history/append.h"
#include "history/page.h"
#include "history/read.h"
#include "history/server.h"

struct side {
    struct bh_redis_calls calls;
    struct bh_redis_appends appends;
};

struct history {
    struct bh_history base;
    struct bh_broker *broker;
    unsigned node_count, worker_count;
    struct bh_redis_history_server *servers; /* of each node */
    struct side **workers; /* of each node; allocated one by one: each is of its own thread */
};

static struct history *of(const struct bh_history *h) {
    return BH_CONTAINER_OF((struct bh_history *)h, struct history, base);
}

static unsigned node_of(const struct history *h, const struct bh_topic *topic) {
    return h->node_count > 1 ? bh_redis_broker_node_of(h->broker, bh_topic_name(topic)) : 0;
}

/* --- the bus side --- */

static int start(struct bh_history *base, struct bh_loop *bus) {
    struct history *h = of(base);
    for (unsigned i = 0; i < h->node_count; i++)
        bh_redis_history_server_start(&h->servers[i], bus);
    return 0;
}

static void stop(struct bh_history *base) {
    struct history *h = of(base);
    for (unsigned i = 0; i < h->node_count; i++)
        bh_redis_history_server_stop(&h->servers[i]);
}

static void read_range(struct bh_history *base, const struct bh_topic *topic,
                       const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                       size_t bytes, bh_range_cb done, void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct bh_redis_history_server *s = &h->servers[node_of(h, topic)];
    bh_redis_read(&s->checked.calls, &s->link, topic, rule, since, limit, bytes, done, ud, handle);
}

static void tops(struct bh_history *base, const struct bh_topic *topics, size_t count,
                 bh_tops_cb done, void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct bh_redis_tops *t = bh_redis_tops_new(count, done, ud, handle);
    for (size_t i = 0; i < count; i++) {
        struct bh_redis_history_server *s = &h->servers[node_of(h, &topics[i])];
        bh_redis_tops_ask(t, i, &s->checked.calls, &s->link, &topics[i]);
    }
    bh_redis_tops_asked(t);
}

static int ready(const struct bh_history *base, const char **why) {
    const struct history *h = of(base);
    *why = NULL;
    for (unsigned i = 0; i < h->node_count && !*why; i++) {
        *why = atomic_load(&h->servers[i].checked.functions.refused);
        if (!*why)
            *why = atomic_load(&h->servers[i].link.down_reason);
    }
    return *why ? BH_EUNAVAIL : 0;
}

/* --- the worker side --- */

static int worker_start(struct bh_history *base, unsigned worker, struct bh_loop *loop,
                        struct bh_mailbox *mailbox) {
    return worker < of(base)->worker_count ? 0 : BH_EINVAL;
}

static void worker_stop(struct bh_history *base, unsigned worker) {
    struct history *h = of(base);
    for (unsigned i = 0; i < h->node_count; i++)
        bh_redis_calls_stop(&h->workers[worker][i].calls);
}

static void append(struct bh_history *base, unsigned worker, struct bh_message *m,
                   const struct bh_history_rule *rule, struct bh_slice collapse,
                   bh_appended_cb done, void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct side *side = &h->workers[worker][node_of(h, m->topic)];
    bh_redis_append(&side->appends, m, rule, collapse, done, ud, handle);
}

static void page(struct bh_history *base, unsigned worker, const struct bh_page_query *query,
                 bh_page_cb done, void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct side *side = &h->workers[worker][node_of(h, &query->topic)];
    bh_redis_page(&side->calls, bh_redis_appends_link(&side->appends), query, done, ud, handle);
}

static void remove_messages(struct bh_history *base, unsigned worker, const struct bh_topic *topic,
                            struct bh_position position, bh_removed_cb done, void *ud,
                            bh_handle handle) {
    struct history *h = of(base);
    struct side *side = &h->workers[worker][node_of(h, topic)];
    bh_redis_remove(&side->calls, bh_redis_appends_link(&side->appends), topic, position, done, ud,
                    handle);
}

/* --- life --- */

static void free_sides(const struct history *h, struct side *sides) {
    for (unsigned i = 0; i < h->node_count; i++)
        bh_redis_appends_deinit(&sides[i].appends);
    bh_free(sides);
}

static void free_history(struct bh_history *base) {
    struct history *h = of(base);
    for (unsigned i = 0; i < h->node_count; i++)
        bh_redis_history_server_deinit(&h->servers[i]);
    for (unsigned i = 0; i < h->worker_count; i++)
        free_sides(h, h->workers[i]);
    bh_free(h->workers);
    bh_free(h->servers);
    bh_free(h);
}

static const struct bh_history_vt vt = {
    .start = start,
    .stop = stop,
    .worker_start = worker_start,
    .worker_stop = worker_stop,
    .read = read_range,
    .tops = tops,
    .append = append,
    .page = page,
    .remove = remove_messages,
    .ready = ready,
    .free = free_history,
};

static struct side *new_sides(struct history *h, unsigned worker,
                              const struct bh_history_config *config) {
    struct side *sides = bh_calloc(h->node_count, sizeof *sides);
    for (unsigned i = 0; i < h->node_count; i++) {
        bh_redis_calls_init(&sides[i].calls, &h->servers[i].checked.functions);
        if (h->servers[i].checked.functions.cluster)
            bh_redis_calls_set_cluster(&sides[i].calls, h->broker, worker);
        bh_redis_appends_init(&sides[i].appends, &sides[i].calls, h->servers[i].node, worker,
                              config);
    }
    return sides;
}

struct bh_history *bh_redis_history_new(struct bh_broker *broker,
                                        const struct bh_history_config *config, unsigned workers) {
    struct history *h = bh_calloc(1, sizeof *h);
    h->base.vt = &vt;
    h->broker = broker;
    h->node_count = bh_redis_broker_nodes(broker);
    h->worker_count = workers;
    h->servers = bh_calloc(h->node_count, sizeof *h->servers);
    for (unsigned i = 0; i < h->node_count; i++)
        bh_redis_history_server_init(&h->servers[i], bh_redis_broker_node(broker, i), config);
    h->workers = bh_calloc(workers, sizeof(struct side *));
    for (unsigned i = 0; i < workers; i++)
        h->workers[i] = new_sides(h, i, config);
    return &h->base;
}
