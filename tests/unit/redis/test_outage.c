/* test_outage.c - a Redis that is killed, hung, restarted, silent, or rejects the login. */
#include "gateway.h"
#include "proxy.h"

/* --- Redis stops and starts --- */

static void test_publish_while_down(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0}, cut = {0};
    open_ready(g);
    subscribe(g, "all");
    test_redis_do(&fx->redis, "CLIENT PAUSE 10000 ALL");
    publish(g, "all", BH_SLICE("sent and never confirmed"), &cut);
    bh_loop_tick(g->loop, false);
    test_redis_kill(&fx->redis);
    TICK_UNTIL(g->loop, g->downs == 1 && cut.count);
    assert_int_equal(cut.count, 1);
    assert_int_equal(cut.error, BH_EIO);
    assert_false(is_ready(g));
    publish(g, "all", BH_SLICE("x"), &d);
    assert_int_equal(d.count, 1);
    assert_int_equal(d.error, BH_EUNAVAIL);
    test_redis_run(&fx->redis);
    TICK_UNTIL(g->loop, is_ready(g));
    publish(g, "all", BH_SLICE("y"), &d);
    TICK_UNTIL(g->loop, d.count == 2 && g->messages);
    assert_int_equal(d.error, 0);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("y")));
    assert_int_equal(g->messages, 1);
    assert_int_equal(cut.count, 1);
}

static void test_started_before_redis(void **state) {
    struct gateway *g = &fx->g;
    test_redis_kill(&fx->redis);
    open_gateway(g);
    assert_false(g->vt->subscribe(g->broker, BH_SLICE("all")));
    uint64_t until = test_now_ms() + 100;
    TICK_UNTIL(g->loop, test_now_ms() > until);
    assert_false(is_ready(g));
    assert_int_equal(g->ups + g->downs, 0);
    test_redis_run(&fx->redis);
    TICK_UNTIL(g->loop, is_ready(g));
    assert_int_equal(g->subscribed, 1);
    assert_int_equal(g->ups, 1);
}

static void test_killed_subscriber_comes_back(void **state) {
    struct gateway *g = &fx->g;
    open_ready(g);
    subscribe(g, "user:1");
    assert_true(test_redis_do(&fx->redis, "CLIENT KILL TYPE pubsub") >= 1);
    TICK_UNTIL(g->loop, g->downs == 1);
    assert_false(is_ready(g));
    TICK_UNTIL(g->loop, is_ready(g));
    assert_int_equal(test_redis_do(&fx->redis, "PUBLISH notification:1 x"), 1);
    TICK_UNTIL(g->loop, g->messages == 1);
}

static void test_killed_everything_comes_back(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "user:1");
    test_redis_do(&fx->redis, "CLIENT KILL TYPE normal");
    test_redis_do(&fx->redis, "CLIENT KILL TYPE pubsub");
    TICK_UNTIL(g->loop, !is_ready(g));
    TICK_UNTIL(g->loop, is_ready(g));
    publish(g, "user:1", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count && g->messages == 1);
    assert_int_equal(d.error, 0);
}

static void test_hung_redis(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "user:1");
    kill(fx->redis.pid, SIGSTOP);
    publish(g, "user:1", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, !is_ready(g) && d.count == 1);
    assert_int_equal(d.error, BH_EIO);
    kill(fx->redis.pid, SIGCONT);
    TICK_UNTIL(g->loop, is_ready(g));
    assert_int_equal(d.count, 1);
    publish(g, "user:1", BH_SLICE("y"), &d);
    TICK_UNTIL(g->loop, d.count == 2 && g->messages && g->last->payload.p[0] == 'y');
}

static void test_paused_redis(void **state) {
    struct gateway *g = &fx->g;
    fx->config.command_timeout_ms = 60000; /* the links stay up; only the probe shows it */
    open_ready(g);
    test_redis_do(&fx->redis, "CLIENT PAUSE 2500 ALL");
    TICK_UNTIL(g->loop, !is_ready(g));
    assert_int_equal(g->downs, 0);
    const char *why;
    g->vt->ready(g->broker, &why);
    assert_non_null(strstr(why, "probe"));
    TICK_UNTIL(g->loop, is_ready(g));
    assert_int_equal(g->downs, 0);
}

/* --- a subscriber that receives nothing, though its connection is up --- */

static void test_silent_subscriber_reconnects(void **state) {
    struct gateway *g = &fx->g;
    struct proxy proxy;
    proxy_start(&proxy, fx->redis.port);
    fx->config.port = proxy.port;
    open_gateway(g);
    g->vt->subscribe(g->broker, BH_SLICE("user:1"));
    TICK_UNTIL(g->loop, proxy_pump(&proxy) && is_ready(g));
    assert_int_equal(g->downs, 0);
    proxy.deafen = true; /* connections that subscribe now receive nothing */
    TICK_UNTIL(g->loop, proxy_pump(&proxy) && !is_ready(g));
    proxy.deafen = false;
    TICK_UNTIL(g->loop, proxy_pump(&proxy) && g->downs == 1);
    TICK_UNTIL(g->loop, proxy_pump(&proxy) && is_ready(g));
    test_redis_do(&fx->redis, "PUBLISH notification:1 x");
    TICK_UNTIL(g->loop, proxy_pump(&proxy) && g->messages == 1);
    close_gateway(g);
    proxy_stop(&proxy);
}

/* --- login --- */

static void check_works(void) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    open_ready(g);
    subscribe(g, "user:1");
    publish(g, "user:1", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count && g->messages == 1);
    assert_int_equal(d.error, 0);
}

static void check_stays_out(void) {
    struct gateway *g = &fx->g;
    uint64_t until = test_now_ms() + 300;
    open_gateway(g);
    TICK_UNTIL(g->loop, test_now_ms() > until);
    assert_false(is_ready(g));
    assert_int_equal(g->ups, 0);
}

static void test_password_alone(void **state) {
    test_redis_do(&fx->redis, "CONFIG SET requirepass pa:ss@w/rd");
    fx->config.password = "pa:ss@w/rd";
    check_works();
}

static void test_user_and_password(void **state) {
    test_redis_do(&fx->redis,
                  "ACL SETUSER joe on >pw ~* resetchannels &notification:* &bellhop:probe:* +@all");
    test_redis_do(&fx->redis, "ACL SETUSER default off");
    fx->config.user = "joe";
    fx->config.password = "pw";
    check_works();
}

static void test_least_rights(void **state) {
    test_redis_do(&fx->redis, "ACL SETUSER joe on >pw resetchannels &notification:* "
                              "&bellhop:probe:* +subscribe +unsubscribe +publish");
    fx->config.user = "joe";
    fx->config.password = "pw";
    check_works();
}

static void test_wrong_password(void **state) {
    test_redis_do(&fx->redis, "ACL SETUSER joe on >right ~* &* +@all");
    fx->config.user = "joe";
    fx->config.password = "wrong";
    check_stays_out();
    test_redis_do(&fx->redis, "ACL SETUSER joe >wrong"); /* corrected at the server */
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
}

static void test_password_missing(void **state) {
    test_redis_do(&fx->redis, "CONFIG SET requirepass pw");
    check_stays_out();
}

static void test_password_without_need(void **state) {
    fx->config.password = "pw";
    check_stays_out();
}

static void test_channels_not_allowed(void **state) {
    test_redis_do(&fx->redis, "ACL SETUSER joe on >pw ~* resetchannels &bellhop:probe:* +@all");
    fx->config.user = "joe";
    fx->config.password = "pw";
    open_gateway(&fx->g);
    fx->g.vt->subscribe(fx->g.broker, BH_SLICE("all"));
    uint64_t until = test_now_ms() + 300;
    TICK_UNTIL(fx->g.loop, test_now_ms() > until);
    assert_false(is_ready(&fx->g));
    assert_int_equal(fx->g.ups, 0);
    test_redis_do(&fx->redis, "ACL SETUSER joe &notification:*");
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
}

static void test_publish_denied(void **state) {
    struct gateway *g = &fx->g;
    struct done d = {0};
    test_redis_do(&fx->redis, "ACL SETUSER joe on >pw ~* resetchannels &notification:1 "
                              "&bellhop:probe:* +@all");
    fx->config.user = "joe";
    fx->config.password = "pw";
    open_ready(g);
    subscribe(g, "user:1");
    publish(g, "user:2", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count);
    assert_int_equal(d.error, BH_EDENIED);
    assert_non_null(strstr(d.why, "NOPERM"));
    publish(g, "user:1", BH_SLICE("x"), &d);
    TICK_UNTIL(g->loop, d.count == 2 && g->messages == 1);
    assert_int_equal(d.error, 0);
}

/* --- commands of scripts --- */

struct answer {
    unsigned count;
    int error;
    enum bh_reply_type type;
    int64_t integer;
    char text[256];
};

static void on_answer(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct answer *a = ud;
    assert_int_equal(handle, 9);
    a->count++;
    a->error = error;
    if (error)
        return;
    a->type = reply->type;
    a->integer = reply->integer;
    snprintf(a->text, sizeof a->text, "%.*s", BH_SLICE_ARG(reply->str));
    if (reply->type == BH_REPLY_ARRAY && reply->count && reply->elements[0].type == BH_REPLY_ARRAY)
        a->integer = reply->elements[0].elements[1].integer;
}

/* Words separated by one blank; waits for the answer. */
static struct answer ask(const char *text) {
    struct bh_redis *r = bh_redis_broker_commands(fx->g.broker);
    struct bh_slice rest = bh_slice_cstr(text), argv[16];
    struct answer a = {0};
    size_t argc = 0;
    while (bh_slice_split(&rest, ' ', &argv[argc]))
        argc++;
    r->vt->call(r, 0, argc, argv, on_answer, &a, 9);
    TICK_UNTIL(fx->g.loop, a.count);
    assert_int_equal(a.count, 1);
    return a;
}

static void test_commands(void **state) {
    open_ready(&fx->g);
    assert_string_equal(ask("SET k v").text, "OK");
    assert_string_equal(ask("GET k").text, "v");
    assert_int_equal(ask("GET nothing").type, BH_REPLY_NIL);
    assert_int_equal(ask("INCRBY n 41").integer, 41);
    assert_int_equal(ask("EVAL return{{1,2}} 0").integer, 2);
    struct answer wrong = ask("INCR k");
    assert_int_equal(wrong.error, 0);
    assert_int_equal(wrong.type, BH_REPLY_ERROR);
    assert_non_null(strstr(ask("BLPOP k 0").text, "BLPOP was not sent"));
    assert_int_equal(ask("SUBSCRIBE x").type, BH_REPLY_ERROR);
    test_redis_kill(&fx->redis);
    TICK_UNTIL(fx->g.loop, fx->g.downs == 1);
    TICK_UNTIL(fx->g.loop, ask("GET k").error == BH_EUNAVAIL);
}

static void test_slow_command_times_out(void **state) {
    open_ready(&fx->g);
    assert_int_equal(ask("DEBUG SLEEP 1").error, BH_ETIMEDOUT);
    TICK_UNTIL(fx->g.loop, is_ready(&fx->g));
}

static void test_database_is_selected(void **state) {
    fx->config.database = 3;
    open_ready(&fx->g);
    ask("SET k v");
    redisContext *c = test_redis_client(&fx->redis);
    freeReplyObject(redisCommand(c, "SELECT 3"));
    redisReply *r = redisCommand(c, "GET k");
    assert_string_equal(r->str, "v");
    freeReplyObject(r);
    redisFree(c);
}

static void test_no_such_database(void **state) {
    fx->config.database = 99;
    check_stays_out();
}

static void test_links_are_named(void **state) {
    open_ready(&fx->g);
    redisContext *c = test_redis_client(&fx->redis);
    redisReply *r = redisCommand(c, "CLIENT LIST");
    assert_non_null(strstr(r->str, "name=bellhop:one:bus "));
    assert_non_null(strstr(r->str, "name=bellhop:one:probe "));
    assert_non_null(strstr(r->str, "name=bellhop:one:worker-0 "));
    freeReplyObject(r);
    redisFree(c);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_gateway, teardown_gateway)
    const struct CMUnitTest tests[] = {
        T(test_publish_while_down),
        T(test_started_before_redis),
        T(test_killed_subscriber_comes_back),
        T(test_killed_everything_comes_back),
        T(test_hung_redis),
        T(test_paused_redis),
        T(test_silent_subscriber_reconnects),
        T(test_password_alone),
        T(test_user_and_password),
        T(test_least_rights),
        T(test_wrong_password),
        T(test_password_missing),
        T(test_password_without_need),
        T(test_channels_not_allowed),
        T(test_publish_denied),
        T(test_commands),
        T(test_slow_command_times_out),
        T(test_database_is_selected),
        T(test_no_such_database),
        T(test_links_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
