/* test_errors.c - the effect of server errors on a link, a publisher and readiness. */
#include "gateway.h"

#include "broker/broker.h"
#include "fake_redis.h"
#include "link/commands.h"
#include "link/errors.h"

/* --- classes of errors --- */

static const struct bh_redis_error *classify(const char *text) {
    return bh_redis_classify_error(bh_slice_cstr(text));
}

static void test_classes(void **state) {
    static const struct {
        const char *answer;
        bool transient, reconnect;
    } cases[] = {
        {"LOADING Redis is loading the dataset in memory", true, true},
        {"MASTERDOWN Link with MASTER is down", true, true},
        {"READONLY You can't write against a read only replica.", true, true},
        {"NOAUTH Authentication required.", false, true},
        {"BUSY Redis is busy running a script.", true, false},
        {"CLUSTERDOWN The cluster is down", true, false},
        {"MOVED 3999 127.0.0.1:6381", false, false},
        {"ASK 3999 127.0.0.1:6381", true, false},
        {"TRYAGAIN Multiple keys request during rehashing of slot", true, false},
        {"CROSSSLOT Keys in request don't hash to the same slot", false, false},
        {"WRONGPASS invalid username-password pair or user is disabled.", false, false},
        {"NOPERM this user has no permissions to access one of the channels", false, false},
        {"OOM command not allowed when used memory > 'maxmemory'.", false, false},
        {"MISCONF Redis is configured to save RDB snapshots, but", true, false},
        {"NOREPLICAS Not enough good replicas to write.", true, false},
        {"ERR max number of clients reached", false, false},
        {"ERR Error running script (call to f_0a): @user_script:74: @user_script: 74: -READONLY "
         "You "
         "can't write - this is a replica.",
         true, true},
        {"ERR Error running script (call to f_0a): @user_script:1: -OOM command not allowed", false,
         false},
        {"ERR Error running script (call to f_0a): @user_script:1: READONLY", false, false},
        {"ERR Error running script", false, false},
        {"ERR Error running script: -", false, false},
        {"DENIED Redis is running in protected mode", false, false},
        {"ERR unknown command", false, false},
        {"READONLYISH", false, false},
        {"LOADING", false, false},
        {"err loading ", false, false},
        {"", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct bh_redis_error *v = classify(cases[i].answer);
        assert_true(v->why && *v->why && v->hint && *v->hint);
        if (v->transient != cases[i].transient || v->reconnect != cases[i].reconnect)
            fail_msg("%s", cases[i].answer);
    }
}

static void test_moved_is_followed_by_located_links(void **state) {
    assert_non_null(bh_redis_wrong_server(BH_SLICE("MOVED 1 a:1"), true));
    assert_null(bh_redis_wrong_server(BH_SLICE("MOVED 1 a:1"), false));
    assert_null(bh_redis_wrong_server(BH_SLICE("ASK 1 a:1"), true));
    assert_null(bh_redis_wrong_server(BH_SLICE("TRYAGAIN no"), true));
    assert_null(bh_redis_wrong_server(BH_SLICE("CLUSTERDOWN no"), true));
    assert_non_null(bh_redis_wrong_server(BH_SLICE("READONLY no"), false));
}

/* --- a link --- */

static struct {
    struct bh_loop *loop;
    struct fake_redis fake;
    struct bh_redis_config config;
    struct bh_redis_link link;
    unsigned ups, downs;
} one;

static void on_up(struct bh_redis_link *link) {
    one.ups++;
}

static void on_down(struct bh_redis_link *link) {
    one.downs++;
}

static const struct bh_redis_link_callbacks callbacks = {.on_up = on_up, .on_down = on_down};

static int setup_link(void **state) {
    memset(&one, 0, sizeof one);
    one.loop = bh_loop_new();
    fake_start(&one.fake);
    one.fake.handshake = FAKE_GOOD;
    one.config = (struct bh_redis_config){.host = "127.0.0.1",
                                          .port = one.fake.port,
                                          .instance = "test",
                                          .connect_timeout_ms = 5000,
                                          .command_timeout_ms = 5000,
                                          .probe_ms = 5000,
                                          .backoff_min_ms = 4,
                                          .backoff_max_ms = 32};
    bh_redis_link_start(&one.link, one.loop, &one.config, "test", &callbacks, NULL);
    return 0;
}

static int teardown_link(void **state) {
    bh_redis_link_stop(&one.link);
    fake_stop(&one.fake);
    bh_loop_free(one.loop);
    return 0;
}

struct reply {
    unsigned count;
    int error;
    char text[64];
};

static void on_reply(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct reply *r = ud;
    r->count++;
    r->error = error;
    snprintf(r->text, sizeof r->text, "%s", reply && reply->str.p ? reply->str.p : "");
}

static void send_set(struct reply *r) {
    struct bh_slice argv[] = {BH_SLICE("SET"), BH_SLICE("k"), BH_SLICE("v")};
    bh_redis_command(&one.link, 3, argv, on_reply, r, 1);
}

static void check_leaves(const char *answer) {
    struct reply first = {0}, second = {0};
    unsigned ups = one.ups;
    send_set(&first);
    send_set(&second);
    TICK_UNTIL(one.loop, fake_pump(&one.fake) && fake_heard(&one.fake, "SET") == 2);
    bh_bytes_clear(&one.fake.in);
    fake_say(&one.fake, bh_slice_cstr(answer));
    TICK_UNTIL(one.loop, first.count && second.count);
    assert_int_equal(first.error, 0); /* the caller gets the answer */
    assert_memory_equal(first.text, answer + 1, 6);
    assert_int_equal(second.error, BH_EIO);
    assert_int_equal(one.downs, ups);
    assert_non_null(atomic_load(&one.link.down_reason));
    TICK_UNTIL(one.loop, fake_pump(&one.fake) && one.ups == ups + 1);
    assert_null(atomic_load(&one.link.down_reason));
}

static void test_wrong_server_is_dropped(void **state) {
    TICK_UNTIL(one.loop, fake_pump(&one.fake) && one.ups == 1);
    check_leaves("-READONLY You can't write against a read only replica.\r\n");
    check_leaves("-LOADING Redis is loading the dataset in memory\r\n");
    check_leaves("-MASTERDOWN Link with MASTER is down\r\n");
    check_leaves("-NOAUTH Authentication required.\r\n");
}

static void test_other_errors_are_replies(void **state) {
    static const char *const answers[] = {"-OOM command not allowed\r\n",
                                          "-BUSY a script runs\r\n",
                                          "-NOPERM no\r\n",
                                          "-WRONGTYPE no\r\n",
                                          "-ERR no\r\n",
                                          "-CLUSTERDOWN Hash slot not served\r\n",
                                          "-MOVED 1 127.0.0.1:1\r\n",
                                          "-ASK 1 127.0.0.1:1\r\n",
                                          "-TRYAGAIN no\r\n",
                                          "-CROSSSLOT no\r\n"};
    TICK_UNTIL(one.loop, fake_pump(&one.fake) && one.ups == 1);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct reply r = {0};
        send_set(&r);
        TICK_UNTIL(one.loop, fake_pump(&one.fake) && fake_heard(&one.fake, "SET"));
        bh_bytes_clear(&one.fake.in);
        fake_say(&one.fake, bh_slice_cstr(answers[i]));
        TICK_UNTIL(one.loop, r.count);
        assert_memory_equal(r.text, answers[i] + 1, 4);
    }
    assert_int_equal(one.downs, 0);
}

/* Answers to the handshake. */
static void test_why_it_does_not_come_up(void **state) {
    static const struct {
        const char *handshake, *why;
    } cases[] = {
        {"+OK\r\n-LOADING Redis is loading the dataset\r\n", "loading"},
        {"+OK\r\n-MASTERDOWN Link with MASTER is down\r\n", "without its master"},
        {"+OK\r\n-BUSY Redis is busy\r\n", "busy"},
        {"+OK\r\n-NOAUTH Authentication required.\r\n", "requires a password"},
        {"-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n",
         "requires a password"},
        {"-ERR max number of clients reached\r\n", "maxclients"},
        {"-DENIED Redis is running in protected mode\r\n", "protected mode"},
        {"+OK\r\n-ERR strange\r\n", "error from Redis"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned before = one.fake.accepted;
        one.fake.handshake = cases[i].handshake;
        TICK_UNTIL(one.loop, fake_pump(&one.fake) && one.fake.accepted > before + 1);
        assert_non_null(strstr(atomic_load(&one.link.down_reason), cases[i].why));
    }
    assert_int_equal(one.ups, 0);
    one.fake.handshake = FAKE_GOOD;
    TICK_UNTIL(one.loop, fake_pump(&one.fake) && one.ups == 1);
}

/* --- a gateway and a real server --- */

static const char *why_not(void) {
    const char *why;
    fx->g.vt->ready(fx->g.broker, &why);
    return why ? why : "";
}

static void join_as_joe(const char *acl) {
    test_redis_do(&fx->redis, acl);
    fx->config.user = "joe";
    fx->config.password = "pw";
}

static void check_publish(int error, const char *why) {
    struct done d = {0};
    publish(&fx->g, "user:1", BH_SLICE("x"), &d);
    TICK_UNTIL(fx->g.loop, d.count);
    assert_int_equal(d.error, error);
    assert_non_null(strstr(d.why, why));
}

static struct reply command(const char *word, const char *key, const char *value) {
    struct bh_redis *r = bh_redis_broker_commands(fx->g.broker);
    struct bh_slice argv[] = {bh_slice_cstr(word), bh_slice_cstr(key), bh_slice_cstr(value)};
    struct reply a = {0};
    r->vt->call(r, 0, 3, argv, on_reply, &a, 9);
    TICK_UNTIL(fx->g.loop, a.count);
    return a;
}

static void test_probe_is_not_permitted(void **state) {
    join_as_joe("ACL SETUSER joe on >pw ~* &* +@all");
    open_ready(&fx->g);
    test_redis_do(&fx->redis, "ACL SETUSER joe -publish");
    check_publish(BH_EDENIED, "NOPERM");
    TICK_UNTIL(fx->g.loop, !is_ready(&fx->g));
    assert_non_null(strstr(why_not(), "permission"));
    assert_int_equal(fx->g.downs, 0);
    test_redis_do(&fx->redis, "ACL SETUSER joe +publish");
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
    check_publish(0, "");
}

static void test_channel_is_not_permitted(void **state) {
    join_as_joe("ACL SETUSER joe on >pw ~* resetchannels &bellhop:probe:* +@all");
    open_gateway(&fx->g);
    fx->g.vt->subscribe(fx->g.broker, BH_SLICE("user:1"));
    struct bh_redis_link *worker = bh_redis_node_link(fx->g.broker, 0);
    TICK_UNTIL(fx->g.loop, bh_redis_link_is_ready(worker) && strstr(why_not(), "permission"));
    check_publish(BH_EUNAVAIL, "permission"); /* a publisher gets the same reason */
    test_redis_do(&fx->redis, "ACL SETUSER joe &notification:*");
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
    check_publish(0, "");
}

static void test_wrong_password_shows(void **state) {
    test_redis_do(&fx->redis, "CONFIG SET requirepass right");
    fx->config.password = "hunter2";
    open_gateway(&fx->g);
    TICK_UNTIL(fx->g.loop, strstr(why_not(), "password rejected"));
    assert_null(strstr(why_not(), "hunter2"));
    close_gateway(&fx->g);
    fx->config.password = NULL;
    open_gateway(&fx->g);
    TICK_UNTIL(fx->g.loop, strstr(why_not(), "requires a password"));
}

static void test_connection_refused_shows(void **state) {
    test_redis_kill(&fx->redis);
    open_gateway(&fx->g);
    TICK_UNTIL(fx->g.loop, strstr(why_not(), "refused"));
    test_redis_run(&fx->redis);
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
}

static void test_out_of_memory(void **state) {
    open_ready(&fx->g);
    subscribe(&fx->g, "user:1");
    test_redis_do(&fx->redis, "CONFIG SET maxmemory 1");
    assert_memory_equal(command("SET", "k", "v").text, "OOM ", 4);
    check_publish(0, "");
    uint64_t until = test_now_ms() + 1500; /* longer than readiness takes to turn red */
    TICK_UNTIL(fx->g.loop, !is_ready(&fx->g) || test_now_ms() > until);
    assert_true(is_ready(&fx->g));
    assert_int_equal(fx->g.downs, 0);
}

static void test_busy(void **state) {
    open_ready(&fx->g);
    redisContext *c = test_redis_client(&fx->redis);
    test_redis_do(&fx->redis, "CONFIG SET lua-time-limit 20");
    redisAppendCommand(c, "EVAL %s 0", "while true do end");
    int done = 0;
    while (!done)
        redisBufferWrite(c, &done);
    check_publish(BH_EUNAVAIL, "busy");
    TICK_UNTIL(fx->g.loop, !is_ready(&fx->g));
    assert_non_null(strstr(why_not(), "busy"));
    assert_int_equal(fx->g.downs, 0);
    test_redis_do(&fx->redis, "SCRIPT KILL");
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
    check_publish(0, "");
    redisFree(c);
}

static void test_maxclients(void **state) {
    redisContext *c = test_redis_client(&fx->redis), *d = test_redis_client(&fx->redis);
    freeReplyObject(redisCommand(d, "PING"));
    freeReplyObject(redisCommand(c, "CONFIG SET maxclients 2"));
    open_gateway(&fx->g);
    TICK_UNTIL(fx->g.loop, strstr(why_not(), "maxclients"));
    freeReplyObject(redisCommand(c, "CONFIG SET maxclients 100"));
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
    redisFree(c);
    redisFree(d);
}

static void test_becomes_a_replica(void **state) {
    open_ready(&fx->g);
    test_redis_do(&fx->redis, "REPLICAOF 127.0.0.1 %d", (int)test_free_port());
    assert_memory_equal(command("SET", "k", "v").text, "READONLY", 8);
    TICK_UNTIL(fx->g.loop,
               !is_ready(&fx->g)); /* the worker has dropped its link, to locate Redis again */
    test_redis_do(&fx->redis, "REPLICAOF NO ONE");
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
    assert_memory_equal(command("SET", "k", "v").text, "OK", 2);
}

static void test_replica_without_its_master(void **state) {
    if (test_redis_major() < 7)
        skip(); /* there it answers PING */
    open_ready(&fx->g);
    test_redis_do(&fx->redis, "CONFIG SET replica-serve-stale-data no");
    test_redis_do(&fx->redis, "REPLICAOF 127.0.0.1 %d", (int)test_free_port());
    assert_memory_equal(command("HGET", "k", "f").text, "MASTERDOWN", 10);
    test_redis_do(&fx->redis, "CLIENT KILL TYPE pubsub");
    TICK_UNTIL(fx->g.loop, strstr(why_not(), "without its master"));
    test_redis_do(&fx->redis, "REPLICAOF NO ONE");
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
}

int main(void) {
#define L(name) cmocka_unit_test_setup_teardown(name, setup_link, teardown_link)
#define T(name) cmocka_unit_test_setup_teardown(name, setup_gateway, teardown_gateway)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_moved_is_followed_by_located_links),
        L(test_wrong_server_is_dropped),
        L(test_other_errors_are_replies),
        L(test_why_it_does_not_come_up),
        T(test_probe_is_not_permitted),
        T(test_channel_is_not_permitted),
        T(test_wrong_password_shows),
        T(test_connection_refused_shows),
        T(test_out_of_memory),
        T(test_busy),
        T(test_maxclients),
        T(test_becomes_a_replica),
        T(test_replica_without_its_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
