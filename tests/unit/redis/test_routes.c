/* test_routes.c - commands find the masters of a cluster, which are fakes, on the fake clock. */
#include "fake_redis.h"
#include "unit_test.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "cluster/routes.h"
#include "link/metrics.h"

#define NODES 3
#define SLOT  8000 /* of the second one */

enum { A, B, C };

struct command {
    struct bh_redis_routed routed;
    const char *name;
    unsigned sent, done;
    int error;
    bool rejected; /* by an error reply */
    const char *why;
};

static struct {
    struct bh_loop *loop;
    struct fake_redis nodes[NODES];
    struct bh_redis_cluster_master *masters[NODES];
    struct bh_redis_config config;
    struct bh_redis_shared_map shared;
    struct bh_redis_topology topology;
    struct bh_redis_routes routes;
    unsigned refreshes;
    unsigned ups, checks, downs; /* of the watch */
    char text[256];
} fx;

/* The linker puts it in place of the topology's. */
__attribute__((used)) void __wrap_bh_redis_topology_refresh(struct bh_redis_topology *t);
void __wrap_bh_redis_topology_refresh(struct bh_redis_topology *t) {
    assert_ptr_equal(t, &fx.topology);
    fx.refreshes++;
}

/* --- the commands --- */

static struct command *of(struct bh_redis_routed *r) {
    return BH_CONTAINER_OF(r, struct command, routed);
}

static void on_reply(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct command *one = c->ud;
    if (!error && reply->type == BH_REPLY_ERROR &&
        bh_redis_routes_again(&fx.routes, &one->routed, reply))
        return;
    one->done++;
    one->error = error;
    one->rejected = !error && reply->type == BH_REPLY_ERROR;
}

static const char *send_one(struct bh_redis_routed *r, struct bh_redis_link *link) {
    struct bh_slice name = bh_slice_cstr(of(r)->name);
    struct bh_redis_completion c = {.fire = on_reply, .ud = of(r)};
    if (!bh_redis_link_send(link, 1, &name, &c))
        return "full";
    of(r)->sent++;
    return NULL;
}

static void fail_one(struct bh_redis_routed *r, int error, const char *why) {
    of(r)->done++;
    of(r)->error = error;
    of(r)->why = why;
}

static const struct bh_redis_routed_vt vt = {.send = send_one, .fail = fail_one};

static void route_to(struct command *c, const char *name, unsigned slot) {
    *c = (struct command){.routed = {.vt = &vt, .bytes = 10}, .name = name};
    bh_redis_routes_send(&fx.routes, &c->routed, slot);
}

static void route(struct command *c, const char *name) {
    route_to(c, name, SLOT);
}

/* --- the servers --- */

static bool pump(void) {
    for (unsigned i = 0; i < NODES; i++)
        fake_pump(&fx.nodes[i]);
    bh_loop_tick(fx.loop, false);
    return true;
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        uint64_t until = test_now_ms() + TEST_DEADLINE_MS;                                         \
        while (pump() && !(condition))                                                             \
            if (test_now_ms() > until)                                                             \
                fail_msg("not within %d ms: %s", TEST_DEADLINE_MS, #condition);                    \
    } while (0)

/* The clock passes by as much, in steps of a timer. */
static void pass(uint64_t ms) {
    for (uint64_t i = 0; i < ms; i += 20) {
        bh_clock_fake_advance(20);
        pump();
    }
}

/* The words that the node has heard, behind each other. */
static const char *heard(unsigned node) {
    const struct bh_bytes *in = &fx.nodes[node].in;
    struct bh_slice rest = bh_slice(in->p, in->len), line;
    size_t n = 0;
    fx.text[0] = '\0';
    while (in->len && rest.n && bh_slice_split(&rest, '\n', &line))
        if (line.n > 1 && line.p[0] != '*' && line.p[0] != '$')
            n += (size_t)snprintf(fx.text + n, sizeof fx.text - n, "%s%.*s", n ? " " : "",
                                  (int)line.n - 1, line.p);
    return fx.text;
}

#define HEARS(node, words) UNTIL(strcmp(heard(node), words) == 0)

static void forget(unsigned node) {
    bh_bytes_clear(&fx.nodes[node].in);
}

static void say(unsigned node, const char *text) {
    fake_say(&fx.nodes[node], bh_slice_cstr(text));
}

/* MOVED or ASK. */
static void redirect(unsigned node, const char *verb, unsigned to) {
    char text[64];
    snprintf(text, sizeof text, "-%s %d 127.0.0.1:%u\r\n", verb, SLOT, fx.nodes[to].port);
    say(node, text);
}

/* Each node has a third, but SLOT is that one's. */
static struct bh_redis_cluster_map *new_map(unsigned nodes, unsigned owner) {
    struct bh_redis_cluster_map *map = bh_calloc(1, sizeof *map);
    atomic_init(&map->refs, 1);
    map->count = nodes;
    map->masters = bh_calloc(NODES, sizeof(struct bh_redis_cluster_master *));
    for (unsigned i = 0; i < nodes; i++)
        map->masters[i] = bh_redis_cluster_master_ref(fx.masters[i]);
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++)
        map->owner[slot] = (uint16_t)(slot * nodes / BH_REDIS_SLOTS);
    map->owner[SLOT] = (uint16_t)owner;
    return map;
}

static void publish_map(unsigned nodes, unsigned owner) {
    pthread_mutex_lock(&fx.shared.lock);
    bh_redis_cluster_map_unref(fx.shared.map);
    fx.shared.map = new_map(nodes, owner);
    atomic_fetch_add(&fx.shared.version, 1);
    pthread_mutex_unlock(&fx.shared.lock);
}

/* The link to that node is open. */
static void open_link(unsigned node) {
    static struct command c;
    route_to(&c, "open", (BH_REDIS_SLOTS / NODES) * node + 1);
    HEARS(node, "open");
    say(node, "+OK\r\n");
    UNTIL(c.done);
    assert_int_equal(c.error, 0);
    forget(node);
}

/* --- life --- */

static void on_up(void *ud, struct bh_redis_link *link) {
    assert_true(bh_redis_link_is_ready(link));
    assert_int_equal(link->pending.count, 0);
    fx.ups++;
}

static void on_check(void *ud, struct bh_redis_link *link) {
    fx.checks++;
}

static void on_down(void *ud, struct bh_redis_link *link) {
    fx.downs++;
}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    bh_redis_metrics_register();
    bh_clock_fake(1000000, 0);
    fx.loop = bh_loop_new();
    fx.config = (struct bh_redis_config){.channel_prefix = "notification:",
                                         .instance = "test",
                                         .connect_timeout_ms = 5000,
                                         .command_timeout_ms = 60000, /* no link sends a PING */
                                         .probe_ms = 60000,
                                         .backoff_min_ms = 4,
                                         .backoff_max_ms = 32};
    for (unsigned i = 0; i < NODES; i++) {
        fake_start(&fx.nodes[i]);
        fx.nodes[i].handshake = FAKE_GOOD;
        fx.masters[i] = bh_redis_cluster_master_new(&fx.config, 1, "127.0.0.1", fx.nodes[i].port);
    }
    fx.config.command_timeout_ms = 5000;
    pthread_mutex_init(&fx.shared.lock, NULL);
    bh_redis_routes_init(&fx.routes, &fx.shared, &fx.topology, &fx.config, 0);
    bh_redis_routes_start(&fx.routes, fx.loop);
    publish_map(NODES, B);
    return 0;
}

static int teardown(void **state) {
    bh_redis_routes_stop(&fx.routes);
    pump();
    bh_redis_routes_deinit(&fx.routes);
    bh_redis_cluster_map_unref(fx.shared.map);
    for (unsigned i = 0; i < NODES; i++) {
        fake_stop(&fx.nodes[i]);
        bh_redis_cluster_master_unref(fx.masters[i]);
    }
    bh_loop_free(fx.loop);
    pthread_mutex_destroy(&fx.shared.lock);
    bh_clock_real();
    return 0;
}

/* --- links --- */

static void test_a_link_is_opened_for_the_first_command(void **state) {
    static struct command c[2];
    pass(100);
    for (unsigned i = 0; i < NODES; i++)
        assert_int_equal(fx.nodes[i].accepted, 0);
    route(&c[0], "c0");
    route(&c[1], "c1");
    assert_int_equal(c[0].sent, 0);
    HEARS(B, "c0 c1");
    say(B, "+OK\r\n-ERR no\r\n");
    UNTIL(c[1].done);
    assert_int_equal(c[0].error, 0);
    assert_false(c[0].rejected);
    assert_true(c[1].rejected);
    assert_int_equal(fx.nodes[A].accepted + fx.nodes[C].accepted, 0);
    assert_int_equal(fx.nodes[B].accepted, 1);
}

static void test_waits_for_the_first_map(void **state) {
    static struct command c;
    struct bh_redis_cluster_map *map = fx.shared.map;
    fx.shared.map = NULL;
    atomic_store(&fx.shared.version, 0);
    route(&c, "c");
    assert_int_equal(c.done, 0);
    assert_null(bh_redis_routes_master(&fx.routes, SLOT));
    assert_null(bh_redis_routes_link(&fx.routes, SLOT));
    assert_true(fx.refreshes > 0);
    fx.shared.map = map;
    atomic_store(&fx.shared.version, 1);
    pass(20);
    HEARS(B, "c");
    assert_ptr_equal(bh_redis_routes_master(&fx.routes, SLOT), fx.masters[B]);
}

static void test_a_slot_without_a_master_fails_in_time(void **state) {
    static struct command c;
    pthread_mutex_lock(&fx.shared.lock);
    fx.shared.map->owner[SLOT] = BH_REDIS_NOBODY;
    pthread_mutex_unlock(&fx.shared.lock);
    route(&c, "c");
    pass(4900);
    assert_int_equal(c.done, 0);
    pass(200);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.error, BH_EUNAVAIL);
    assert_string_equal(c.why, "no master in the Redis cluster has the slot of this key");
    assert_int_equal(fx.routes.waiting.count, 0);
    assert_null(fx.routes.waiting.slots);
}

static void test_a_master_that_is_down_fails_in_time(void **state) {
    static struct command c;
    fake_stop(&fx.nodes[B]);
    fx.nodes[B].listener = -1;
    route(&c, "c");
    pass(4900);
    assert_int_equal(c.done, 0);
    pass(200);
    assert_int_equal(c.error, BH_EUNAVAIL);
    assert_string_equal(c.why, "connection to Redis refused");
}

static void test_a_lost_link(void **state) {
    static struct command c[2];
    open_link(B);
    route(&c[0], "c0");
    HEARS(B, "c0");
    fake_hang_up(&fx.nodes[B]);
    UNTIL(c[0].done);
    assert_int_equal(c[0].error, BH_EIO);
    route(&c[1], "c1");
    assert_int_equal(c[1].done, 0);
    pass(100);
    HEARS(B, "c1");
}

static void test_the_link_to_a_master_that_is_gone_is_closed(void **state) {
    static struct command c;
    open_link(C);
    route_to(&c, "c", BH_REDIS_SLOTS - 1);
    HEARS(C, "c");
    publish_map(2, B);
    pass(3000);
    assert_int_equal(c.done, 0);
    HEARS(C, "c PING");
    say(C, "+OK\r\n+PONG\r\n");
    UNTIL(c.done);
    assert_int_equal(c.error, 0);
    UNTIL((bh_clock_fake_advance(4), fx.nodes[C].fd < 0));
    assert_int_equal(atomic_load(&fx.masters[C]->refs), 2);
    pass(BH_REDIS_LINK_KEPT_MS + 2000);
    assert_int_equal(atomic_load(&fx.masters[C]->refs), 1);
}

/* --- MOVED --- */

static void test_moved(void **state) {
    static struct command c[2];
    int64_t before = bh_metric_read(&bh_redis_metrics[BH_REDIS_MOVED]);
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    HEARS(B, "c0");
    redirect(B, "MOVED", C);
    HEARS(C, "c0");
    route(&c[1], "c1");
    HEARS(C, "c0 c1");
    assert_string_equal(heard(B), "c0"); /* no barrier: nothing was sent after it */
    assert_int_equal(fx.refreshes, 1);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_MOVED]), before + 1);
    say(C, "+OK\r\n+OK\r\n");
    UNTIL(c[1].done);
    assert_int_equal(c[0].done, 1);
    assert_int_equal(c[0].error, 0);
}

static void test_moved_keeps_the_order(void **state) {
    static struct command c[5], other;
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    route(&c[1], "c1");
    route(&c[2], "c2");
    HEARS(B, "c0 c1 c2");
    redirect(B, "MOVED", C);
    HEARS(B, "c0 c1 c2 PING");
    route(&c[3], "c3");
    route_to(&other, "other", SLOT + 1);
    HEARS(B, "c0 c1 c2 PING other");
    redirect(B, "MOVED", C);
    pump();
    route(&c[4], "c4");
    redirect(B, "MOVED", C);
    pass(100);
    assert_string_equal(heard(C), "");
    say(B, "+PONG\r\n+OK\r\n");
    HEARS(C, "c0 c1 c2 c3 c4");
    UNTIL(other.done);
    say(C, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
    UNTIL(c[4].done);
    assert_string_equal(heard(B), "c0 c1 c2 PING other");
}

static void test_a_silent_master_holds_up_a_moved_slot_for_a_while_only(void **state) {
    static struct command c[3];
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    route(&c[1], "c1");
    HEARS(B, "c0 c1");
    redirect(B, "MOVED", C);
    HEARS(B, "c0 c1 PING");
    route(&c[2], "c2");
    pass(BH_REDIS_BARRIER_MS - 40);
    assert_string_equal(heard(C), "");
    pass(100);
    HEARS(C, "c0 c2");
    redirect(B, "MOVED", C); /* late */
    HEARS(B, "c0 c1 PING PING");
    say(B, "+PONG\r\n+PONG\r\n");
    HEARS(C, "c0 c2 c1");
}

static void test_moved_to_a_master_that_is_not_known(void **state) {
    static struct command c;
    publish_map(2, B);
    route(&c, "c");
    HEARS(B, "c");
    redirect(B, "MOVED", C);
    UNTIL(fx.refreshes == 1);
    pass(100); /* meanwhile the old one is asked again */
    HEARS(B, "c c");
    redirect(B, "MOVED", C);
    pump();
    publish_map(3, C);
    pass(200);
    HEARS(C, "c");
    assert_int_equal(c.done, 0);
}

static void test_moved_back_and_forth_pauses(void **state) {
    static struct command c;
    open_link(B);
    open_link(C);
    route(&c, "c");
    for (unsigned i = 0; i < 5; i++) {
        unsigned from = i % 2 ? C : B, to = i % 2 ? B : C;
        HEARS(from, "c");
        forget(from);
        redirect(from, "MOVED", to);
    }
    UNTIL(c.routed.redirected == 5);
    pump();
    assert_int_equal(c.sent, 5);
    pass(500);
    HEARS(C, "c");
    assert_int_equal(c.sent, 6);
}

/* A node that does not know its own name. */
static void test_moved_without_a_host(void **state) {
    static struct command c;
    char text[64];
    open_link(B);
    open_link(C);
    route(&c, "c");
    HEARS(B, "c");
    snprintf(text, sizeof text, "-MOVED %d :%u\r\n", SLOT, fx.nodes[C].port);
    say(B, text);
    HEARS(C, "c");
}

/* A command of a module, whose key is not where most have it. */
static void test_moved_to_another_slot(void **state) {
    static struct command c[2];
    open_link(C);
    route_to(&c[0], "c0", SLOT + 1);
    HEARS(B, "c0");
    redirect(B, "MOVED", C);
    HEARS(C, "c0");
    route_to(&c[1], "c1", SLOT + 1);
    HEARS(B, "c0 c1");
    assert_ptr_equal(bh_redis_routes_master(&fx.routes, SLOT), fx.masters[C]);
}

static void test_malformed_redirections_are_answers(void **state) {
    static struct command c;
    static const char *const answers[] = {"-MOVED \r\n", "-MOVED 99999 a:1\r\n", "-ASK 1 a\r\n",
                                          "-MOVEDX 1 a:1\r\n"};
    open_link(B);
    for (size_t i = 0; i < COUNT(answers); i++) {
        forget(B);
        route(&c, "c");
        HEARS(B, "c");
        say(B, answers[i]);
        UNTIL(c.done);
        assert_true(c.rejected);
    }
}

static void test_a_new_map_keeps_the_order(void **state) {
    static struct command c[3];
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    route(&c[1], "c1");
    HEARS(B, "c0 c1");
    publish_map(NODES, C);
    route(&c[2], "c2");
    HEARS(B, "c0 c1 PING");
    redirect(B, "MOVED", C);
    say(B, "+OK\r\n");
    UNTIL(c[1].done);
    assert_string_equal(heard(C), "");
    say(B, "+PONG\r\n");
    HEARS(C, "c0 c2");
    assert_string_equal(heard(B), "c0 c1 PING");
}

/* --- ASK --- */

static void test_ask(void **state) {
    static struct command c[2];
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    HEARS(B, "c0");
    redirect(B, "ASK", C);
    HEARS(C, "ASKING c0");
    say(C, "+OK\r\n+OK\r\n");
    UNTIL(c[0].done);
    assert_int_equal(c[0].error, 0);
    route(&c[1], "c1");
    HEARS(B, "c0 c1");
    assert_int_equal(fx.refreshes, 0);
}

static void test_ask_to_a_master_without_a_link(void **state) {
    static struct command c;
    open_link(B);
    route(&c, "c");
    HEARS(B, "c");
    redirect(B, "ASK", C);
    UNTIL(bh_redis_link_is_ready(bh_redis_routes_link(&fx.routes, BH_REDIS_SLOTS - 1)));
    pass(100);
    HEARS(B, "c c");
    redirect(B, "ASK", C);
    HEARS(C, "ASKING c");
}

/* The first one is tried again later, and the second one must not overtake it. */
static void test_ask_behind_tryagain_keeps_the_order(void **state) {
    static struct command c[2];
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    route(&c[1], "c1");
    HEARS(B, "c0 c1");
    say(B, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
    redirect(B, "ASK", C);
    UNTIL(fx.routes.waiting.count == 2);
    pass(100);
    HEARS(B, "c0 c1 c0 c1");
    assert_string_equal(heard(C), "");
    redirect(B, "ASK", C);
    redirect(B, "ASK", C);
    HEARS(C, "ASKING c0 ASKING c1");
}

/* --- later --- */

static void test_tryagain_until_the_limit(void **state) {
    static struct command c, next;
    int64_t before = bh_metric_read(&bh_redis_metrics[BH_REDIS_TRYAGAIN]);
    unsigned times = 0;
    open_link(B);
    route(&c, "c");
    uint64_t begun = bh_loop_now(fx.loop);
    while (!c.done) {
        UNTIL(fx.routes.waiting.count || c.done || fake_heard(&fx.nodes[B], "\r\nc\r\n"));
        if (fake_heard(&fx.nodes[B], "\r\nc\r\n")) {
            forget(B);
            say(B, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
            times++;
            UNTIL(fx.routes.waiting.count || c.done);
        }
        pass(20);
    }
    assert_int_equal(c.done, 1);
    assert_int_equal(c.error, BH_EUNAVAIL);
    assert_non_null(strstr(c.why, "moving"));
    assert_in_range(bh_loop_now(fx.loop) - begun, 5000, 5100);
    assert_in_range(times, 5000 / 400, 5000 / 20);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRYAGAIN]), before + times);
    forget(B);
    route(&next, "next");
    pass(500);
    UNTIL(fake_heard(&fx.nodes[B], "next"));
}

static void test_clusterdown(void **state) {
    static struct command c[2];
    int64_t before = bh_metric_read(&bh_redis_metrics[BH_REDIS_CLUSTERDOWN]);
    open_link(B);
    route(&c[0], "c0");
    HEARS(B, "c0");
    say(B, "-CLUSTERDOWN The cluster is down\r\n");
    UNTIL(fx.refreshes == 1);
    route(&c[1], "c1");
    pump();
    assert_string_equal(heard(B), "c0");
    pass(100);
    HEARS(B, "c0 c0 c1");
    say(B, "+OK\r\n+OK\r\n");
    UNTIL(c[1].done);
    assert_int_equal(c[0].error + c[1].error, 0);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_CLUSTERDOWN]), before + 1);
}

static void test_a_demoted_master(void **state) {
    static struct command c;
    open_link(B);
    open_link(C);
    route(&c, "c");
    HEARS(B, "c");
    say(B, "-READONLY You can't write against a read only replica.\r\n");
    UNTIL(fx.refreshes == 1);
    publish_map(NODES, C);
    pass(100);
    HEARS(C, "c");
}

static void test_the_memory_that_waits_is_bounded(void **state) {
    static struct command c[2];
    c[0] = c[1] = (struct command){.routed = {.vt = &vt, .bytes = BH_REDIS_OUT_MAX / 2 + 1}};
    c[0].name = c[1].name = "c";
    bh_redis_routes_send(&fx.routes, &c[0].routed, SLOT);
    bh_redis_routes_send(&fx.routes, &c[1].routed, SLOT);
    assert_int_equal(c[0].done, 0);
    assert_int_equal(c[1].done, 1);
    assert_int_equal(c[1].error, BH_EUNAVAIL);
    assert_string_equal(c[1].why, "the queue to Redis is full");
}

/* --- the end, and the bus --- */

static void test_stop(void **state) {
    static struct command c[4];
    open_link(B);
    open_link(C);
    route(&c[0], "c0");
    route(&c[1], "c1");
    HEARS(B, "c0 c1");
    redirect(B, "MOVED", C);
    HEARS(B, "c0 c1 PING");
    route_to(&c[2], "c2", 1);
    bh_redis_routes_stop(&fx.routes);
    route(&c[3], "c3");
    for (size_t i = 0; i < COUNT(c); i++)
        assert_int_equal(c[i].done, 1);
    assert_int_equal(c[0].error, BH_EUNAVAIL);
    assert_int_equal(c[1].error, BH_EIO);
    assert_int_equal(c[2].error, BH_EUNAVAIL);
    assert_int_equal(c[3].error, BH_EUNAVAIL);
    assert_string_equal(c[3].why, "this instance is shutting down");
}

static void test_a_watch_opens_all_links(void **state) {
    struct bh_redis_watch watch = {on_up, on_check, on_down, NULL};
    bh_redis_routes_stop(&fx.routes);
    bh_redis_routes_deinit(&fx.routes);
    memset(&fx.routes, 0, sizeof fx.routes);
    bh_redis_routes_init(&fx.routes, &fx.shared, &fx.topology, &fx.config, 1);
    bh_redis_routes_watch(&fx.routes, &watch);
    bh_redis_routes_start(&fx.routes, fx.loop);
    bh_redis_routes_refresh(&fx.routes);
    UNTIL(fx.ups == NODES);
    fake_hang_up(&fx.nodes[A]);
    UNTIL(fx.downs == 1);
    pass(100);
    UNTIL(fx.ups == NODES + 1);
    bh_redis_routes_stop(&fx.routes);
    assert_int_equal(fx.downs, 1 + NODES);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_link_is_opened_for_the_first_command),
        T(test_waits_for_the_first_map),
        T(test_a_slot_without_a_master_fails_in_time),
        T(test_a_master_that_is_down_fails_in_time),
        T(test_a_lost_link),
        T(test_the_link_to_a_master_that_is_gone_is_closed),
        T(test_moved),
        T(test_moved_keeps_the_order),
        T(test_a_silent_master_holds_up_a_moved_slot_for_a_while_only),
        T(test_moved_to_a_master_that_is_not_known),
        T(test_moved_back_and_forth_pauses),
        T(test_moved_without_a_host),
        T(test_moved_to_another_slot),
        T(test_malformed_redirections_are_answers),
        T(test_a_new_map_keeps_the_order),
        T(test_ask),
        T(test_ask_to_a_master_without_a_link),
        T(test_ask_behind_tryagain_keeps_the_order),
        T(test_tryagain_until_the_limit),
        T(test_clusterdown),
        T(test_a_demoted_master),
        T(test_the_memory_that_waits_is_bounded),
        T(test_stop),
        T(test_a_watch_opens_all_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
