/* test_topology.c - the map of a cluster is kept up to date; the nodes are fakes. */
#include "fake_redis.h"
#include "unit_test.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "cluster/topology.h"

#define HELLO(server, version)                                                                     \
    "*6\r\n$6\r\nserver\r\n+" server "\r\n$7\r\nversion\r\n+" version                              \
    "\r\n$4\r\nmode\r\n$7\r\ncluster\r\n"
#define OK   "$18\r\ncluster_state:ok\r\n\r\n"
#define FAIL "$20\r\ncluster_state:fail\r\n\r\n"

struct node {
    struct fake_redis fake;
    const char *hello, *info, *slots;
    unsigned asked; /* for its map */
    char map[256];  /* it has all slots; what `slots` is at first */
};

static struct {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct node first, second;
    struct bh_redis_config config;
    char list[64];
    struct bh_redis_topology topology;
    struct bh_redis_cluster_map *map;
    unsigned maps, made;
} fx;

static void on_map(struct bh_redis_topology *t, struct bh_redis_cluster_map *map) {
    assert_ptr_equal(t, &fx.topology);
    bh_redis_cluster_map_unref(fx.map);
    fx.map = map;
    fx.maps++;
}

static struct bh_redis_cluster_master *make(void *ud, const char *host, uint16_t port) {
    assert_ptr_equal(ud, &fx);
    fx.made++;
    return bh_redis_cluster_master_new(&fx.config, 1, host, port);
}

static void start_node(struct node *n) {
    fake_start(&n->fake);
    n->fake.handshake = FAKE_GOOD;
    snprintf(n->map, sizeof n->map, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%u\r\n",
             n->fake.port);
    n->hello = HELLO("redis", "7.0.15");
    n->info = OK;
    n->slots = n->map;
}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    fx.loop = bh_loop_new();
    fx.mailbox = bh_mailbox_new(fx.loop);
    start_node(&fx.first);
    start_node(&fx.second);
    snprintf(fx.list, sizeof fx.list, "127.0.0.1:%u", fx.first.fake.port);
    fx.config = (struct bh_redis_config){.cluster = fx.list,
                                         .channel_prefix = "notification:",
                                         .instance = "test",
                                         .connect_timeout_ms = 5000,
                                         .command_timeout_ms = 5000,
                                         .probe_ms = 500,
                                         .backoff_min_ms = 4,
                                         .backoff_max_ms = 32};
    bh_redis_topology_init(&fx.topology, &fx.config);
    fx.topology.on_map = on_map;
    fx.topology.make = make;
    fx.topology.ud = &fx;
    return 0;
}

static int teardown(void **state) {
    bh_redis_topology_stop(&fx.topology);
    bh_redis_topology_stop(&fx.topology);
    bh_redis_topology_deinit(&fx.topology);
    bh_redis_cluster_map_unref(fx.map);
    fake_stop(&fx.first.fake);
    fake_stop(&fx.second.fake);
    bh_loop_tick(fx.loop, false);
    bh_mailbox_free(fx.mailbox);
    bh_loop_free(fx.loop);
    return 0;
}

static void start(void) {
    bh_redis_topology_start(&fx.topology, fx.loop, fx.mailbox);
}

/* Always true. */
static bool pump_node(struct node *n) {
    fake_pump(&n->fake);
    bool ping = n->fake.shaken && fake_heard(&n->fake, "PING\r\n");
    bool slots = n->fake.shaken && fake_heard(&n->fake, "CLUSTER\r\n$5\r\nSLOTS\r\n");
    bool hello = fake_heard(&n->fake, "HELLO\r\n");
    if (ping)
        fake_say(&n->fake, BH_SLICE("+PONG\r\n"));
    if (ping || slots)
        bh_bytes_clear(&n->fake.in);
    if (!slots)
        return true;
    n->asked++;
    if (hello)
        fake_say(&n->fake, bh_slice_cstr(n->hello));
    fake_say(&n->fake, bh_slice_cstr(n->info));
    fake_say(&n->fake, bh_slice_cstr(n->slots));
    return true;
}

static bool pump(void) {
    return pump_node(&fx.first) && pump_node(&fx.second);
}

static bool owns(const struct node *n, unsigned slot) {
    unsigned owner = fx.map ? fx.map->owner[slot] : BH_REDIS_NOBODY;
    return owner != BH_REDIS_NOBODY && fx.map->masters[owner]->port == n->fake.port;
}

static bool trouble(const char *text) {
    const char *why = bh_redis_topology_trouble(&fx.topology);
    return text ? why && strstr(why, text) : !why;
}

static void refresh(void) {
    bh_redis_topology_refresh(&fx.topology);
}

/* --- maps --- */

static void test_a_map(void **state) {
    assert_true(trouble("not known yet"));
    refresh(); /* nothing yet */
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    assert_true(trouble(NULL));
    assert_true(owns(&fx.first, 0));
    assert_true(owns(&fx.first, 16383));
    refresh();
    TICK_UNTIL(fx.loop, pump() && fx.first.asked == 2 && !fx.topology.asked);
    assert_int_equal(fx.maps, 1); /* it is the same */
    assert_int_equal(fx.made, 1);
    fx.first.slots = fx.second.map;
    refresh();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 2);
    assert_true(owns(&fx.second, 5));
    assert_int_equal(fx.first.fake.accepted, 1);
}

static void test_refreshes_are_limited(void **state) {
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    uint64_t begin_ms = fx.topology.asked_ms;
    for (int i = 0; i < 100; i++)
        refresh();
    TICK_UNTIL(fx.loop, pump() && fx.first.asked == 2);
    assert_true(fx.topology.asked_ms - begin_ms >= BH_REDIS_REFRESH_MIN_MS);
    TICK_UNTIL(fx.loop, pump() && fx.first.asked == 3); /* for a while */
    assert_true(fx.topology.asked_ms - begin_ms >= 2 * BH_REDIS_REFRESH_MIN_MS);
}

static void test_the_next_node(void **state) {
    fx.first.slots = fx.second.map;
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    fake_stop(&fx.first.fake);
    fx.first.fake.listener = -1;
    TICK_UNTIL(fx.loop, pump_node(&fx.second) && fx.second.asked == 1 && !fx.topology.asked);
    assert_true(trouble(NULL));
    assert_int_equal(fx.maps, 1);
    fake_start(&fx.first.fake);
}

static void test_no_node(void **state) {
    fake_stop(&fx.first.fake);
    start();
    TICK_UNTIL(fx.loop, trouble("refused"));
    fake_start(&fx.first.fake);
}

/* --- a cluster that is down --- */

static void test_down_from_the_start(void **state) {
    snprintf(fx.list, sizeof fx.list, "127.0.0.1:%u,127.0.0.1:%u", fx.first.fake.port,
             fx.second.fake.port);
    fx.first.info = fx.second.info = FAIL;
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1); /* better than none */
    assert_true(trouble("down"));
    TICK_UNTIL(fx.loop, pump() && fx.first.asked && fx.second.asked);
    assert_int_equal(fx.maps, 1); /* it differs, but is not believed */
    fx.first.info = OK;
    TICK_UNTIL(fx.loop, pump() && trouble(NULL));
    assert_true(owns(&fx.first, 9));
}

static void test_cut_off(void **state) {
    fx.first.slots = fx.second.map;
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    fx.first.slots = fx.first.map;
    fx.first.info = FAIL;
    refresh();
    TICK_UNTIL(fx.loop, pump() && fx.second.asked);
    TICK_UNTIL(fx.loop, pump() && trouble(NULL));
    assert_int_equal(fx.maps, 1);
    assert_true(owns(&fx.second, 9));
}

/* A node that was removed from the cluster knows of no slot. */
static void test_an_empty_map_is_replaced(void **state) {
    fx.first.info = FAIL;
    fx.first.slots = "*0\r\n";
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    fx.first.slots = fx.second.map;
    TICK_UNTIL(fx.loop, pump() && fx.maps == 2);
    assert_true(owns(&fx.second, 9));
}

/* --- wrong servers --- */

static void test_wrong_servers(void **state) {
    static const struct {
        const char *hello, *info, *slots, *why;
    } cases[] = {
        {HELLO("redis", "7.0.15"), "-ERR This instance has cluster support disabled\r\n",
         "-ERR This instance has cluster support disabled\r\n", "redis:// in redis.url"},
        {HELLO("redis", "6.2.6"), OK, "*0\r\n", "Redis 7"},
        {"-ERR unknown command `HELLO`, with args beginning with: \r\n", OK, "*0\r\n", "Redis 7"},
        {HELLO("redis", "7.0.15"), "-NOPERM no\r\n", "-NOPERM no\r\n", "+cluster|slots"},
        {HELLO("redis", "7.0.15"), OK, "-NOPERM no\r\n", "+cluster|slots"},
        {HELLO("redis", "7.0.15"), OK, "+OK\r\n", "invalid CLUSTER SLOTS"},
        {HELLO("redis", "7.0.15"), OK, "*1\r\n:1\r\n", "invalid CLUSTER SLOTS"},
        {HELLO("redis", "7.0.15"), "-LOADING no\r\n", "-LOADING no\r\n", "loading"},
        {HELLO("redis", "7.0.15"), "-BUSY no\r\n", "*0\r\n", "busy"},
    };
    fx.first.info = "-ERR no\r\n";
    start();
    for (size_t i = 0; i < COUNT(cases); i++) {
        fx.first.hello = cases[i].hello;
        fx.first.info = cases[i].info;
        fx.first.slots = cases[i].slots;
        TICK_UNTIL(fx.loop, pump() && trouble(cases[i].why));
    }
    assert_int_equal(fx.maps, 0);
    fx.first.hello = HELLO("valkey", "8.0.1");
    fx.first.info = OK;
    fx.first.slots = fx.first.map;
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    assert_true(trouble(NULL));
    assert_string_equal(fx.topology.hello.server, "valkey");
    assert_true(fx.topology.hello.in_cluster);
}

/* --- who is greeted --- */

static void test_hello(void **state) {
    static const struct {
        const char *hello;
        bool sharded;
    } cases[] = {
        {HELLO("redis", "7.0.15"), true},
        {HELLO("redis", "255.255.255"), true},
        {HELLO("redis", "6.2.6"), false},
        {HELLO("valkey", "7.2.4"), true},
        {HELLO("other", "1.0"), true},
        {HELLO("redis", "x"), true},
        {HELLO("redis", ""), true},
        {"+OK\r\n", true},
        {"*0\r\n", true},
        {"*1\r\n$6\r\nserver\r\n", true},
        {"*2\r\n:1\r\n*-1\r\n", true},
        {"-NOPERM no\r\n", true},
        {"-ERR unknown command\r\n", false},
        {HELLO("0123456789012345678901234567890123456", "1"), true},
    };
    start();
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned asked = fx.first.asked;
        fx.first.hello = cases[i].hello;
        fx.topology.hello.sharded = !cases[i].sharded;
        fake_hang_up(&fx.first.fake);
        TICK_UNTIL(fx.loop, pump() && fx.first.asked > asked &&
                                fx.topology.hello.sharded == cases[i].sharded);
    }
    assert_int_equal(strlen(fx.topology.hello.server), 31);
}

/* --- the end --- */

static void test_a_mail_outlives_it(void **state) {
    start();
    TICK_UNTIL(fx.loop, pump() && fx.maps == 1);
    refresh();
    teardown(state);
    setup(state);
}

static void test_a_closed_mailbox(void **state) {
    start();
    bh_mailbox_close(fx.mailbox);
    refresh();
    refresh();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_map),
        TEST(test_refreshes_are_limited),
        TEST(test_the_next_node),
        TEST(test_no_node),
        TEST(test_down_from_the_start),
        TEST(test_cut_off),
        TEST(test_an_empty_map_is_replaced),
        TEST(test_wrong_servers),
        TEST(test_hello),
        TEST(test_a_mail_outlives_it),
        TEST(test_a_closed_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
