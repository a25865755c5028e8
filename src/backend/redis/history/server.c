/* server.c - the links of the history on the bus.
 *
 * One Redis has a link for the history alone. In a cluster reads go over the bus' links to the
 * masters (route.h), and each of those is checked when it comes up. */
#include "history/server.h"

#include "bellhop/base/mem.h"
#include "broker/broker.h"
#include "broker/route.h"

/* --- one Redis --- */

static struct bh_redis_checks *checks_of(struct bh_redis_link *link) {
    return &BH_CONTAINER_OF(link, struct bh_redis_history_server, link)->checks;
}

static void on_up(struct bh_redis_link *link) {
    bh_redis_checks_begin(checks_of(link));
}

/* Reads that were open have been completed by the link. */
static void on_down(struct bh_redis_link *link) {}

static void on_interval(struct bh_redis_link *link) {
    bh_redis_checks_again(checks_of(link));
}

static const struct bh_redis_link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_down, .on_check = on_interval};

/* --- the masters of a cluster --- */

struct master {
    struct bh_redis_checks checks;
    struct bh_list node; /* in the server's */
};

static struct master *master_of(struct bh_redis_history_server *s,
                                const struct bh_redis_link *link) {
    for (struct bh_list *node = s->masters.next; node != &s->masters; node = node->next) {
        struct master *m = BH_CONTAINER_OF(node, struct master, node);
        if (m->checks.link == link)
            return m;
    }
    return NULL;
}

static void on_master_up(void *ud, struct bh_redis_link *link) {
    struct bh_redis_history_server *s = ud;
    struct master *m = bh_malloc(sizeof *m);
    bh_redis_checks_init(&m->checks, &s->checked, link);
    bh_list_init(&m->node);
    bh_list_append(&s->masters, &m->node);
    bh_redis_checks_begin(&m->checks);
}

static void on_master_interval(void *ud, struct bh_redis_link *link) {
    struct master *m = master_of(ud, link);
    if (m)
        bh_redis_checks_again(&m->checks);
}

static void on_master_down(void *ud, struct bh_redis_link *link) {
    struct master *m = master_of(ud, link);
    if (!m)
        return;
    bh_redis_checks_end(&m->checks);
    bh_list_unlink(&m->node);
    bh_free(m);
}

/* --- life --- */

void bh_redis_history_server_init(struct bh_redis_history_server *s, struct bh_broker *node,
                                  const struct bh_history_config *config) {
    bool cluster = bh_redis_broker_is_cluster(node);
    s->node = node;
    bh_redis_functions_init(&s->checked.functions, bh_redis_broker_config(node, BH_SLICE("")),
                            config, cluster);
    bh_redis_calls_init(&s->checked.calls, &s->checked.functions);
    bh_topic_make(BH_TOPIC_ALL, BH_SLICE(""), &s->checked.all, NULL);
    bh_redis_checks_init(&s->checks, &s->checked, &s->link);
    bh_list_init(&s->masters);
    if (!cluster)
        return;
    bh_redis_calls_set_cluster(&s->checked.calls, node, BH_REDIS_BUS);
    bh_redis_broker_watch(
        node, &(struct bh_redis_watch){on_master_up, on_master_interval, on_master_down, s});
}

void bh_redis_history_server_deinit(struct bh_redis_history_server *s) {
    bh_redis_functions_deinit(&s->checked.functions);
}

void bh_redis_history_server_start(struct bh_redis_history_server *s, struct bh_loop *bus) {
    if (!s->checked.functions.cluster)
        bh_redis_link_start(&s->link, bus, bh_redis_node_config(s->node), "history", &callbacks,
                            bh_redis_node_locator(s->node, bus));
}

void bh_redis_history_server_stop(struct bh_redis_history_server *s) {
    s->checked.calls.stopped = true;
    bh_redis_link_stop(&s->link);
}
