/* test_tracker.c - connections, tenants and presence in a cluster where nothing fails. */
#include "cluster.h"

static int64_t redis_now(void) {
    redisContext *c = test_redis_client(&cl->redis);
    redisReply *r = redisCommand(c, "TIME");
    int64_t now = atoll(r->element[0]->str) * 1000 + atoll(r->element[1]->str) / 1000;
    freeReplyObject(r);
    redisFree(c);
    return now;
}

/* --- connections --- */

static void test_users_are_found_across_instances(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b.host@1");
    size_t first = come(a, "42", "acme");
    come(b, "42", "");
    come(b, "43", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    int64_t before = redis_now();
    struct answer found = ask(a, BH_LOOKUP_CONNECTIONS, "42");
    assert_int_equal(found.error, 0);
    assert_int_equal(found.names, 1);
    assert_int_equal(found.count, 2);
    assert_true(found.as_of >= before && found.as_of <= redis_now());
    unsigned of_a = strcmp(found.first[0].instance, "a") == 0 ? 0 : 1;
    const struct connection *c = &a->connections[first];
    assert_string_equal(found.first[of_a].instance, "a");
    assert_string_equal(found.first[of_a].tenant, "acme");
    assert_true(found.first[of_a].number == c->number);
    assert_int_equal(found.first[of_a].opened_at, c->opened_at);
    assert_string_equal(found.first[!of_a].instance, "b.host@1");
    assert_string_equal(found.first[!of_a].tenant, "");
    struct bh_slice names[] = {BH_SLICE("nobody"), BH_SLICE("43"), BH_SLICE("42"), BH_SLICE("43")};
    found = ask_many(b, BH_LOOKUP_ONLINE, names, 4);
    assert_int_equal(found.names, 4);
    assert_int_equal(found.counts[0], 0);
    assert_int_equal(found.counts[1], 1);
    assert_int_equal(found.counts[2], 2);
    assert_int_equal(found.counts[3], 1);
    assert_int_equal(ask_many(a, BH_LOOKUP_CONNECTIONS, names, 0).names, 0);
}

static void test_nothing_is_left_of_a_closed_connection(void **state) {
    struct instance *a = open_live(0, "a");
    size_t one = come(a, "42", "acme"), two = come(a, "42", "acme");
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(online(a, "42"), 2);
    go(a, one);
    TICK_UNTIL(cl->loop, online(a, "42") == 1);
    go(a, two);
    TICK_UNTIL(cl->loop, events("42", false) == 1 && is_idle(a));
    assert_int_equal(online(a, "42"), 0);
    assert_int_equal(in_tenant(a, "acme"), 0);
    TICK_UNTIL(cl->loop, keys("*") == 2);
    assert_int_equal(test_redis_do(&cl->redis, "EXISTS ws:instances ws:pulse"), 2);
}

static void test_every_key_has_the_prefix(void **state) {
    cl->tracking.key_prefix = "an app:";
    struct instance *a = open_live(0, "a");
    come(a, "42", "acme");
    size_t gone = come(a, "43", "acme");
    TICK_UNTIL(cl->loop, is_idle(a));
    go(a, gone);
    TICK_UNTIL(cl->loop, is_idle(a) && keys("an app:leaving") == 1 && keys("an app:events*") == 0);
    assert_int_equal(keys("an app:*"), keys("*"));
    assert_int_equal(keys("*"), 8);
}

static void test_reported_twice_counts_once(void **state) {
    struct instance *a = open_live(0, "a");
    size_t one = come(a, "42", "acme");
    tell(a, one);
    size_t unknown = add_connection(a, "43", "acme");
    go(a, unknown);
    go(a, unknown);
    size_t brief = come(a, "44", "acme");
    go(a, brief);
    tell(a, one);
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(inside(a)->changes.held, 1);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACKED]), 1);
    assert_int_equal(in_tenant(a, "acme"), 1);
    assert_int_equal(online(a, "42"), 1);
    go(a, one);
    go(a, one);
    settle(a);
    assert_int_equal(inside(a)->changes.held, 0);
    assert_int_equal(in_tenant(a, "acme"), 0);
    assert_int_equal(a->restores, 1);
    assert_int_equal(events("42", true), 1);
    assert_int_equal(events("42", false), 1);
    assert_int_equal(events("43", true) + events("43", false), 0);
}

static void test_tenants_are_counted(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    for (int i = 0; i < 5; i++)
        come(a, "42", "acme");
    come(b, "43", "acme");
    come(b, "43", "other");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    struct bh_slice names[] = {BH_SLICE("acme"), BH_SLICE("none"), BH_SLICE("other")};
    struct answer found = ask_many(a, BH_LOOKUP_TENANTS, names, 3);
    assert_int_equal(found.counts[0], 6);
    assert_int_equal(found.counts[1], 0);
    assert_int_equal(found.counts[2], 1);
    for (size_t i = 0; i < 5; i++)
        go(a, i);
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(in_tenant(b, "acme"), 1);
    go(b, 0);
    TICK_UNTIL(cl->loop, is_idle(b));
    assert_int_equal(keys("ws:tenant:*"), 1);
    assert_int_equal(inside(b)->tenants.map.count, 1);
}

static void test_many_tenants(void **state) {
    struct instance *a = open_live(0, "a");
    for (int i = 0; i < 1200; i++) {
        char tenant[24];
        snprintf(tenant, sizeof tenant, "t%d", i);
        come(a, "42", tenant);
    }
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(keys("ws:tenant:*"), 1200);
    for (size_t i = 0; i < 1200; i++)
        go(a, i);
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(keys("ws:tenant:*"), 0);
    assert_int_equal(keys("ws:tenants:*"), 0);
}

/* Beyond a limit connections are counted, not listed. */
static void test_a_user_with_very_many(void **state) {
    struct instance *a = open_live(0, "a");
    for (int i = 0; i < 2500; i++)
        come(a, "42", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    assert_int_equal(online(a, "42"), 2500);
    struct answer found = ask(a, BH_LOOKUP_CONNECTIONS, "42");
    assert_int_equal(found.error, 0);
    assert_int_equal(found.count, 1000);
}

static void test_a_thousand_names(void **state) {
    struct instance *a = open_live(0, "a");
    char text[1000][16];
    struct bh_slice names[1000];
    for (int i = 0; i < 1000; i++) {
        snprintf(text[i], sizeof text[i], "u%d", i);
        names[i] = bh_slice_cstr(text[i]);
        come(a, text[i], "");
    }
    TICK_UNTIL(cl->loop, is_idle(a));
    struct answer found = ask_many(a, BH_LOOKUP_ONLINE, names, 1000);
    assert_int_equal(found.names, 1000);
    assert_int_equal(found.counts[7], 1);
    found = ask_many(a, BH_LOOKUP_CONNECTIONS, names, 1000);
    assert_int_equal(found.names, 1000);
    assert_int_equal(found.counts[7], 1);
}

/* --- lookups that fail --- */

static void test_lookup_without_a_link(void **state) {
    struct instance *a = open_live(0, "a");
    struct answer found = {0};
    struct bh_slice name = BH_SLICE("42");
    a->broker->vt->worker_stop(a->broker, 0);
    a->tracker->vt->lookup(a->tracker, &a->worker, BH_LOOKUP_ONLINE, &name, 1, on_found, &found,
                           77);
    assert_true(found.done);
    assert_int_equal(found.error, BH_EUNAVAIL);
    found = (struct answer){0};
    a->worker.index = 9;
    a->tracker->vt->lookup(a->tracker, &a->worker, BH_LOOKUP_ONLINE, &name, 1, on_found, &found,
                           77);
    assert_int_equal(found.error, BH_EUNAVAIL);
}

static void test_lookup_rejected_by_redis(void **state) {
    struct instance *a = open_live(0, "a");
    come(a, "42", "acme");
    TICK_UNTIL(cl->loop, is_idle(a));
    test_redis_do(&cl->redis, "ACL SETUSER default -hlen");
    assert_int_equal(ask(a, BH_LOOKUP_ONLINE, "42").error, BH_EIO);
    assert_int_equal(ask(a, BH_LOOKUP_CONNECTIONS, "42").error, BH_EIO);
    assert_int_equal(ask(a, BH_LOOKUP_ONLINE, "43").error, 0);
    test_redis_do(&cl->redis, "ACL SETUSER default +hlen");
    assert_int_equal(online(a, "42"), 1);
}

static void test_foreign_members_are_skipped(void **state) {
    struct instance *a = open_live(0, "a");
    come(a, "42", "acme");
    TICK_UNTIL(cl->loop, is_idle(a));
    struct bh_slice name = bh_tracker_name(&registration(a)->name);
    test_redis_do(&cl->redis, "HSET ws:connections:42 x y %b:not-an-id!! 1 %b:AAAAAAAAAAc %s",
                  name.p, name.n, name.p, name.n, "soon");
    struct answer found = ask(a, BH_LOOKUP_CONNECTIONS, "42");
    assert_int_equal(found.error, 0);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.first[0].tenant, "acme");
    test_redis_do(&cl->redis, "HSET ws:tenant:acme %b many", name.p, name.n);
    assert_int_equal(in_tenant(a, "acme"), 0);
}

/* --- presence --- */

static void test_two_devices_one_event_each(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    come(a, "42", "");
    come(b, "42", "");
    come(a, "42", "");
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    assert_int_equal(events("42", true), 1);
    go(a, 0);
    go(b, 0);
    settle(a);
    assert_int_equal(events("42", false), 0);
    int64_t before = redis_now();
    go(a, 1);
    TICK_UNTIL(cl->loop, events("42", false) == 1);
    settle(b);
    assert_int_equal(events("42", true), 1);
    assert_int_equal(events("42", false), 1);
    for (size_t i = 0; i < cl->event_count; i++)
        if (strcmp(cl->events[i].user, "42") == 0 && !cl->events[i].online)
            assert_true(cl->events[i].at >= before + DEBOUNCE && cl->events[i].at <= redis_now());
    come(b, "42", "");
    TICK_UNTIL(cl->loop, events("42", true) == 2);
}

static void test_back_within_the_debounce_is_no_event(void **state) {
    cl->tracking.debounce_ms = 2000;
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    size_t one = come(a, "42", "");
    TICK_UNTIL(cl->loop, is_idle(a));
    go(a, one);
    TICK_UNTIL(cl->loop, is_idle(a) && keys("ws:leaving") == 1);
    come(b, "42", "");
    TICK_UNTIL(cl->loop, is_idle(b));
    assert_int_equal(keys("ws:leaving"), 0);
    settle(a);
    settle(b);
    assert_int_equal(events("42", true), 1);
    assert_int_equal(events("42", false), 0);
}

/* More users than one heartbeat returns. */
static void test_many_leave_at_once(void **state) {
    struct instance *a = open_live(0, "a"), *b = open_live(1, "b");
    for (int i = 0; i < 1000; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%d", i);
        come(i % 2 ? a : b, user, "");
    }
    TICK_UNTIL(cl->loop, is_idle(a) && is_idle(b));
    assert_int_equal(cl->event_count, 1000);
    for (size_t i = 0; i < 500; i++) {
        go(a, i);
        go(b, i);
    }
    TICK_UNTIL(cl->loop, cl->event_count == 2000);
    settle(a);
    assert_int_equal(cl->event_count, 2002);
    assert_int_equal(events("u7", false), 1);
    TICK_UNTIL(cl->loop, keys("*") == 2);
}

/* --- life --- */

static void test_free_without_start(void **state) {
    struct bh_broker *broker = bh_redis_broker_new(&cl->config, 1);
    cl->config.instance = "a";
    struct bh_tracker *t = bh_redis_tracker_new(&cl->tracking, broker);
    t->vt->stop(t);
    t->vt->free(t);
    broker->vt->free(broker);
}

static void test_stop_in_each_state(void **state) {
    for (int ticks = 0; ticks < 40; ticks++) {
        struct instance *a = open_instance(0, "a");
        for (int i = 0; i < 700; i++)
            add_connection(a, "42", "acme");
        for (int i = 0; i < ticks; i++) {
            TICK_UNTIL(cl->loop, ticks < 20 || registration(a)->state >= BH_TRACKER_RESTORING);
            bh_loop_tick(cl->loop, false);
        }
        close_instance(a);
    }
}

static int metrics(void **state) {
    bh_redis_metrics_register();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_instances, teardown_instances)
        TEST(test_users_are_found_across_instances),
        TEST(test_nothing_is_left_of_a_closed_connection),
        TEST(test_every_key_has_the_prefix),
        TEST(test_reported_twice_counts_once),
        TEST(test_tenants_are_counted),
        TEST(test_many_tenants),
        TEST(test_a_user_with_very_many),
        TEST(test_a_thousand_names),
        TEST(test_lookup_without_a_link),
        TEST(test_lookup_rejected_by_redis),
        TEST(test_foreign_members_are_skipped),
        TEST(test_two_devices_one_event_each),
        TEST(test_back_within_the_debounce_is_no_event),
        TEST(test_many_leave_at_once),
        TEST(test_free_without_start),
        TEST(test_stop_in_each_state),
    };
    return cmocka_run_group_tests(tests, metrics, NULL);
}
