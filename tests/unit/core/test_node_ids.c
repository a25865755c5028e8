/* Publishing with an idempotency id: what a repetition does, and what it is answered. */
#include "node_test.h"

#include "bellhop/core/filter.h"

static int up_1(void **state) {
    node_up(1, true);
    return 0;
}

static int up_3(void **state) {
    node_up(3, true);
    return 0;
}

/* One device of user 42 on each worker, and another user. */
static unsigned open_devices(void) {
    unsigned n = bh_node_worker_count(node);
    for (unsigned i = 0; i < n; i++)
        opened(i, &subs[i], "42");
    opened(0, &subs[7], "other");
    return n;
}

static void assert_all_got(unsigned n, const char *expected) {
    for (unsigned i = 0; i < n; i++)
        assert_got(subs[i], expected);
    assert_got(subs[7], "");
}

static struct answer publish_id(unsigned w, const char *topic, const char *payload, const char *id,
                                enum bh_strategy strategy) {
    struct bh_publish p = publish_of(topic, payload);
    with_id(&p, id);
    p.strategy = (uint8_t)strategy;
    struct answer a = publish_and_settle(w, p);
    assert_string_equal(a.id, id);
    return a;
}

static void an_id_counts_once(void **state) {
    for (int s = BH_STRATEGY_DEFAULT; s <= BH_STRATEGY_LOCAL; s++) {
        for (int shared = 0; shared < 2; shared++) {
            node_up(3, shared);
            unsigned devices = open_devices(), last = devices - 1;
            enum bh_strategy strategy = (enum bh_strategy)s;
            broker.echo = true;
            assert_false(publish_id(0, "user:42", "hi", "key", strategy).duplicate);
            unsigned published = broker.published;
            assert_true(publish_id(0, "user:42", "hi", "key", strategy).duplicate);
            assert_true(publish_id(last, "user:42", "hi", "key", strategy).duplicate);
            assert_int_equal(broker.published, published);
            assert_all_got(devices, "hi ");
            assert_false(publish_id(0, "user:other", "hi", "key", strategy).duplicate);
            assert_got(subs[7], "hi ");
            assert_false(publish_id(0, "user:42", "hi", "key2", strategy).duplicate);
            pass(SEEN_MS);
            assert_false(publish_id(0, "user:42", "hi", "key", strategy).duplicate);
            assert_all_got(devices, "hi hi ");
            node_down();
        }
    }
}

static void assert_repeated(struct answer first, enum bh_publish_status expected, const char *topic,
                            enum bh_strategy strategy) {
    assert_int_equal(first.status, expected);
    for (unsigned w = 0; w < 3; w++) {
        struct answer again = publish_id(w, topic, "hi", "key", strategy);
        assert_true(again.duplicate);
        assert_int_equal(again.status, expected);
    }
}

static void a_repetition_has_the_status_of_the_first(void **state) {
    for (int s = BH_STRATEGY_DEFAULT; s <= BH_STRATEGY_LOCAL; s++) {
        for (int shared = 0; shared < 2; shared++) {
            enum bh_strategy strategy = (enum bh_strategy)s;
            bool travels = shared && strategy != BH_STRATEGY_LOCAL;
            node_up(3, shared);
            open_devices();
            broker.echo = true;
            assert_repeated(publish_id(0, "user:42", "hi", "key", strategy), BH_PUBLISH_DELIVERED,
                            "user:42", strategy);
            broker.receivers = shared ? 0 : 1; /* without others, the memory broker says 1 */
            assert_repeated(publish_id(0, "user:none", "hi", "key", strategy), BH_PUBLISH_OFFLINE,
                            "user:none", strategy);
            broker.receivers = shared ? 2 : 1;
            assert_repeated(publish_id(0, "user:away", "hi", "key", strategy),
                            travels ? BH_PUBLISH_PUBLISHED : BH_PUBLISH_OFFLINE, "user:away",
                            strategy);
            node_down();
        }
    }
}

/* Interest in the topic says that a socket may get it; the filter of the message says no. */
static void a_repetition_knows_what_became_of_the_first(void **state) {
    unsigned devices = open_devices();
    for (int s = BH_STRATEGY_DEFAULT; s <= BH_STRATEGY_LOCAL; s++) {
        struct bh_publish p = publish_of("user:42", "hi");
        const char *why;
        char id[] = {'k', (char)('0' + s), '\0'};
        assert_int_equal(bh_filter_add(&p.filter, BH_SLICE("os"), BH_SLICE("ios"), &why), 0);
        with_id(&p, id);
        p.strategy = (uint8_t)s;
        broker.receivers = 1; /* this instance */
        assert_int_equal(publish_and_settle(0, p).status, BH_PUBLISH_OFFLINE);
        struct answer again =
            publish_id(bh_node_worker_count(node) - 1, "user:42", "hi", id, (enum bh_strategy)s);
        assert_true(again.duplicate);
        assert_int_equal(again.status, BH_PUBLISH_OFFLINE);
    }
    assert_all_got(devices, "");
}

static void without_other_instances_nobody_is_offline(void **state) {
    for (unsigned workers = 1; workers <= 3; workers += 2) {
        for (int s = BH_STRATEGY_DEFAULT; s <= BH_STRATEGY_LOCAL; s++) {
            node_up(workers, false);
            broker.receivers = 1;
            struct bh_publish p = publish_of("user:none", "hi");
            p.strategy = (uint8_t)s;
            struct answer a = publish_and_settle(0, p);
            assert_int_equal(a.status, BH_PUBLISH_OFFLINE);
            assert_int_equal(a.instances, 0);
            a = publish_id(0, "user:none", "hi", "key", (enum bh_strategy)s);
            assert_int_equal(a.status, BH_PUBLISH_OFFLINE);
            node_down();
        }
    }
}

static void a_retry_after_a_failure_reaches_the_others_only(void **state) {
    unsigned devices = open_devices();
    broker.publish_error = BH_EUNAVAIL;
    assert_int_equal(publish_id(0, "user:42", "hi", "key", 0).error, BH_EUNAVAIL);
    assert_all_got(devices, "hi ");
    assert_int_equal(publish_id(0, "user:42", "hi", "key", 0).error, BH_EUNAVAIL);
    assert_int_equal(broker.published, 2);
    broker.publish_error = 0;
    struct answer a = publish_id(0, "user:42", "hi", "key", 0);
    assert_int_equal(a.error, 0);
    assert_false(a.duplicate);
    assert_int_equal(broker.published, 3);
    assert_true(publish_id(0, "user:42", "hi", "key", 0).duplicate);
    assert_int_equal(broker.published, 3);
    assert_all_got(devices, "");
}

static void a_retry_of_redis_after_a_failure_is_delivered(void **state) {
    unsigned devices = open_devices();
    broker.publish_error = BH_EUNAVAIL;
    publish_id(0, "user:42", "hi", "key", BH_STRATEGY_REDIS);
    assert_all_got(devices, "");
    broker.publish_error = 0;
    broker.echo = true;
    assert_false(publish_id(0, "user:42", "hi", "key", BH_STRATEGY_REDIS).duplicate);
    assert_all_got(devices, "hi ");
}

static void published_though_it_looked_like_a_failure(void **state) {
    unsigned devices = open_devices();
    broker.publish_error = BH_EIO; /* connection lost after the message was sent */
    broker.echo = true;
    publish_id(0, "user:42", "hi", "key", BH_STRATEGY_REDIS);
    assert_all_got(devices, "hi ");
    broker.publish_error = 0;
    assert_true(publish_id(0, "user:42", "hi", "key", BH_STRATEGY_REDIS).duplicate);
    assert_all_got(devices, "");
}

static void an_id_that_came_from_elsewhere_is_known(void **state) {
    unsigned devices = open_devices();
    arrives("user:42", "hi", "key", BH_MESSAGE_DEDUP);
    assert_true(publish_id(0, "user:42", "hi", "key", 0).duplicate);
    assert_int_equal(broker.published, 0);
    publish_id(0, "user:42", "ho", "key2", 0);
    arrives("user:42", "ho", "key2", BH_MESSAGE_DEDUP);
    assert_all_got(devices, "hi ho ");
    assert_true(broker.last->flags & BH_MESSAGE_DEDUP); /* for the other instances */
}

#define TEST(fn)   cmocka_unit_test_setup_teardown(fn, up_1, node_teardown)
#define TEST_3(fn) cmocka_unit_test_setup_teardown(fn, up_3, node_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_counts_once),
        cmocka_unit_test(a_repetition_has_the_status_of_the_first),
        TEST(a_repetition_knows_what_became_of_the_first),
        TEST_3(a_repetition_knows_what_became_of_the_first),
        cmocka_unit_test(without_other_instances_nobody_is_offline),
        TEST(a_retry_after_a_failure_reaches_the_others_only),
        TEST_3(a_retry_after_a_failure_reaches_the_others_only),
        TEST_3(a_retry_of_redis_after_a_failure_is_delivered),
        TEST_3(published_though_it_looked_like_a_failure),
        TEST_3(an_id_that_came_from_elsewhere_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
