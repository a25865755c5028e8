/* test_feed.c - a subscriber link that swallows what Redis sends, and the second one beside it.
 * With a real Redis behind a proxy, on the fake clock. */
#include "gateway.h"
#include "proxy.h"

#include "link/metrics.h"

#define PROBE_MS   2000
#define MISSING_MS 1000
#define MARKED_MS  5000 /* the command timeout */

static struct proxy proxy;
static int64_t takeovers_before;

/* The sockets are real, the clock stands still. */
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        uint64_t until = test_now_ms() + TEST_DEADLINE_MS;                                         \
        while (proxy_pump(&proxy) && !(condition)) {                                               \
            if (test_now_ms() > until)                                                             \
                fail_msg("not within %d ms: %s", TEST_DEADLINE_MS, #condition);                    \
            bh_loop_tick(fx->g.loop, false);                                                       \
        }                                                                                          \
    } while (0)

static int setup(void **state) {
    bh_redis_metrics_register();
    setup_gateway(state);
    bh_clock_fake(1000000, 0);
    proxy_start(&proxy, fx->redis.port);
    fx->config.port = proxy.port;
    fx->config.probe_ms = PROBE_MS;
    fx->config.connect_timeout_ms = fx->config.command_timeout_ms = MARKED_MS;
    takeovers_before = bh_metric_read(&bh_redis_metrics[BH_REDIS_TAKEOVERS]);
    open_gateway(&fx->g);
    fx->g.vt->subscribe(fx->g.broker, BH_SLICE("user:1"));
    UNTIL(is_ready(&fx->g));
    return 0;
}

static int teardown(void **state) {
    close_gateway(&fx->g);
    proxy_stop(&proxy);
    bh_clock_real();
    return teardown_gateway(state);
}

static int64_t takeovers(void) {
    return bh_metric_read(&bh_redis_metrics[BH_REDIS_TAKEOVERS]) - takeovers_before;
}

/* The subscriber link delivers nothing from now on. */
static void swallow(void) {
    proxy.deafen = true;
    proxy_pump(&proxy);
    proxy.deafen = false;
}

/* Until a probe is missing and a second link has subscribed to everything. */
static void open_second(void) {
    size_t withheld = proxy.withheld;
    swallow();
    bh_clock_fake_advance(PROBE_MS);
    UNTIL(proxy.withheld > withheld);
    assert_true(is_ready(&fx->g));
    bh_clock_fake_advance(MISSING_MS);
    UNTIL(!is_ready(&fx->g));
    UNTIL(subscribers("notification:1") == 2);
}

/* For what happens some time after an answer of Redis: no faster than real time. */
static void pass_time(void) {
    usleep(1000);
    bh_clock_fake_advance(1);
}

static void take_over(void) {
    int64_t before = takeovers();
    UNTIL((pass_time(), takeovers() == before + 1));
    UNTIL(is_ready(&fx->g));
}

/* Until the first link is closed, and nothing is marked any more. */
static void end_marking(void) {
    bh_clock_fake_advance(MARKED_MS);
    UNTIL(subscribers("notification:1") == 1);
}

static void publish_envelope(void) {
    struct bh_message *m = new_message("user:1", BH_SLICE("enveloped"));
    char head[BH_ENVELOPE_HEAD_MAX + 16];
    m->flags = 0;
    size_t n = bh_envelope_head(m, bh_clock_ms(), head);
    memcpy(head + n, m->payload.p, m->payload.n);
    test_redis_do(&fx->redis, "PUBLISH notification:1 %b", head, n + m->payload.n);
    bh_message_unref(m);
}

static void test_the_second_one_takes_over(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_second();
    take_over();
    assert_int_equal(g->downs, 0);
    assert_int_equal(g->ups, 1);
    test_redis_do(&fx->redis, "PUBLISH notification:1 raw");
    UNTIL(g->messages == 1);
    assert_int_equal(g->last->flags, BH_MESSAGE_RAW);
    publish(g, "user:1", BH_SLICE("x"), &d);
    UNTIL(d.count == 1 && g->messages == 2);
    assert_int_equal(d.error, 0);
}

static void test_and_again(void **state) {
    for (int i = 1; i <= 3; i++) {
        open_second();
        take_over();
        end_marking();
        UNTIL(is_ready(&fx->g));
        assert_int_equal(takeovers(), i);
    }
    test_redis_do(&fx->redis, "PUBLISH notification:1 raw");
    UNTIL(fx->g.messages == 1);
}

static void test_what_the_second_one_brings(void **state) {
    struct gateway *g = &fx->g;
    open_second();
    test_redis_do(&fx->redis, "PUBLISH notification:1 raw");
    publish_envelope();
    UNTIL(g->messages == 1);
    assert_int_equal(g->last->flags, BH_MESSAGE_DEDUP); /* it might come twice */
    take_over();
    publish_envelope();
    UNTIL(g->messages == 2);
    assert_int_equal(g->last->flags, BH_MESSAGE_DEDUP);
    end_marking();
    publish_envelope();
    UNTIL(g->messages == 3);
    assert_int_equal(g->last->flags, 0);
}

static void test_topics_that_come_and_go_meanwhile(void **state) {
    struct gateway *g = &fx->g;
    g->vt->subscribe(g->broker, BH_SLICE("user:2"));
    UNTIL(strcmp(g->last_subscribed, "user:2") == 0);
    open_second();
    assert_false(g->vt->subscribe(g->broker, BH_SLICE("user:3")));
    g->vt->unsubscribe(g->broker, BH_SLICE("user:2"));
    UNTIL(subscribers("notification:3") == 2 && subscribers("notification:2") == 0);
    unsigned before = g->subscribed;
    take_over();
    assert_int_equal(g->subscribed,
                     before + 2); /* and user:1 again, which may have lost messages */
    test_redis_do(&fx->redis, "PUBLISH notification:3 raw");
    UNTIL(g->messages == 1);
    assert_int_equal(subscribers("notification:2"), 0);
}

/* Redis executes nothing for a while; on both links arrives what was published meanwhile. */
static void test_a_busy_redis_keeps_its_link(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    redisContext *c = test_redis_client(&fx->redis);
    test_redis_do(&fx->redis, "CLIENT PAUSE 1000000 WRITE"); /* PUBLISH, and not SUBSCRIBE */
    bh_clock_fake_advance(PROBE_MS);
    bh_loop_tick(g->loop, false);
    redisAppendCommand(c, "PUBLISH notification:1 raw");
    for (int sent = 0; !sent;)
        redisBufferWrite(c, &sent);
    publish(g, "user:2", BH_SLICE("x"), &d);
    bh_clock_fake_advance(MISSING_MS);
    UNTIL(!is_ready(g));
    UNTIL(subscribers("notification:1") == 2);
    assert_int_equal(g->messages, 0);
    test_redis_do(&fx->redis, "CLIENT UNPAUSE");
    UNTIL((pass_time(), is_ready(g)));
    UNTIL(subscribers("notification:1") == 1);
    assert_int_equal(g->messages, 1); /* once, though raw */
    UNTIL(d.count == 1);
    assert_int_equal(d.error, 0);
    assert_int_equal(takeovers(), 0);
    assert_int_equal(g->downs, 0);
    redisFree(c);
}

static void test_the_first_one_is_lost_meanwhile(void **state) {
    struct gateway *g = &fx->g;
    open_second();
    test_redis_do(&fx->redis, "CLIENT KILL TYPE pubsub");
    UNTIL(g->downs == 1);
    UNTIL((pass_time(), is_ready(g)));
    assert_int_equal(subscribers("notification:1"), 1);
    test_redis_do(&fx->redis, "PUBLISH notification:1 raw");
    UNTIL(g->messages == 1);
}

static void test_what_the_first_one_brings_late(void **state) {
    struct gateway *g = &fx->g;
    proxy.hold = true; /* nothing is lost, it only takes time */
    open_second();
    take_over();
    publish_envelope();
    UNTIL(g->messages == 1);
    proxy.hold = false;
    UNTIL(g->messages == 2); /* the node drops it */
    assert_int_equal(g->last->flags, BH_MESSAGE_DEDUP);
    test_redis_do(&fx->redis, "PUBLISH notification:1 raw");
    UNTIL(g->messages == 3);
    publish_envelope();
    UNTIL(g->messages == 5);
    end_marking();
    assert_int_equal(g->messages, 5);
}

/* Until the subscriptions and the worker have new links. */
static void replace_all(void) {
    proxy.all = true;
    open_second();
    UNTIL((pass_time(), takeovers() == 2));
    UNTIL(is_ready(&fx->g));
}

static void test_the_link_of_a_worker(void **state) {
    struct gateway *g = &fx->g;
    struct done before = {0}, after = {0};
    proxy.all = true;
    swallow();
    publish(g, "user:1", BH_SLICE("executed, and not confirmed"), &before);
    replace_all();
    publish(g, "user:1", BH_SLICE("x"), &after);
    UNTIL(after.count == 1 && g->messages == 1);
    assert_int_equal(after.error, 0);
    assert_int_equal(before.count, 0);
    UNTIL((pass_time(), before.count == 1)); /* the command timeout */
    assert_int_equal(before.error, BH_EIO);
    end_marking();
    UNTIL((pass_time(), is_ready(g)));
    assert_int_equal(g->downs, 0);
}

static void test_stop_while_a_worker_has_two(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    proxy.all = true;
    swallow();
    publish(g, "user:1", BH_SLICE("x"), &d);
    replace_all();
    close_gateway(g);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EIO);
}

static void test_stop_while_there_are_two(void **state) {
    open_second();
    close_gateway(&fx->g);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_the_second_one_takes_over),      T(test_and_again),
        T(test_what_the_second_one_brings),     T(test_topics_that_come_and_go_meanwhile),
        T(test_a_busy_redis_keeps_its_link),    T(test_the_first_one_is_lost_meanwhile),
        T(test_what_the_first_one_brings_late), T(test_the_link_of_a_worker),
        T(test_stop_while_a_worker_has_two),    T(test_stop_while_there_are_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
