/* test_history_cluster.c - the history over a cluster of two servers, of which the test is the
 * broker: it routes each call by the first digit of its key, and redirects what it is told to. */
#include "history_test.h"

#include "broker/publish_queue.h"
#include "broker/route.h"

#define MASTERS  2
#define HELD_MAX 64
#define EVEN     "user:2"
#define ODD      "user:1"

struct master {
    struct test_redis redis;
    struct bh_redis_config config;
    struct bh_redis_link worker, bus;
};

static struct {
    struct bh_redis_routing routing;
    struct bh_redis_config config;
    struct bh_redis_watch watch;
    struct master master[MASTERS];
    const char *redirect; /* replies that begin so are a redirection */
    bool moved;           /* and then all goes to the other one */
    const char *refuse;   /* why nothing is sent; NULL: it is */
    unsigned redirected, routed;
    struct bh_redis_routed *held[HELD_MAX]; /* redirected, until they are sent again */
    unsigned held_count;
} cluster;

/* --- the broker --- */

static struct master *master_of(struct bh_slice key) {
    size_t i = 0;
    while (i < key.n && (key.p[i] < '0' || key.p[i] > '9'))
        i++;
    assert_true(i < key.n);
    return &cluster.master[(key.p[i] & 1) ^ cluster.moved];
}

static struct bh_redis_link *link_of(struct master *m, unsigned worker) {
    return worker == BH_REDIS_BUS ? &m->bus : &m->worker;
}

static void route(struct bh_broker *b, unsigned worker, struct bh_redis_routed *r,
                  struct bh_slice key) {
    cluster.routed++;
    if (cluster.refuse) {
        (r->vt->fail)(r, BH_EUNAVAIL, cluster.refuse);
        return;
    }
    struct master *m = master_of(key);
    r->slot = (uint16_t)((m - cluster.master) * 2 + (worker == BH_REDIS_BUS));
    bh_redis_route_to(link_of(m, worker), r);
}

static bool reroute(struct bh_broker *b, unsigned worker, struct bh_redis_routed *r,
                    const struct bh_reply *reply) {
    if (!cluster.redirect || !bh_slice_starts(reply->str, bh_slice_cstr(cluster.redirect)))
        return false;
    assert_true(cluster.held_count < HELD_MAX);
    cluster.redirected++;
    cluster.held[cluster.held_count++] = r;
    return true;
}

static void send_held(bool to_the_other) {
    unsigned count = cluster.held_count;
    cluster.held_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct bh_redis_routed *r = cluster.held[i];
        struct master *m = &cluster.master[(r->slot / 2) ^ to_the_other];
        bh_redis_route_to(r->slot & 1 ? &m->bus : &m->worker, r);
    }
}

static void fail_held(const char *why) {
    unsigned count = cluster.held_count;
    cluster.held_count = 0;
    for (unsigned i = 0; i < count; i++)
        (cluster.held[i]->vt->fail)(cluster.held[i], BH_EUNAVAIL, why);
}

static void submit(struct bh_broker *b, unsigned worker, const struct bh_redis_outgoing *out) {
    out->append(out);
}

static void watch(struct bh_broker *b, const struct bh_redis_watch *w) {
    cluster.watch = *w;
}

static const struct bh_redis_config *config_of(struct bh_broker *b, struct bh_slice key) {
    return &cluster.config;
}

static const struct bh_redis_ways ways = {
    .reroute = reroute, .route = route, .append = submit, .watch = watch, .config = config_of};
static const struct bh_broker_vt cluster_vt = {.name = "redis", .shared = true};

static void on_up(struct bh_redis_link *link) {
    cluster.watch.up(cluster.watch.ud, link);
}

static void on_down(struct bh_redis_link *link) {
    cluster.watch.down(cluster.watch.ud, link);
}

static void on_check(struct bh_redis_link *link) {
    cluster.watch.check(cluster.watch.ud, link);
}

static void nothing(struct bh_redis_link *link) {}

static const struct bh_redis_link_callbacks bus_callbacks = {
    .on_up = on_up, .on_down = on_down, .on_check = on_check};
static const struct bh_redis_link_callbacks worker_callbacks = {.on_up = nothing,
                                                                .on_down = nothing};

/* --- life --- */

static int setup(void **state) {
    int error = setup_history(state);
    memset(&cluster, 0, sizeof cluster);
    cluster.routing = (struct bh_redis_routing){.base.vt = &cluster_vt, .ways = &ways};
    for (int i = 0; i < MASTERS; i++)
        test_redis_start(&cluster.master[i].redis);
    return error;
}

static bool all_up(void) {
    for (int i = 0; i < MASTERS; i++)
        if (!bh_redis_link_is_ready(&cluster.master[i].bus) ||
            !bh_redis_link_is_ready(&cluster.master[i].worker))
            return false;
    return true;
}

static void open_cluster(void) {
    struct gateway *g = &fx->g;
    *g = (struct gateway){.loop = bh_loop_new()};
    g->mailbox = bh_mailbox_new(g->loop);
    cluster.config = fx->config;
    hx.base = bh_redis_history_new(&cluster.routing.base, &hx.config, 1);
    hx.vt = hx.base->vt;
    assert_int_equal(hx.vt->start(hx.base, g->loop), 0);
    assert_int_equal(hx.vt->worker_start(hx.base, 0, g->loop, g->mailbox), 0);
    for (int i = 0; i < MASTERS; i++) {
        struct master *m = &cluster.master[i];
        m->config = fx->config;
        m->config.port = m->redis.port;
        bh_redis_link_start(&m->bus, g->loop, &m->config, "bus", &bus_callbacks, NULL);
        bh_redis_link_start(&m->worker, g->loop, &m->config, "worker", &worker_callbacks, NULL);
    }
    WAIT_UNTIL(all_up());
}

/* The master has left the cluster. */
static void close_bus(struct master *m) {
    bool was_up = bh_redis_link_is_ready(&m->bus);
    bh_redis_link_stop(&m->bus);
    if (was_up)
        cluster.watch.down(cluster.watch.ud, &m->bus);
}

static int teardown(void **state) {
    struct gateway *g = &fx->g;
    hx.vt->worker_stop(hx.base, 0);
    hx.vt->stop(hx.base);
    fail_held("the end");
    for (int i = 0; i < MASTERS; i++) {
        bh_redis_link_stop(&cluster.master[i].worker);
        close_bus(&cluster.master[i]);
        test_redis_stop(&cluster.master[i].redis);
    }
    hx.vt->free(hx.base);
    hx.base = NULL;
    bh_mailbox_free(g->mailbox);
    bh_loop_free(g->loop);
    g->loop = NULL;
    return teardown_history(state);
}

static const struct bh_position none;

static struct test_redis *even(void) {
    return &cluster.master[0].redis;
}

static struct test_redis *odd(void) {
    return &cluster.master[1].redis;
}

static long long length(const struct test_redis *r, const char *topic) {
    return test_redis_do(r, "LLEN {notification:%s}:log", topic + strlen("user:"));
}

/* --- the way of a call --- */

static void test_each_call_goes_to_its_master(void **state) {
    static const char *const topics[] = {EVEN, ODD};
    struct topped t;
    open_cluster();
    for (int i = 0; i < MASTERS; i++) {
        struct bh_position p = append(topics[i], "a", "one");
        append(topics[i], "b", "two");
        assert_int_equal(length(&cluster.master[i].redis, topics[i]), 2);
        assert_int_equal(length(&cluster.master[!i].redis, topics[i]), 0);
        struct ranged r = read_behind(topics[i], (struct bh_position){p.epoch, 0});
        assert_string_equal(payloads(r.range), "one,two");
        release(&r);
        assert_int_equal(remove_one(topics[i], p).removed, 1);
        r = read_page(topics[i], true, none, 10);
        assert_string_equal(payloads(r.range), "two");
        release(&r);
    }
    start_tops(topics, 2, &t);
    WAIT_UNTIL(t.count);
    assert_int_equal(t.error, 0);
    for (int i = 0; i < MASTERS; i++)
        assert_int_equal(t.top[i].offset, 2);
    assert_true(history_is_ready(NULL));
}

/* A stream without any key is begun and read again, each by its way. */
static void test_a_stream_is_begun_on_its_master(void **state) {
    open_cluster();
    struct ranged r = read_behind(ODD, none);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.range->outcome, BH_HISTORY_NEW);
    assert_true(r.range->top.epoch > 0);
    release(&r);
    assert_true(cluster.routed >= 3); /* more, if the library was not there yet */
    assert_int_equal(test_redis_do(odd(), "EXISTS {notification:1}:m"), 1);
    assert_int_equal(test_redis_do(even(), "EXISTS {notification:1}:m"), 0);
}

/* An SMESSAGE, and not a message of SUBSCRIBE. */
static void test_publishes_to_the_slot(void **state) {
    open_cluster();
    redisContext *c = test_redis_client(odd());
    redisReply *r = redisCommand(c, "SSUBSCRIBE notification:1");
    assert_string_equal(r->element[0]->str, "ssubscribe");
    freeReplyObject(r);
    struct appended a;
    assert_int_equal(append_error(ODD, "a", &a), 0);
    assert_int_equal(a.result.receivers, 1);
    assert_int_equal(remove_one(ODD, none).removed, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(redisGetReply(c, (void **)&r), REDIS_OK);
        assert_string_equal(r->element[0]->str, "smessage");
        freeReplyObject(r);
    }
    redisFree(c);
}

#define TRYAGAIN "TRYAGAIN Multiple keys request during rehashing of slot"
/* A library whose answer to all is that the slot is being moved. */
#define MOVING                                                                                     \
    "#!lua name=bellhop\n"                                                                         \
    "local function answer() return redis.error_reply('" TRYAGAIN "') end\n"                       \
    "redis.register_function('bellhop_version', function() return 99 end)\n"                       \
    "redis.register_function('bellhop_check', function() return {} end)\n"                         \
    "redis.register_function('bellhop_append', answer)\n"                                          \
    "redis.register_function('bellhop_page', answer)\n"                                            \
    "redis.register_function('bellhop_remove', answer)\n"                                          \
    "redis.register_function{function_name='bellhop_read', callback=answer, flags={'no-writes'}}"

static void move_slots(void) {
    for (int i = 0; i < MASTERS; i++)
        test_redis_do(&cluster.master[i].redis, "FUNCTION LOAD REPLACE %s", MOVING);
    cluster.redirect = "TRYAGAIN";
}

static void end_move(void) {
    for (int i = 0; i < MASTERS; i++)
        test_redis_do(&cluster.master[i].redis, "FUNCTION DELETE bellhop");
}

static void on_page(void *ud, bh_handle handle, int error, struct bh_range *page, bool gap,
                    bool more, const char *why) {
    struct ranged *r = ud;
    r->count++;
    r->error = error;
    snprintf(r->why, sizeof r->why, "%s", why ? why : "");
}

static void start_page(const char *topic, struct ranged *r) {
    struct bh_page_query query = {.limit = 10, .bytes = 1000};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(topic), &query.topic), 0);
    hx.vt->page(hx.base, 0, &query, on_page, r, 8);
}

static void test_a_redirected_call_is_done_once(void **state) {
    struct appended a = {0};
    struct ranged read, page = {0};
    open_cluster();
    move_slots();
    start_append(ODD, "a", "one", &a);
    start_read(ODD, none, 10, 1000, &read);
    start_page(EVEN, &page);
    WAIT_UNTIL(cluster.held_count == 3);
    end_move();
    send_held(false);
    WAIT_UNTIL(a.count && read.count && page.count);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.result.position.offset, 1);
    assert_false(a.result.known);
    assert_int_equal(read.error, 0);
    assert_int_equal(page.error, 0);
    release(&read);
    assert_int_equal(cluster.redirected, 3);
    assert_int_equal(length(odd(), ODD), 1);
}

static void test_a_moved_append_is_at_the_new_master(void **state) {
    struct appended a = {0};
    hx.config.min_replicas = 0;
    open_cluster();
    move_slots();
    start_append(ODD, "a", "one", &a);
    WAIT_UNTIL(cluster.held_count == 1);
    end_move();
    cluster.moved = true;
    send_held(true);
    WAIT_UNTIL(a.count);
    assert_int_equal(a.error, 0);
    assert_int_equal(length(even(), ODD), 1);
    assert_int_equal(length(odd(), ODD), 0);
}

/* Neither is it repeated: it has waited as long as a command may. */
static void test_a_call_that_cannot_be_sent_says_why(void **state) {
    static const char why[] = "the cluster is down";
    static const char *const topics[] = {EVEN, ODD};
    struct appended a = {0};
    struct ranged page = {0};
    struct topped t;
    open_cluster();
    move_slots();
    start_append(ODD, "a", "one", &a);
    start_page(ODD, &page);
    WAIT_UNTIL(cluster.held_count == 2);
    fail_held(why);
    assert_int_equal(a.error, BH_EUNAVAIL);
    assert_string_equal(a.why, why);
    assert_int_equal(page.error, BH_EUNAVAIL);
    assert_string_equal(page.why, why);
    cluster.refuse = why;
    assert_int_equal(append_error(ODD, "b", &a), BH_EUNAVAIL);
    assert_string_equal(a.why, why);
    struct ranged r = read_behind(ODD, none);
    assert_int_equal(r.error, BH_EUNAVAIL);
    assert_string_equal(r.why, why);
    assert_int_equal(remove_one(ODD, none).error, BH_EUNAVAIL);
    start_tops(topics, 2, &t);
    WAIT_UNTIL(t.count);
    assert_int_equal(t.error, BH_EUNAVAIL);
    assert_int_equal(length(odd(), ODD), 0);
}

static void test_an_append_of_a_lost_link_is_sent_again(void **state) {
    struct appended a = {0};
    open_cluster();
    append(ODD, "a", "one");
    test_redis_do(odd(), "CLIENT PAUSE 100000 WRITE");
    start_append(ODD, "b", "two", &a);
    for (int i = 0; i < 5; i++)
        bh_loop_tick(fx->g.loop, false);
    cluster.moved = true; /* as after a failover */
    test_redis_kill(odd());
    WAIT_UNTIL(a.count);
    assert_int_equal(a.error, 0);
    assert_int_equal(length(even(), ODD), 1);
    test_redis_run(odd());
}

static void test_the_stop_completes_what_is_redirected(void **state) {
    struct appended a = {0};
    open_cluster();
    move_slots();
    start_append(ODD, "a", "one", &a);
    WAIT_UNTIL(cluster.held_count == 1);
    hx.vt->worker_stop(hx.base, 0);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.error, BH_EIO);
    fail_held("this instance is shutting down");
    assert_int_equal(a.count, 1);
}

/* --- the checks of the masters --- */

static bool has_library(const struct test_redis *r) {
    redisContext *c = test_redis_client(r);
    redisReply *reply = redisCommand(c, "FCALL bellhop_version 0");
    bool has = reply->type == REDIS_REPLY_INTEGER;
    freeReplyObject(reply);
    redisFree(c);
    return has;
}

static void test_the_library_is_loaded_at_each_master(void **state) {
    struct appended a[MASTERS] = {0};
    open_cluster();
    WAIT_UNTIL(has_library(even()) && has_library(odd()));
    test_redis_do(odd(), "FUNCTION FLUSH");
    WAIT_UNTIL(has_library(odd())); /* at the interval */
    for (int i = 0; i < MASTERS; i++)
        test_redis_do(&cluster.master[i].redis, "FUNCTION FLUSH");
    start_append(EVEN, "a", "one", &a[0]); /* both load it at once */
    start_append(ODD, "a", "one", &a[1]);
    WAIT_UNTIL(a[0].count && a[1].count);
    assert_int_equal(a[0].error, 0);
    assert_int_equal(a[1].error, 0);
}

static void test_a_master_that_refuses(void **state) {
    const char *why;
    test_redis_do(odd(), "ACL SETUSER default -spublish");
    open_cluster();
    WAIT_UNTIL(!history_is_ready(&why));
    assert_non_null(strstr(why, "+spublish +ssubscribe +sunsubscribe +asking"));
    assert_null(strstr(why, "+publish"));
    test_redis_do(even(), "ACL SETUSER default -rpush");
    cluster.watch.check(cluster.watch.ud, &cluster.master[0].bus);
    test_redis_do(odd(), "ACL SETUSER default +spublish");
    struct appended a;
    WAIT_UNTIL(append_error(ODD, "a", &a) == 0);
    uint64_t until = test_now_ms() + 4 * fx->config.probe_ms;
    WAIT_UNTIL(test_now_ms() > until);
    assert_false(history_is_ready(&why)); /* the other one does */
    test_redis_do(even(), "ACL SETUSER default +rpush");
    WAIT_UNTIL(history_is_ready(&why));
}

static void test_a_master_that_refuses_and_goes(void **state) {
    test_redis_do(odd(), "ACL SETUSER default -spublish");
    open_cluster();
    WAIT_UNTIL(!history_is_ready(NULL));
    close_bus(&cluster.master[1]);
    WAIT_UNTIL(history_is_ready(NULL));
}

/* --- replicas --- */

static void follow(const struct test_redis *replica, const struct test_redis *master) {
    test_redis_do(replica, "REPLICAOF 127.0.0.1 %d", (int)master->port);
}

static void test_masters_do_not_wait_for_each_other(void **state) {
    struct test_redis replica[MASTERS];
    struct appended slow = {0}, a;
    hx.config.min_replicas = 1;
    fx->config.command_timeout_ms = 5000;
    for (int i = 0; i < MASTERS; i++) {
        test_redis_start(&replica[i]);
        follow(&replica[i], &cluster.master[i].redis);
    }
    open_cluster();
    WAIT_UNTIL(append_error(EVEN, "a", &a) == 0);
    WAIT_UNTIL(append_error(ODD, "a", &a) == 0);
    kill(replica[1].pid, SIGSTOP);
    start_append(ODD, "b", "two", &slow);
    assert_int_equal(append_error(EVEN, "b", &a), 0);
    assert_int_equal(slow.count, 0);
    WAIT_UNTIL(slow.count);
    assert_int_equal(slow.error, BH_EIO);
    assert_int_equal(append_error(EVEN, "c", &a), 0); /* whose replica is not missing */
    kill(replica[1].pid, SIGCONT);
    for (int i = 0; i < MASTERS; i++)
        test_redis_stop(&replica[i]);
}

/* The replicas that it waits for are those of the new master. */
static void test_a_master_that_becomes_a_replica_while_it_waits(void **state) {
    struct test_redis replica;
    struct appended a, demoted = {0};
    hx.config.min_replicas = 1;
    fx->config.command_timeout_ms = 5000;
    test_redis_start(&replica);
    follow(&replica, even());
    open_cluster();
    WAIT_UNTIL(append_error(EVEN, "a", &a) == 0);
    start_append(ODD, "b", "two", &demoted); /* there is no replica */
    WAIT_UNTIL(length(odd(), ODD) == 1);
    cluster.moved = true;
    follow(odd(), even());
    WAIT_UNTIL(demoted.count);
    assert_int_equal(demoted.error, 0);
    assert_int_equal(length(even(), ODD), 1);
    test_redis_stop(&replica);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_each_call_goes_to_its_master),
        T(test_a_stream_is_begun_on_its_master),
        T(test_publishes_to_the_slot),
        T(test_a_redirected_call_is_done_once),
        T(test_a_moved_append_is_at_the_new_master),
        T(test_a_call_that_cannot_be_sent_says_why),
        T(test_an_append_of_a_lost_link_is_sent_again),
        T(test_the_stop_completes_what_is_redirected),
        T(test_the_library_is_loaded_at_each_master),
        T(test_a_master_that_refuses),
        T(test_a_master_that_refuses_and_goes),
        T(test_masters_do_not_wait_for_each_other),
        T(test_a_master_that_becomes_a_replica_while_it_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
