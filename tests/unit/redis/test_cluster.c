/* test_cluster.c - the broker over a real cluster whose slots move while messages flow.
 *
 * The rule for each message: it arrives once, or the sink was told, after it was sent, that the
 * topic was lost. Never twice. */
#include "cluster_server.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/message.h"
#include "broker/broker.h"
#include "broker/feed.h"
#include "cluster/cluster.h"
#include "link/metrics.h"

#define TOPICS   300
#define SENT_MAX 200000

struct topic {
    char name[32];
    bool live;
    unsigned lives, losses; /* by what the sink was told */
};

/* A message that was published. */
struct sent {
    unsigned topic, losses; /* the topic's, when it was sent */
    bool live, confirmed;
    unsigned arrived;
};

static struct {
    struct test_cluster servers;
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_redis_config config;
    struct bh_broker *broker;
    const struct bh_broker_vt *vt;
    struct topic topics[TOPICS];
    struct sent *sent;
    unsigned sent_count, answers, doubled, state_ups, state_downs;
    uint32_t up;
    bool pumping;
    struct bh_timer pump;
} fx;

/* --- the sink --- */

static struct topic *find(struct bh_slice name) {
    uint64_t n;
    assert_true(bh_slice_starts(name, BH_SLICE("user:")));
    assert_int_equal(bh_slice_u64(bh_slice(name.p + 5, name.n - 5), TOPICS - 1, &n), 0);
    return &fx.topics[n];
}

static unsigned shard_of(const struct topic *t) {
    return fx.vt->shard_of(fx.broker, bh_slice_cstr(t->name));
}

static void on_message(void *ud, struct bh_message *m) {
    uint64_t n;
    assert_int_equal(bh_slice_u64(m->payload, fx.sent_count - 1, &n), 0);
    struct sent *s = &fx.sent[n];
    /* What the node does with messages that are marked. */
    if (s->arrived++ && !(m->flags & BH_MESSAGE_DEDUP))
        fx.doubled++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    struct topic *t = find(topic);
    t->live = true;
    t->lives++;
}

static void lose(struct topic *t) {
    t->losses += t->live;
    t->live = false;
}

static void on_lost(void *ud, struct bh_slice topic) {
    lose(find(topic));
}

static void on_state(void *ud, unsigned shard, bool up) {
    assert_true(shard < BH_SHARDS_MAX);
    fx.state_ups += up;
    fx.state_downs += !up;
    fx.up = up ? fx.up | 1u << shard : fx.up & ~(1u << shard);
    for (unsigned i = 0; i < TOPICS && !up; i++)
        if (shard_of(&fx.topics[i]) == shard)
            lose(&fx.topics[i]);
}

/* --- publishing --- */

static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {
    fx.answers++;
    fx.sent[handle].confirmed = error == 0;
}

static void on_raw_published(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    on_published(ud, handle,
                 error                             ? error
                 : reply->type == BH_REPLY_INTEGER ? 0
                                                   : BH_EUNAVAIL,
                 0, NULL);
}

/* As a backend does: without an id. */
static void publish_raw(unsigned n, const struct bh_topic *to, struct bh_slice payload) {
    char channel[BH_CHANNEL_MAX + 1];
    size_t len = bh_topic_to_channel(to, bh_slice_cstr(fx.config.channel_prefix), channel);
    struct bh_slice argv[] = {BH_SLICE("SPUBLISH"), bh_slice(channel, len), payload};
    struct bh_redis *commands = bh_redis_broker_commands(fx.broker);
    commands->vt->call(commands, 0, 3, argv, on_raw_published, NULL, n);
}

static void publish(unsigned topic) {
    char payload[16], id[32];
    struct bh_topic to;
    assert_true(fx.sent_count < SENT_MAX);
    unsigned n = fx.sent_count++;
    fx.sent[n] = (struct sent){
        .topic = topic, .losses = fx.topics[topic].losses, .live = fx.topics[topic].live};
    snprintf(payload, sizeof payload, "%u", n);
    snprintf(id, sizeof id, "id-%u", n);
    assert_int_equal(bh_topic_parse(bh_slice_cstr(fx.topics[topic].name), &to), 0);
    if (n % 2) {
        publish_raw(n, &to, bh_slice_cstr(payload));
        return;
    }
    struct bh_message parts = {.topic = &to,
                               .kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .id = bh_slice_cstr(id),
                               .origin = BH_SLICE("other"),
                               .payload = bh_slice_cstr(payload)};
    struct bh_message *m = bh_message_new(&parts);
    fx.vt->publish(fx.broker, 0, m, on_published, NULL, n);
    bh_message_unref(m);
}

static void on_pump(struct bh_timer *t) {
    static unsigned next;
    for (unsigned i = 0; i < 10; i++)
        publish(next++ % TOPICS);
    bh_timer_set(t, 1);
}

static void pump(bool on) {
    if (on)
        bh_timer_set(&fx.pump, 0);
    else
        bh_timer_cancel(&fx.pump);
}

/* --- */

static bool is_ready(void) {
    const char *why;
    return fx.vt->ready(fx.broker, &why) == 0;
}

static unsigned live(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < TOPICS; i++)
        n += fx.topics[i].live;
    return n;
}

static struct bh_redis_cluster_bus *bus(void) {
    return &bh_redis_cluster_of(fx.broker)->bus;
}

#define UNTIL(condition) TICK_UNTIL(fx.loop, condition)

static bool have_all_answers(void) {
    return fx.answers == fx.sent_count;
}

static unsigned unarrived(unsigned from) {
    unsigned n = 0;
    for (unsigned i = from; i < fx.sent_count; i++)
        n += fx.sent[i].arrived == 0;
    return n;
}

/* All topics are live again, each message that is published now arrives, and what did not arrive
 * before was announced. */
static void check(void) {
    pump(false);
    UNTIL(is_ready() && live() == TOPICS && fx.up == 0xffff);
    UNTIL(have_all_answers());
    unsigned from = fx.sent_count, lost = 0, silent = 0;
    for (unsigned i = 0; i < TOPICS; i++)
        publish(i);
    UNTIL(have_all_answers() && unarrived(from) == 0);
    for (unsigned i = 0; i < from; i++) {
        const struct sent *s = &fx.sent[i];
        lost += s->confirmed && !s->arrived;
        silent += s->confirmed && !s->arrived && s->live && fx.topics[s->topic].losses == s->losses;
    }
    print_message("%u messages, %u lost and announced, %u downs of groups\n", fx.sent_count, lost,
                  fx.state_downs);
    assert_int_equal(silent, 0);
    assert_int_equal(fx.doubled, 0);
}

static void open_broker(void) {
    struct bh_broker_sink sink = {on_message, on_subscribed, on_lost, on_state, NULL};
    fx.loop = bh_loop_new();
    fx.mailbox = bh_mailbox_new(fx.loop);
    fx.config = (struct bh_redis_config){.cluster = fx.servers.urls,
                                         .channel_prefix = "notification:",
                                         .instance = "one",
                                         .connect_timeout_ms = 1000,
                                         .command_timeout_ms = 3000,
                                         .probe_ms = 100,
                                         .backoff_min_ms = 5,
                                         .backoff_max_ms = 50,
                                         .publish_queue = 100000,
                                         .publish_wait_ms = 20000};
    fx.broker = bh_redis_shards_new(&fx.config, 1, 1);
    fx.vt = fx.broker->vt;
    fx.sent = bh_calloc(SENT_MAX, sizeof *fx.sent);
    bh_timer_init(&fx.pump, fx.loop, on_pump);
    assert_false(is_ready());
    assert_int_equal(fx.vt->start(fx.broker, fx.loop, fx.mailbox, &sink), 0);
    assert_int_equal(fx.vt->worker_start(fx.broker, 0, fx.loop), 0);
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(fx.topics[i].name, sizeof fx.topics[i].name, "user:%u", i);
        assert_false(fx.vt->subscribe(fx.broker, bh_slice_cstr(fx.topics[i].name)));
    }
}

static void open_ready(unsigned masters, bool replicas) {
    test_cluster_start(&fx.servers, masters, replicas);
    open_broker();
    UNTIL(is_ready() && live() == TOPICS);
}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    return 0;
}

static int teardown(void **state) {
    if (fx.broker) {
        pump(false);
        fx.vt->worker_stop(fx.broker, 0);
        fx.vt->stop(fx.broker);
        bh_loop_tick(fx.loop, false);
        fx.vt->free(fx.broker);
        bh_mailbox_free(fx.mailbox);
        bh_loop_free(fx.loop);
        bh_free(fx.sent);
    }
    test_cluster_stop(&fx.servers);
    return 0;
}

/* --- */

static void test_messages(void **state) {
    open_ready(3, false);
    assert_int_equal(fx.state_ups, 16);
    assert_int_equal(fx.state_downs, 0);
    pump(true);
    UNTIL(fx.answers > 3000);
    check();
    assert_int_equal(unarrived(0), 0);
    for (unsigned i = 0; i < TOPICS; i++)
        fx.vt->unsubscribe(fx.broker, bh_slice_cstr(fx.topics[i].name));
    long long channels = 1;
    for (unsigned i = 0; i < 3; i++)
        UNTIL((channels = bh_redis_feed_active(bh_redis_node_feed(bus()->places[i]->master->broker))
                              ->channels.count) == 1);
}

static unsigned slot_of(unsigned topic) {
    return bh_redis_bus_slot(bus(), bh_slice_cstr(fx.topics[topic].name));
}

static unsigned node_of(unsigned topic) {
    for (unsigned i = 0; i < fx.servers.count; i++)
        if (test_cluster_has_slot(&fx.servers, i, slot_of(topic), i))
            return i;
    fail_msg("slot %u has no master", slot_of(topic));
    return 0;
}

static void tick_for(unsigned messages) {
    unsigned until = fx.answers + messages;
    UNTIL(fx.answers >= until);
}

/* The master says so for each channel: no other topic is touched, no group goes down. */
static void test_slots_move_one_by_one(void **state) {
    open_ready(3, false);
    pump(true);
    for (unsigned topic = 0; topic < 40; topic++) {
        unsigned from = node_of(topic), to = (from + 1) % 3;
        test_cluster_begin_move(&fx.servers, slot_of(topic), from, to);
        tick_for(20);
        test_cluster_move(&fx.servers, slot_of(topic), from, to);
        UNTIL(fx.topics[topic].losses >= 1 && fx.topics[topic].live);
    }
    check();
    assert_int_equal(fx.state_downs, 0);
    for (unsigned i = 40; i < TOPICS; i++)
        assert_true(fx.topics[i].losses == 0 || slot_of(i) == slot_of(i - 40));
}

static void fail_over(unsigned replica) {
    UNTIL(test_cluster_is_in_sync(&fx.servers, replica));
    UNTIL(test_cluster_try_failover(&fx.servers, replica));
}

/* The demoted master drops its channels, accepts them again as a replica, and then says nothing. */
static void test_failover(void **state) {
    open_ready(3, true);
    pump(true);
    tick_for(100);
    for (unsigned i = 0; i < 3; i++) {
        fail_over(3 + i);
        tick_for(100);
    }
    UNTIL(bh_metric_read(&bh_redis_metrics[BH_REDIS_CLUSTER_MASTERS]) == 3);
    check();
    assert_int_equal(fx.state_downs, 0);
}

/* Before the first one is known everywhere. */
static void test_failover_and_back(void **state) {
    open_ready(3, true);
    pump(true);
    for (unsigned i = 0; i < 3; i++) {
        fail_over(3);
        fail_over(0);
    }
    tick_for(1000);
    check();
    assert_int_equal(fx.state_downs, 0);
}

static void test_a_master_is_killed(void **state) {
    open_ready(3, true);
    pump(true);
    tick_for(100);
    test_redis_kill(&fx.servers.nodes[0]);
    UNTIL(fx.state_downs > 0);
    assert_false(is_ready());
    UNTIL(test_cluster_is_master(&fx.servers, 3));
    check();
    unsigned downs = fx.state_downs;
    assert_in_range(downs, 1, 6); /* of the groups that it had slots of */
    pump(true);
    test_redis_run(&fx.servers.nodes[0]);
    UNTIL(!test_cluster_is_master(&fx.servers, 0));
    tick_for(100);
    check();
    assert_int_equal(fx.state_downs, downs);
}

/* Its links stay, and it says nothing when it is demoted. */
static void test_a_master_hangs(void **state) {
    open_ready(3, true);
    pump(true);
    tick_for(100);
    kill(fx.servers.nodes[0].pid, SIGSTOP);
    UNTIL(test_cluster_is_master(&fx.servers, 3));
    UNTIL(is_ready() && live() == TOPICS);
    kill(fx.servers.nodes[0].pid, SIGCONT);
    UNTIL(!test_cluster_is_master(&fx.servers, 0));
    tick_for(1000);
    check();
}

static void test_a_master_is_added_and_removed(void **state) {
    open_ready(3, false);
    pump(true);
    unsigned added = test_cluster_add(&fx.servers), from[60];
    for (unsigned topic = 0; topic < 60; topic++) {
        from[topic] = node_of(topic);
        if (from[topic] != added)
            test_cluster_move(&fx.servers, slot_of(topic), from[topic], added);
        tick_for(5);
    }
    check();
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_CLUSTER_MASTERS]), 4);
    assert_int_equal(fx.state_downs, 0);
    pump(true);
    for (unsigned topic = 0; topic < 60; topic++) {
        if (node_of(topic) == added)
            test_cluster_move(&fx.servers, slot_of(topic), added, from[topic]);
        tick_for(5);
    }
    UNTIL(bh_metric_read(&bh_redis_metrics[BH_REDIS_CLUSTER_MASTERS]) == 3);
    test_cluster_remove(&fx.servers, added);
    tick_for(500);
    check();
    assert_int_equal(fx.state_downs, 0);
    assert_null(bus()->places[3]);
}

static void test_a_cluster_that_is_down_at_the_start(void **state) {
    test_cluster_start(&fx.servers, 3, false);
    for (unsigned i = 0; i < 3; i++)
        test_redis_kill(&fx.servers.nodes[i]);
    open_broker();
    for (unsigned i = 0; i < TOPICS; i++)
        publish(i);
    for (unsigned i = TOPICS / 2; i < TOPICS; i++)
        fx.vt->unsubscribe(fx.broker, bh_slice_cstr(fx.topics[i].name));
    assert_int_equal(bus()->orphans.count, TOPICS / 2);
    for (unsigned i = TOPICS / 2; i < TOPICS; i++)
        fx.vt->subscribe(fx.broker, bh_slice_cstr(fx.topics[i].name));
    for (unsigned i = 0; i < 3; i++)
        test_redis_run(&fx.servers.nodes[i]);
    check();
    assert_int_equal(fx.state_ups, 16);
    assert_int_equal(unarrived(0), 0);
    assert_int_equal(bus()->orphans.count, 0);
}

/* One slot that nobody has takes only its group down; its topics wait. */
static void test_a_slot_without_a_master(void **state) {
    open_ready(3, false);
    unsigned slot = slot_of(0), node = node_of(0), shard = shard_of(&fx.topics[0]);
    for (unsigned i = 0; i < 3; i++) {
        test_redis_do(&fx.servers.nodes[i], "CONFIG SET cluster-require-full-coverage no");
        test_redis_do(&fx.servers.nodes[i], "CLUSTER DELSLOTS %d", slot);
    }
    UNTIL(!fx.topics[0].live);
    UNTIL(!is_ready() && fx.up == (0xffff & ~(1u << shard)));
    UNTIL(bus()->orphans.count == 1);
    test_redis_do(&fx.servers.nodes[node], "CLUSTER ADDSLOTS %d", slot);
    check();
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_messages),
        T(test_slots_move_one_by_one),
        T(test_failover),
        T(test_failover_and_back),
        T(test_a_master_is_killed),
        T(test_a_master_hangs),
        T(test_a_master_is_added_and_removed),
        T(test_a_cluster_that_is_down_at_the_start),
        T(test_a_slot_without_a_master),
    };
    bh_redis_metrics_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
