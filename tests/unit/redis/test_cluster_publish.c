/* test_cluster_publish.c - the worker side of the broker over a real cluster: publishes, and
 * commands of scripts, while slots move and masters are down. */
#include "cluster_server.h"
#include "unit_test.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/message.h"
#include "broker/broker.h"
#include "cluster/cluster.h"
#include "link/metrics.h"

#define TOPICS 60

static struct test_cluster servers;

static struct {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_redis_config config;
    struct bh_broker *broker;
    const struct bh_broker_vt *vt;
    unsigned live, arrived;
} fx;

#define UNTIL(condition) TICK_UNTIL(fx.loop, condition)

/* --- the broker --- */

static void on_message(void *ud, struct bh_message *m) {
    fx.arrived++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    fx.live++;
}

static void on_lost(void *ud, struct bh_slice topic) {}

static void on_state(void *ud, unsigned shard, bool up) {}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    bh_redis_metrics_register();
    fx.loop = bh_loop_new();
    fx.mailbox = bh_mailbox_new(fx.loop);
    fx.config = (struct bh_redis_config){.cluster = servers.urls,
                                         .channel_prefix = "notification:",
                                         .instance = "one",
                                         .connect_timeout_ms = 1000,
                                         .command_timeout_ms = 3000,
                                         .probe_ms = 100,
                                         .backoff_min_ms = 5,
                                         .backoff_max_ms = 50};
    return 0;
}

static const char *topic_of(unsigned n) {
    static char name[32];
    snprintf(name, sizeof name, "user:%u", n);
    return name;
}

static void start(void) {
    const struct bh_broker_sink sink = {on_message, on_subscribed, on_lost, on_state, NULL};
    fx.broker = bh_redis_shards_new(&fx.config, 1, 1);
    fx.vt = fx.broker->vt;
    assert_int_equal(fx.vt->worker_start(fx.broker, 0, fx.loop), 0);
    for (unsigned i = 0; i < TOPICS; i++)
        assert_false(fx.vt->subscribe(fx.broker, bh_slice_cstr(topic_of(i))));
    assert_int_equal(fx.vt->start(fx.broker, fx.loop, fx.mailbox, &sink), 0);
}

static bool is_ready(void) {
    const char *why;
    return fx.vt->ready(fx.broker, &why) == 0;
}

static void start_ready(void) {
    start();
    UNTIL(is_ready() && fx.live == TOPICS);
}

static int teardown(void **state) {
    fx.vt->worker_stop(fx.broker, 0);
    fx.vt->stop(fx.broker);
    bh_loop_tick(fx.loop, false);
    fx.vt->free(fx.broker);
    bh_mailbox_free(fx.mailbox);
    bh_loop_free(fx.loop);
    return 0;
}

static int start_servers(void **state) {
    test_cluster_start(&servers, 3, false);
    return 0;
}

static int stop_servers(void **state) {
    test_cluster_stop(&servers);
    return 0;
}

/* --- publishes --- */

struct done {
    unsigned count, errors;
    int error;
    int64_t receivers;
    char why[128];
};

static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {
    struct done *d = ud;
    d->count++;
    d->errors += error != 0;
    d->error = error;
    d->receivers = receivers;
    snprintf(d->why, sizeof d->why, "%s", why ? why : "");
}

static void publish(unsigned topic, struct done *d) {
    struct bh_topic to;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic_of(topic)), &to), 0);
    struct bh_message parts = {.topic = &to,
                               .kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .id = BH_SLICE("id"),
                               .origin = BH_SLICE("other"),
                               .payload = BH_SLICE("hello")};
    struct bh_message *m = bh_message_new(&parts);
    fx.vt->publish(fx.broker, 0, m, on_published, d, 0);
    bh_message_unref(m);
}

static unsigned slot_of(unsigned topic) {
    char channel[64];
    snprintf(channel, sizeof channel, "notification:%u", topic);
    return bh_redis_slot(bh_slice_cstr(channel));
}

static unsigned master_of(unsigned slot) {
    for (unsigned i = 0; i < servers.count; i++)
        if (servers.nodes[i].pid && test_cluster_has_slot(&servers, i, slot, i))
            return i;
    fail_msg("slot %u has no master", slot);
    return 0;
}

static unsigned topic_at(unsigned node) {
    unsigned topic = 0;
    while (master_of(slot_of(topic)) != node)
        topic++;
    return topic;
}

static unsigned open_links(void) {
    struct bh_redis_cluster_map *map = bh_redis_cluster_of(fx.broker)->shared.map;
    unsigned n = 0;
    for (unsigned i = 0; i < map->count; i++)
        n += bh_redis_node_link(map->masters[i]->broker, 0)->state != BH_REDIS_IDLE;
    return n;
}

static void test_publish(void **state) {
    struct done d = {0};
    start_ready();
    assert_int_equal(open_links(), 0);
    publish(0, &d);
    UNTIL(d.count && fx.arrived == 1);
    assert_int_equal(d.error, 0);
    assert_int_equal(d.receivers, 1);
    assert_int_equal(open_links(), 1);
    for (unsigned i = 0; i < TOPICS; i++)
        publish(i, &d);
    UNTIL(d.count == 1 + TOPICS && fx.arrived == 1 + TOPICS);
    assert_int_equal(d.errors, 0);
    assert_int_equal(open_links(), 3);
    assert_true(is_ready());
}

/* Before anything is known of the cluster. */
static void test_the_queue_is_one_for_all_groups(void **state) {
    struct done d[3] = {0};
    fx.config.publish_queue = 2;
    fx.config.publish_wait_ms = 60000;
    start();
    assert_int_not_equal(bh_redis_group(slot_of(0)), bh_redis_group(slot_of(1)));
    for (unsigned i = 0; i < 3; i++)
        publish(i, &d[i]);
    assert_int_equal(d[2].count, 1);
    assert_int_equal(d[2].error, BH_EUNAVAIL);
    assert_string_equal(d[2].why, "the map of the Redis Cluster is not known yet");
    UNTIL(d[0].count && d[1].count);
    assert_int_equal(d[0].error + d[1].error, 0);
}

static void test_without_a_queue_it_is_rejected(void **state) {
    struct done d = {0};
    start();
    publish(0, &d);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EUNAVAIL);
    UNTIL(is_ready());
}

static void test_fails_when_the_worker_stops(void **state) {
    struct done d = {0};
    fx.config.publish_queue = 10;
    fx.config.publish_wait_ms = 60000;
    start();
    publish(0, &d);
    fx.vt->worker_stop(fx.broker, 0);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EUNAVAIL);
}

static void test_no_publish_fails_while_slots_move(void **state) {
    struct done d = {0};
    unsigned sent = 0;
    start_ready();
    int64_t before = bh_metric_read(&bh_redis_metrics[BH_REDIS_MOVED]);
    for (unsigned i = 0; i < 20; i++) {
        unsigned from = master_of(slot_of(i)), to = (from + 1) % 3;
        for (unsigned n = 0; n < 50; n++, sent++)
            publish(i, &d);
        bh_loop_tick(fx.loop, false);
        test_cluster_move(&servers, slot_of(i), from, to);
        for (unsigned n = 0; n < 50; n++, sent++)
            publish(i, &d);
        UNTIL(d.count == sent);
    }
    assert_int_equal(d.errors, 0);
    assert_true(bh_metric_read(&bh_redis_metrics[BH_REDIS_MOVED]) - before >= 20);
}

static void test_a_master_that_comes_back(void **state) {
    struct done other = {0}, waiting = {0};
    unsigned sent = 0;
    fx.config.publish_queue = 1000;
    fx.config.publish_wait_ms = 60000;
    start_ready();
    unsigned here = topic_at(0), there = topic_at(1);
    publish(here, &waiting);
    publish(there, &other);
    UNTIL(waiting.count == 1 && other.count == 1);
    test_redis_kill(&servers.nodes[0]);
    UNTIL(!is_ready());
    publish(there, &other);
    UNTIL(other.count == 2);
    assert_int_equal(other.errors, 0);
    for (sent = 1; sent < 100; sent++)
        publish(here, &waiting);
    assert_int_equal(waiting.count, 1);
    test_redis_run(&servers.nodes[0]);
    UNTIL(waiting.count == sent && is_ready());
    assert_int_equal(waiting.errors, 0);
}

/* --- commands of scripts --- */

struct answer {
    unsigned count;
    int error;
    enum bh_reply_type type;
    size_t elements;
    int64_t integer;
    char text[128];
};

static void on_reply(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct answer *a = ud;
    a->count++;
    a->error = error;
    if (error)
        return;
    a->type = reply->type;
    a->elements = reply->count;
    a->integer = reply->integer;
    snprintf(a->text, sizeof a->text, "%.*s", BH_SLICE_ARG(reply->str));
    for (size_t i = 0; i < reply->count; i++)
        snprintf(a->text + strlen(a->text), sizeof a->text - strlen(a->text), "%.*s ",
                 BH_SLICE_ARG(reply->elements[i].str));
}

/* Its words are separated by spaces. */
static void call(const char *command, struct answer *a) {
    struct bh_slice rest = bh_slice_cstr(command), word, argv[8];
    size_t argc = 0;
    while (bh_slice_split(&rest, ' ', &word))
        argv[argc++] = word;
    struct bh_redis *r = bh_redis_broker_commands(fx.broker);
    r->vt->call(r, 0, argc, argv, on_reply, a, 0);
}

static struct answer ask(const char *command) {
    struct answer a = {0};
    call(command, &a);
    UNTIL(a.count);
    return a;
}

static void test_commands(void **state) {
    char text[64];
    start_ready();
    for (unsigned i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "SET key%u value%u", i, i);
        assert_string_equal(ask(text).text, "OK");
        snprintf(text, sizeof text, "GET key%u", i);
        struct answer a = ask(text);
        snprintf(text, sizeof text, "value%u", i);
        assert_string_equal(a.text, text);
    }
    assert_string_equal(ask("PING").text, "PONG");
    assert_non_null(strstr(ask("MGET key1 key2").text, "CROSSSLOT"));
    assert_non_null(strstr(ask("KEYS *").text, "KEYS was not sent"));
    assert_non_null(strstr(ask("SUBSCRIBE a").text, "SUBSCRIBE was not sent"));
    struct answer a = ask("EVAL return(redis.call('GET',KEYS[1])) 1 key7");
    assert_string_equal(a.text, "value7");
}

static void migrate(const char *key, unsigned from, unsigned to) {
    test_redis_do(&servers.nodes[from], "MIGRATE 127.0.0.1 %d %s 0 5000", servers.nodes[to].port,
                  key);
}

/* The list moves while it grows: nothing is lost, or twice, or in another order. */
static void test_commands_keep_their_order(void **state) {
    static struct answer a[600];
    char text[64];
    unsigned sent = 0, slot = bh_redis_slot(BH_SLICE("list"));
    start_ready();
    memset(a, 0, sizeof a);
#define PUSH(upto)                                                                                 \
    for (; sent < (upto); sent++) {                                                                \
        snprintf(text, sizeof text, "RPUSH list %u", sent);                                        \
        call(text, &a[sent]);                                                                      \
    }
    for (unsigned round = 0; round < 3; round++) {
        unsigned from = master_of(slot), to = (from + 1) % 3, base = round * 200;
        PUSH(base + 50);
        bh_loop_tick(fx.loop, false);
        test_cluster_begin_move(&servers, slot, from, to);
        PUSH(base + 100);
        bh_loop_tick(fx.loop, false);
        migrate("list", from, to);
        PUSH(base + 150);
        UNTIL(a[base + 100].count);
        test_cluster_move(&servers, slot, from, to);
        PUSH(base + 200);
        bh_loop_tick(fx.loop, false);
    }
    UNTIL(a[sent - 1].count);
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(a[i].count, 1);
        assert_int_equal(a[i].type, BH_REPLY_INTEGER);
        assert_int_equal(a[i].integer, i + 1);
    }
    for (unsigned i = 0; i < sent; i += 37) {
        snprintf(text, sizeof text, "LINDEX list %u", i);
        assert_int_equal(atoi(ask(text).text), (int)i);
    }
}

static void test_tryagain_waits_until_the_slot_has_moved(void **state) {
    struct answer a = {0};
    unsigned slot = bh_redis_slot(BH_SLICE("t")), from = master_of(slot), to = (from + 1) % 3;
    start_ready();
    int64_t before = bh_metric_read(&bh_redis_metrics[BH_REDIS_TRYAGAIN]);
    assert_string_equal(ask("MSET {t}a 1 {t}b 2").text, "OK");
    test_cluster_begin_move(&servers, slot, from, to);
    migrate("{t}a", from, to);
    call("MGET {t}a {t}b", &a);
    UNTIL(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRYAGAIN]) >= before + 2);
    assert_int_equal(a.count, 0);
    migrate("{t}b", from, to);
    UNTIL(a.count);
    assert_string_equal(a.text, "1 2 ");
    test_cluster_move(&servers, slot, from, to);
    assert_string_equal(ask("MGET {t}b {t}a").text, "2 1 ");
}

static void test_commands_of_a_stopped_worker_fail(void **state) {
    struct answer a = {0};
    start_ready();
    fx.vt->worker_stop(fx.broker, 0);
    call("GET a", &a);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.error, BH_EUNAVAIL);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_publish),
        T(test_the_queue_is_one_for_all_groups),
        T(test_without_a_queue_it_is_rejected),
        T(test_fails_when_the_worker_stops),
        T(test_no_publish_fails_while_slots_move),
        T(test_commands),
        T(test_commands_keep_their_order),
        T(test_tryagain_waits_until_the_slot_has_moved),
        T(test_commands_of_a_stopped_worker_fail),
        T(test_a_master_that_comes_back),
    };
    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
