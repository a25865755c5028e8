/* test_history_nodes.c - the history over two servers of a broker, of which one goes away. */
#include "history_test.h"

#include "broker/shards.h"

#define TOPICS TOPS_MAX

static struct test_redis second;
static char names[TOPICS][24];

static void on_message(void *ud, struct bh_message *m) {
    fx->g.messages++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {}
static void on_state(void *ud, unsigned shard, bool up) {}

static int setup(void **state) {
    int error = setup_history(state);
    test_redis_start(&second);
    for (int i = 0; i < TOPICS; i++)
        snprintf(names[i], sizeof names[i], "user:%d", i);
    return error;
}

static int teardown(void **state) {
    int error = teardown_history(state);
    test_redis_stop(&second);
    return error;
}

static void open_nodes(void) {
    struct gateway *g = &fx->g;
    struct bh_redis_config configs[] = {fx->config, fx->config};
    struct bh_broker_sink sink = {on_message, on_subscribed, NULL, on_state, NULL};
    configs[1].port = second.port;
    *g = (struct gateway){.loop = bh_loop_new()};
    g->mailbox = bh_mailbox_new(g->loop);
    g->broker = bh_redis_shards_new(configs, 2, 1);
    g->vt = g->broker->vt;
    g->vt->start(g->broker, g->loop, g->mailbox, &sink);
    g->vt->worker_start(g->broker, 0, g->loop);
    hx.base = bh_redis_history_new(g->broker, &hx.config, 1);
    hx.vt = hx.base->vt;
    hx.vt->start(hx.base, g->loop);
    hx.vt->worker_start(hx.base, 0, g->loop, g->mailbox);
    WAIT_UNTIL(is_ready(g));
}

static bool is_on_second(const char *topic) {
    unsigned node = bh_redis_broker_node_of(fx->g.broker, bh_slice_cstr(topic));
    assert_int_equal(bh_redis_broker_nodes(fx->g.broker), 2);
    char *first =
        bh_redis_shard_name(&(struct bh_redis_config){.host = "127.0.0.1", .port = fx->redis.port});
    char *other =
        bh_redis_shard_name(&(struct bh_redis_config){.host = "127.0.0.1", .port = second.port});
    bool is_sorted_first = strcmp(other, first) < 0;
    bh_free(first);
    bh_free(other);
    return is_sorted_first == (node == 0);
}

static void ask_tops(struct topped *t) {
    const char *topics[TOPICS];
    for (int i = 0; i < TOPICS; i++)
        topics[i] = names[i];
    start_tops(topics, TOPICS, t);
    WAIT_UNTIL(t->count);
}

static long long length(const struct test_redis *redis, int i) {
    return test_redis_do(redis, "LLEN {notification:%d}:log", i);
}

static void test_each_topic_is_on_its_node(void **state) {
    struct topped t;
    int on_second = 0;
    open_nodes();
    for (int i = 0; i < TOPICS; i++) {
        struct bh_position p = append(names[i], "a", "one");
        bool second_has = is_on_second(names[i]);
        on_second += second_has;
        assert_int_equal(length(&second, i), second_has);
        assert_int_equal(length(&fx->redis, i), !second_has);
        struct ranged r = read_behind(names[i], (struct bh_position){p.epoch, 0});
        assert_string_equal(payloads(r.range), "one");
        release(&r);
    }
    assert_in_range(on_second, 1, TOPICS - 1);
    ask_tops(&t);
    for (int i = 0; i < TOPICS; i++)
        assert_int_equal(t.top[i].offset, 1);
}

static void test_a_node_that_is_down_takes_its_topics(void **state) {
    struct topped t;
    struct appended a;
    struct ranged r;
    const char *why;
    open_nodes();
    for (int i = 0; i < TOPICS; i++)
        append(names[i], "a", "one");
    test_redis_kill(&second);
    WAIT_UNTIL(!is_ready(&fx->g) && !history_is_ready(&why));
    for (int i = 0; i < TOPICS; i++) {
        bool lost = is_on_second(names[i]);
        assert_int_equal(append_error(names[i], "b", &a), lost ? BH_EUNAVAIL : 0);
        r = read_behind(names[i], (struct bh_position){0});
        assert_int_equal(r.error, lost ? BH_EUNAVAIL : 0);
        release(&r);
    }
    ask_tops(&t);
    assert_int_equal(t.error, 0);
    for (int i = 0; i < TOPICS; i++)
        assert_int_equal(t.top[i].offset, is_on_second(names[i]) ? 0 : 2);
    test_redis_run(&second);
    WAIT_UNTIL(is_ready(&fx->g) && history_is_ready(&why));
    for (int i = 0; i < TOPICS; i++)
        append(names[i], "c", "two");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_each_topic_is_on_its_node),
        T(test_a_node_that_is_down_takes_its_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
