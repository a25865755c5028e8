/* test_tracker_events.c - events of presence are raised once, also when a reply is lost, an
 * instance dies, or Redis loses its data. */
#include "cluster.h"

#include <signal.h>

static long long command_count(const char *command) {
    return test_redis_do(&cl->redis, command);
}

/* The batch has been sent; no reply has been read. */
static void send_batch(struct instance *in) {
    struct bh_redis_tracker *t = inside(in);
    TICK_UNTIL(cl->loop, t->changes.in_flight > 0);
    TICK_UNTIL(cl->loop, t->registration.link.out.len == 0);
    assert_true(t->changes.in_flight > 0);
}

/* Redis executes it, and the reply is never read. */
static size_t come_without_a_reply(struct instance *in, const char *user) {
    size_t which = come(in, user, "");
    char command[64];
    snprintf(command, sizeof command, "HEXISTS ws:presence %s", user);
    send_batch(in);
    for (uint64_t until = test_now_ms() + 5000; command_count(command) == 0;)
        assert_true(test_now_ms() < until);
    return which;
}

static void each_once(const char *user) {
    assert_int_equal(events(user, true), 1);
    assert_int_equal(events(user, false), 1);
}

static void test_a_lost_reply(void **state) {
    struct instance *a = open_live(0, "a");
    settle(a); /* loads the scripts, and its events are done before the test */
    size_t stays = come_without_a_reply(a, "stays");
    cut(a);
    assert_int_equal(events("stays", true), 0);
    mend(a);
    size_t goes = come_without_a_reply(a, "goes");
    cut(a);
    go(a, goes);
    mend(a);
    TICK_UNTIL(cl->loop, events("goes", false) == 1);
    settle(a);
    assert_int_equal(events("goes", true), 1);
    assert_int_equal(events("stays", true), 1);
    go(a, stays);
    TICK_UNTIL(cl->loop, events("stays", false) == 1);
    settle(a);
    each_once("stays");
    TICK_UNTIL(cl->loop, keys("ws:events:*") == 0 && inside(a)->events.map.count == 0);
}

static void test_a_lost_reply_about_a_departure(void **state) {
    struct instance *a = open_live(0, "a");
    size_t which = come(a, "42", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    go(a, which);
    TICK_UNTIL(cl->loop, command_count("EXISTS ws:presence") == 0); /* decided, between two ticks */
    unsigned before = events("42", false);
    cut(a);
    mend(a);
    TICK_UNTIL(cl->loop, events("42", false) == 1);
    settle(a);
    each_once("42");
    assert_int_equal(before, 0);
}

/* A paused Redis executes what it was sent after the link has been dropped. */
static void test_executed_late(void **state) {
    struct instance *a = open_live(0, "a");
    settle(a);
    kill(cl->redis.pid, SIGSTOP);
    size_t which = come(a, "42", "");
    send_batch(a);
    cut(a);
    kill(cl->redis.pid, SIGCONT);
    TICK_UNTIL(cl->loop, command_count("HEXISTS ws:presence 42") == 1);
    mend(a);
    settle(a);
    go(a, which);
    TICK_UNTIL(cl->loop, events("42", false) == 1);
    settle(a);
    each_once("42");
}

static void test_events_of_a_dead_instance_are_raised(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    settle(a);
    come_without_a_reply(a, "42");
    crash(a);
    TICK_UNTIL(cl->loop, events("42", false) == 1 && events("42", true) == 1);
    settle(b);
    each_once("42");
    TICK_UNTIL(cl->loop, keys("ws:events:*") == 0);
}

/* --- a Redis that loses its data --- */

static void test_a_user_who_has_just_left(void **state) {
    cl->tracking.debounce_ms = 1500;
    struct instance *a = open_live(0, "a");
    size_t leaves = come(a, "leaves", "");
    come(a, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    go(a, leaves);
    TICK_UNTIL(cl->loop, is_idle(a) && keys("ws:leaving") == 1);
    test_redis_do(&cl->redis, "FLUSHALL");
    TICK_UNTIL(cl->loop, events("leaves", false) == 1);
    settle(a);
    each_once("leaves");
    assert_int_equal(events("stays", true), 1);
    assert_int_equal(events("stays", false), 0);
}

static void test_a_user_who_leaves_while_redis_is_down(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t leaves = come(a, "leaves", ""), moves = come(a, "moves", ""), both = come(a, "both", "");
    come(b, "both", "");
    come(a, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    test_redis_kill(&cl->redis);
    TICK_UNTIL(cl->loop, registration(a)->state == BH_TRACKER_DOWN &&
                             registration(b)->state == BH_TRACKER_DOWN);
    cut(b);
    uint64_t until = test_now_ms() + 2; /* later connections have a later opened_at */
    TICK_UNTIL(cl->loop, test_now_ms() > until);
    go(a, leaves);
    go(a, moves);
    come(b, "moves", "");
    go(a, both);
    size_t visits = come(a, "visits", "");
    go(a, visits);
    test_redis_run(&cl->redis);
    mend(a);
    assert_int_equal(a->restores, 2);
    uint64_t later = test_now_ms() + 400; /* longer than the debounce */
    TICK_UNTIL(cl->loop, test_now_ms() > later);
    mend(b);
    TICK_UNTIL(cl->loop, events("leaves", false) == 1);
    settle(a);
    settle(b);
    each_once("leaves");
    const char *here[] = {"moves", "both", "stays"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(events(here[i], true), 1);
        assert_int_equal(events(here[i], false), 0);
    }
    assert_int_equal(events("visits", true) + events("visits", false), 0);
}

static void test_a_user_who_comes_before_all_have_returned(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    come(a, "old", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    cut(a);
    test_redis_do(&cl->redis, "FLUSHALL");
    come(b, "old", "");
    come(b, "new", "");
    size_t visits = come(b, "visits", "");
    TICK_UNTIL(cl->loop, b->restores == 2 && is_idle(b));
    go(b, visits);
    assert_int_equal(events("new", true), 0); /* a may have announced it */
    mend(a);
    TICK_UNTIL(cl->loop, events("new", true) == 1 && events("visits", false) == 1);
    settle(a);
    settle(b);
    assert_int_equal(events("old", true), 1);
    assert_int_equal(events("old", false), 0);
    assert_int_equal(events("new", true), 1);
    each_once("visits");
    TICK_UNTIL(cl->loop, keys("ws:arriving") == 0);
}

/* --- a Redis that is paused --- */

/* Shorter than a lease; but a user who moved meanwhile is not registered yet. */
static void test_a_user_who_moves_during_a_pause(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t moves = come(a, "moves", ""), leaves = come(a, "leaves", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    go(a, moves);
    go(a, leaves);
    TICK_UNTIL(cl->loop, is_idle(a));
    kill(cl->redis.pid, SIGSTOP);
    cut(a);
    cut(b);
    come(b, "moves", "");
    uint64_t until = test_now_ms() + 2500; /* two heartbeats, and the debounce */
    TICK_UNTIL(cl->loop, test_now_ms() > until);
    kill(cl->redis.pid, SIGCONT);
    mend(a);
    until = test_now_ms() + 1500;
    TICK_UNTIL(cl->loop, test_now_ms() > until);
    assert_int_equal(events("moves", false), 0);
    mend(b);
    TICK_UNTIL(cl->loop, events("leaves", false) == 1);
    settle(a);
    settle(b);
    assert_int_equal(events("moves", true), 1);
    assert_int_equal(events("moves", false), 0);
}

static void test_no_instance_is_reaped_after_a_pause(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    come(a, "one", "");
    come(b, "two", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    kill(cl->redis.pid, SIGSTOP);
    cut(a);
    cut(b);
    uint64_t until = test_now_ms() + SHORT_LEASE + 400;
    TICK_UNTIL(cl->loop, test_now_ms() > until);
    kill(cl->redis.pid, SIGCONT);
    mend(a);
    until = test_now_ms() + 600; /* a heartbeat, and the debounce */
    TICK_UNTIL(cl->loop, test_now_ms() > until);
    mend(b);
    settle(a);
    settle(b);
    assert_int_equal(events("one", true) + events("two", true), 2);
    assert_int_equal(events("one", false) + events("two", false), 0);
    /* Later it is. */
    crash(b);
    TICK_UNTIL(cl->loop, events("two", false) == 1);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_instances, teardown_instances)
    const struct CMUnitTest tests[] = {
        T(test_a_lost_reply),
        T(test_a_lost_reply_about_a_departure),
        T(test_executed_late),
        T(test_events_of_a_dead_instance_are_raised),
        T(test_a_user_who_has_just_left),
        T(test_a_user_who_leaves_while_redis_is_down),
        T(test_a_user_who_comes_before_all_have_returned),
        T(test_a_user_who_moves_during_a_pause),
        T(test_no_instance_is_reaped_after_a_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
