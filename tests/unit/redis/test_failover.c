/* test_failover.c - real Sentinels, a master and a replica that swap roles, and a gateway that
 * follows. */
#include "gateway.h"
#include "sentinel_server.h"

static struct {
    struct test_redis replica;
    struct test_sentinel sentinels[2];
    char list[128];
} cluster;

/* fx->redis is the master. One of the Sentinels in the list is always down. */
static int setup_cluster(void **state) {
    setup_gateway(state);
    test_redis_start(&cluster.replica);
    test_make_replica(&cluster.replica, &fx->redis);
    for (size_t i = 0; i < 2; i++)
        test_sentinel_start(&cluster.sentinels[i], fx->redis.port);
    snprintf(cluster.list, sizeof cluster.list, "127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u",
             test_free_port(), cluster.sentinels[0].port, cluster.sentinels[1].port);
    fx->config.host = NULL;
    fx->config.sentinels = cluster.list;
    fx->config.master = "mymaster";
    fx->config.command_timeout_ms = 2000;
    return 0;
}

static int teardown_cluster(void **state) {
    close_gateway(&fx->g);
    for (size_t i = 0; i < 2; i++)
        test_sentinel_stop(&cluster.sentinels[i]);
    test_redis_stop(&cluster.replica);
    return teardown_gateway(state);
}

/* -1: the server closed the connection. Sentinel makes a server kill its clients when it changes
 * the role of the server. */
static long long links_at(const struct test_redis *r) {
    redisContext *c = test_redis_client(r);
    redisReply *reply = redisCommand(c, "CLIENT LIST");
    long long n = reply ? 0 : -1;
    if (!reply)
        goto out;
    for (const char *at = reply->str; (at = strstr(at, "name=bellhop:one:")); at++)
        n++;
    freeReplyObject(reply);
out:
    redisFree(c);
    return n;
}

static void check_delivers(const char *text) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    unsigned before = g->messages;
    publish(g, "user:1", bh_slice_cstr(text), &d);
    TICK_UNTIL(g->loop, d.count && (d.error || g->messages > before));
    assert_int_equal(d.error, 0);
    assert_true(bh_slice_eq(g->last->payload, bh_slice_cstr(text)));
    assert_int_equal(g->messages, before + 1);
}

static void test_a_failover_moves_all_links(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    subscribe(g, "user:1");
    assert_int_equal(links_at(&fx->redis), 3);
    assert_int_equal(links_at(&cluster.replica), 0);
    check_delivers("before");
    /* The old master stays up: only the announcement says that it is not the master any more. */
    TEST_WAIT_UNTIL(test_answers(cluster.sentinels[1].port, "SENTINEL FAILOVER mymaster", 0, "OK"));
    TICK_UNTIL(g->loop, links_at(&cluster.replica) == 3 && is_ready(g));
    TICK_UNTIL(g->loop, links_at(&fx->redis) == 0);
    check_delivers("after");
}

static void test_a_master_that_dies(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "user:1");
    test_redis_kill(&fx->redis);
    TICK_UNTIL(g->loop, !is_ready(g));
    publish(g, "user:1", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count);
    assert_int_equal(d.error, BH_EUNAVAIL);
    TICK_UNTIL(g->loop, is_ready(g) && links_at(&cluster.replica) == 3);
    check_delivers("after");
}

/* The connections stay open, and another Sentinel is down. */
static void test_a_master_that_hangs(void **state) {
    struct gateway *g = &fx->g;
    fx->config.command_timeout_ms = 300;
    open_ready(g);
    subscribe(g, "user:1");
    test_sentinel_kill(&cluster.sentinels[0]);
    kill(fx->redis.pid, SIGSTOP);
    TICK_UNTIL(g->loop, !is_ready(g));
    TICK_UNTIL(g->loop, is_ready(g) && links_at(&cluster.replica) == 3);
    check_delivers("after");
    kill(fx->redis.pid, SIGCONT);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_cluster, teardown_cluster)
    const struct CMUnitTest tests[] = {
        T(test_a_failover_moves_all_links),
        T(test_a_master_that_dies),
        T(test_a_master_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
