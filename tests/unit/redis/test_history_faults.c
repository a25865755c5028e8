/* test_history_faults.c - what the history makes of lost links, of a Redis that rejects, and of
 * libraries that others have loaded. */
#include "history_test.h"

static const struct bh_position none = {0};

/* --- lost links --- */

/* The append is executed, and its reply is lost with the link. */
static void test_a_lost_reply_is_asked_for_again(void **state) {
    struct proxy proxy;
    struct appended a = {0};
    proxy_start(&proxy, fx->redis.port);
    fx->config.port = proxy.port;
    fx->config.publish_queue = 10;
    fx->config.publish_wait_ms = 60000;
    open_history_behind(&proxy);
    append("user:42", "a", "one");
    int64_t repeated = counted(BH_REDIS_HISTORY_REPEATED);
    proxy.deafen = proxy.all = true;
    start_append("user:42", "b", "two", &a);
    WAIT_UNTIL(test_redis_do(&fx->redis, "LLEN {notification:42}:log") == 2);
    assert_int_equal(a.count, 0);
    proxy.deafen = false; /* for the next links */
    WAIT_UNTIL(a.count);
    assert_int_equal(a.error, 0);
    assert_false(a.result.known); /* but for its own first attempt */
    assert_int_equal(a.result.receivers, -1);
    assert_int_equal(a.result.position.offset, 2);
    assert_int_equal(counted(BH_REDIS_HISTORY_REPEATED), repeated + 1);
    assert_int_equal(test_redis_do(&fx->redis, "LLEN {notification:42}:log"), 2);
    close_history();
    proxy_stop(&proxy);
}

/* The link swallows what Redis answers, and is replaced; later its answers come all the same. */
static void test_a_link_that_is_silent_is_replaced(void **state) {
    struct proxy proxy;
    struct appended late = {0};
    proxy_start(&proxy, fx->redis.port);
    fx->config.port = proxy.port;
    fx->config.command_timeout_ms = 20000;
    open_history_behind(&proxy);
    append("user:42", "a", "one");
    proxy.deafen = proxy.all = proxy.hold = true;
    start_append("user:42", "b", "two", &late);
    WAIT_UNTIL(test_redis_do(&fx->redis, "LLEN {notification:42}:log") == 2);
    proxy.deafen = false; /* for the next links */
    WAIT_UNTIL(!is_ready(&fx->g));
    WAIT_UNTIL(is_ready(&fx->g));
    assert_int_equal(append("user:42", "c", "three").offset, 3);
    assert_int_equal(late.count, 0);
    proxy.hold = false;
    WAIT_UNTIL(late.count);
    assert_int_equal(late.error, 0);
    assert_int_equal(late.result.position.offset, 2);
    close_history();
    assert_int_equal(late.count, 1);
    proxy_stop(&proxy);
}

/* The queue is for new messages; one that was sent waits without it. */
static void test_a_lost_append_waits_without_a_queue(void **state) {
    struct appended a = {0}, refused = {0};
    fx->config.publish_wait_ms = 60000;
    open_history();
    kill(fx->redis.pid, SIGSTOP);
    start_append("user:42", "a", "one", &a);
    bh_loop_tick(fx->g.loop, false);
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(!fx->g.up);
    start_append("user:42", "b", "two", &refused);
    assert_int_equal(refused.error, BH_EUNAVAIL);
    assert_int_equal(a.count, 0);
    test_redis_run(&fx->redis);
    WAIT_UNTIL(a.count);
    assert_int_equal(a.error, 0);
    assert_false(a.result.known);
}

/* Nothing comes back any more: it may have been appended. */
static void test_lost_for_good(void **state) {
    struct proxy proxy;
    struct appended a = {0};
    proxy_start(&proxy, fx->redis.port);
    fx->config.port = proxy.port;
    fx->config.publish_queue = 10;
    fx->config.publish_wait_ms = 100;
    open_history_behind(&proxy);
    proxy.deafen = proxy.all = true;
    start_append("user:42", "a", "one", &a);
    WAIT_UNTIL(a.count);
    assert_int_equal(a.error, BH_EIO);
    close_history();
    assert_int_equal(a.count, 1);
    proxy_stop(&proxy);
}

static void test_waits_in_order_with_the_publishes(void **state) {
    struct gateway *g = &fx->g;
    struct appended a[2] = {0}, refused = {0};
    struct done d = {0};
    fx->config.publish_queue = 3;
    fx->config.publish_wait_ms = 60000;
    open_history();
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(!g->up);
    start_append("user:42", "a", "one", &a[0]);
    publish(g, "user:42", BH_SLICE("between"), &d);
    start_append("user:42", "b", "two", &a[1]);
    start_append("user:42", "c", "no room", &refused);
    assert_int_equal(refused.error, BH_EUNAVAIL);
    assert_int_equal(a[0].count + a[1].count + d.count, 0);
    test_redis_run(&fx->redis);
    WAIT_UNTIL(a[0].count && a[1].count && d.count);
    assert_int_equal(a[0].error + a[1].error + d.error, 0);
    assert_int_equal(a[0].result.position.offset, 1);
    assert_int_equal(a[1].result.position.offset, 2);
    WAIT_UNTIL(g->messages == 3);
    assert_true(bh_slice_eq(g->last->payload, BH_SLICE("two")));
}

static void test_waits_no_longer_than_a_publish(void **state) {
    struct appended a = {0};
    fx->config.publish_queue = 1;
    fx->config.publish_wait_ms = 50;
    open_history();
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(!fx->g.up);
    assert_int_equal(append_error("user:42", "a", &a), BH_EUNAVAIL);
    assert_non_null(strstr(a.why, "redis.publish_wait"));
}

static void test_the_end_completes_what_is_open(void **state) {
    struct appended queued = {0}, sent = {0};
    fx->config.publish_queue = 1;
    fx->config.publish_wait_ms = 60000;
    open_history();
    kill(fx->redis.pid, SIGSTOP);
    start_append("user:42", "a", "one", &sent);
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(!fx->g.up);
    start_append("user:42", "b", "two", &queued); /* or rejected: the first one waits again */
    close_history();
    assert_int_equal(sent.count, 1);
    assert_int_equal(queued.count, 1);
    assert_true(sent.error == BH_EIO);
    assert_true(queued.error == BH_EIO || queued.error == BH_EUNAVAIL);
}

static void test_reads_fail_at_once_while_the_link_is_down(void **state) {
    static const char *const topics[] = {"user:42", "user:43"};
    struct ranged r;
    struct topped t;
    const char *why;
    open_history();
    struct bh_position top = append("user:42", "a", "one");
    assert_true(history_is_ready(NULL));
    kill(fx->redis.pid, SIGSTOP);
    start_read("user:42", none, 100, 1000, &r);
    bh_loop_tick(fx->g.loop, false);
    assert_int_equal(r.count, 0);
    test_redis_kill(&fx->redis);
    WAIT_UNTIL(r.count && !history_is_ready(&why));
    assert_int_equal(r.error, BH_EIO);
    start_read("user:42", top, 100, 1000, &r);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.error, BH_EUNAVAIL);
    start_tops(topics, 2, &t);
    assert_int_equal(t.count, 1);
    assert_int_equal(t.error, BH_EUNAVAIL);
    test_redis_run(&fx->redis); /* empty */
    WAIT_UNTIL(history_is_ready(NULL));
    r = read_behind("user:42", top);
    assert_int_equal(r.error, 0);
    assert_int_equal(r.range->outcome, BH_HISTORY_GAP);
    assert_true(r.range->top.epoch != top.epoch);
    release(&r);
}

/* --- a Redis that rejects --- */

static void test_out_of_memory(void **state) {
    struct appended a;
    open_history();
    struct bh_position first = append("user:42", "a", "one");
    int64_t full = counted(BH_REDIS_HISTORY_FULL);
    test_redis_do(&fx->redis, "CONFIG SET maxmemory 1");
    assert_int_equal(append_error("user:42", "b", &a), BH_ENOMEM);
    assert_int_equal(counted(BH_REDIS_HISTORY_FULL), full + 1);
    /* Reads write nothing; what would have to begin a stream is tried again. */
    struct ranged r = read_behind("user:42", first);
    assert_int_equal(r.error, 0);
    release(&r);
    r = read_behind("user:new", none);
    assert_int_equal(r.error, BH_EUNAVAIL);
    test_redis_do(&fx->redis, "CONFIG SET maxmemory 0");
    assert_int_equal(append("user:42", "b", "two").offset, 2);
}

static void test_becomes_a_replica(void **state) {
    struct appended a;
    open_history();
    append("user:42", "a", "one");
    test_redis_do(&fx->redis, "REPLICAOF 127.0.0.1 1");
    assert_int_equal(append_error("user:42", "b", &a), BH_EUNAVAIL);
    test_redis_do(&fx->redis, "REPLICAOF NO ONE");
    WAIT_UNTIL(is_ready(&fx->g));
    append("user:42", "b", "two");
}

static void test_too_few_replicas_to_write(void **state) {
    struct appended a;
    open_history();
    test_redis_do(&fx->redis, "CONFIG SET min-replicas-to-write 1");
    assert_int_equal(append_error("user:42", "a", &a), BH_EUNAVAIL);
}

static void test_another_type(void **state) {
    struct appended a;
    open_history();
    test_redis_do(&fx->redis, "SET {notification:42}:m x");
    assert_int_equal(append_error("user:42", "a", &a), BH_EDENIED);
    assert_non_null(strstr(a.why, "WRONGTYPE"));
    struct ranged r = read_behind("user:42", none);
    assert_int_equal(r.error, BH_EDENIED);
}

static void set_offset(char *entry) {
    uint64_t offset = BH_POSITION_END - 2;
    for (int i = 7; i >= 0; i--, offset >>= 8)
        entry[BH_ENVELOPE_HEAD + i] = (char)offset;
}

/* A log without its meta goes on behind its last entry. */
static void test_the_offsets_end(void **state) {
    struct appended a;
    open_history();
    append("user:42", "a", "one");
    test_redis_do(&fx->redis, "DEL {notification:42}:m");
    change_entry(0, set_offset);
    assert_int_equal(append("user:42", "b", "two").offset, BH_POSITION_END - 1);
    assert_int_equal(append_error("user:42", "c", &a), BH_ETOOBIG);
}

/* --- rights --- */

static void login_as(const char *acl) {
    char command[512];
    snprintf(command, sizeof command, "ACL SETUSER joe reset on >x %s", acl);
    test_redis_do(&fx->redis, command);
    fx->config.user = "joe";
    fx->config.password = "x";
}

#define BROKER_RIGHTS                                                                              \
    "-@all +publish +subscribe +unsubscribe +ping +client|setname resetchannels &notification:* "  \
    "&bellhop:probe:* "

static void wait_refused(const char **why) {
    WAIT_UNTIL(!history_is_ready(why) && strstr(*why, "ACL SETUSER joe ~{notification:*"));
}

static void open_refused(void) {
    open_gateway(&fx->g);
    hx.base = bh_redis_history_new(fx->g.broker, &hx.config, 1);
    hx.vt = hx.base->vt;
    hx.vt->start(hx.base, fx->g.loop);
    hx.vt->worker_start(hx.base, 0, fx->g.loop, fx->g.mailbox);
    WAIT_UNTIL(is_ready(&fx->g));
}

/* Readiness has the line; with it, everything works. */
static void test_the_rights_that_are_missing_are_told(void **state) {
    struct appended a;
    char command[1024];
    const char *why;
    login_as(BROKER_RIGHTS);
    hx.config.min_replicas = 0;
    open_refused();
    wait_refused(&why);
    assert_int_equal(append_error("user:42", "a", &a), BH_EDENIED);
    assert_string_equal(a.why, why);
    struct ranged r = read_behind("user:42", none);
    assert_int_equal(r.error, BH_EDENIED);
    snprintf(command, sizeof command, "%s", strstr(why, "ACL SETUSER"));
    test_redis_do(&fx->redis, command);
    WAIT_UNTIL(history_is_ready(NULL));
    for (int i = 0; i < 200; i++) { /* with all that is done now and then */
        char id[16], key[16];
        snprintf(id, sizeof id, "%d", i);
        snprintf(key, sizeof key, "%d", i % 7);
        a = (struct appended){0};
        append_collapsed("user:42", id, "x", key, &a);
        WAIT_UNTIL(a.count);
        assert_string_equal(a.why, "");
    }
    struct bh_position top = a.result.position;
    hx.rule.size = 5;
    append("user:42", "last", "x");
    r = read_behind("user:42", top);
    assert_int_equal(r.range->count, 1);
    release(&r);
    assert_int_equal(remove_one("user:42", top).error, 0);
    assert_int_equal(remove_one("user:42", none).error, 0);
    r = read_page("user:42", true, none, 5);
    assert_int_equal(r.error, 0);
    release(&r);
}

/* Older servers have no functions, and scripts cannot ask for rights there. */
static void needs_redis_7(void) {
    if (test_redis_major() < 7)
        skip();
}

/* It may be called, but one command inside is refused. */
static void test_one_right_is_missing(void **state) {
    needs_redis_7();
    const char *why;
    login_as(BROKER_RIGHTS "~{notification:* +@all -rpush");
    open_refused();
    wait_refused(&why);
    login_as(BROKER_RIGHTS "~{notification:* +@all");
    WAIT_UNTIL(history_is_ready(NULL));
}

static void test_keys_of_others_are_refused(void **state) {
    const char *why;
    login_as(BROKER_RIGHTS "~ws:* +@all");
    open_refused();
    wait_refused(&why);
}

/* --- libraries --- */

static void flush_and_go_on(const char *flush) {
    struct appended a[3] = {0};
    open_history();
    struct bh_position first = append("user:42", "a", "one");
    test_redis_do(&fx->redis, flush);
    start_append("user:42", "b", "two", &a[0]);
    start_append("user:42", "c", "three", &a[1]);
    start_append("user:42", "d", "four", &a[2]);
    WAIT_UNTIL(a[0].count && a[1].count && a[2].count);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].error, 0);
        assert_int_equal(a[i].result.position.offset, 2 + i);
    }
    test_redis_do(&fx->redis, flush);
    struct ranged r = read_behind("user:42", first);
    assert_string_equal(payloads(r.range), "two,three,four");
    release(&r);
}

static void test_flushed_functions_are_loaded_again(void **state) {
    needs_redis_7();
    int64_t loads = counted(BH_REDIS_HISTORY_LOADS);
    flush_and_go_on("FUNCTION FLUSH");
    assert_true(counted(BH_REDIS_HISTORY_LOADS) >= loads + 2);
}

static void test_flushed_scripts_are_sent_again(void **state) {
    flush_and_go_on("SCRIPT FLUSH");
}

static void load_library(const char *body) {
    test_redis_do(&fx->redis, "FUNCTION LOAD REPLACE %s", body);
}

#define FUNCTIONS(version, answer)                                                                 \
    "#!lua name=bellhop\n"                                                                         \
    "local function answer() return " answer " end\n"                                              \
    "local function version() return " version " end\n"                                            \
    "redis.register_function('bellhop_version', version)\n"                                        \
    "redis.register_function('bellhop_append', answer)\n"                                          \
    "redis.register_function('bellhop_page', answer)\n"                                            \
    "redis.register_function('bellhop_remove', answer)\n"                                          \
    "redis.register_function('bellhop_begin', answer)\n"                                           \
    "redis.register_function{function_name='bellhop_read', callback=answer, "                      \
    "flags={'no-writes'}}"

static bool is_ours(void) {
    redisContext *c = test_redis_client(&fx->redis);
    redisReply *r = redisCommand(c, "FCALL bellhop_version 0");
    bool ours = r->type == REDIS_REPLY_INTEGER && r->integer > 0 && r->integer < 99;
    freeReplyObject(r);
    redisFree(c);
    return ours;
}

static void test_an_older_library_is_replaced(void **state) {
    needs_redis_7();
    load_library(FUNCTIONS("0", "'old'"));
    open_history();
    WAIT_UNTIL(is_ours());
    append("user:42", "a", "one");
    load_library(FUNCTIONS("0", "'old'")); /* by an instance that was started later */
    WAIT_UNTIL(is_ours());
    append("user:42", "b", "two");
}

static void test_a_newer_library_stays(void **state) {
    needs_redis_7();
    struct appended a = {0};
    load_library(FUNCTIONS("99", "{7, 5, 3, 0}"));
    open_history();
    for (int i = 0; i < 3; i++) {
        uint64_t until = test_now_ms() + 2 * fx->config.probe_ms;
        WAIT_UNTIL(test_now_ms() > until);
        assert_false(is_ours());
    }
    start_append("user:42", "a", "one", &a);
    WAIT_UNTIL(a.count);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.result.position.offset, 7);
    assert_int_equal(a.result.receivers, 3);
}

/* Whatever a library answers. */
static void test_odd_answers(void **state) {
    needs_redis_7();
    static const char *const answers[] = {
        FUNCTIONS("99", "1"),
        FUNCTIONS("99", "{}"),
        FUNCTIONS("99", "{0, 1, 0, 0}"),
        FUNCTIONS("99", "{1, 0, 0, 0}"),
        FUNCTIONS("99", "{1, 1, 0, 'x'}"),
        FUNCTIONS("99", "{9007199254740992, 1, 0, 0}"),
        FUNCTIONS("99", "{0, 1, 2, 0, 1, 'x', 'y', 'z'}"),
        FUNCTIONS("99", "{4, 1, 0, 0, 1}"),
        FUNCTIONS("99", "{0, 1, 2, 3, -1}"),
        FUNCTIONS("99", "{3, 0, 0, 0, 1}"), /* absent, again and again */
        FUNCTIONS("99", "redis.error_reply('ODD error')"),
    };
    struct appended a;
    load_library(answers[0]);
    open_history();
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        load_library(answers[i]);
        append_error("user:42", "a", &a);
        assert_true(a.error == BH_EIO || a.error == BH_EDENIED);
        struct ranged r = read_behind("user:42", none);
        assert_true(r.error == BH_EIO || r.error == BH_EDENIED ||
                    (r.range->outcome == BH_HISTORY_GAP && r.range->count == 0));
        release(&r);
        r = read_page("user:42", true, none, 3);
        assert_true(r.error == BH_EIO || r.error == BH_EDENIED || r.range->count == 0);
        release(&r);
        remove_one("user:42", none);
    }
}

/* --- replicas --- */

static bool has_replica(void) {
    redisContext *c = test_redis_client(&fx->redis);
    redisReply *r = redisCommand(c, "INFO replication");
    bool online = strstr(r->str, "state=online") != NULL;
    freeReplyObject(r);
    redisFree(c);
    return online;
}

static long long calls_of(const char *command) {
    char line[64];
    redisContext *c = test_redis_client(&fx->redis);
    redisReply *r = redisCommand(c, "INFO commandstats");
    snprintf(line, sizeof line, "cmdstat_%s:calls=", command);
    const char *at = strstr(r->str, line);
    long long calls = at ? atoll(at + strlen(line)) : 0;
    freeReplyObject(r);
    redisFree(c);
    return calls;
}

static void test_min_replicas(void **state) {
    struct test_redis replica;
    struct appended a;
    hx.config.min_replicas = 1;
    fx->config.command_timeout_ms = 5000;
    test_redis_start(&replica);
    test_redis_do(&replica, "REPLICAOF 127.0.0.1 %d", (int)fx->redis.port);
    open_history();
    WAIT_UNTIL(has_replica());
    WAIT_UNTIL(append_error("user:42", "a", &a) == 0); /* as soon as the replica has the data */
    assert_int_equal(a.result.position.offset, 1);
    kill(replica.pid, SIGSTOP);
    int64_t missing = counted(BH_REDIS_HISTORY_UNREPLICATED);
    assert_int_equal(append_error("user:42", "b", &a), BH_EIO);
    assert_non_null(strstr(a.why, "history.min_replicas"));
    assert_int_equal(counted(BH_REDIS_HISTORY_UNREPLICATED), missing + 1);
    /* It was appended; as long as the replica is missing, it is no more than that. */
    assert_int_equal(test_redis_do(&fx->redis, "LLEN {notification:42}:log"), 2);
    assert_int_equal(append_error("user:42", "b", &a), BH_EIO);
    static struct appended burst[50];
    long long waits = calls_of("wait");
    for (int i = 0; i < 50; i++) {
        char id[24];
        snprintf(id, sizeof id, "burst-%d", i);
        burst[i] = (struct appended){0};
        start_append("user:42", id, "x", &burst[i]);
    }
    for (int i = 0; i < 50; i++)
        WAIT_UNTIL(burst[i].count && burst[i].error == BH_EIO);
    assert_true(calls_of("wait") - waits <= 5); /* not one for each */
    kill(replica.pid, SIGCONT);
    WAIT_UNTIL(append_error("user:42", "b", &a) == 0);
    assert_true(a.result.known);
    assert_int_equal(a.result.position.offset, 2);
    assert_true(test_redis_do(&replica, "LLEN {notification:42}:log") >= 2);
    test_redis_stop(&replica);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown_history)
    const struct CMUnitTest tests[] = {
        T(test_a_lost_reply_is_asked_for_again),
        T(test_a_lost_append_waits_without_a_queue),
        T(test_a_link_that_is_silent_is_replaced),
        T(test_lost_for_good),
        T(test_waits_in_order_with_the_publishes),
        T(test_waits_no_longer_than_a_publish),
        T(test_the_end_completes_what_is_open),
        T(test_reads_fail_at_once_while_the_link_is_down),
        T(test_out_of_memory),
        T(test_becomes_a_replica),
        T(test_too_few_replicas_to_write),
        T(test_another_type),
        T(test_the_offsets_end),
        T(test_the_rights_that_are_missing_are_told),
        T(test_one_right_is_missing),
        T(test_keys_of_others_are_refused),
        T(test_flushed_functions_are_loaded_again),
        cmocka_unit_test_setup_teardown(test_flushed_scripts_are_sent_again, setup_old_history,
                                        teardown_history),
        T(test_an_older_library_is_replaced),
        T(test_a_newer_library_stays),
        T(test_odd_answers),
        T(test_min_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
