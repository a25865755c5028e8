/* test_subscriptions_sharded.c - the subscriber link to a master of a cluster: answers that name no
 * channel, and subscriptions that the server drops. */
#include "fake_redis.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "broker/subscriptions.h"

#define PROBE "bellhop:probe:one:{a}"

static struct {
    struct bh_loop *loop;
    struct fake_redis fake;
    struct bh_redis_config config;
    struct bh_redis_subscriptions s;
    unsigned ups, downs, messages, subscribed, losts, probes, probings, probe_channels, moves;
    char topic[BH_TOPIC_NAME_MAX + 1], lost[BH_TOPIC_NAME_MAX + 1], moved[128];
    const char *slot; /* of the channels: on_moved is false for others */
    bool remove;      /* in on_moved */
} fx;

static void on_message(void *ud, struct bh_message *m) {
    fx.messages++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    fx.subscribed++;
    snprintf(fx.topic, sizeof fx.topic, "%.*s", BH_SLICE_ARG(topic));
}

static void on_lost(void *ud, struct bh_slice topic) {
    fx.losts++;
    snprintf(fx.lost, sizeof fx.lost, "%.*s", BH_SLICE_ARG(topic));
}

static void on_state(void *ud, unsigned shard, bool up) {
    fx.ups += up;
    fx.downs += !up;
}

static void on_probe(struct bh_redis_subscriptions *s, struct bh_slice token) {
    fx.probes++;
}

static void on_probing(struct bh_redis_subscriptions *s) {
    assert_false(atomic_load(&s->up));
    fx.probings++;
}

static void on_probe_channel(struct bh_redis_subscriptions *s) {
    fx.probe_channels++;
}

static void on_link_lost(struct bh_redis_subscriptions *s) {}

/* All channels are of the slot fx.slot. */
static bool on_moved(struct bh_redis_subscriptions *s, struct bh_slice channel,
                     struct bh_slice answer) {
    char topic[160];
    if (!bh_slice_starts(answer, bh_slice_cstr(fx.slot)))
        return false;
    fx.moves++;
    snprintf(fx.moved, sizeof fx.moved, "%.*s", BH_SLICE_ARG(channel));
    if (fx.remove && bh_slice_starts(channel, BH_SLICE("notification:"))) {
        snprintf(topic, sizeof topic, "user:%s", fx.moved + strlen("notification:"));
        bh_redis_subscriptions_remove(s, bh_slice_cstr(topic));
    }
    return true;
}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    fx.loop = bh_loop_new();
    fx.slot = "MOVED 7 ";
    fx.remove = true;
    fake_start(&fx.fake);
    fx.fake.handshake = FAKE_GOOD;
    fx.config = (struct bh_redis_config){.host = "127.0.0.1",
                                         .port = fx.fake.port,
                                         .sharded = true,
                                         .channel_prefix = "notification:",
                                         .instance = "one",
                                         .connect_timeout_ms = 5000,
                                         .command_timeout_ms = 5000,
                                         .probe_ms = 5000,
                                         .backoff_min_ms = 2,
                                         .backoff_max_ms = 4};
    bh_redis_subscriptions_init(&fx.s, &fx.config);
    bh_redis_subscriptions_set_probe(&fx.s, "a");
    assert_int_equal(fx.s.channels.count, 1);
    fx.s.on_probe = on_probe;
    fx.s.on_probing = on_probing;
    fx.s.on_probe_channel = on_probe_channel;
    fx.s.on_lost = on_link_lost;
    fx.s.on_moved = on_moved;
    return 0;
}

static int teardown(void **state) {
    bh_redis_subscriptions_stop(&fx.s);
    bh_redis_subscriptions_deinit(&fx.s);
    fake_stop(&fx.fake);
    bh_loop_free(fx.loop);
    return 0;
}

static void start(void) {
    struct bh_broker_sink sink = {on_message, on_subscribed, on_lost, on_state, NULL};
    bh_redis_subscriptions_start(&fx.s, fx.loop, "bus", &sink, NULL);
}

static void say(const char *kind, const char *channel, const char *last) {
    char text[2048];
    snprintf(text, sizeof text, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n%s\r\n", strlen(kind), kind,
             strlen(channel), channel, last);
    fake_say(&fx.fake, bh_slice_cstr(text));
}

static void subscribed(const char *channel) {
    say("ssubscribe", channel, ":1");
}

static void unsubscribed(const char *channel) {
    say("sunsubscribe", channel, ":0");
}

static void say_error(const char *answer) {
    char text[128];
    snprintf(text, sizeof text, "-%s\r\n", answer);
    fake_say(&fx.fake, bh_slice_cstr(text));
}

#define UNTIL(condition) TICK_UNTIL(fx.loop, fake_pump(&fx.fake) && (condition))

/* All that was said has been read. */
static void settle(void) {
    unsigned probes = fx.probes;
    say("smessage", fx.s.probe_channel, "$1\r\nx");
    UNTIL(fx.probes == probes + 1);
}

static bool heard(const char *verb, const char *channel) {
    char text[256];
    snprintf(text, sizeof text, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(verb), verb,
             strlen(channel), channel);
    return fake_heard(&fx.fake, text) > 0;
}

static void start_well(void) {
    start();
    UNTIL(heard("SSUBSCRIBE", PROBE));
    subscribed(PROBE);
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.probings, 1);
    bh_bytes_clear(&fx.fake.in);
}

static void add(const char *topic) {
    assert_false(bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic)));
}

static bool drop(const char *topic) {
    return bh_redis_subscriptions_remove(&fx.s, bh_slice_cstr(topic));
}

static bool is_live(const char *topic) {
    return bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic));
}

static void add_live(const char *topic, const char *channel) {
    unsigned before = fx.subscribed;
    add(topic);
    UNTIL(heard("SSUBSCRIBE", channel));
    subscribed(channel);
    UNTIL(fx.subscribed == before + 1);
    bh_bytes_clear(&fx.fake.in);
}

/* --- */

static const char *const nonsense[] = {
    "+OK\r\n",
    ":1\r\n",
    "$-1\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*1\r\n$8\r\nsmessage\r\n",
    "*3\r\n:1\r\n:2\r\n:3\r\n",
    "*3\r\n$7\r\nmessage\r\n$22\r\nnotification:broadcast\r\n$1\r\nx\r\n",
    "*3\r\n$8\r\nsmessage\r\n$22\r\nnotification:broadcast\r\n:1\r\n",
    "*3\r\n$10\r\nssubscribe\r\n$-1\r\n:0\r\n",
    "*3\r\n$10\r\nssubscribe\r\n$14\r\nnotification:1\r\n:0\r\n", /* nobody asked for it */
    "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:0\r\n",
    "-NOPERM this user has no permissions\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "-ERR unknown command 'SSUBSCRIBE'\r\n",
    "garbage\r\n",
};

static void test_protocol_errors_drop_the_link(void **state) {
    start_well();
    for (unsigned i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        fake_say(&fx.fake, bh_slice_cstr(nonsense[i]));
        UNTIL(fx.downs == i + 1);
        UNTIL(heard("SSUBSCRIBE", PROBE));
        subscribed(PROBE);
        UNTIL(fx.ups == i + 2);
    }
    assert_int_equal(fx.messages, 0);
    assert_int_equal(fx.s.sharded.fifo.count, 0);
}

/* One channel a command: two slots in one would be CROSSSLOT, and nothing would be subscribed. */
static void test_a_command_for_each_channel(void **state) {
    char topic[32], channel[48];
    for (int i = 0; i < 8000; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        add(topic);
    }
    start();
    UNTIL(fake_heard(&fx.fake, "\r\nSSUBSCRIBE\r\n") >= 5000);
    assert_int_equal(fx.s.unconfirmed, 5000); /* and no more before Redis has answered */
    assert_int_equal(fake_heard(&fx.fake, "*2\r\n$10\r\nSSUBSCRIBE\r\n$"), 5000);
    assert_memory_equal(fx.fake.in.p, "*2\r\n$10\r\nSSUBSCRIBE\r\n$21\r\n" PROBE, 47);
    subscribed(PROBE);
    for (int i = 0; i < 8000; i++) {
        snprintf(channel, sizeof channel, "notification:%d", i);
        UNTIL(heard("SSUBSCRIBE", channel));
        assert_int_equal(fx.ups, 0);
        subscribed(channel);
        bh_loop_tick(fx.loop, false);
    }
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.subscribed, 8000);
    assert_null(fx.s.sharded.fifo.ring);
    fake_hang_up(&fx.fake);
    UNTIL(fx.downs == 1);
    UNTIL(fake_heard(&fx.fake, "*2\r\n$10\r\nSSUBSCRIBE\r\n$") == 5000);
}

static void test_messages(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    say("smessage", "notification:1", "$2\r\nhi");
    UNTIL(fx.messages == 1);
    say("smessage", "other", "$2\r\nhi");
    settle();
    assert_int_equal(fx.messages, 1);
    assert_int_equal(fx.downs, 0);
}

/* A slot that was moved: the server drops the channel, and then says where it is. */
static void test_a_dropped_channel_is_lost_and_asked_for_again(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    unsubscribed("notification:1");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    assert_int_equal(fx.losts, 1);
    assert_string_equal(fx.lost, "user:1");
    assert_int_equal(fx.moves, 0);
    say_error("MOVED 7 127.0.0.1:7000");
    UNTIL(fx.moves == 1);
    assert_string_equal(fx.moved, "notification:1");
    UNTIL(fx.s.channels.count == 1);
    assert_int_equal(fx.downs, 0);
}

/* The master has it again: CLUSTER FAILOVER and back, or a replica that accepts it. */
static void test_a_dropped_channel_may_come_back(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    unsubscribed("notification:1");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    subscribed("notification:1");
    UNTIL(fx.subscribed == 2);
    assert_int_equal(fx.losts, 1);
    assert_true(is_live("user:1"));
}

/* The answer to SUNSUBSCRIBE looks like a channel that was dropped. */
static void test_an_answer_is_not_a_loss(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    assert_true(drop("user:1"));
    assert_false(drop("user:1"));
    UNTIL(heard("SUNSUBSCRIBE", "notification:1"));
    add("user:1");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    unsubscribed("notification:1");
    subscribed("notification:1");
    UNTIL(fx.subscribed == 2);
    assert_int_equal(fx.losts, 0);
    assert_true(is_live("user:1"));
}

/* The drop comes before the answer: it is taken for it, and the answer is an error. */
static void test_a_drop_that_crosses_an_unsubscribe(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    add_live("user:2", "notification:2");
    drop("user:1");
    UNTIL(heard("SUNSUBSCRIBE", "notification:1"));
    drop("user:2");
    add("user:3");
    UNTIL(heard("SUNSUBSCRIBE", "notification:2"));
    unsubscribed("notification:1");
    say_error("MOVED 9 127.0.0.1:7000"); /* the oldest command is of another slot */
    unsubscribed("notification:2");
    subscribed("notification:3");
    settle();
    assert_int_equal(fx.moves, 0);
    assert_int_equal(fx.downs, 0);
}

/* The same with a channel that is wanted again: one of the two answers is too many. */
static void test_a_drop_between_unsubscribe_and_subscribe(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    drop("user:1");
    UNTIL(heard("SUNSUBSCRIBE", "notification:1"));
    add("user:1");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    unsubscribed("notification:1");
    say_error("MOVED 7 127.0.0.1:7000");
    say_error("MOVED 7 127.0.0.1:7000");
    settle();
    assert_int_equal(fx.moves, 1);
    assert_int_equal(fx.losts, 0);
    assert_int_equal(fx.s.channels.count, 1);
    assert_int_equal(fx.downs, 0);
}

static void test_drops_that_nobody_needs(void **state) {
    start_well();
    unsubscribed("notification:99");
    add_live("user:1", "notification:1");
    drop("user:1"); /* the command is not sent yet */
    unsubscribed("notification:1");
    UNTIL(fx.s.channels.count == 1 || heard("SUNSUBSCRIBE", "notification:1"));
    unsubscribed("notification:1");
    settle();
    assert_int_equal(fx.losts, 0);
    assert_int_equal(fx.downs, 0);
    assert_int_equal(fx.s.channels.count, 1);
}

static void test_moved_in_order(void **state) {
    start_well();
    add("user:1");
    add("user:2");
    add("user:3");
    UNTIL(heard("SSUBSCRIBE", "notification:3"));
    subscribed("notification:1");
    say_error("MOVED 7 127.0.0.1:7000");
    subscribed("notification:3");
    UNTIL(fx.subscribed == 2);
    assert_string_equal(fx.moved, "notification:2");
    assert_true(is_live("user:1"));
    assert_true(is_live("user:3"));
    assert_int_equal(fx.downs, 0);
}

/* The owner does not know the master: the channel stays, and is tried again after a pause. */
static void test_moved_to_nowhere(void **state) {
    fx.remove = false;
    start_well();
    add("user:1");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    uint64_t begun = bh_loop_now(fx.loop);
    bh_bytes_clear(&fx.fake.in);
    say_error("MOVED 7 127.0.0.1:7000");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    assert_true(bh_loop_now(fx.loop) - begun >= BH_REDIS_SUBSCRIBE_PAUSE_MS);
    subscribed("notification:1");
    UNTIL(fx.subscribed == 1);
}

static void test_cluster_down(void **state) {
    start_well();
    add("user:1");
    add("user:2");
    add("user:3");
    UNTIL(heard("SSUBSCRIBE", "notification:3"));
    bh_bytes_clear(&fx.fake.in);
    subscribed("notification:1");
    say_error("CLUSTERDOWN Hash slot not served");
    say_error("CLUSTERDOWN The cluster is down");
    UNTIL(fx.subscribed == 1);
    drop("user:3");
    UNTIL(heard("SSUBSCRIBE", "notification:2"));
    assert_false(heard("SSUBSCRIBE", "notification:3"));
    subscribed("notification:2");
    UNTIL(fx.subscribed == 2);
    assert_int_equal(fx.downs, 0);
    assert_int_equal(fx.s.channels.count, 3);
}

static void test_cluster_down_for_an_unsubscribe(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    add_live("user:2", "notification:2");
    drop("user:1");
    drop("user:2");
    UNTIL(heard("SUNSUBSCRIBE", "notification:2"));
    bh_bytes_clear(&fx.fake.in);
    say_error("CLUSTERDOWN The cluster is down");
    say_error("CLUSTERDOWN The cluster is down");
    settle();
    say("smessage", "notification:1", "$2\r\nhi");
    assert_true(is_live("user:2")); /* still */
    UNTIL(heard("SUNSUBSCRIBE", "notification:1"));
    unsubscribed("notification:1");
    settle();
    assert_true(is_live("user:2"));
    assert_int_equal(fx.s.channels.count, 2);
    assert_int_equal(fx.messages, 0);
}

static void test_left_over_errors(void **state) {
    start_well();
    say_error("MOVED 7 127.0.0.1:7000");
    say_error("CLUSTERDOWN The cluster is down");
    settle();
    assert_int_equal(fx.moves, 0);
    assert_int_equal(fx.downs, 0);
}

/* `restoring` stays right when channels leave while the link comes up. */
static void test_up_when_the_others_have_moved(void **state) {
    add("user:1");
    add("user:2");
    start();
    UNTIL(heard("SSUBSCRIBE", "notification:2"));
    subscribed(PROBE);
    say_error("MOVED 7 127.0.0.1:7000");
    UNTIL(fx.moves == 1);
    assert_int_equal(fx.ups, 0);
    bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:2"));
    UNTIL(heard("SUNSUBSCRIBE", "notification:2"));
    subscribed("notification:2");
    unsubscribed("notification:2");
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.s.channels.count, 1);
}

/* Nothing is unsubscribed before the new subscription stands, and no message comes after that. */
static void test_leave_and_release(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    assert_true(bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:1")));
    assert_false(bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:1")));
    assert_int_equal(fx.s.sharded.leaving, 1);
    say("smessage", "notification:1", "$2\r\nhi");
    UNTIL(fx.messages == 1);
    assert_false(heard("SUNSUBSCRIBE", "notification:1"));
    bh_redis_subscriptions_release(&fx.s, BH_SLICE("user:1"));
    assert_int_equal(fx.s.sharded.leaving, 0);
    say("smessage", "notification:1", "$2\r\nhi");
    UNTIL(heard("SUNSUBSCRIBE", "notification:1"));
    settle();
    assert_int_equal(fx.messages, 1);
    unsubscribed("notification:1");
    UNTIL(fx.s.channels.count == 1);
}

static void test_left_and_wanted_again(void **state) {
    start_well();
    add_live("user:1", "notification:1");
    bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:1"));
    assert_true(is_live("user:1"));
    assert_int_equal(fx.s.sharded.leaving, 0);
    bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:1"));
    unsubscribed("notification:1");
    UNTIL(fx.s.channels.count == 1);
    assert_int_equal(fx.losts, 0);
    add_live("user:2", "notification:2");
    bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:2"));
    fake_hang_up(&fx.fake);
    UNTIL(fx.downs == 1 && fx.fake.fd >= 0 && heard("SSUBSCRIBE", PROBE));
    assert_int_equal(fx.s.channels.count, 1);
    assert_int_equal(fx.s.sharded.leaving, 0);
}

static void test_the_probe_moves(void **state) {
    start_well();
    bh_redis_subscriptions_set_probe(&fx.s, "b");
    UNTIL(heard("SSUBSCRIBE", "bellhop:probe:one:{b}") && heard("SUNSUBSCRIBE", PROBE));
    say("smessage", PROBE, "$1\r\nx"); /* too late, and no reason for a warning */
    subscribed("bellhop:probe:one:{b}");
    unsubscribed(PROBE);
    UNTIL(fx.probe_channels == 1);
    settle();
    assert_int_equal(fx.probings, 1);
    assert_int_equal(fx.probes, 1);
    assert_int_equal(fx.s.channels.count, 1);
    bh_bytes_clear(&fx.fake.in);
    unsubscribed("bellhop:probe:one:{b}");
    UNTIL(heard("SSUBSCRIBE", "bellhop:probe:one:{b}"));
    assert_int_equal(fx.losts, 0);
    say_error("MOVED 7 127.0.0.1:7000");
    UNTIL(fx.moves == 1);
    assert_string_equal(fx.moved, "bellhop:probe:one:{b}");
    bh_redis_subscriptions_set_probe(&fx.s, "c");
    UNTIL(heard("SSUBSCRIBE", "bellhop:probe:one:{c}"));
    assert_int_equal(fx.s.channels.count, 1);
}

static void test_the_probe_moves_while_the_link_comes_up(void **state) {
    start();
    UNTIL(heard("SSUBSCRIBE", PROBE));
    bh_redis_subscriptions_set_probe(&fx.s, "b");
    UNTIL(heard("SSUBSCRIBE", "bellhop:probe:one:{b}"));
    subscribed(PROBE);
    subscribed("bellhop:probe:one:{b}");
    UNTIL(fx.probings == 1);
    assert_int_equal(fx.ups, 0);
    unsubscribed(PROBE);
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.probings, 1);
    fake_hang_up(&fx.fake);
    UNTIL(fx.downs == 1);
    bh_redis_subscriptions_set_probe(&fx.s, "c");
    assert_int_equal(fx.ups, 1);
    UNTIL(heard("SSUBSCRIBE", "bellhop:probe:one:{c}"));
    subscribed("bellhop:probe:one:{c}");
    UNTIL(fx.ups == 2);
    assert_int_equal(fx.probings, 2);
    assert_int_equal(fx.s.channels.count, 1);
}

static void test_pings_are_in_the_order(void **state) {
    start_well();
    bh_redis_subscriptions_check_liveness(&fx.s);
    bh_redis_subscriptions_check_liveness(&fx.s);
    add("user:1");
    UNTIL(heard("SSUBSCRIBE", "notification:1"));
    assert_int_equal(fake_heard(&fx.fake, "PING"), 1);
    say_error("BUSY Redis is busy running a script"); /* to the PING, not to the channel */
    subscribed("notification:1");
    UNTIL(fx.subscribed == 1);
    bh_redis_subscriptions_check_liveness(&fx.s);
    bh_redis_subscriptions_check_liveness(&fx.s);
    UNTIL(fake_heard(&fx.fake, "PING") == 2);
    fake_say(&fx.fake, BH_SLICE("+PONG\r\n")); /* as without any channel */
    UNTIL(fx.s.pinged_ms == 0);
    assert_int_equal(fx.s.sharded.fifo.count, 0);
    assert_int_equal(fx.downs, 0);
}

static void test_iteration(void **state) {
    struct bh_slice channel;
    size_t cursor = 0;
    bool live;
    start_well();
    assert_false(bh_redis_subscriptions_next(&fx.s, &cursor, &channel, &live));
    add_live("user:1", "notification:1");
    add_live("user:2", "notification:2");
    bh_redis_subscriptions_leave(&fx.s, BH_SLICE("user:2"));
    cursor = 0;
    assert_true(bh_redis_subscriptions_next(&fx.s, &cursor, &channel, &live));
    assert_true(live && bh_slice_eq(channel, BH_SLICE("notification:1")));
    assert_false(bh_redis_subscriptions_next(&fx.s, &cursor, &channel, &live));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_protocol_errors_drop_the_link),
        T(test_a_command_for_each_channel),
        T(test_messages),
        T(test_a_dropped_channel_is_lost_and_asked_for_again),
        T(test_a_dropped_channel_may_come_back),
        T(test_an_answer_is_not_a_loss),
        T(test_a_drop_that_crosses_an_unsubscribe),
        T(test_a_drop_between_unsubscribe_and_subscribe),
        T(test_drops_that_nobody_needs),
        T(test_moved_in_order),
        T(test_moved_to_nowhere),
        T(test_cluster_down),
        T(test_cluster_down_for_an_unsubscribe),
        T(test_left_over_errors),
        T(test_up_when_the_others_have_moved),
        T(test_leave_and_release),
        T(test_left_and_wanted_again),
        T(test_the_probe_moves),
        T(test_the_probe_moves_while_the_link_comes_up),
        T(test_pings_are_in_the_order),
        T(test_iteration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
