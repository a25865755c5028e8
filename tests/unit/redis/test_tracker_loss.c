/* test_tracker_loss.c - a Redis that goes back to an older state: after that the last event of each
 * user is the truth. */
#include "cluster.h"

static bool is_last(const char *user, bool online) {
    size_t i = cl->event_count;
    while (i > 0 && strcmp(cl->events[i - 1].user, user) != 0)
        i--;
    return i > 0 && cl->events[i - 1].online == online;
}

static void are_last(const char *const *users, size_t count, bool online) {
    for (size_t i = 0; i < count; i++)
        if (!is_last(users[i], online))
            fail_msg("the last event of %s is wrong", users[i]);
}

/* Ticks until the event has been raised. */
static void wait_event(const char *user, bool online, unsigned times) {
    TICK_UNTIL(cl->loop, events(user, online) == times);
}

static void restart(void) {
    test_redis_kill(&cl->redis);
    test_redis_run(&cl->redis);
}

static void wait_down(struct instance *in) {
    TICK_UNTIL(cl->loop, registration(in)->state == BH_TRACKER_DOWN);
}

/* Until it registers again, others ask Redis who is due. */
static void stop_heartbeats(struct instance *in) {
    bh_timer_cancel(&inside(in)->heartbeat_timer);
    TICK_UNTIL(cl->loop, !inside(in)->heartbeat.pending);
}

/* --- all is lost --- */

static void test_flushall_after_an_event(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t back = come(a, "back", ""), gone = come(a, "gone", "");
    come(a, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    stop_heartbeats(a);
    go(a, back);
    go(a, gone);
    wait_event("back", false, 1); /* b has asked; a does not know */
    wait_event("gone", false, 1);
    test_redis_do(&cl->redis, "FLUSHALL");
    come(a, "notices", "");
    come(b, "back", "");
    wait_event("back", true, 2);
    settle(a);
    settle(b);
    are_last((const char *[]){"back", "stays"}, 2, true);
    assert_true(is_last("gone", false));
    assert_in_range(events("gone", false), 1, 2);
    assert_int_equal(events("back", false), 1);
    assert_int_equal(events("stays", true), 1);
}

/* Nobody has asked Redis who is due, so nobody was announced as offline. */
static void test_a_restart_when_users_are_due(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t back = come(a, "back", ""), gone = come(a, "gone", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    stop_heartbeats(a);
    stop_heartbeats(b);
    go(a, back);
    go(a, gone);
    TICK_UNTIL(cl->loop, is_idle(a) && keys("ws:leaving") == 1);
    uint64_t due = test_now_ms() + DEBOUNCE;
    TICK_UNTIL(cl->loop, test_now_ms() > due);
    restart();
    wait_down(a);
    wait_down(b);
    come(b, "back", "");
    wait_event("gone", false, 1);
    TICK_UNTIL(cl->loop, is_live(a) && is_live(b));
    settle(a);
    settle(b);
    assert_int_equal(events("back", true), 1);
    assert_int_equal(events("back", false), 0);
    assert_true(is_last("gone", false));
    assert_int_equal(events("gone", false), 1);
}

/* A user who came after the first loss, and is not announced yet, was not announced. */
static void test_lost_again_before_all_have_returned(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    come(a, "old", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    cut(a);
    test_redis_do(&cl->redis, "FLUSHALL");
    TICK_UNTIL(cl->loop, b->restores == 2 && is_idle(b));
    uint64_t later = test_now_ms() + 2; /* later connections have a later opened_at */
    TICK_UNTIL(cl->loop, test_now_ms() > later);
    come(b, "new", "");
    TICK_UNTIL(cl->loop, is_idle(b));
    assert_int_equal(events("new", true), 0);
    test_redis_do(&cl->redis, "FLUSHALL");
    mend(a);
    wait_event("new", true, 1);
    settle(a);
    settle(b);
    assert_int_equal(events("new", true), 1);
    assert_int_equal(events("old", true), 1);
    assert_true(is_last("old", true));
}

/* The others have gone on without an instance: its users are announced again. */
static void test_an_instance_that_returns_late(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t leaves = come(a, "leaves", ""), both = come(a, "both", "");
    come(a, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    cut(a);
    test_redis_do(&cl->redis, "FLUSHALL");
    TICK_UNTIL(cl->loop, b->restores == 2 && is_idle(b));
    settle(b);
    size_t visit = come(b, "both", "");
    wait_event("both", true, 2); /* by now nobody knows of the first one */
    go(b, visit);
    wait_event("both", false, 1);
    go(a, leaves);
    mend(a);
    wait_event("leaves", false, 1);
    settle(a);
    settle(b);
    are_last((const char *[]){"both", "stays"}, 2, true);
    assert_true(is_last("leaves", false));
    go(a, both);
    wait_event("both", false, 2);
}

/* Its lease had ended, and Redis does not know any more that it was reaped. */
static void return_after_reaping(bool in_time) {
    cl->tracking.lease_ms = 1000;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b"), *c = open_live(2, "c");
    come(a, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    stop_heartbeats(a);
    wait_event("stays", false, 1);
    settle(b);
    TICK_UNTIL(cl->loop, inside(b)->living == 2 && inside(c)->living == 2);
    cut(c); /* the others wait for it */
    test_redis_do(&cl->redis, "FLUSHALL");
    come(b, "notices", "");
    TICK_UNTIL(cl->loop, b->restores == 2 && is_idle(b));
    if (!in_time)
        TICK_UNTIL(cl->loop, events("notices", true) == 1);
    bh_timer_set(&inside(a)->heartbeat_timer, 0);
    TICK_UNTIL(cl->loop, a->restores == 2);
    mend(c);
    wait_event("stays", true, 2);
    settle(a);
    settle(b);
    assert_true(is_last("stays", true));
}

static void test_a_reaped_instance_returns_in_time(void **state) {
    return_after_reaping(true);
}

static void test_a_reaped_instance_returns_late(void **state) {
    return_after_reaping(false);
}

/* --- a part is lost --- */

static void test_an_older_snapshot(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t back = come(a, "back", ""), gone = come(a, "gone", ""), later = come(a, "later", "");
    come(b, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    test_redis_do(&cl->redis, "SAVE");
    size_t visits = come(b, "visits", "");
    come(a, "came", "");
    wait_event("visits", true, 1);
    go(a, back);
    go(a, gone);
    go(a, later);
    go(b, visits);
    wait_event("back", false, 1);
    wait_event("gone", false, 1);
    wait_event("visits", false, 1);
    TICK_UNTIL(cl->loop, inside(a)->departed.queue.len == 0 && inside(b)->departed.queue.len == 0);
    restart();
    wait_down(a);
    wait_down(b);
    come(b, "back", "");
    wait_event("back", true, 2);
    TICK_UNTIL(cl->loop, is_live(a) && is_live(b));
    TICK_UNTIL(cl->loop, keys("ws:leaving") == 1); /* the connections in the snapshot are reaped */
    come(b, "later", "");
    wait_event("later", true, 2);
    settle(a);
    settle(b);
    are_last((const char *[]){"back", "later", "stays", "came"}, 4, true);
    are_last((const char *[]){"gone", "visits"}, 2, false);
    assert_int_equal(events("stays", true) + events("came", true), 2);
    assert_int_equal(events("visits", false), 1);
    assert_in_range(events("gone", false), 1, 2);
    TICK_UNTIL(cl->loop, keys("ws:arriving") + keys("ws:leaving") == 0);
    assert_int_equal(registration(a)->epoch, 2);
    assert_int_equal(registration(b)->epoch, 2);
}

/* A replica that lacks the last event takes over. Who has not raised it returns first, and does not
 * notice. */
static void test_the_last_event_is_lost(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t back = come(a, "back", "");
    come(a, "stays", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    stop_heartbeats(a);
    go(a, back);
    wait_event("back", false, 1);
    struct bh_slice name = bh_tracker_name(&registration(b)->name);
    test_redis_do(&cl->redis, "HSET ws:presence back 1");
    test_redis_do(&cl->redis, "ZINCRBY ws:instances -1 %b", name.p, name.n);
    cut(a);
    cut(b);
    mend(a);
    come(a, "back", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(events("back", true), 1);
    mend(b);
    wait_event("back", true, 2);
    settle(a);
    settle(b);
    are_last((const char *[]){"back", "stays"}, 2, true);
    assert_int_equal(events("stays", true), 1);
    assert_int_equal(registration(a)->epoch, 2);
    assert_int_equal(a->restores, 3);
}

/* What an older state still has to raise was raised long ago. */
static void test_events_of_an_older_state(void **state) {
    struct instance *a = open_live(0, "a");
    come(a, "stays", "");
    wait_event("stays", true, 1);
    TICK_UNTIL(cl->loop, is_idle(a) && keys("ws:events:*") == 0);
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "ZADD ws:events:%b 5 %s", name.p, name.n, "5 -stays");
    test_redis_do(&cl->redis, "ZINCRBY ws:instances -1 %b", name.p, name.n);
    cut(a);
    mend(a);
    settle(a);
    assert_int_equal(events("stays", true), 1);
    assert_int_equal(events("stays", false), 0);
}

/* No link broke: the heartbeat notices it. */
static void test_replaced_in_place(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t back = come(a, "back", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    go(a, back);
    wait_event("back", false, 1);
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "HSET ws:presence back 1");
    test_redis_do(&cl->redis, "ZINCRBY ws:instances -1000 %b", name.p, name.n);
    TICK_UNTIL(cl->loop, a->restores == 2 && b->restores == 2 && is_live(b));
    come(b, "back", "");
    wait_event("back", true, 2);
    settle(a);
    settle(b);
    assert_true(is_last("back", true));
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup_instances, teardown_instances)
    const struct CMUnitTest tests[] = {
        T(test_flushall_after_an_event),
        T(test_a_restart_when_users_are_due),
        T(test_lost_again_before_all_have_returned),
        T(test_an_instance_that_returns_late),
        T(test_a_reaped_instance_returns_in_time),
        T(test_a_reaped_instance_returns_late),
        T(test_an_older_snapshot),
        T(test_the_last_event_is_lost),
        T(test_events_of_an_older_state),
        T(test_replaced_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
