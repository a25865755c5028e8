/* test_subscriptions.c - the subscriber link against a server that violates the protocol. */
#include "fake_redis.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "broker/subscriptions.h"

static struct {
    struct bh_loop *loop;
    struct fake_redis fake;
    struct bh_redis_config config;
    struct bh_redis_subscriptions s;
    unsigned ups, downs, messages, subscribed, probes, probings, losts;
    char topic[BH_TOPIC_NAME_MAX + 1];
} fx;

static void on_message(void *ud, struct bh_message *m) {
    fx.messages++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    fx.subscribed++;
    snprintf(fx.topic, sizeof fx.topic, "%.*s", BH_SLICE_ARG(topic));
}

static void on_state(void *ud, unsigned shard, bool up) {
    fx.ups += up;
    fx.downs += !up;
}

static void on_probe(struct bh_redis_subscriptions *s, struct bh_slice token) {
    fx.probes++;
}

static void on_probing(struct bh_redis_subscriptions *s) {
    assert_false(atomic_load(&s->up)); /* the old proof is void before it can be read */
    fx.probings++;
}

static void on_lost(struct bh_redis_subscriptions *s) {
    fx.losts++;
}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    fx.loop = bh_loop_new();
    fake_start(&fx.fake);
    fx.fake.handshake = FAKE_GOOD;
    fx.config = (struct bh_redis_config){.host = "127.0.0.1",
                                         .port = fx.fake.port,
                                         .channel_prefix = "notification:",
                                         .instance = "one",
                                         .connect_timeout_ms = 5000,
                                         .command_timeout_ms = 5000,
                                         .probe_ms = 5000,
                                         .backoff_min_ms = 2,
                                         .backoff_max_ms = 4};
    bh_redis_subscriptions_init(&fx.s, &fx.config);
    fx.s.on_probe = on_probe;
    fx.s.on_probing = on_probing;
    fx.s.on_lost = on_lost;
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
    struct bh_broker_sink sink = {on_message, on_subscribed, NULL, on_state, NULL};
    bh_redis_subscriptions_start(&fx.s, fx.loop, "bus", &sink, NULL);
}

static void confirm(const char *kind, const char *channel) {
    char text[2048];
    snprintf(text, sizeof text, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:1\r\n", strlen(kind), kind,
             strlen(channel), channel);
    fake_say(&fx.fake, bh_slice_cstr(text));
}

#define PROBE            "bellhop:probe:one"
#define UNTIL(condition) TICK_UNTIL(fx.loop, fake_pump(&fx.fake) && (condition))

static void start_well(void) {
    start();
    UNTIL(fake_heard(&fx.fake, "SUBSCRIBE"));
    confirm("subscribe", PROBE);
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.probings, 1);
    bh_bytes_clear(&fx.fake.in);
}

/* --- */

static const char *const nonsense[] = {
    "+OK\r\n",
    ":1\r\n",
    "$-1\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*1\r\n$7\r\nmessage\r\n",
    "*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    "*3\r\n:1\r\n:2\r\n:3\r\n",
    "*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\nx\r\n",
    "*3\r\n$7\r\nmessage\r\n$22\r\nnotification:broadcast\r\n:1\r\n",
    "*3\r\n$7\r\nmessage\r\n$22\r\nnotification:broadcast\r\n$-1\r\n",
    "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:0\r\n",
    "*3\r\n$10\r\npsubscribe\r\n$1\r\nx\r\n:0\r\n",
    "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$22\r\nnotification:broadcast\r\n$1\r\nx\r\n",
    "-NOPERM this user has no permissions\r\n",
    "garbage\r\n",
};

static void test_protocol_errors_drop_the_link(void **state) {
    start_well();
    for (unsigned i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        fake_say(&fx.fake, bh_slice_cstr(nonsense[i]));
        UNTIL(fx.downs == i + 1);
        UNTIL(fake_heard(&fx.fake, "SUBSCRIBE"));
        confirm("subscribe", PROBE);
        UNTIL(fx.ups == i + 2);
    }
    assert_int_equal(fx.messages, 0);
    assert_int_equal(fx.probes, 0);
}

static void test_messages_in_pieces(void **state) {
    static const char text[] =
        "*3\r\n$7\r\nmessage\r\n$22\r\nnotification:broadcast\r\n$2\r\nhi\r\n"
        "*3\r\n$7\r\nmessage\r\n$17\r\n" PROBE "\r\n$1\r\nx\r\n"
        "*3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\nx\r\n"
        "*3\r\n$7\r\nmessage\r\n$15\r\nnotification:42\r\n$0\r\n\r\n";
    start_well();
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        fake_say(&fx.fake, bh_slice(text + i, 1));
        bh_loop_tick(fx.loop, false);
    }
    UNTIL(fx.messages == 2);
    assert_int_equal(fx.probes, 1);
    assert_int_equal(fx.downs, 0);
}

static void test_unexpected_confirmations(void **state) {
    start_well();
    confirm("subscribe", "notification:unknown");
    confirm("subscribe", PROBE);
    confirm("unsubscribe", PROBE);
    fake_say(&fx.fake, BH_SLICE("*3\r\n$11\r\nunsubscribe\r\n$15\r\nnotification:99\r\n:0\r\n"));
    assert_false(bh_redis_subscriptions_add(&fx.s, BH_SLICE("user:1")));
    UNTIL(fake_heard(&fx.fake, "notification:1"));
    confirm("subscribe", "notification:1");
    UNTIL(fx.subscribed == 1);
    assert_string_equal(fx.topic, "user:1");
    assert_int_equal(fx.downs, 0);
}

static void test_wrong_confirmation(void **state) {
    start_well();
    bh_redis_subscriptions_add(&fx.s, BH_SLICE("user:1"));
    UNTIL(fake_heard(&fx.fake, "notification:1"));
    confirm("unsubscribe", "notification:1");
    UNTIL(fx.downs == 1);
    assert_int_equal(fx.subscribed, 0);
}

static void test_not_up_before_all_is_confirmed(void **state) {
    bh_redis_subscriptions_add(&fx.s, BH_SLICE("user:1"));
    bh_redis_subscriptions_add(&fx.s, BH_SLICE("user:2"));
    start();
    UNTIL(fake_heard(&fx.fake, "notification:2"));
    confirm("subscribe", PROBE);
    confirm("subscribe", "notification:1");
    UNTIL(fx.subscribed == 1);
    assert_int_equal(fx.ups, 0);
    confirm("subscribe", "notification:2");
    UNTIL(fx.ups == 1);
    assert_true(bh_redis_subscriptions_add(&fx.s, BH_SLICE("user:2")));
}

static void test_many_go_in_chunks_and_in_a_window(void **state) {
    char topic[32], channel[48];
    for (int i = 0; i < 8000; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic));
    }
    start();
    UNTIL(fake_heard(&fx.fake, "$13\r\n") == 0 && fx.s.unconfirmed >= 5000);
    UNTIL(fake_heard(&fx.fake, "notification:") >= 4999);
    assert_int_equal(fx.s.unconfirmed, 5000); /* and no more before Redis has answered */
    assert_int_equal(fake_heard(&fx.fake, "SUBSCRIBE"), 10);
    assert_int_equal(fake_heard(&fx.fake, "*501\r\n$9\r\nSUBSCRIBE"), 10);
    const char *first = memmem(fx.fake.in.p, fx.fake.in.len, "$17\r\n", 5);
    assert_memory_equal(first, "$17\r\n" PROBE, 22);
    confirm("subscribe", PROBE);
    for (int i = 0; i < 8000; i++) {
        snprintf(channel, sizeof channel, "notification:%d", i);
        UNTIL(memmem(fx.fake.in.p, fx.fake.in.len, channel, strlen(channel)));
        confirm("subscribe", channel);
        bh_loop_tick(fx.loop, false);
        assert_true(fx.s.unconfirmed <= 5500);
    }
    UNTIL(fx.ups == 1);
    assert_int_equal(fx.subscribed, 8000);
}

static void test_churn_while_down_leaves_nothing(void **state) {
    char topic[32];
    start();
    fake_hang_up(&fx.fake);
    for (int i = 0; i < 1000; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic));
        bh_redis_subscriptions_remove(&fx.s, bh_slice_cstr(topic));
    }
    assert_int_equal(fx.s.channels.count, 1);
}

static void test_the_longest_topics(void **state) {
    static const struct {
        const char *byte, *encoded;
    } kinds[] = {{"x", "x"}, {"/", "/"}, {"%", "%25"}, {":", "%3A"}};
    start_well();
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char topic[BH_TOPIC_NAME_MAX] = "topic:", channel[BH_CHANNEL_MAX] = "notification:topic:";
        char message[BH_CHANNEL_MAX + 64];
        for (int n = 0; n < BH_TOPIC_ID_MAX; n++) {
            strcat(topic, kinds[i].byte);
            strcat(channel, kinds[i].encoded);
        }
        assert_false(bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic)));
        UNTIL(fake_heard(&fx.fake, channel));
        confirm("subscribe", channel);
        UNTIL(fx.subscribed == i + 1);
        assert_string_equal(fx.topic, topic);
        snprintf(message, sizeof message, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$2\r\nhi\r\n",
                 strlen(channel), channel);
        fake_say(&fx.fake, bh_slice_cstr(message));
        UNTIL(fx.messages == i + 1);
        assert_true(bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic)));
        strcat(topic, "x");
        assert_false(bh_redis_subscriptions_add(&fx.s, bh_slice_cstr(topic)));
    }
}

/* The check may run between on_up and the first SUBSCRIBE. */
static void test_no_ping_before_the_first_subscribe(void **state) {
    start_well();
    fx.s.subscribing = false;
    bh_redis_subscriptions_check_liveness(&fx.s);
    bh_redis_subscriptions_check_liveness(&fx.s);
    assert_int_equal(fx.s.pongs_due, 0);
    fx.s.subscribing = true;
    bh_redis_subscriptions_check_liveness(&fx.s);
    assert_int_equal(fx.s.pongs_due, 1);
}

static void test_a_silent_link_gets_a_ping_then_is_dropped(void **state) {
    fx.config.command_timeout_ms = 100;
    start_well();
    bh_redis_subscriptions_check_liveness(&fx.s);
    bh_redis_subscriptions_check_liveness(&fx.s); /* silent since the last check */
    UNTIL(fake_heard(&fx.fake, "PING"));
    fake_say(&fx.fake, BH_SLICE("*2\r\n$4\r\npong\r\n$0\r\n\r\n"));
    UNTIL(fx.s.pinged_ms == 0);
    bh_redis_subscriptions_check_liveness(&fx.s);
    bh_redis_subscriptions_check_liveness(&fx.s);
    fake_say(&fx.fake, BH_SLICE("-BUSY Redis is busy running a script\r\n"));
    UNTIL(fx.s.pinged_ms == 0);
    assert_int_equal(fx.downs, 0);
    uint64_t begun = bh_loop_now(fx.loop);
    while (fx.downs == 0) {
        bh_redis_subscriptions_check_liveness(&fx.s);
        bh_loop_tick(fx.loop, false);
    }
    assert_true(bh_loop_now(fx.loop) - begun >= 100);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_protocol_errors_drop_the_link),
        T(test_messages_in_pieces),
        T(test_unexpected_confirmations),
        T(test_wrong_confirmation),
        T(test_not_up_before_all_is_confirmed),
        T(test_many_go_in_chunks_and_in_a_window),
        T(test_churn_while_down_leaves_nothing),
        T(test_the_longest_topics),
        T(test_no_ping_before_the_first_subscribe),
        T(test_a_silent_link_gets_a_ping_then_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
