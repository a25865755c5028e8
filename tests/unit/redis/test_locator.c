/* test_locator.c - a link that follows the master of a slot; the masters are fakes. */
#include "fake_redis.h"
#include "unit_test.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "cluster/locator.h"

#define SLOT 1234

static struct {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct fake_redis first, second, silent;
    char silent_node[32];
    struct bh_redis_config config;
    struct bh_redis_topology topology; /* of a node that does not answer */
    struct bh_redis_shared_map shared;
    struct bh_redis_slot_locators locators;
    struct bh_redis_link link;
    atomic_uint ups, downs;
    unsigned answers;
} fx;

static void on_up(struct bh_redis_link *link) {
    fx.ups++;
}

static void on_down(struct bh_redis_link *link) {
    fx.downs++;
}

static const struct bh_redis_link_callbacks callbacks = {.on_up = on_up, .on_down = on_down};

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    fx.loop = bh_loop_new();
    fx.mailbox = bh_mailbox_new(fx.loop);
    fake_start(&fx.first);
    fake_start(&fx.second);
    fake_start(&fx.silent);
    snprintf(fx.silent_node, sizeof fx.silent_node, "127.0.0.1:%u", fx.silent.port);
    fx.first.handshake = fx.second.handshake = FAKE_GOOD;
    fx.config = (struct bh_redis_config){.cluster = fx.silent_node,
                                         .channel_prefix = "notification:",
                                         .instance = "test",
                                         .connect_timeout_ms = 5000,
                                         .command_timeout_ms = 5000,
                                         .probe_ms = 5000,
                                         .backoff_min_ms = 4,
                                         .backoff_max_ms = 32};
    pthread_mutex_init(&fx.shared.lock, NULL);
    bh_redis_topology_init(&fx.topology, &fx.config);
    bh_redis_topology_start(&fx.topology, fx.loop, fx.mailbox);
    bh_redis_slot_locators_init(&fx.locators, &fx.shared, &fx.topology);
    bh_redis_link_start(&fx.link, fx.loop, &fx.config, "test", &callbacks,
                        bh_redis_slot_locator(&fx.locators, fx.loop, SLOT));
    return 0;
}

static int teardown(void **state) {
    bh_redis_link_stop(&fx.link);
    bh_redis_slot_locators_deinit(&fx.locators);
    bh_redis_topology_stop(&fx.topology);
    bh_redis_topology_deinit(&fx.topology);
    bh_redis_cluster_map_unref(fx.shared.map);
    pthread_mutex_destroy(&fx.shared.lock);
    fake_stop(&fx.first);
    fake_stop(&fx.second);
    fake_stop(&fx.silent);
    bh_loop_tick(fx.loop, false);
    bh_mailbox_free(fx.mailbox);
    bh_loop_free(fx.loop);
    return 0;
}

/* Always true. */
static bool pump(void) {
    return fake_pump(&fx.first) && fake_pump(&fx.second);
}

/* All slots but those from 0 to `from` - 1 are at f. */
static void share_from(const struct fake_redis *f, unsigned from) {
    struct bh_redis_cluster_map *map = bh_calloc(1, sizeof *map);
    atomic_init(&map->refs, 1);
    map->masters = bh_calloc(1, sizeof(*map->masters));
    map->masters[map->count++] = bh_redis_cluster_master_new(&fx.config, 1, "127.0.0.1", f->port);
    for (unsigned slot = 0; slot < from; slot++)
        map->owner[slot] = BH_REDIS_NOBODY;
    pthread_mutex_lock(&fx.shared.lock);
    bh_redis_cluster_map_unref(fx.shared.map);
    fx.shared.map = map;
    pthread_mutex_unlock(&fx.shared.lock);
    bh_redis_slot_locators_tell(&fx.locators);
}

static void share(const struct fake_redis *f) {
    share_from(f, 0);
}

static bool is_at(const struct fake_redis *f) {
    return pump() && bh_redis_link_is_ready(&fx.link) && fx.link.port == f->port;
}

static bool wants_refresh(void) {
    return fx.topology.alert_ms > 0;
}

static bool waits(const char *text) {
    const char *why = atomic_load(&fx.link.down_reason);
    return fx.link.state == BH_REDIS_ASKING && why && strstr(why, text);
}

/* --- the map --- */

static void test_waits_for_a_map(void **state) {
    TICK_UNTIL(fx.loop, pump() && waits("not known yet"));
    share_from(&fx.first, SLOT + 1);
    bh_loop_tick(fx.loop, false);
    assert_int_equal(fx.link.state, BH_REDIS_ASKING);
    share_from(&fx.first, SLOT);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
}

static void test_follows_its_slot(void **state) {
    share(&fx.first);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
    share(&fx.first);
    share(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
    assert_int_equal(fx.first.accepted, 1);
    assert_int_equal(fx.downs, 1);
    share_from(&fx.first, SLOT + 1); /* nobody: it stays */
    share(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
    bh_loop_tick(fx.loop, false);
    assert_int_equal(fx.downs, 1);
}

static void test_a_move_while_it_connects(void **state) {
    fx.first.handshake = NULL;
    share(&fx.first);
    TICK_UNTIL(fx.loop, pump() && fx.link.state == BH_REDIS_AUTH);
    share(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
}

/* --- the master --- */

static void test_a_lost_master(void **state) {
    share(&fx.first);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
    fake_hang_up(&fx.first);
    TICK_UNTIL(fx.loop, pump() && fx.ups == 2);
    assert_true(is_at(&fx.first));
    TICK_UNTIL(fx.loop, wants_refresh());
}

static void test_a_dead_master(void **state) {
    fake_stop(&fx.first);
    share(&fx.first);
    TICK_UNTIL(fx.loop, wants_refresh());
    fake_start(&fx.first);
    assert_int_equal(fx.ups, 0);
    share(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
}

static void test_nobody_after_a_loss(void **state) {
    share(&fx.first);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
    share_from(&fx.first, SLOT + 1);
    fake_hang_up(&fx.first);
    TICK_UNTIL(fx.loop, pump() && fx.link.state == BH_REDIS_ASKING);
    share(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
}

/* --- redirections --- */

static void on_answer(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    fx.answers += error == 0 && reply->type == BH_REPLY_ERROR;
}

static void get(struct fake_redis *f, const char *answer) {
    struct bh_slice argv[] = {BH_SLICE("GET"), BH_SLICE("k")};
    unsigned before = fx.answers;
    bh_redis_link_send(&fx.link, 2, argv, &(struct bh_redis_completion){.fire = on_answer});
    TICK_UNTIL(fx.loop, pump() && fake_heard(f, "GET"));
    bh_bytes_clear(&f->in);
    fake_say(f, bh_slice_cstr(answer));
    TICK_UNTIL(fx.loop, pump() && fx.answers > before);
}

static void test_redirections(void **state) {
    share(&fx.first);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
    get(&fx.first, "-ASK 1234 127.0.0.1:1\r\n");
    get(&fx.first, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
    get(&fx.first, "-CLUSTERDOWN The cluster is down\r\n");
    assert_true(is_at(&fx.first));
    assert_int_equal(fx.downs, 0);
    get(&fx.first, "-MOVED 1234 127.0.0.1:1\r\n");
    assert_int_equal(fx.downs, 1);
    TICK_UNTIL(fx.loop, pump() && wants_refresh());
    share(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
}

/* The owner of the link knows where the slot is before the map does. */
static void test_a_move_before_the_map(void **state) {
    share(&fx.first);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
    bh_redis_link_move(&fx.link, "127.0.0.1", fx.second.port);
    TICK_UNTIL(fx.loop, is_at(&fx.second));
    assert_int_equal(fx.first.accepted, 1);
    assert_true(wants_refresh());
    /* Once: when it is lost there, the map counts again. */
    fake_hang_up(&fx.second);
    TICK_UNTIL(fx.loop, is_at(&fx.first));
}

/* --- a link on another thread --- */

struct other {
    pthread_t thread;
    atomic_uint at; /* the port of its master, when it is there */
    atomic_bool stop;
};

static void *run_other(void *ud) {
    struct other *o = ud;
    struct bh_loop *loop = bh_loop_new();
    struct bh_redis_link link = {0};
    struct bh_timer beat;
    bh_timer_init(&beat, loop, test_beat);
    bh_timer_set(&beat, 5);
    bh_redis_link_start(&link, loop, &fx.config, "other", &callbacks,
                        bh_redis_slot_locator(&fx.locators, loop, SLOT));
    while (!atomic_load(&o->stop)) {
        bh_loop_tick(loop, true);
        atomic_store(&o->at, bh_redis_link_is_ready(&link) ? link.port : 0);
        bh_redis_topology_refresh(&fx.topology);
    }
    bh_timer_cancel(&beat);
    bh_redis_link_stop(&link);
    bh_loop_tick(loop, false);
    bh_loop_free(loop);
    return NULL;
}

static void test_another_thread(void **state) {
    struct other other = {0};
    bh_redis_link_stop(&fx.link);
    assert_int_equal(pthread_create(&other.thread, NULL, run_other, &other), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct fake_redis *f = i % 2 ? &fx.second : &fx.first;
        share(f);
        TICK_UNTIL(fx.loop, pump() && atomic_load(&other.at) == f->port);
    }
    share(&fx.first);
    atomic_store(&other.stop, true);
    share(&fx.second);
    pthread_join(other.thread, NULL);
}

/* --- the end --- */

static void test_news_for_nobody(void **state) {
    share(&fx.first);
    bh_redis_link_stop(&fx.link);
    bh_loop_tick(fx.loop, false);
    bh_redis_slot_locators_tell(&fx.locators);
    bh_redis_link_start(&fx.link, fx.loop, &fx.config, "test", &callbacks,
                        bh_redis_slot_locator(&fx.locators, fx.loop, SLOT));
    TICK_UNTIL(fx.loop, is_at(&fx.first));
    share(&fx.second);
    bh_redis_link_stop(&fx.link);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_waits_for_a_map),
        TEST(test_follows_its_slot),
        TEST(test_a_move_while_it_connects),
        TEST(test_a_lost_master),
        TEST(test_a_dead_master),
        TEST(test_nobody_after_a_loss),
        TEST(test_redirections),
        TEST(test_a_move_before_the_map),
        TEST(test_news_for_nobody),
        TEST(test_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
