/* test_publish_queue.c - publishes that wait until Redis is back. */
#include "gateway.h"

static void wait_down(void) {
    test_redis_kill(&fx->redis);
    TICK_UNTIL(fx->g.loop, !fx->g.up);
}

static void test_sent_in_order_when_redis_is_back(void **state) {
    struct gateway *g = &fx->g;
    struct done d[3] = {0}, refused = {0};
    fx->config.publish_queue = 2;
    fx->config.publish_wait_ms = 60000;
    open_ready(g);
    subscribe(g, "all");
    wait_down();
    publish(g, "all", BH_SLICE("one"), &d[0]);
    publish(g, "all", BH_SLICE("two"), &d[1]);
    publish(g, "all", BH_SLICE("no room"), &refused);
    assert_int_equal(d[0].count + d[1].count, 0);
    assert_int_equal(refused.count, 1);
    assert_int_equal(refused.error, BH_EUNAVAIL);
    test_redis_run(&fx->redis);
    TICK_UNTIL(g->loop, d[0].count && d[1].count && g->messages == 2);
    assert_int_equal(d[0].error + d[1].error, 0);
    assert_int_equal(d[0].receivers, 1);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("two")));
    publish(g, "all", BH_SLICE("three"), &d[2]);
    TICK_UNTIL(g->loop, d[2].count && g->messages == 3);
    assert_int_equal(d[2].error, 0);
}

static void test_expires(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    fx->config.publish_queue = 1;
    fx->config.publish_wait_ms = 100;
    open_ready(g);
    wait_down();
    uint64_t begun = bh_loop_now(g->loop);
    publish(g, "all", BH_SLICE("one"), &d);
    TICK_UNTIL(g->loop, d.count);
    assert_int_equal(d.error, BH_EUNAVAIL);
    assert_non_null(strstr(d.why, "redis.publish_wait"));
    assert_true(bh_loop_now(g->loop) - begun >= 100);
}

static void test_fails_when_the_worker_stops(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    fx->config.publish_queue = 1;
    fx->config.publish_wait_ms = 60000;
    open_ready(g);
    wait_down();
    publish(g, "all", BH_SLICE("one"), &d);
    close_gateway(g);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EUNAVAIL);
}

/* The worker's link stays up. */
static void test_rejected_while_the_subscriber_is_down(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    fx->config.backoff_min_ms = 200;
    fx->config.backoff_max_ms = 400;
    open_ready(g);
    subscribe(g, "all");
    test_redis_do(&fx->redis, "CLIENT KILL TYPE pubsub");
    TICK_UNTIL(g->loop, !g->up);
    publish(g, "all", BH_SLICE("x"), &d);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EUNAVAIL);
    const char *why;
    g->vt->ready(g->broker, &why);
    assert_string_equal(d.why, why);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_gateway, teardown_gateway)
    const struct CMUnitTest tests[] = {
        T(test_sent_in_order_when_redis_is_back),
        T(test_expires),
        T(test_fails_when_the_worker_stops),
        T(test_rejected_while_the_subscriber_is_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
