/* test_tracker_faults.c - instances that crash or are cut off, and a Redis that loses its data. */
#include "cluster.h"

/* For tests in which no user may become offline, also on a slow machine. */
#define LONG_DEBOUNCE 3000

static long long reaped_before;

static long long reaped(void) {
    return bh_metric_read(&bh_redis_metrics[BH_REDIS_REAPED]) - reaped_before;
}

static int setup_here(void **state) {
    reaped_before = bh_metric_read(&bh_redis_metrics[BH_REDIS_REAPED]);
    return setup_instances(state);
}

/* One user for each connection, "<prefix>0" and so on. */
static void populate(struct instance *in, const char *prefix, int count) {
    size_t from = in->count;
    for (int i = 0; i < count; i++) {
        char user[24];
        snprintf(user, sizeof user, "%s%d", prefix, i);
        add_connection(in, user, "acme");
    }
    tell_from(in, from);
}

static void each_has(const char *prefix, int count, bool on, unsigned times) {
    for (int i = 0; i < count; i++) {
        char user[24];
        snprintf(user, sizeof user, "%s%d", prefix, i);
        assert_int_equal(events(user, on), times);
    }
}

/* Redis has only what these registrations hold. */
static void nothing_else_is_left(size_t live) {
    TICK_UNTIL(cl->loop, (size_t)test_redis_do(&cl->redis, "ZCARD ws:instances") == live);
    assert_true(keys("ws:instance:*") <= live);
    assert_true(keys("ws:tenants:*") <= live);
    assert_int_equal(keys("ws:reaper:*"), 0);
}

/* --- instances that end --- */

static void test_dead_instances_do_not_hold_back(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_live(0, "a");
    struct instance *b = open_live(1, "b"); /* may send heartbeats, but not clean up */
    populate(a, "u", 3);
    come(a, "both", "acme");
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(in_tenant(a, "acme"), 4);
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "SET ws:reaper:%b another", name.p, name.n);
    registration(a)->name.len = 0; /* so it does not end its lease */
    a->tracker->vt->stop(a->tracker);
    assert_int_equal(online(b, "u0"), 1);
    TICK_UNTIL(cl->loop, online(b, "u0") == 0);
    assert_int_equal(ask(b, BH_LOOKUP_CONNECTIONS, "both").count, 0);
    assert_int_equal(in_tenant(b, "acme"), 0);
    assert_int_equal(keys("ws:connections:*"), 4);
}

static void test_a_crash_is_cleaned_up_by_one(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b"), *c = open_live(2, "c");
    populate(a, "u", 1700);
    come(a, "both", "acme");
    come(b, "both", "acme");
    come(a, "moves", "other");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    crash(a);
    come(c, "moves", "");
    TICK_UNTIL(cl->loop, events("u1699", false) && events("u0", false));
    settle(b);
    settle(c);
    each_has("u", 1700, true, 1);
    each_has("u", 1700, false, 1);
    assert_int_equal(events("both", true) + events("moves", true), 2);
    assert_int_equal(events("both", false) + events("moves", false), 0);
    assert_int_equal(reaped(), 1702);
    nothing_else_is_left(2);
    assert_int_equal(in_tenant(b, "acme"), 1);
    assert_int_equal(keys("ws:tenant:other"), 0);
    assert_int_equal(keys("ws:connections:*"), 2);
}

static void test_another_reaper_continues(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "SET ws:reaper:%b another", name.p, name.n);
    struct bh_tracker_name dead = registration(a)->name;
    crash(a);
    TICK_UNTIL(cl->loop, online(b, "u0") == 0);
    settle(b);
    assert_int_equal(keys("ws:connections:u*"), 10);
    test_redis_do(&cl->redis, "PEXPIRE ws:reaper:%b 10", dead.text, dead.len);
    TICK_UNTIL(cl->loop, events("u9", false) == 1);
    settle(b);
    each_has("u", 10, false, 1);
    nothing_else_is_left(1);
}

static void test_a_failed_cleanup_does_not_block_the_next(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b"), *c = open_live(2, "c");
    populate(a, "u", 10);
    populate(c, "v", 10);
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(c));
    struct bh_tracker_name name = registration(a)->name;
    test_redis_do(&cl->redis, "SET ws:tenants:%b x", name.text, name.len);
    int64_t errors = bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    close_instance(a);
    close_instance(c);
    TICK_UNTIL(cl->loop, events("u9", false) == 1 && events("v9", false) == 1);
    TICK_UNTIL(cl->loop, bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]) > errors);
    TICK_UNTIL(cl->loop, test_redis_do(&cl->redis, "ZCARD ws:instances") == 2);
    assert_int_equal(b->restores, 1);
    assert_true(is_live(b));
    test_redis_do(&cl->redis, "DEL ws:tenants:%b", name.text, name.len);
    nothing_else_is_left(1);
}

/* The lease is long, but stopping ends it. */
static void test_stopping_hands_over_at_once(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    a->tracker->vt->stop(a->tracker);
    TICK_UNTIL(cl->loop, online(b, "u0") == 0);
    TICK_UNTIL(cl->loop, events("u9", false) == 1);
    settle(b);
    each_has("u", 10, false, 1);
    nothing_else_is_left(1);
}

/* --- links that break --- */

static void test_a_short_cut_raises_nothing(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 1200);
    size_t leaves = come(a, "leaves", "acme");
    TICK_UNTIL(cl->loop, is_idle(a));
    struct bh_tracker_name old = registration(a)->name;
    cut(a);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACKED]), 0);
    go(a, leaves);
    come(a, "new", "acme");
    come(a, "u0", "acme");
    assert_int_equal(online(b, "u0"), 1);
    mend(a);
    assert_false(bh_slice_eq(bh_tracker_name(&old), bh_tracker_name(&registration(a)->name)));
    TICK_UNTIL(cl->loop, is_idle(a) && events("leaves", false) == 1);
    settle(b);
    nothing_else_is_left(2);
    assert_int_equal(online(b, "u0"), 2);
    assert_int_equal(online(b, "new"), 1);
    assert_int_equal(online(b, "leaves"), 0);
    assert_int_equal(in_tenant(b, "acme"), 1202);
    each_has("u", 1200, true, 1);
    each_has("u", 1200, false, 0);
    assert_int_equal(events("new", true), 1);
    assert_int_equal(reaped(), 1201);
    assert_int_equal(inside(a)->changes.held, 1202);
}

/* The connections are in Redis under the old name and under the new one. */
static void test_no_connection_counts_twice_in_a_restore(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    cut(a);
    registration(a)->config.port = cl->redis.port;
    while (!is_live(a)) {
        assert_int_equal(ask(b, BH_LOOKUP_CONNECTIONS, "u3").count, 1);
        assert_int_equal(online(b, "u3"), 1);
        assert_int_equal(in_tenant(b, "acme"), 10);
        bh_loop_tick(cl->loop, false);
    }
    TICK_UNTIL(cl->loop, is_idle(a) && keys("ws:tenants:*") == 1);
    assert_int_equal(in_tenant(a, "acme"), 10);
}

/* Longer than the lease: the users were announced as offline, and must be announced again. */
static void test_a_long_cut_is_offline_and_online_again(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 20);
    TICK_UNTIL(cl->loop, is_idle(a));
    cut(a);
    TICK_UNTIL(cl->loop, events("u19", false) == 1);
    settle(b);
    mend(a);
    settle(a);
    each_has("u", 20, true, 2);
    each_has("u", 20, false, 1);
    assert_int_equal(online(b, "u7"), 1);
    nothing_else_is_left(2);
}

static void test_cut_in_each_state(void **state) {
    cl->tracking.debounce_ms = LONG_DEBOUNCE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 3000);
    for (int i = 0; i < 12; i++) {
        for (int ticks = 0; ticks < i * 5; ticks++)
            bh_loop_tick(cl->loop, false);
        test_redis_do(&cl->redis, "CLIENT KILL TYPE normal");
        TICK_UNTIL(cl->loop,
                   registration(a)->state >= (i % 2 ? BH_TRACKER_RESTORING : BH_TRACKER_BEGINNING));
    }
    TICK_UNTIL(cl->loop, is_idle(a) && is_live(b));
    settle(b);
    nothing_else_is_left(2);
    assert_int_equal(inside(a)->changes.held, 3000);
    assert_int_equal(in_tenant(b, "acme"), 3000);
    assert_int_equal(online(b, "u2999"), 1);
    each_has("u", 3000, true, 1);
    each_has("u", 3000, false, 0);
}

/* --- a Redis that loses its data --- */

static void test_flushall(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 1200);
    come(a, "both", "");
    come(b, "both", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    size_t told = cl->event_count;
    test_redis_do(&cl->redis, "FLUSHALL");
    TICK_UNTIL(cl->loop, online(a, "both") == 2 && online(b, "u0") == 1);
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    assert_int_equal(in_tenant(b, "acme"), 1200);
    assert_int_equal(a->restores, 2);
    assert_int_equal(cl->event_count, told);
    populate(b, "new", 5);
    TICK_UNTIL(cl->loop,
               is_idle(b) && events("new4", true)); /* when all instances must have returned */
    each_has("new", 5, true, 1);
    go(a, 0);
    TICK_UNTIL(cl->loop, events("u0", false) == 1);
    settle(a);
    assert_int_equal(events("both", true), 1);
    assert_int_equal(events("both", false), 0);
    assert_int_equal(online(b, "both"), 2);
    nothing_else_is_left(2);
}

static void test_a_restart_without_data(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 700);
    TICK_UNTIL(cl->loop, is_idle(a));
    test_redis_kill(&cl->redis);
    TICK_UNTIL(cl->loop, registration(a)->state == BH_TRACKER_DOWN);
    struct answer found = {0};
    struct bh_slice name = BH_SLICE("u0");
    TICK_UNTIL(cl->loop, !bh_redis_link_is_ready(bh_redis_node_link(b->broker, 0)));
    b->tracker->vt->lookup(b->tracker, &b->worker, BH_LOOKUP_ONLINE, &name, 1, on_found, &found,
                           77);
    assert_int_equal(found.error, BH_EUNAVAIL);
    while (bh_clock_wall_ms() <= inside(a)->departed.announced_until)
        bh_loop_tick(cl->loop, false);
    populate(a, "new", 5);
    test_redis_run(&cl->redis);
    TICK_UNTIL(cl->loop, is_idle(a) && is_live(b) && events("new4", true));
    each_has("u", 700, true, 1);
    each_has("new", 5, true, 1);
    assert_int_equal(online(b, "u699"), 1);
    assert_int_equal(in_tenant(b, "acme"), 705);
    nothing_else_is_left(2);
}

static void test_script_flush(void **state) {
    struct instance *a = open_live(0, "a");
    for (int i = 0; i < 3; i++) {
        test_redis_do(&cl->redis, "SCRIPT FLUSH");
        populate(a, i == 0 ? "x" : i == 1 ? "y" : "z", 600);
        test_redis_do(&cl->redis, "SCRIPT FLUSH");
        TICK_UNTIL(cl->loop, is_idle(a));
        test_redis_do(&cl->redis, "SCRIPT FLUSH");
        assert_int_equal(in_tenant(a, "acme"), (size_t)(i + 1) * 600);
    }
    assert_int_equal(a->restores, 1);
    go(a, 0);
    test_redis_do(&cl->redis, "SCRIPT FLUSH");
    TICK_UNTIL(cl->loop, events("x0", false) == 1);
    assert_int_equal(a->restores, 1);
}

/* As after a process was paused for longer than its lease. */
static void test_a_lost_lease(void **state) {
    cl->tracking.debounce_ms = LONG_DEBOUNCE;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "ZADD ws:instances 0 %b", name.p, name.n);
    come(a, "new", "");
    TICK_UNTIL(cl->loop, a->restores == 2 && is_idle(a));
    settle(a);
    settle(b);
    each_has("u", 10, true, 1);
    each_has("u", 10, false, 0);
    assert_int_equal(events("new", true), 1);
    assert_int_equal(online(b, "u0"), 1);
    nothing_else_is_left(2);
    name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "ZREM ws:instances %b", name.p, name.n);
    TICK_UNTIL(cl->loop, a->restores == 3 && is_idle(a));
    assert_int_equal(online(b, "u0"), 1);
    assert_int_equal(events("u0", true), 1);
}

/* A registration whose lease has ended may be reaped at any time, so it writes nothing more. */
static void test_nothing_is_written_without_a_lease(void **state) {
    struct instance *a = open_live(0, "a");
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    struct bh_tracker_name old = registration(a)->name;
    test_redis_do(&cl->redis, "ZADD ws:instances 0 %b", old.text, old.len);
    come(a, "new", "other");
    TICK_UNTIL(cl->loop, a->restores == 2);
    assert_int_equal(test_redis_do(&cl->redis, "HLEN ws:instance:%b", old.text, old.len), 10);
    assert_int_equal(events("new", true), 0);
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(events("new", true), 1);
}

/* A replica that lacks a part takes over: the heartbeat notices it, or the next batch. */
static void test_lost_in_part(void **state) {
    struct instance *a = open_live(0, "a");
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "HDEL ws:instance:%b AAAAAAAAAAE", name.p, name.n);
    TICK_UNTIL(cl->loop, a->restores == 2 && is_idle(a));
    name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "DEL ws:instance:%b", name.p, name.n);
    come(a, "new", "");
    TICK_UNTIL(cl->loop, a->restores == 3 && is_idle(a));
    assert_int_equal(inside(a)->changes.held, 11);
    assert_int_equal(events("new", true), 1);
    assert_int_equal(events("u0", true), 1);
}

/* --- a Redis that rejects writes --- */

/* More users than one page; the next restore repairs them, without an event. */
static void test_keys_of_users_are_removed(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 1200);
    come(b, "u3", "acme");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    test_redis_do(&cl->redis, "DEL ws:connections:u3 ws:connections:u1100");
    test_redis_do(&cl->redis, "SET ws:connections:u9 x");
    assert_int_equal(online(b, "u3"), 0);
    TICK_UNTIL(cl->loop, online(b, "u3") == 2 && online(b, "u1100") == 1);
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    assert_int_equal(online(b, "u9"), 0);
    unsigned restores = a->restores;
    settle(a);
    settle(b);
    assert_int_equal(a->restores, restores); /* all is written, except u9 */
    assert_int_equal(inside(a)->changes.held, 1199);
    each_has("u", 1200, true, 1);
    each_has("u", 1200, false, 0);
}

/* The instance that cannot register leaves its own connections to the node; what others registered
 * before is answered. */
static void check_partial(struct instance *in, const char *own, const char *of_other) {
    struct answer a = ask(in, BH_LOOKUP_CONNECTIONS, own);
    assert_true(a.uncertain);
    assert_int_equal(a.count, 0);
    a = ask(in, BH_LOOKUP_ONLINE, of_other);
    assert_true(a.uncertain);
    assert_int_equal(a.count, 1);
    a = ask(in, BH_LOOKUP_TENANTS, "acme");
    assert_true(a.uncertain);
    assert_int_equal(a.count, 1);
}

static void reject_writes_and_go_on(const char *reject, const char *accept) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    const char *why;
    populate(a, "u", 10);
    come(b, "other", "acme");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    assert_false(ask(a, BH_LOOKUP_ONLINE, "u0").uncertain);
    int64_t errors = bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    test_redis_do(&cl->redis, reject);
    come(a, "new", "");
    TICK_UNTIL(cl->loop, inside(a)->failures >= 3);
    assert_true(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]) >= errors + 3);
    assert_int_equal(a->tracker->vt->ready(a->tracker, &why), 0);
    check_partial(a, "u0", "other");
    test_redis_do(&cl->redis, accept);
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    settle(a);
    assert_false(ask(a, BH_LOOKUP_ONLINE, "u0").uncertain);
    assert_int_equal(online(a, "u0"), 1);
}

static void test_a_full_redis(void **state) {
    reject_writes_and_go_on("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0");
    struct instance *a = &cl->instances[0];
    assert_int_equal(inside(a)->failures, 0);
    assert_int_equal(online(a, "new"), 1);
    each_has("u", 10, true, 1);
    assert_int_equal(events("new", true), 1);
    assert_int_equal(cl->event_count, 14);
    nothing_else_is_left(2);
}

static void test_a_redis_without_its_replicas(void **state) {
    reject_writes_and_go_on("CONFIG SET min-replicas-to-write 1",
                            "CONFIG SET min-replicas-to-write 0");
}

static void test_a_forbidden_key(void **state) {
    test_redis_do(
        &cl->redis,
        "ACL SETUSER default resetkeys ~ws:instance* ~ws:connections* "
        "~ws:tenant* ~ws:presence ~ws:arriving ~ws:restoring ~ws:pulse ~ws:reape* ~ws:events*");
    struct instance *a = open_instance(0, "a");
    int64_t errors = bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    TICK_UNTIL(cl->loop, bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]) >= errors + 2);
    test_redis_do(&cl->redis, "ACL SETUSER default allkeys");
    TICK_UNTIL(cl->loop, is_live(a));
}

/* A key of another type blocks one user only, and is not changed. */
static void test_a_key_of_another_type(void **state) {
    test_redis_do(&cl->redis, "MSET ws:connections:u5 x ws:tenant:other x");
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    int64_t errors = bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    populate(a, "u", 10);
    come(a, "v", "other");
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]), errors + 2);
    assert_int_equal(inside(a)->changes.held, 10);
    assert_int_equal(in_tenant(b, "acme"), 9);
    assert_int_equal(online(b, "u6"), 1);
    assert_int_equal(online(b, "u5"), 0);
    assert_int_equal(in_tenant(b, "other"), 0);
    go(a, 5);
    settle(a);
    assert_int_equal(a->restores, 1);
    assert_int_equal(events("u5", true) + events("u5", false), 0);
    assert_int_equal(events("u6", true), 1);
    go(a, 6);
    TICK_UNTIL(cl->loop, is_idle(a) && keys("ws:leaving") == 1);
    test_redis_do(&cl->redis, "SET ws:connections:u6 x"); /* as late as possible */
    a->tracker->vt->stop(a->tracker);
    TICK_UNTIL(cl->loop, events("u6", false) == 1 && events("u0", false) == 1);
    settle(b);
    nothing_else_is_left(1);
    assert_int_equal(test_redis_do(&cl->redis, "STRLEN ws:connections:u5"), 1);
    assert_int_equal(test_redis_do(&cl->redis, "STRLEN ws:tenant:other"), 1);
}

/* --- many --- */

static void test_twenty_thousand(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    populate(a, "u", 20000);
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(in_tenant(b, "acme"), 20000);
    assert_int_equal(cl->event_count, 20000);
    test_redis_do(&cl->redis, "FLUSHALL");
    TICK_UNTIL(cl->loop, a->restores == 2 && is_idle(a));
    assert_int_equal(online(b, "u19999"), 1);
    assert_int_equal(in_tenant(b, "acme"), 20000);
    assert_int_equal(cl->event_count, 20000);
    struct bh_tracker_name name = registration(a)->name;
    crash(a);
    test_redis_do(&cl->redis, "ZADD ws:instances XX 1 %b", name.text, name.len);
    TICK_UNTIL(cl->loop, cl->event_count == 40000);
    assert_int_equal(events("u0", false) + events("u19999", false), 2);
    assert_int_equal(reaped(), 20000);
    nothing_else_is_left(1);
}

static void test_a_queue_that_is_too_long(void **state) {
    struct instance *a = open_live(0, "a");
    struct bh_track changes[500];
    populate(a, "u", 10);
    TICK_UNTIL(cl->loop, is_idle(a));
    for (int i = 0; i < 500; i++)
        changes[i] = (struct bh_track){.here = true, .number = 1, .user = BH_SLICE("u0")};
    for (int i = 0; i < 2001; i++)
        a->tracker->vt->changed(a->tracker, changes, 500);
    assert_int_equal(registration(a)->state, BH_TRACKER_WAITING);
    assert_int_equal(inside(a)->changes.count, 0);
    TICK_UNTIL(cl->loop, a->restores == 2 && is_idle(a));
    settle(a);
    assert_int_equal(inside(a)->changes.held, 10);
    each_has("u", 10, true, 1);
    each_has("u", 10, false, 0);
}

static int metrics(void **state) {
    bh_redis_metrics_register();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_here, teardown_instances)
        TEST(test_dead_instances_do_not_hold_back),
        TEST(test_a_crash_is_cleaned_up_by_one),
        TEST(test_another_reaper_continues),
        TEST(test_a_failed_cleanup_does_not_block_the_next),
        TEST(test_stopping_hands_over_at_once),
        TEST(test_a_short_cut_raises_nothing),
        TEST(test_no_connection_counts_twice_in_a_restore),
        TEST(test_a_long_cut_is_offline_and_online_again),
        TEST(test_cut_in_each_state),
        TEST(test_flushall),
        TEST(test_a_restart_without_data),
        TEST(test_script_flush),
        TEST(test_a_lost_lease),
        TEST(test_nothing_is_written_without_a_lease),
        TEST(test_lost_in_part),
        TEST(test_keys_of_users_are_removed),
        TEST(test_a_full_redis),
        TEST(test_a_redis_without_its_replicas),
        TEST(test_a_forbidden_key),
        TEST(test_a_key_of_another_type),
        TEST(test_twenty_thousand),
        TEST(test_a_queue_that_is_too_long),
    };
    return cmocka_run_group_tests(tests, metrics, NULL);
}
