/* test_tracker_parts.c - a tracker of 16 parts: who is in which one, restores that they share, and
 * answers that are merged. */
#include "cluster.h"

#define SLOTS 16384

static struct bh_redis_parts *parts(struct instance *in) {
    return BH_CONTAINER_OF(in->tracker, struct bh_redis_parts, base);
}

static struct bh_redis_registration *part(struct instance *in, unsigned i) {
    return &parts(in)->tracker[i]->registration;
}

static bool is_ready(struct instance *in) {
    const char *why = NULL;
    int error = in->tracker->vt->ready(in->tracker, &why);
    assert_true((error == 0) == (why == NULL));
    return error == 0;
}

static bool are_all(struct instance *in, enum bh_redis_tracker_state state) {
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        if (part(in, i)->state != state)
            return false;
    return true;
}

static bool are_idle(struct instance *in) {
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        const struct bh_redis_tracker *t = parts(in)->tracker[i];
        if (part(in, i)->state != BH_TRACKER_LIVE || t->changes.count ||
            bh_timer_pending(&t->tenants.timer) || !bh_list_empty(&t->tenants.writing))
            return false;
    }
    return true;
}

static struct instance *open_parts(unsigned i, const char *id) {
    cl->parts = true;
    struct instance *in = open_instance(i, id);
    TICK_UNTIL(cl->loop, are_all(in, BH_TRACKER_LIVE));
    return in;
}

static void name_user(char user[24], unsigned i) {
    snprintf(user, 24, "u%u", i);
}

/* `count` connections of as many users. */
static void come_many(struct instance *in, unsigned from, unsigned count) {
    char user[24];
    for (unsigned i = from; i < from + count; i++) {
        name_user(user, i);
        come(in, user, "acme");
    }
    TICK_UNTIL(cl->loop, are_idle(in));
}

/* The n-th user of a part. */
static const char *user_of(unsigned which, unsigned n) {
    static char user[24];
    for (unsigned i = 0;; i++) {
        snprintf(user, sizeof user, "p%u", i);
        if (bh_redis_part_of(bh_slice_cstr(user)) == which && n-- == 0)
            return user;
    }
}

/* --- who is in which part --- */

static void test_the_part_of_a_user_is_the_documented_one(void **state) {
    assert_int_equal(bh_redis_part_of(BH_SLICE("42")), 0);
    assert_int_equal(bh_redis_part_of(BH_SLICE("alice")), 13);
    assert_int_equal(bh_redis_part_of(BH_SLICE("{alice}@home")), 13);
    assert_int_equal(bh_redis_part_of(BH_SLICE("{}")), bh_redis_slot(BH_SLICE("{}")) % 16);
}

static void test_keys_are_in_the_part_of_their_user(void **state) {
    struct instance *a = open_parts(0, "a");
    come(a, "42", "acme");
    come(a, "alice", "");
    TICK_UNTIL(cl->loop, are_idle(a));
    assert_int_equal(test_redis_do(&cl->redis, "EXISTS {ws0}:connections:42"), 1);
    assert_int_equal(test_redis_do(&cl->redis, "EXISTS {ws0}:tenant:acme"), 1);
    assert_int_equal(test_redis_do(&cl->redis, "EXISTS {ws13}:connections:alice"), 1);
    assert_int_equal(keys("*connections*"), 2);
    assert_int_equal(keys("*tenant:*"), 1);
    assert_int_equal(keys("{ws*}:instances"), BH_REDIS_PARTS);
    assert_int_equal(keys("{ws*}:*"), keys("*"));
}

static void assert_placed(struct bh_broker *broker, unsigned nodes, unsigned node_of[16]) {
    unsigned used[BH_SHARDS_MAX] = {0};
    bh_redis_parts_place(broker, node_of);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        assert_true(node_of[i] < nodes);
        used[node_of[i]]++;
    }
    for (unsigned i = 0; i < nodes; i++)
        assert_true(used[i] <= (BH_REDIS_PARTS + nodes - 1) / nodes);
}

/* Whatever the order of the list. */
static void test_parts_are_spread_over_the_nodes(void **state) {
    for (unsigned nodes = 2; nodes <= BH_SHARDS_MAX; nodes++) {
        struct bh_redis_config list[BH_SHARDS_MAX], turned[BH_SHARDS_MAX];
        unsigned node_of[16], again[16];
        for (unsigned i = 0; i < nodes; i++) {
            list[i] = cl->config;
            list[i].instance = "a";
            list[i].port = (uint16_t)(7000 + i);
            turned[nodes - 1 - i] = list[i];
        }
        struct bh_broker *broker = bh_redis_shards_new(list, nodes, 1);
        struct bh_broker *other = bh_redis_shards_new(turned, nodes, 1);
        assert_placed(broker, nodes, node_of);
        assert_placed(other, nodes, again);
        assert_memory_equal(node_of, again, sizeof again);
        broker->vt->free(broker);
        other->vt->free(other);
    }
}

static bool has_parts(struct bh_broker *broker, const char *prefix) {
    cl->tracking.key_prefix = prefix;
    struct bh_tracker *t = bh_redis_tracker_new(&cl->tracking, broker);
    struct bh_tracker *with = bh_redis_parts_new(&cl->tracking, broker);
    bool has = t->vt == with->vt;
    t->vt->stop(t);
    t->vt->free(t);
    with->vt->stop(with);
    with->vt->free(with);
    return has;
}

static void test_when_there_are_parts(void **state) {
    struct bh_redis_config two[] = {cl->config, cl->config};
    two[0].instance = two[1].instance = "a";
    two[1].port++;
    struct bh_broker *one = bh_redis_broker_new(two, 1), *shards = bh_redis_shards_new(two, 2, 1);
    assert_false(has_parts(one, NULL));
    assert_false(has_parts(one, "k:"));
    assert_true(has_parts(shards, NULL));
    assert_false(has_parts(shards, "ws:"));
    one->vt->free(one);
    shards->vt->free(shards);
}

/* --- answers --- */

static void test_answers_are_in_the_order_asked(void **state) {
    struct instance *a = open_parts(0, "a"), *b = open_parts(1, "b");
    char text[1000][24];
    struct bh_slice names[1000];
    come_many(a, 0, 500);
    come_many(b, 250, 500);
    for (unsigned i = 0; i < 1000; i++) {
        name_user(text[i], i);
        names[i] = bh_slice_cstr(text[i]);
    }
    struct answer found = ask_many(a, BH_LOOKUP_ONLINE, &names[248], 4);
    assert_int_equal(found.error, 0);
    assert_int_equal(found.names, 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(found.counts[i], i < 2 ? 1 : 2);
    assert_false(found.uncertain);
    assert_int_equal(ask_many(b, BH_LOOKUP_ONLINE, names, 1000).names, 1000);
    found = ask_many(b, BH_LOOKUP_CONNECTIONS, &names[300], 500);
    assert_int_equal(found.names, 500);
    assert_int_equal(found.count, 2);
    assert_string_equal(found.first[0].tenant, "acme");
    assert_string_equal(found.first[1].tenant, "acme");
    assert_true(found.first[0].instance[0] + found.first[1].instance[0] == 'a' + 'b');
    assert_int_equal(ask_many(a, BH_LOOKUP_CONNECTIONS, names, 0).names, 0);
    assert_int_equal(online(a, "u499"), 2);
    assert_int_equal(online(a, "u500"), 1);
}

static void test_tenants_are_summed(void **state) {
    struct instance *a = open_parts(0, "a"), *b = open_parts(1, "b");
    struct bh_slice names[] = {BH_SLICE("none"), BH_SLICE("acme"), BH_SLICE("other")};
    come_many(a, 0, 100);
    come_many(b, 50, 100);
    come(b, "1", "other");
    TICK_UNTIL(cl->loop, are_idle(b));
    struct answer found = ask_many(a, BH_LOOKUP_TENANTS, names, 3);
    assert_int_equal(found.error, 0);
    assert_int_equal(found.counts[0], 0);
    assert_int_equal(found.counts[1], 200);
    assert_int_equal(found.counts[2], 1);
    for (size_t i = 0; i < 100; i++)
        go(a, i);
    TICK_UNTIL(cl->loop, are_idle(a));
    assert_int_equal(in_tenant(a, "acme"), 100);
}

/* Decisions are held back in one part: its answers are uncertain, and leave out the connections of
 * the instance that asks. */
static void test_one_part_is_uncertain(void **state) {
    struct instance *a = open_parts(0, "a"), *b = open_parts(1, "b");
    struct answer found;
    come_many(a, 0, 64);
    come_many(b, 0, 64);
    come(a, "42", "");
    TICK_UNTIL(cl->loop, are_idle(a));
    assert_int_equal(in_tenant(a, "acme"), 128);
    struct bh_slice names[] = {BH_SLICE("42"), BH_SLICE("alice")};
    do {
        test_redis_do(&cl->redis, "HSET {ws0}:pulse calm 1 silent_since 1");
        found = ask_many(a, BH_LOOKUP_ONLINE, names, 2);
        assert_int_equal(found.error, 0);
        assert_int_equal(found.counts[0], found.uncertain ? 0 : 1);
    } while (!found.uncertain);
    do {
        test_redis_do(&cl->redis, "HSET {ws0}:pulse calm 1 silent_since 1");
        found = ask(a, BH_LOOKUP_TENANTS, "acme");
        assert_int_equal(found.error, 0);
        assert_int_equal(found.count, found.uncertain ? 64 : 128);
    } while (!found.uncertain);
    do
        found = ask(a, BH_LOOKUP_TENANTS, "acme");
    while (found.uncertain);
    assert_int_equal(found.count, 128);
}

static void test_an_error_of_one_part_is_that_of_the_answer(void **state) {
    struct instance *a = open_parts(0, "a");
    struct bh_slice names[] = {BH_SLICE("42"), BH_SLICE("alice")};
    come(a, "42", "acme");
    TICK_UNTIL(cl->loop, are_idle(a));
    test_redis_do(&cl->redis, "ACL SETUSER default resetkeys ~{ws1*");
    assert_int_equal(ask_many(a, BH_LOOKUP_ONLINE, names, 2).error, BH_EIO);
    assert_int_equal(ask(a, BH_LOOKUP_TENANTS, "acme").error, BH_EIO);
    assert_int_equal(ask(a, BH_LOOKUP_ONLINE, "alice").error, 0);
    test_redis_do(&cl->redis, "ACL SETUSER default allkeys");
    assert_int_equal(ask_many(a, BH_LOOKUP_ONLINE, names, 2).error, 0);
}

static void test_lookup_without_a_link(void **state) {
    struct instance *a = open_parts(0, "a");
    struct bh_slice names[] = {BH_SLICE("42"), BH_SLICE("alice")};
    a->broker->vt->worker_stop(a->broker, 0);
    for (enum bh_lookup what = BH_LOOKUP_ONLINE; what <= BH_LOOKUP_TENANTS; what++) {
        struct answer found = {0};
        a->tracker->vt->lookup(a->tracker, &a->worker, what, names, 2, on_found, &found, 77);
        assert_true(found.done);
        assert_int_equal(found.error, BH_EUNAVAIL);
    }
}

/* --- restores --- */

static int64_t written(void) {
    return bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACK_BATCHES]);
}

static void test_the_parts_share_restores(void **state) {
    cl->parts = true;
    struct instance *a = open_instance(0, "a");
    a->holds_restore = true;
    for (unsigned i = 0; i < 3200; i++) {
        char user[24];
        name_user(user, i);
        add_connection(a, user, "");
    }
    assert_false(is_ready(a));
    TICK_UNTIL(cl->loop, a->restores == 1);
    TICK_UNTIL(cl->loop, are_all(a, BH_TRACKER_RESTORING));
    assert_int_equal(a->restores, 1); /* the others wait for its end */
    restore(a);
    TICK_UNTIL(cl->loop, are_all(a, BH_TRACKER_LIVE) || a->restores == 2);
    if (a->restores == 2)
        restore(a);
    TICK_UNTIL(cl->loop, are_idle(a) && is_ready(a));
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACKED]), 3200);
    assert_int_equal(cl->event_count, 3200);
    assert_true(a->restores <= 2);
}

/* One part registers again: it alone writes its connections again. */
static void test_a_restore_of_one_part_is_not_one_of_the_others(void **state) {
    struct instance *a = open_parts(0, "a");
    come_many(a, 0, 3200);
    unsigned restores = a->restores;
    int64_t before = written();
    int64_t held = parts(a)->tracker[3]->changes.held;
    a->holds_restore = true;
    bh_redis_link_drop(&part(a, 3)->link, BH_EIO, "cut by the test");
    assert_true(is_ready(a)); /* for a moment */
    atomic_store(&parts(a)->tracker[3]->left_ms, bh_clock_ms() - BH_REDIS_PART_AWAY_MS);
    assert_false(is_ready(a));
    TICK_UNTIL(cl->loop, a->restores == restores + 1);
    /* Another one asks meanwhile: for the next restore. */
    bh_redis_link_drop(&part(a, 4)->link, BH_EIO, "cut by the test");
    TICK_UNTIL(cl->loop, part(a, 4)->state == BH_TRACKER_RESTORING);
    assert_int_equal(a->restores, restores + 1);
    restore(a);
    TICK_UNTIL(cl->loop, part(a, 3)->state == BH_TRACKER_LIVE);
    assert_int_equal(written() - before, (held + 31) / 32);
    TICK_UNTIL(cl->loop, a->restores == restores + 2);
    /* The part for which it is asks again: it gets the next one. */
    bh_redis_link_drop(&part(a, 4)->link, BH_EIO, "cut by the test");
    TICK_UNTIL(cl->loop, a->restores == restores + 3);
    restore(a);
    TICK_UNTIL(cl->loop, are_idle(a) && is_ready(a));
    assert_int_equal(parts(a)->tracker[3]->changes.held, held);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACKED]), 3200);
    assert_int_equal(a->restores, restores + 3);
    assert_int_equal(cl->event_count, 3200);
}

/* New connections are written in every part. */
static void test_changes_during_a_restore(void **state) {
    struct instance *a = open_parts(0, "a");
    size_t old = come(a, user_of(3, 0), "");
    come(a, user_of(4, 0), "");
    TICK_UNTIL(cl->loop, are_idle(a));
    a->holds_restore = true;
    unsigned restores = a->restores;
    bh_redis_link_drop(&part(a, 3)->link, BH_EIO, "cut by the test");
    TICK_UNTIL(cl->loop, a->restores == restores + 1);
    come(a, user_of(3, 1), "");
    come(a, user_of(4, 1), "");
    go(a, old);
    TICK_UNTIL(cl->loop, events(user_of(4, 1), true) == 1);
    assert_int_equal(online(a, user_of(4, 1)), 1);
    restore(a);
    TICK_UNTIL(cl->loop, are_idle(a));
    TICK_UNTIL(cl->loop, !ask(a, BH_LOOKUP_ONLINE, user_of(3, 1)).uncertain);
    assert_int_equal(online(a, user_of(3, 1)), 1);
    TICK_UNTIL(cl->loop, events(user_of(3, 0), false) == 1);
    assert_int_equal(events(user_of(3, 0), true), 1);
    assert_int_equal(online(a, user_of(3, 0)), 0);
    assert_int_equal(online(a, user_of(4, 0)), 1);
}

/* --- presence, and the dead --- */

static void test_events_are_raised_once(void **state) {
    struct instance *a = open_parts(0, "a"), *b = open_parts(1, "b");
    come_many(a, 0, 200);
    come_many(b, 100, 200);
    TICK_UNTIL(cl->loop, cl->event_count == 300);
    for (size_t i = 0; i < 200; i++) {
        go(a, i);
        go(b, i);
    }
    TICK_UNTIL(cl->loop, cl->event_count == 600);
    for (unsigned i = 0; i < 300; i++) {
        char user[24];
        name_user(user, i);
        assert_int_equal(events(user, true), 1);
        assert_int_equal(events(user, false), 1);
    }
    TICK_UNTIL(cl->loop, keys("*") == 2 * BH_REDIS_PARTS); /* instances, pulse */
}

static void test_a_dead_instance_is_removed_from_all_parts(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    struct instance *a = open_parts(0, "a"), *b = open_parts(1, "b");
    come_many(a, 0, 200);
    come_many(b, 0, 1);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        part(a, i)->name.len = 0; /* it cannot end its lease */
    close_instance(a);
    TICK_UNTIL(cl->loop, cl->event_count == 200 + 199);
    assert_int_equal(events("u0", false), 0);
    assert_int_equal(in_tenant(b, "acme"), 1);
    TICK_UNTIL(cl->loop, keys("*connections*") == 1 && keys("*:instance:*") == 1);
}

/* --- a slot that has no server for a while --- */

static bool serves_keys(void) {
    redisContext *c = test_redis_client(&cl->redis);
    redisReply *r = redisCommand(c, "EXISTS some");
    bool serves = r->type == REDIS_REPLY_INTEGER;
    freeReplyObject(r);
    redisFree(c);
    return serves;
}

/* The Redis becomes the only node of a cluster. */
static void with_slots(void) {
    static char bus_port[8];
    const char *options[] = {"--cluster-enabled",
                             "yes",
                             "--cluster-port",
                             bus_port,
                             "--cluster-require-full-coverage",
                             "no"};
    snprintf(bus_port, sizeof bus_port, "%u", test_free_port());
    test_redis_kill(&cl->redis);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        cl->redis.options[i] = options[i];
    test_redis_run(&cl->redis);
    test_redis_do(&cl->redis, "CLUSTER ADDSLOTSRANGE 0 %d", SLOTS - 1);
    TICK_UNTIL(cl->loop, serves_keys());
}

static void test_a_registration_outlives_a_slot_without_a_server(void **state) {
    if (test_redis_major() < 7)
        skip(); /* the port of the bus cannot be chosen */
    with_slots();
    struct instance *a = open_parts(0, "a");
    unsigned slot = bh_redis_slot(BH_SLICE("{ws3}"));
    come(a, user_of(3, 0), "acme");
    come(a, user_of(4, 0), "acme");
    TICK_UNTIL(cl->loop, are_idle(a));
    unsigned restores = a->restores;
    int64_t registrations = bh_metric_read(&bh_redis_metrics[BH_REDIS_REGISTRATIONS]);
    test_redis_do(&cl->redis, "CLUSTER DELSLOTS %u", slot);
    size_t brief = come(a, user_of(3, 1), "acme");
    come(a, user_of(4, 1), "acme");
    TICK_UNTIL(cl->loop, events(user_of(4, 1), true) == 1);
    TICK_UNTIL(cl->loop, !bh_list_empty(&part(a, 3)->delayed));
    assert_int_equal(ask(a, BH_LOOKUP_ONLINE, user_of(3, 0)).error, BH_EIO);
    assert_int_equal(online(a, user_of(4, 1)), 1);
    go(a, brief);
    for (uint64_t begin = test_now_ms(); test_now_ms() < begin + 1500;)
        bh_loop_tick(cl->loop, false); /* longer than a heartbeat */
    assert_true(part(a, 3)->state == BH_TRACKER_LIVE);
    test_redis_do(&cl->redis, "CLUSTER ADDSLOTS %u", slot);
    TICK_UNTIL(cl->loop, are_idle(a) && events(user_of(3, 1), false) == 1);
    assert_int_equal(events(user_of(3, 1), true), 1);
    assert_int_equal(events(user_of(3, 0), false), 0);
    assert_int_equal(online(a, user_of(3, 0)), 1);
    assert_int_equal(a->restores, restores);
    assert_int_equal(bh_metric_read(&bh_redis_metrics[BH_REDIS_REGISTRATIONS]), registrations);
}

/* Both instances register again, late; nobody was away. */
static void test_a_slot_without_a_server_for_longer_than_the_lease(void **state) {
    cl->tracking.lease_ms = SHORT_LEASE;
    cl->config.backoff_max_ms = 5000; /* so decisions are held back for longer than the pauses */
    with_slots();
    struct instance *a = open_parts(0, "a"), *b = open_parts(1, "b");
    unsigned slot = bh_redis_slot(BH_SLICE("{ws3}"));
    come(a, user_of(3, 0), "");
    come(b, user_of(3, 1), "");
    TICK_UNTIL(cl->loop, are_idle(a) && are_idle(b));
    test_redis_do(&cl->redis, "CLUSTER DELSLOTS %u", slot);
    TICK_UNTIL(cl->loop, part(a, 3)->state != BH_TRACKER_LIVE);
    TICK_UNTIL(cl->loop, part(b, 3)->state != BH_TRACKER_LIVE);
    assert_true(part(a, 4)->state == BH_TRACKER_LIVE);
    test_redis_do(&cl->redis, "CLUSTER ADDSLOTS %u", slot);
    TICK_UNTIL(cl->loop, are_idle(a) && are_idle(b));
    come(b, user_of(3, 2), "");
    go(b, 1);
    TICK_UNTIL(cl->loop, events(user_of(3, 2), false) == 1);
    assert_int_equal(cl->event_count, 4);
    assert_int_equal(online(b, user_of(3, 0)), 1);
    assert_int_equal(online(a, user_of(3, 1)), 1);
}

static void take_slot_away(void) {
    cl->on_event = NULL;
    test_redis_do(&cl->redis, "CLUSTER DELSLOTS %u", bh_redis_slot(BH_SLICE("{ws3}")));
}

/* It is still listed in Redis, but not raised again. */
static void test_an_event_whose_ack_is_rejected_is_acked_later(void **state) {
    with_slots();
    struct instance *a = open_parts(0, "a");
    cl->on_event = take_slot_away;
    come(a, user_of(3, 0), "");
    TICK_UNTIL(cl->loop, events(user_of(3, 0), true) == 1);
    TICK_UNTIL(cl->loop, !bh_list_empty(&part(a, 3)->delayed));
    assert_false(bh_list_empty(&parts(a)->tracker[3]->events.waiting));
    test_redis_do(&cl->redis, "CLUSTER ADDSLOTS %u", bh_redis_slot(BH_SLICE("{ws3}")));
    TICK_UNTIL(cl->loop, keys("*events*") == 0 && parts(a)->tracker[3]->events.map.count == 0);
    assert_int_equal(events(user_of(3, 0), true), 1);
    assert_true(part(a, 3)->state == BH_TRACKER_LIVE);
}

/* --- life --- */

static void test_free_without_start(void **state) {
    cl->config.instance = "a";
    struct bh_broker *broker = bh_redis_broker_new(&cl->config, 1);
    struct bh_tracker *t = bh_redis_parts_new(&cl->tracking, broker);
    t->vt->stop(t);
    t->vt->free(t);
    broker->vt->free(broker);
}

static void test_stop_in_each_state(void **state) {
    cl->parts = true;
    for (int ticks = 0; ticks < 40; ticks++) {
        struct instance *a = open_instance(0, "a");
        for (unsigned i = 0; i < 700; i++) {
            char user[24];
            name_user(user, i);
            add_connection(a, user, "acme");
        }
        for (int i = 0; i < ticks; i++) {
            TICK_UNTIL(cl->loop, ticks < 20 || a->restores > 0);
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
        cmocka_unit_test(test_the_part_of_a_user_is_the_documented_one),
        TEST(test_keys_are_in_the_part_of_their_user),
        TEST(test_parts_are_spread_over_the_nodes),
        TEST(test_when_there_are_parts),
        TEST(test_answers_are_in_the_order_asked),
        TEST(test_tenants_are_summed),
        TEST(test_one_part_is_uncertain),
        TEST(test_an_error_of_one_part_is_that_of_the_answer),
        TEST(test_lookup_without_a_link),
        TEST(test_the_parts_share_restores),
        TEST(test_a_restore_of_one_part_is_not_one_of_the_others),
        TEST(test_changes_during_a_restore),
        TEST(test_events_are_raised_once),
        TEST(test_a_dead_instance_is_removed_from_all_parts),
        TEST(test_a_registration_outlives_a_slot_without_a_server),
        TEST(test_a_slot_without_a_server_for_longer_than_the_lease),
        TEST(test_an_event_whose_ack_is_rejected_is_acked_later),
        TEST(test_free_without_start),
        TEST(test_stop_in_each_state),
    };
    return cmocka_run_group_tests(tests, metrics, NULL);
}
