/* test_broker.c - messages and subscriptions through a real redis-server. */
#include "gateway.h"

#include "bellhop/io/thread.h"

#include <sched.h>

/* --- messages --- */

static void test_message_round_trip(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "user:42");
    publish(g, "user:42", BH_SLICE("a\0b\r\n\xff"), &d);
    TICK_UNTIL(g->loop, d.count && g->messages);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, 0);
    assert_int_equal(d.receivers, 1);
    assert_int_equal(g->messages, 1);
    struct bh_message *m = g->last;
    assert_string_equal(m->topic->name, "user:42");
    assert_int_equal(m->opcode, BH_BINARY);
    assert_int_equal(m->flags, BH_MESSAGE_DEDUP);
    assert_true(m->except == 0x1122334455667788);
    assert_true(bh_slice_eq(m->id, BH_SLICE("id-1")));
    assert_true(bh_slice_eq(m->origin, BH_SLICE("one")));
    assert_true(bh_slice_eq(m->payload, BH_SLICE("a\0b\r\n\xff")));
    publish(g, "user:43", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count == 2);
    assert_int_equal(d.receivers, 0);
    assert_int_equal(g->messages, 1);
}

static void test_expiry_travels(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "all");
    struct bh_message *m = new_message("all", BH_SLICE("x"));
    m->expires_ms = bh_clock_ms() + 60000;
    g->vt->publish(g->broker, 0, m, on_published, &d, 5);
    TICK_UNTIL(g->loop, g->messages == 1);
    int64_t shift = (int64_t)(g->last->expires_ms - m->expires_ms);
    assert_true(shift >= -1000 && shift <= 1000);
    bh_message_unref(m);
    TICK_UNTIL(g->loop, d.count == 1);
}

static void test_one_mebibyte(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    size_t n = 1024 * 1024;
    char *payload = bh_malloc(n);
    for (size_t i = 0; i < n; i++)
        payload[i] = (char)(i * 7);
    open_ready(g);
    subscribe(g, "topic:big/one");
    publish(g, "topic:big/one", bh_slice(payload, n), &d);
    TICK_UNTIL(g->loop, d.count && g->messages);
    assert_true(bh_slice_eq(g->last->payload, bh_slice(payload, n)));
    bh_free(payload);
}

static void test_raw_publish_arrives_raw(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    subscribe(g, "user:42");
    subscribe(g, "tenant:7");
    subscribe(g, "topic:news");
    subscribe(g, "all");
    assert_int_equal(test_redis_do(&fx->redis, "PUBLISH notification:42 %s", "{\"n\":1}"), 1);
    TICK_UNTIL(g->loop, g->messages == 1);
    assert_int_equal(g->last->flags, BH_MESSAGE_RAW);
    assert_int_equal(g->last->opcode, BH_TEXT);
    assert_int_equal(g->last->origin.n, 0);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("{\"n\":1}")));
    test_redis_do(&fx->redis, "PUBLISH notification:tenant:7 %b", "\xff\0", (size_t)2);
    TICK_UNTIL(g->loop, g->messages == 2);
    assert_string_equal(g->last->topic->name, "tenant:7");
    assert_int_equal(g->last->opcode, BH_BINARY);
    test_redis_do(&fx->redis, "PUBLISH notification:topic:news x");
    TICK_UNTIL(g->loop, g->messages == 3);
    assert_string_equal(g->last->topic->name, "topic:news");
    test_redis_do(&fx->redis, "PUBLISH notification:broadcast %b", "", (size_t)0);
    TICK_UNTIL(g->loop, g->messages == 4);
    assert_string_equal(g->last->topic->name, "all");
    assert_int_equal(g->last->payload.n, 0);
}

static void test_malformed_envelope_is_dropped(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    subscribe(g, "all");
    test_redis_do(&fx->redis, "PUBLISH notification:broadcast %b", "\0bh1short", (size_t)9);
    test_redis_do(&fx->redis, "PUBLISH notification:broadcast good");
    TICK_UNTIL(g->loop, g->messages == 1);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("good")));
}

static void test_forged_probes_prove_nothing(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    test_redis_do(&fx->redis, "PUBLISH bellhop:probe:one forged");
    test_redis_do(&fx->redis, "PUBLISH bellhop:probe:one %b", "", (size_t)0);
    subscribe(g, "all");
    assert_int_equal(g->messages, 0);
    assert_true(is_ready(g));
}

static void test_unix_socket(void **state) {
    struct done d = {0};
    fx->config.host = NULL;
    fx->config.unix_path = fx->redis.socket;
    open_ready(&fx->g);
    subscribe(&fx->g, "all");
    publish(&fx->g, "all", BH_SLICE("x"), &d);
    TICK_UNTIL(fx->g.loop, d.count && fx->g.messages == 1);
}

#ifdef __SANITIZE_THREAD__ /* or the loop stands still for longer than a link may be silent */
#define PIPELINED 10000
#else
#define PIPELINED 50000
#endif

static void test_pipelined_publishes(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "all");
    for (int i = 0; i < PIPELINED; i++)
        publish(g, "all", BH_SLICE("a message of some length"), &d);
    TICK_UNTIL(g->loop, d.count == PIPELINED && g->messages == PIPELINED);
    assert_int_equal(d.errors, 0);
    assert_int_equal(g->downs, 0);
}

/* --- subscriptions --- */

static void test_subscribe_races(void **state) {
    struct gateway *g = &fx->g;
    struct bh_slice a = BH_SLICE("user:a");
    open_ready(g);

    assert_false(g->vt->subscribe(g->broker, a)); /* unsubscribed before it is sent */
    g->vt->unsubscribe(g->broker, a);
    g->vt->unsubscribe(g->broker, a);
    subscribe(g, "all");
    assert_int_equal(subscribers("notification:a"), 0);

    assert_false(g->vt->subscribe(g->broker, a)); /* unsubscribed in flight */
    bh_loop_tick(g->loop, false);
    g->vt->unsubscribe(g->broker, a);
    TICK_UNTIL(g->loop, subscribers("notification:a") == 0);
    subscribe(g, "tenant:1");
    assert_string_equal(g->last_subscribed, "tenant:1");

    assert_false(
        g->vt->subscribe(g->broker, a)); /* subscribed, unsubscribed and subscribed in flight */
    bh_loop_tick(g->loop, false);
    g->vt->unsubscribe(g->broker, a);
    bh_loop_tick(g->loop, false);
    assert_false(g->vt->subscribe(g->broker, a));
    unsigned before = g->subscribed;
    TICK_UNTIL(g->loop, g->subscribed > before);
    assert_int_equal(g->subscribed, before + 1);
    assert_int_equal(subscribers("notification:a"), 1);
    assert_true(g->vt->subscribe(g->broker, a));

    g->vt->unsubscribe(g->broker, a); /* and undone before it is sent: no command */
    assert_true(g->vt->subscribe(g->broker, a));
    TICK_UNTIL(g->loop, subscribers("notification:a") == 1);

    g->vt->unsubscribe(g->broker, a);
    TICK_UNTIL(g->loop, subscribers("notification:a") == 0);
    assert_int_equal(subscribers("notification:broadcast"), 1);
}

static void test_random_races(void **state) {
    struct gateway *g = &fx->g;
    uint64_t seed = 7;
    bool wanted[8] = {0};
    open_ready(g);
    for (int i = 0; i < 3000; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        unsigned which = (seed >> 40) % 8, what = (seed >> 50) % 4;
        char topic[16];
        snprintf(topic, sizeof topic, "user:%u", which);
        if (what == 0)
            bh_loop_tick(g->loop, false);
        else if (what == 1)
            g->vt->unsubscribe(g->broker, bh_slice_cstr(topic));
        else
            g->vt->subscribe(g->broker, bh_slice_cstr(topic));
        wanted[which] = what == 0 ? wanted[which] : what != 1;
    }
    subscribe(g, "tenant:last");
    for (unsigned i = 0; i < 8; i++) {
        char topic[16], channel[32];
        snprintf(topic, sizeof topic, "user:%u", i);
        snprintf(channel, sizeof channel, "notification:%u", i);
        TICK_UNTIL(g->loop, subscribers(channel) == wanted[i]);
        if (wanted[i])
            TICK_UNTIL(g->loop, g->vt->subscribe(g->broker, bh_slice_cstr(topic)));
    }
    assert_true(g->up);
}

static void test_not_a_topic(void **state) {
    open_ready(&fx->g);
    assert_false(fx->g.vt->subscribe(fx->g.broker, BH_SLICE("nonsense")));
    fx->g.vt->unsubscribe(fx->g.broker, BH_SLICE("nonsense"));
    subscribe(&fx->g, "all");
}

static void test_many_subscriptions_survive_a_restart(void **state) {
    enum { MANY = 10000 };
    struct gateway *g = &fx->g;
    char topic[32];
    open_gateway(g);
    for (int i = 0; i < MANY; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        g->vt->subscribe(g->broker, bh_slice_cstr(topic));
    }
    TICK_UNTIL(g->loop, is_ready(g));
    assert_int_equal(g->subscribed, MANY);
    test_redis_kill(&fx->redis);
    TICK_UNTIL(g->loop, g->downs == 1);
    for (int i = 0; i < MANY; i += 2) { /* half of them are unsubscribed while it is down */
        snprintf(topic, sizeof topic, "user:%d", i);
        g->vt->unsubscribe(g->broker, bh_slice_cstr(topic));
    }
    g->subscribed = 0;
    test_redis_run(&fx->redis);
    TICK_UNTIL(g->loop, g->ups == 2);
    assert_int_equal(g->subscribed, MANY / 2);
    assert_int_equal(subscribers("notification:0"), 0);
    assert_int_equal(test_redis_do(&fx->redis, "PUBLISH notification:9999 x"), 1);
    TICK_UNTIL(g->loop, g->messages == 1);
    TICK_UNTIL(g->loop, is_ready(g));
}

static void test_unsubscribed_while_coming_up(void **state) {
    enum { MANY = 6000 };
    struct gateway *g = &fx->g;
    char topic[32];
    open_gateway(g);
    for (int i = 0; i < MANY; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        g->vt->subscribe(g->broker, bh_slice_cstr(topic));
    }
    TICK_UNTIL(g->loop, g->subscribed > 0);
    assert_false(g->up);
    for (int i = 0; i < MANY; i++) {
        snprintf(topic, sizeof topic, "user:%d", i);
        g->vt->unsubscribe(g->broker, bh_slice_cstr(topic));
    }
    TICK_UNTIL(g->loop, g->up && is_ready(g));
    TICK_UNTIL(g->loop,
               subscribers("notification:0") == 0 && subscribers("notification:5999") == 0);
}

/* --- bus, worker and readiness checks in threads of their own --- */

enum { PUBLISHES = 2000 };

static struct {
    struct bh_thread *bus, *worker;
    struct bh_broker *broker;
    atomic_uint received, published, stopped;
} threads;

static void count_message(void *ud, struct bh_message *m) {
    atomic_fetch_add(&threads.received, 1);
}

static void ignore_subscribed(void *ud, struct bh_slice topic) {}

static void ignore_state(void *ud, unsigned shard, bool up) {}

static void start_bus(void *ud) {
    struct bh_broker_sink sink = {count_message, ignore_subscribed, NULL, ignore_state, NULL};
    struct bh_broker *b = threads.broker;
    b->vt->start(b, bh_thread_loop(threads.bus), bh_thread_mailbox(threads.bus), &sink);
    b->vt->subscribe(b, BH_SLICE("all"));
}

static void start_worker(void *ud) {
    threads.broker->vt->worker_start(threads.broker, 0, bh_thread_loop(threads.worker));
}

static void count_published(void *ud, bh_handle handle, int error, int64_t receivers,
                            const char *why) {
    atomic_fetch_add(&threads.published, error == 0 && receivers == 1);
}

static void publish_many(struct bh_mail *mail) {
    struct bh_message *m = new_message("all", BH_SLICE("x"));
    for (int i = 0; i < PUBLISHES; i++)
        threads.broker->vt->publish(threads.broker, 0, m, count_published, NULL, 5);
    bh_message_unref(m);
}

static void stop_bus(struct bh_mail *mail) {
    threads.broker->vt->stop(threads.broker);
    atomic_fetch_add(&threads.stopped, 1);
}

static void stop_worker(struct bh_mail *mail) {
    threads.broker->vt->worker_stop(threads.broker, 0);
    atomic_fetch_add(&threads.stopped, 1);
}

#define WAIT_UNTIL(condition)                                                                      \
    for (uint64_t deadline = test_now_ms() + TEST_DEADLINE_MS; !(condition); sched_yield())        \
    assert_true(test_now_ms() < deadline)

static void test_threads(void **state) {
    const char *why;
    struct bh_mail publishing = {.fn = publish_many},
                   ending[] = {{.fn = stop_bus}, {.fn = stop_worker}};
    memset(&threads, 0, sizeof threads);
    threads.broker = bh_redis_broker_new(&fx->config, 1);
    threads.bus = bh_thread_new("bus");
    threads.worker = bh_thread_new("worker");
    assert_int_equal(bh_thread_start(threads.bus, start_bus, NULL), 0);
    assert_int_equal(bh_thread_start(threads.worker, start_worker, NULL), 0);
    WAIT_UNTIL(threads.broker->vt->ready(threads.broker, &why) == 0);
    bh_mailbox_post(bh_thread_mailbox(threads.worker), &publishing);
    WAIT_UNTIL(atomic_load(&threads.published) == PUBLISHES &&
               atomic_load(&threads.received) == PUBLISHES &&
               threads.broker->vt->ready(threads.broker, &why) == 0);
    bh_mailbox_post(bh_thread_mailbox(threads.bus), &ending[0]);
    bh_mailbox_post(bh_thread_mailbox(threads.worker), &ending[1]);
    WAIT_UNTIL(atomic_load(&threads.stopped) == 2);
    bh_thread_stop(threads.bus);
    bh_thread_stop(threads.worker);
    bh_thread_join(threads.bus);
    bh_thread_join(threads.worker);
    threads.broker->vt->free(threads.broker);
    bh_thread_free(threads.bus);
    bh_thread_free(threads.worker);
}

/* --- fences --- */

static struct {
    struct gateway *g;
    unsigned count, proven;
    unsigned messages; /* that had arrived when the last one came back */
} fences;

static void on_fence(void *ud, bool proven) {
    assert_ptr_equal(ud, &fences);
    fences.count++;
    fences.proven += proven;
    fences.messages = fences.g->messages;
}

static void fence(struct gateway *g) {
    memset(&fences, 0, sizeof fences);
    fences.g = g;
    g->vt->fence(g->broker, on_fence, &fences);
}

static void test_a_fence_comes_back_behind_the_messages(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "user:42");
    for (unsigned i = 0; i < 1000; i++)
        publish(g, "user:42", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count == 1000);
    fence(g);
    TICK_UNTIL(g->loop, fences.count == 1);
    assert_int_equal(fences.proven, 1);
    assert_int_equal(fences.messages, 1000);
    TICK_UNTIL(g->loop, is_ready(g)); /* probes still come back */
    fence(g);
    TICK_UNTIL(g->loop, fences.proven == 1);
}

static void test_no_fence_without_redis(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    test_redis_kill(&fx->redis);
    TICK_UNTIL(g->loop, !is_ready(g));
    fence(g);
    TICK_UNTIL(g->loop, fences.count == 1);
    assert_int_equal(fences.proven, 0);
}

static void test_a_fence_that_is_stopped(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    fence(g);
    close_gateway(g);
    assert_int_equal(fences.count, 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_gateway, teardown_gateway)
    const struct CMUnitTest tests[] = {
        T(test_message_round_trip),
        T(test_expiry_travels),
        T(test_one_mebibyte),
        T(test_raw_publish_arrives_raw),
        T(test_malformed_envelope_is_dropped),
        T(test_forged_probes_prove_nothing),
        T(test_unix_socket),
        T(test_pipelined_publishes),
        T(test_subscribe_races),
        T(test_random_races),
        T(test_not_a_topic),
        T(test_many_subscriptions_survive_a_restart),
        T(test_unsubscribed_while_coming_up),
        T(test_threads),
        T(test_a_fence_comes_back_behind_the_messages),
        T(test_no_fence_without_redis),
        T(test_a_fence_that_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
