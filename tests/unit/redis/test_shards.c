/* test_shards.c - a broker over three real Redis servers, of which one dies and comes back. */
#include "redis_server.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/buf.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/io/mailbox.h"
#include "bellhop/io/thread.h"

#include <sched.h>

#define NODES  3
#define TOPICS 60
#define SECRET "s3cret-of-the-nodes"

static struct {
    struct test_redis redis[NODES]; /* by shard, in the order of the names */
    struct bh_redis_config configs[NODES];
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    bool up[NODES];
    unsigned downs;
    bool live[TOPICS];
    unsigned arrived[TOPICS];
    unsigned strangers; /* unexpected messages and topics */
} fx;

static char topic_names[TOPICS][16];

static int topic_number(struct bh_slice name) {
    for (int i = 0; i < TOPICS; i++)
        if (bh_slice_eq(name, bh_slice_cstr(topic_names[i])))
            return i;
    return -1;
}

static unsigned home(unsigned topic) {
    return fx.broker->vt->shard_of(fx.broker, bh_slice_cstr(topic_names[topic]));
}

static void on_message(void *ud, struct bh_message *m) {
    int i = topic_number(bh_topic_name(m->topic));
    if (i < 0)
        fx.strangers++;
    else
        fx.arrived[i]++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    int i = topic_number(topic);
    if (i < 0)
        fx.strangers++;
    else
        fx.live[i] = true;
}

static void on_state(void *ud, unsigned shard, bool up) {
    assert_ptr_equal(ud, &fx);
    assert_true(shard < NODES);
    assert_true(up != fx.up[shard]);
    fx.up[shard] = up;
    fx.downs += !up;
    for (unsigned i = 0; i < TOPICS && !up; i++)
        if (home(i) == shard)
            fx.live[i] = false;
}

static bool is_ready(void) {
    const char *why;
    int error = fx.broker->vt->ready(fx.broker, &why);
    assert_true(error ? error == BH_EUNAVAIL && strstr(why, "node") : !why);
    return error == 0;
}

static int64_t metric(const char *name) {
    struct bh_bytes text = {0};
    char line[64];
    bh_metrics_render(&text);
    bh_bytes_addc(&text, '\0');
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr((const char *)text.p, line);
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(line), NULL, 10);
    bh_bytes_free(&text);
    return value;
}

static bool alike_live(unsigned shard, bool live) {
    for (unsigned i = 0; i < TOPICS; i++)
        if (home(i) == shard && fx.live[i] != live)
            return false;
    return true;
}

static bool all_live(void) {
    return alike_live(0, true) && alike_live(1, true) && alike_live(2, true);
}

static int by_name(const void *a, const void *b) {
    char name[2][8];
    snprintf(name[0], sizeof name[0], "%u/", ((const struct test_redis *)a)->port);
    snprintf(name[1], sizeof name[1], "%u/", ((const struct test_redis *)b)->port);
    return strcmp(name[0], name[1]);
}

static int setup(void **state) {
    memset(&fx, 0, sizeof fx);
    for (unsigned i = 0; i < TOPICS; i++)
        snprintf(topic_names[i], sizeof *topic_names, i ? "user:%u" : "all", i);
    for (unsigned n = 0; n < NODES; n++)
        test_redis_start(&fx.redis[n]);
    qsort(fx.redis, NODES, sizeof *fx.redis, by_name);
    for (unsigned n = 0; n < NODES; n++) {
        test_redis_do(&fx.redis[n], "CONFIG SET requirepass " SECRET);
        fx.redis[n].options[0] = "--requirepass";
        fx.redis[n].options[1] = SECRET;
        fx.configs[n] = (struct bh_redis_config){.host = "127.0.0.1",
                                                 .port = fx.redis[n].port,
                                                 .password = SECRET,
                                                 .channel_prefix = "notification:",
                                                 .instance = "one",
                                                 .connect_timeout_ms = 300,
                                                 .command_timeout_ms = 300,
                                                 .probe_ms = 50,
                                                 .backoff_min_ms = 5,
                                                 .backoff_max_ms = 50};
    }
    return 0;
}

static void start_broker(void) {
    fx.loop = bh_loop_new();
    fx.mailbox = bh_mailbox_new(fx.loop);
    fx.broker = bh_redis_shards_new(fx.configs, NODES, 1);
    struct bh_broker_sink sink = {on_message, on_subscribed, NULL, on_state, &fx};
    assert_false(is_ready());
    assert_int_equal(metric("bellhop_redis_shards_down"), 0);
    assert_int_equal(fx.broker->vt->start(fx.broker, fx.loop, fx.mailbox, &sink), 0);
    assert_int_equal(fx.broker->vt->worker_start(fx.broker, 0, fx.loop), 0);
    assert_int_equal(fx.broker->vt->worker_start(fx.broker, 1, fx.loop), BH_EINVAL);
    assert_int_equal(metric("bellhop_redis_shards_down"), NODES);
}

static void subscribe_all(void) {
    for (unsigned i = 0; i < TOPICS; i++)
        fx.live[i] = fx.broker->vt->subscribe(fx.broker, bh_slice_cstr(topic_names[i]));
}

static void start_ready(void) {
    start_broker();
    subscribe_all();
    TICK_UNTIL(fx.loop, is_ready() && all_live() && metric("bellhop_redis_shards_down") == 0);
    assert_true(fx.up[0] && fx.up[1] && fx.up[2]);
}

static void stop_broker(void) {
    if (!fx.broker)
        return;
    fx.broker->vt->worker_stop(fx.broker, 0);
    fx.broker->vt->stop(fx.broker);
    fx.broker->vt->stop(fx.broker);
    assert_false(is_ready());
    assert_int_equal(metric("bellhop_redis_shards_down"), 0);
    fx.broker->vt->free(fx.broker);
    bh_mailbox_free(fx.mailbox);
    bh_loop_free(fx.loop);
    fx.broker = NULL;
}

static int teardown(void **state) {
    stop_broker();
    for (unsigned n = 0; n < NODES; n++)
        test_redis_stop(&fx.redis[n]);
    return 0;
}

/* A command at one server, on a connection of its own. */
static redisReply *at_node(unsigned n, const char *format, ...) {
    va_list args;
    redisContext *c = test_redis_client(&fx.redis[n]);
    redisReply *auth = redisCommand(c, "AUTH %s", SECRET);
    assert_int_equal(auth->type, REDIS_REPLY_STATUS);
    freeReplyObject(auth);
    va_start(args, format);
    redisReply *reply = redisvCommand(c, format, args);
    va_end(args);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    redisFree(c);
    return reply;
}

/* --- publishing --- */

struct done {
    unsigned count;
    int error;
    int64_t receivers;
    char why[128];
};

static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {
    struct done *d = ud;
    assert_int_equal(handle, 7);
    d->count++;
    d->error = error;
    d->receivers = receivers;
    snprintf(d->why, sizeof d->why, "%s", why ? why : "");
}

static struct bh_message *new_message(unsigned topic) {
    struct bh_topic to;
    struct bh_message parts = {.topic = &to,
                               .kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .id = BH_SLICE("id"),
                               .origin = BH_SLICE("one"),
                               .payload = BH_SLICE("x")};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic_names[topic]), &to), 0);
    return bh_message_new(&parts);
}

static void publish(unsigned topic, struct done *d) {
    struct bh_message *m = new_message(topic);
    fx.broker->vt->publish(fx.broker, 0, m, on_published, d, 7);
    bh_message_unref(m);
}

static unsigned count_done(const struct done *d) {
    unsigned count = 0;
    for (unsigned i = 0; i < TOPICS; i++)
        count += d[i].count;
    return count;
}

static bool have_arrived(unsigned but) {
    for (unsigned i = 0; i < TOPICS; i++)
        if (home(i) != but && fx.arrived[i] == 0)
            return false;
    return true;
}

/* Publishes to each topic; all messages must arrive once, except those of the node `but`. */
static void publish_all(unsigned but) {
    struct done d[TOPICS] = {0};
    memset(fx.arrived, 0, sizeof fx.arrived);
    for (unsigned i = 0; i < TOPICS; i++)
        publish(i, &d[i]);
    TICK_UNTIL(fx.loop, count_done(d) == TOPICS && have_arrived(but));
    for (unsigned i = 0; i < TOPICS; i++) {
        assert_int_equal(d[i].count, 1);
        assert_int_equal(fx.arrived[i], home(i) != but);
        assert_int_equal(d[i].error, home(i) != but ? 0 : BH_EUNAVAIL);
        assert_int_equal(d[i].receivers, home(i) != but ? 1 : -1);
        assert_string_equal(d[i].why, home(i) != but ? "" : "the Redis node of this topic is down");
    }
    assert_int_equal(fx.strangers, 0);
}

static void test_all_arrive_once(void **state) {
    start_ready();
    for (unsigned n = 0; n < NODES; n++) { /* each node has a share, or the test proves nothing */
        unsigned share = 0;
        for (unsigned i = 0; i < TOPICS; i++)
            share += home(i) == n;
        assert_in_range(share, 1, TOPICS - 2);
    }
    publish_all(NODES);
}

static void test_each_topic_is_on_its_node_alone(void **state) {
    start_ready();
    for (unsigned i = 1; i < TOPICS; i++)
        for (unsigned n = 0; n < NODES; n++) {
            redisReply *r =
                at_node(n, "PUBLISH notification:%s plain", topic_names[i] + strlen("user:"));
            assert_int_equal(r->integer, home(i) == n);
            freeReplyObject(r);
        }
    fx.arrived[0] = 1; /* it was not published */
    TICK_UNTIL(fx.loop, have_arrived(NODES));
    publish_all(NODES); /* a second copy would arrive within its round trip */
}

struct fence {
    unsigned count;
    bool proven;
};

static void on_fence(void *ud, bool proven) {
    struct fence *f = ud;
    f->count++;
    f->proven = proven;
}

static void fence(bool proven) {
    struct fence f = {0};
    fx.broker->vt->fence(fx.broker, on_fence, &f);
    TICK_UNTIL(fx.loop, f.count == 1);
    assert_int_equal(f.proven, proven);
}

static void test_a_fence_needs_all_nodes(void **state) {
    start_ready();
    fence(true);
    test_redis_kill(&fx.redis[1]);
    TICK_UNTIL(fx.loop, !is_ready());
    fence(false);
}

static size_t channels_at(unsigned n) {
    redisReply *r = at_node(n, "PUBSUB CHANNELS");
    size_t count = r->elements;
    freeReplyObject(r);
    return count;
}

static void test_unsubscribed_at_its_node(void **state) {
    start_ready();
    assert_int_equal(channels_at(0) + channels_at(1) + channels_at(2), TOPICS + NODES);
    for (unsigned i = 0; i < TOPICS; i++)
        fx.broker->vt->unsubscribe(fx.broker, bh_slice_cstr(topic_names[i]));
    for (unsigned n = 0; n < NODES; n++)
        TICK_UNTIL(fx.loop, channels_at(n) == 1); /* the probe's */
}

/* --- a node dies --- */

static void test_one_node_takes_its_share_down(void **state) {
    start_ready();
    for (unsigned n = 0; n < NODES; n++) {
        test_redis_kill(&fx.redis[n]);
        TICK_UNTIL(fx.loop, !fx.up[n]);
        TICK_UNTIL(fx.loop, !is_ready() && metric("bellhop_redis_shards_down") == 1);
        assert_int_equal(fx.downs, n + 1);
        for (unsigned other = 0; other < NODES; other++)
            assert_true(alike_live(other, other != n));
        struct done d = {0};
        unsigned dead = 0;
        while (home(dead) != n)
            dead++;
        do { /* the worker's link is cut in a tick of its own */
            d = (struct done){0};
            publish(dead, &d);
            TICK_UNTIL(fx.loop, d.count);
        } while (d.error != BH_EUNAVAIL);
        publish_all(n);
        test_redis_run(&fx.redis[n]);
        TICK_UNTIL(fx.loop, is_ready() && all_live());
        TICK_UNTIL(fx.loop, metric("bellhop_redis_shards_down") == 0);
        publish_all(NODES);
    }
    assert_int_equal(fx.downs, NODES);
}

static void test_a_node_is_down_from_the_start(void **state) {
    test_redis_kill(&fx.redis[1]);
    start_broker();
    subscribe_all();
    TICK_UNTIL(fx.loop, fx.up[0] && fx.up[2] && alike_live(0, true) && alike_live(2, true));
    TICK_UNTIL(fx.loop, metric("bellhop_redis_shards_down") == 1);
    assert_false(is_ready());
    assert_true(alike_live(1, false));
    publish_all(1);
    test_redis_run(&fx.redis[1]);
    TICK_UNTIL(fx.loop, is_ready() && all_live());
    assert_int_equal(fx.downs, 0);
    publish_all(NODES);
}

/* No link is lost, so only the timer can notice it. */
static void test_a_node_answers_no_probes(void **state) {
    for (unsigned n = 0; n < NODES; n++)
        fx.configs[n].command_timeout_ms = 60000;
    start_ready();
    freeReplyObject(at_node(2, "CLIENT PAUSE 2500 ALL"));
    TICK_UNTIL(fx.loop, !is_ready() && metric("bellhop_redis_shards_down") == 1);
    assert_int_equal(fx.downs, 0);
    TICK_UNTIL(fx.loop, is_ready() && metric("bellhop_redis_shards_down") == 0);
    assert_int_equal(fx.downs, 0);
}

static void test_what_was_sent_and_cut_is_unknown(void **state) {
    struct done d = {0};
    start_ready();
    unsigned n = home(0);
    freeReplyObject(at_node(n, "CLIENT PAUSE 10000 ALL"));
    publish(0, &d);
    bh_loop_tick(fx.loop, false);
    test_redis_kill(&fx.redis[n]);
    TICK_UNTIL(fx.loop, d.count);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EIO);
    assert_null(strstr(d.why, "is down"));
}

static void test_stop_completes_open_publishes(void **state) {
    struct done d[TOPICS] = {0};
    start_ready();
    for (unsigned n = 0; n < NODES; n++)
        freeReplyObject(at_node(n, "CLIENT PAUSE 10000 ALL"));
    for (unsigned i = 0; i < TOPICS; i++)
        publish(i, &d[i]);
    bh_loop_tick(fx.loop, false);
    stop_broker();
    for (unsigned i = 0; i < TOPICS; i++) {
        assert_int_equal(d[i].count, 1);
        assert_int_equal(d[i].error, BH_EIO);
    }
}

/* --- the log --- */

static void test_the_log_names_the_node_and_no_secret(void **state) {
    char path[] = "/tmp/bellhop-test-XXXXXX", name[32], text[64 * 1024];
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0);
    unlink(path);
    dup2(file, STDERR_FILENO);
    start_ready();
    test_redis_kill(&fx.redis[1]);
    TICK_UNTIL(fx.loop, metric("bellhop_redis_shards_down") == 1);
    uint64_t until = test_now_ms() + 4 * fx.configs[1].probe_ms;
    TICK_UNTIL(fx.loop, test_now_ms() > until); /* it is checked again, and logged once */
    test_redis_run(&fx.redis[1]);
    TICK_UNTIL(fx.loop, is_ready() && metric("bellhop_redis_shards_down") == 0);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file, text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    close(file);
    snprintf(name, sizeof name, "127.0.0.1:%u/0", fx.configs[1].port);
    const char *down = strstr(text, "a Redis node is down");
    assert_non_null(down);
    assert_null(strstr(down + 1, "a Redis node is down"));
    const char *named = strstr(down, name);
    assert_true(named && named < strchr(down, '\n'));
    const char *up = strstr(down, "a Redis node is up");
    assert_non_null(up);
    assert_true(strstr(up, name) && strstr(up, name) < strchr(up, '\n'));
    assert_null(strstr(text, SECRET));
}

/* --- commands of scripts --- */

static void on_reply(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    assert_int_equal(error, 0);
    assert_int_equal(reply->type, BH_REPLY_STATUS);
    ++*(unsigned *)ud;
}

/* The first in the list, not the first by name. */
static void test_commands_go_to_the_first_node(void **state) {
    struct bh_slice argv[] = {BH_SLICE("SET"), BH_SLICE("k"), BH_SLICE("v")};
    struct bh_redis_config first = fx.configs[2];
    unsigned answers = 0;
    fx.configs[2] = fx.configs[0];
    fx.configs[0] = first;
    start_ready();
    struct bh_redis *r = bh_redis_broker_commands(fx.broker);
    r->vt->call(r, 0, 3, argv, on_reply, &answers, 1);
    TICK_UNTIL(fx.loop, answers);
    for (unsigned n = 0; n < NODES; n++) {
        redisReply *reply = at_node(n, "EXISTS k");
        assert_int_equal(reply->integer, n == 2);
        freeReplyObject(reply);
    }
}

/* --- threads of their own, for the thread sanitizer --- */

#define ROUNDS 50

static struct {
    struct bh_thread *bus, *worker;
    atomic_uint received, published, failed, stopped;
} threads;

static void count_message(void *ud, struct bh_message *m) {
    atomic_fetch_add(&threads.received, 1);
}

static void ignore_subscribed(void *ud, struct bh_slice topic) {}
static void ignore_state(void *ud, unsigned shard, bool up) {}

static void start_bus(void *ud) {
    struct bh_broker_sink sink = {count_message, ignore_subscribed, NULL, ignore_state, NULL};
    fx.broker->vt->start(fx.broker, bh_thread_loop(threads.bus), bh_thread_mailbox(threads.bus),
                         &sink);
    for (unsigned i = 0; i < TOPICS; i++)
        fx.broker->vt->subscribe(fx.broker, bh_slice_cstr(topic_names[i]));
}

static void start_worker(void *ud) {
    fx.broker->vt->worker_start(fx.broker, 0, bh_thread_loop(threads.worker));
}

static void count_published(void *ud, bh_handle handle, int error, int64_t receivers,
                            const char *why) {
    atomic_fetch_add(error ? &threads.failed : &threads.published, 1);
}

static void publish_rounds(struct bh_mail *mail) {
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < TOPICS; i++) {
            struct bh_message *m = new_message(i);
            fx.broker->vt->publish(fx.broker, 0, m, count_published, NULL, 7);
            bh_message_unref(m);
        }
}

static void stop_bus(struct bh_mail *mail) {
    fx.broker->vt->stop(fx.broker);
    atomic_fetch_add(&threads.stopped, 1);
}

static void stop_worker(struct bh_mail *mail) {
    fx.broker->vt->worker_stop(fx.broker, 0);
    atomic_fetch_add(&threads.stopped, 1);
}

#define WAIT_UNTIL(condition)                                                                      \
    for (uint64_t deadline = test_now_ms() + TEST_DEADLINE_MS; !(condition); sched_yield())        \
    assert_true(test_now_ms() < deadline)

static void end_threads(void) {
    struct bh_mail ending[] = {{.fn = stop_bus}, {.fn = stop_worker}};
    bh_mailbox_post(bh_thread_mailbox(threads.bus), &ending[0]);
    bh_mailbox_post(bh_thread_mailbox(threads.worker), &ending[1]);
    WAIT_UNTIL(atomic_load(&threads.stopped) == 2);
    bh_thread_stop(threads.bus);
    bh_thread_stop(threads.worker);
    bh_thread_join(threads.bus);
    bh_thread_join(threads.worker);
    fx.broker->vt->free(fx.broker);
    fx.broker = NULL;
    bh_thread_free(threads.bus);
    bh_thread_free(threads.worker);
}

static void test_threads(void **state) {
    struct bh_mail well = {.fn = publish_rounds}, ill = {.fn = publish_rounds};
    memset(&threads, 0, sizeof threads);
    fx.broker = bh_redis_shards_new(fx.configs, NODES, 1);
    threads.bus = bh_thread_new("bus");
    threads.worker = bh_thread_new("worker");
    assert_int_equal(bh_thread_start(threads.bus, start_bus, NULL), 0);
    assert_int_equal(bh_thread_start(threads.worker, start_worker, NULL), 0);
    WAIT_UNTIL(is_ready());
    bh_mailbox_post(bh_thread_mailbox(threads.worker), &well);
    WAIT_UNTIL(atomic_load(&threads.published) == ROUNDS * TOPICS);
    WAIT_UNTIL(atomic_load(&threads.received) == ROUNDS * TOPICS);
    test_redis_kill(&fx.redis[0]);
    bh_mailbox_post(bh_thread_mailbox(threads.worker), &ill);
    WAIT_UNTIL(atomic_load(&threads.published) + atomic_load(&threads.failed) ==
               2 * ROUNDS * TOPICS);
    assert_true(atomic_load(&threads.failed) > 0);
    WAIT_UNTIL(!is_ready());
    test_redis_run(&fx.redis[0]);
    WAIT_UNTIL(is_ready());
    end_threads();
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_all_arrive_once),
        T(test_each_topic_is_on_its_node_alone),
        T(test_unsubscribed_at_its_node),
        T(test_one_node_takes_its_share_down),
        T(test_a_node_is_down_from_the_start),
        T(test_a_node_answers_no_probes),
        T(test_what_was_sent_and_cut_is_unknown),
        T(test_stop_completes_open_publishes),
        T(test_the_log_names_the_node_and_no_secret),
        T(test_commands_go_to_the_first_node),
        T(test_threads),
        T(test_a_fence_needs_all_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
