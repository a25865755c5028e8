/* Publishing: which sockets get it, how often, in which order, and the result. */
#include "node_test.h"

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

/* --- strategies --- */

static void each_strategy_serves_each_socket_once(void **state) {
    static const struct {
        enum bh_strategy strategy;
        bool shared, at_once;
        unsigned published;
    } table[] = {
        {BH_STRATEGY_DEFAULT, true, true, 1},     {BH_STRATEGY_DEFAULT, false, true, 0},
        {BH_STRATEGY_LOCAL_FIRST, true, true, 1}, {BH_STRATEGY_LOCAL_FIRST, false, true, 0},
        {BH_STRATEGY_REDIS, true, false, 1},      {BH_STRATEGY_REDIS, false, false, 1},
        {BH_STRATEGY_BOTH, true, true, 1},        {BH_STRATEGY_BOTH, false, true, 0},
        {BH_STRATEGY_LOCAL, true, true, 0},       {BH_STRATEGY_LOCAL, false, true, 0},
    };
    for (size_t i = 0; i < COUNT(table) * 2; i++) {
        node_up(i % 2 ? 3 : 1, table[i / 2].shared);
        unsigned devices = open_devices();
        struct answer a;
        struct bh_publish p = publish_of("user:42", "hi");
        p.strategy = (uint8_t)table[i / 2].strategy;
        broker.echo = true; /* as a broker does, also to the origin */
        publish(0, p, &a);
        assert_string_equal(subs[0].got, table[i / 2].at_once ? "hi " : "");
        settle();
        assert_all_got(devices, "hi ");
        assert_answer(a, 0);
        assert_int_equal(strlen(a.id), BH_UNIQUE_ID_LEN);
        assert_int_equal(a.local, devices);
        assert_int_equal(a.status, BH_PUBLISH_DELIVERED);
        /* The broker says 2: this instance, and another one. */
        assert_int_equal(a.instances, table[i / 2].published ? 2 : 1);
        assert_int_equal(broker.published, table[i / 2].published);
        node_down();
    }
}

static void a_publish_carries_what_others_need(void **state) {
    struct bh_publish p = publish_of("tenant:7", "hi");
    p.opcode = BH_BINARY;
    p.strategy = BH_STRATEGY_BOTH;
    p.except = 99;
    p.ttl_s = 3;
    struct answer a = publish_and_settle(0, p);
    const struct bh_message *m = broker.last;
    assert_int_equal(m->kind, BH_MESSAGE_DATA);
    assert_int_equal(m->opcode, BH_BINARY);
    assert_int_equal(m->flags, BH_MESSAGE_DEDUP);
    assert_int_equal(m->except, 99);
    assert_true(m->expires_ms == bh_clock_ms() + 3000);
    assert_slice(m->id, a.id);
    assert_slice(m->payload, "hi");
    assert_slice(bh_topic_name(m->topic), "tenant:7");
    assert_true(m->origin.n > 0);
    p = publish_of("tenant:7", "hi");
    p.strategy = BH_STRATEGY_REDIS;
    publish_and_settle(0, p);
    assert_int_equal(broker.last->flags, BH_MESSAGE_ECHO);
}

static void topics_reach_their_own(void **state) {
    opened(0, &subs[0], "1");
    opened(2, &subs[1], "2");
    publish_and_settle(1, publish_of("user:1", "a"));
    publish_and_settle(1, publish_of("user:nobody", "b"));
    publish_and_settle(1, publish_of("tenant:7", "c"));
    publish_and_settle(1, publish_of("tenant:8", "d"));
    publish_and_settle(1, publish_of("topic:news", "e"));
    publish_and_settle(1, publish_of("all", "f"));
    assert_got(subs[0], "a c e f ");
    assert_got(subs[1], "c e f ");
}

static void the_brokers_error_is_the_publishers(void **state) {
    unsigned devices = open_devices();
    broker.publish_error = BH_EUNAVAIL;
    struct answer a = publish_and_settle(0, publish_of("user:42", "hi"));
    assert_int_equal(a.error, BH_EUNAVAIL);
    assert_string_equal(a.why, "no broker");
    assert_all_got(devices, "hi "); /* delivered at once */
}

static void the_broker_may_answer_later(void **state) {
    struct answer a;
    broker.hold = true;
    publish(0, publish_of("user:42", "hi"), &a);
    settle();
    assert_int_equal(a.count, 0);
    broker.held(broker.held_ud, broker.held_handle, 0, 5, NULL);
    broker.held(broker.held_ud, broker.held_handle, 0, 5,
                NULL); /* looked up by handle: no effect */
    assert_answer(a, 0);
    assert_int_equal(a.instances, 5);
    assert_int_equal(a.status, BH_PUBLISH_PUBLISHED);
}

/* --- messages from the broker --- */

static void what_was_seen_is_dropped(void **state) {
    unsigned devices = open_devices();
    arrives("user:42", "once", "m1", BH_MESSAGE_DEDUP);
    arrives("user:42", "once", "m1", BH_MESSAGE_DEDUP);
    assert_all_got(devices, "once ");
    arrives("user:42", "each", "m1", 0); /* without DEDUP */
    arrives("user:42", "each", "m1", 0);
    arrives("user:42", "each", "", BH_MESSAGE_RAW);
    arrives("user:42", "each", "", BH_MESSAGE_RAW);
    assert_all_got(devices, "each each each each ");
    pass(SEEN_MS);
    arrives("user:42", "forgotten", "m1", BH_MESSAGE_DEDUP);
    assert_all_got(devices, "forgotten ");
}

static void a_namesake_is_not_the_origin(void **state) {
    /* Two processes with the same instance id: messages of the other are no echo. */
    opened(0, &subs[0], "42");
    struct bh_topic to = test_topic("user:42");
    struct bh_message parts = {.opcode = BH_TEXT,
                               .topic = &to,
                               .origin = bh_node_instance(node),
                               .id = BH_SLICE("m"),
                               .payload = BH_SLICE("hi")};
    struct bh_message *m = bh_message_new(&parts);
    broker.sink.on_message(broker.sink.ud, m);
    bh_message_unref(m);
    settle();
    assert_got(subs[0], "hi ");
}

/* --- except, ttl, refusals --- */

static void the_sender_can_be_excluded(void **state) {
    opened(0, &subs[0], "42");
    opened(0, &subs[1], "42");
    opened(2, &subs[2], "42");
    struct bh_publish p = publish_of("user:42", "hi");
    p.except = subs[0].s.number;
    publish_and_settle(0, p);
    p = publish_of("user:42", "ho");
    p.except = subs[2].s.number;
    publish_and_settle(0, p);
    assert_got(subs[0], "ho ");
    assert_got(subs[1], "hi ho ");
    assert_got(subs[2], "hi ");
}

static void what_has_expired_is_not_delivered(void **state) {
    opened(0, &subs[0], "42");
    struct bh_publish p = publish_of("user:42", "held");
    p.ttl_s = 2;
    p.strategy = BH_STRATEGY_REDIS;
    publish_and_settle(0, p);
    struct bh_message *m = bh_message_ref(broker.last);
    bh_clock_fake_advance(1999);
    broker.sink.on_message(broker.sink.ud, m);
    settle();
    assert_got(subs[0], "held ");
    bh_clock_fake_advance(1);
    broker.sink.on_message(broker.sink.ud, m);
    settle();
    assert_got(subs[0], "");
    bh_message_unref(m);
}

static void unfit_payloads_are_refused(void **state) {
    char large[PAYLOAD_MAX + 2];
    memset(large, 'x', sizeof large);
    large[PAYLOAD_MAX + 1] = '\0';
    opened(0, &subs[0], "42");
    struct answer a = publish_and_settle(0, publish_of("user:42", large));
    assert_int_equal(a.error, BH_ETOOBIG);
    assert_true(a.why[0]);
    a = publish_and_settle(0, publish_of("user:42", "\xff"));
    assert_int_equal(a.error, BH_EUTF8);
    assert_true(a.why[0]);
    assert_int_equal(broker.published, 0);
    assert_got(subs[0], "");
    large[PAYLOAD_MAX] = '\0';
    assert_int_equal(publish_and_settle(0, publish_of("user:9", large)).error, 0);
    struct bh_publish p = publish_of("user:42", "\xff");
    p.opcode = BH_BINARY;
    assert_int_equal(publish_and_settle(0, p).error, 0);
    assert_got(subs[0], "\xff ");
    p.data = NULL; /* an empty message is valid */
    assert_int_equal(publish_and_settle(0, p).error, 0);
    assert_got(subs[0], " ");
    bh_mem_fail_nth(1);
    assert_int_equal(publish_and_settle(0, publish_of("user:42", "x")).error, BH_ENOMEM);
}

/* --- hooks --- */

static void redirect(struct bh_publish *p) {
    p->topic = test_topic("user:2");
    p->strategy = BH_STRATEGY_LOCAL;
    bh_publish_set_data(p, bh_buf_copy(BH_SLICE("changed")));
}

static void the_hook_may_change_it(void **state) {
    with_hooks(BH_HOOK_PUBLISH);
    hooks.on_publish = redirect;
    opened(0, &subs[0], "1");
    opened(0, &subs[1], "2");
    publish_and_settle(0, publish_of("user:1", "hi"));
    assert_got(subs[0], "");
    assert_got(subs[1], "changed ");
    assert_int_equal(broker.published, 0);
    struct bh_publish p = publish_of("user:1", "hi");
    p.skip_hook = true;
    publish_and_settle(0, p);
    assert_got(subs[0], "hi ");
    assert_string_equal(hooks.log, "publish user:1; ");
}

static void make_it_bad(struct bh_publish *p) {
    bh_publish_set_data(p, bh_buf_copy(BH_SLICE("\xff")));
}

static void what_the_hook_makes_is_checked(void **state) {
    with_hooks(BH_HOOK_PUBLISH);
    hooks.on_publish = make_it_bad;
    struct bh_publish p = publish_of("user:1", "hi");
    p.utf8_checked = true; /* before the hook */
    assert_int_equal(publish_and_settle(0, p).error, BH_EUTF8);
    assert_int_equal(broker.published, 0);
}

static void what_was_checked_is_not_checked_again(void **state) {
    struct bh_publish p = publish_of("user:1", "\xff");
    p.utf8_checked = true;
    assert_int_equal(publish_and_settle(0, p).error, 0);
}

static void the_payload_is_not_copied(void **state) {
    struct bh_publish p = publish_of("user:1", "hi");
    const void *data = p.data->data;
    publish_and_settle(0, p);
    assert_ptr_equal(broker.last->payload.p, data);
}

static void the_hook_may_refuse_it(void **state) {
    with_hooks(BH_HOOK_PUBLISH);
    opened(0, &subs[0], "1");
    static const int errors[] = {BH_EDENIED, BH_ESCRIPT};
    for (size_t i = 0; i < COUNT(errors); i++) {
        hooks.publish_error = errors[i];
        struct answer a = publish_and_settle(0, publish_of("user:1", "hi"));
        assert_int_equal(a.error, errors[i]);
        assert_string_equal(a.why, "not today");
    }
    assert_got(subs[0], "");
    assert_int_equal(broker.published, 0);
}

static void the_hook_may_take_its_time(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_PUBLISH);
    hooks.hold = true;
    opened(0, &subs[0], "1");
    publish(0, publish_of("user:1", "hi"), &a);
    settle();
    assert_int_equal(a.count, 0);
    assert_got(subs[0], "");
    hooks.held_published(hooks.held_ud, 0, NULL);
    settle();
    assert_answer(a, 0);
    assert_got(subs[0], "hi ");
}

static void the_verdict_on_a_delivery(void **state) {
    with_hooks(BH_HOOK_DELIVER);
    opened(0, &subs[0], "1");
    hooks.verdict = BH_DELIVER_PASS;
    publish_and_settle(0, publish_of("user:1", "hi"));
    assert_got(subs[0], "hi ");
    hooks.verdict = BH_DELIVER_SKIP;
    publish_and_settle(0, publish_of("user:1", "hi"));
    assert_got(subs[0], "");
    hooks.verdict = BH_DELIVER_REPLACED;
    publish_and_settle(0, publish_of("user:1", "hi"));
    assert_got(subs[0], "replaced ");
}

/* --- inside a delivery --- */

static void publish_b_and_c(struct sub *sub, struct bh_message *m) {
    static struct answer b, c; /* completed after the delivery */
    sub->on_deliver = NULL;
    publish(0, publish_of("user:42", "B"), &b);
    publish(0, publish_of("user:42", "C"), &c);
}

static void a_publish_inside_a_delivery_keeps_the_order(void **state) {
    struct answer a, d, e;
    for (unsigned i = 0; i < 4; i++)
        opened(0, &subs[i], "42");
    subs[1].on_deliver = publish_b_and_c;
    publish(0, publish_of("user:42", "A"), &a);
    publish(0, publish_of("user:42", "D"), &d); /* after B and C, outside of a delivery */
    settle();
    assert_answer(a, 0);
    assert_answer(d, 0);
    assert_int_equal(d.local, 4);
    publish(0, publish_of("user:42", "E"), &e); /* the queue is empty */
    for (unsigned i = 0; i < 4; i++)
        assert_got(subs[i], "A B C D E ");
}

static void close_everybody(struct sub *sub, struct bh_message *m) {
    for (unsigned i = 0; i < 4; i++)
        bh_node_close(worker[0], &subs[i].s, 1000, BH_SLICE(""));
}

static void closing_inside_a_delivery(void **state) {
    for (unsigned i = 0; i < 4; i++)
        opened(0, &subs[i], "42");
    subs[0].on_deliver = subs[1].on_deliver = subs[2].on_deliver = subs[3].on_deliver =
        close_everybody;
    publish_and_settle(0, publish_of("user:42", "hi"));
    unsigned got = 0;
    for (unsigned i = 0; i < 4; i++)
        got += subs[i].got[0] != '\0';
    assert_int_equal(got, 1);
    assert_int_equal(worker[0]->hub.topics.count, 0);
}

static void echo_for_ever(struct sub *sub, struct bh_message *m) {
    static struct answer a;
    sub->got[0] = '\0';
    publish(0, publish_of("user:42", "again"), &a);
}

static void a_circle_does_not_hold_the_loop(void **state) {
    opened(0, &subs[0], "42");
    subs[0].on_deliver = echo_for_ever;
    publish_and_settle(0, publish_of("user:42", "go"));
    unsigned before = broker.published;
    bh_loop_tick(loop, false);
    assert_int_equal(broker.published, before + 1); /* one round for each tick */
    subs[0].on_deliver = NULL;
    settle();
    assert_int_equal(worker[0]->queued, 0);
}

/* --- disconnect --- */

static struct answer disconnect(unsigned w, const char *user, unsigned code, const char *reason) {
    struct answer a = {0};
    bh_node_disconnect(worker[w], bh_slice_cstr(user), code, bh_slice_cstr(reason), on_published,
                       &a, 9);
    settle();
    assert_int_equal(a.count, 1);
    return a;
}

static void disconnects_all_of_a_user(void **state) {
    unsigned devices = open_devices();
    with_hooks(BH_HOOK_CLOSE);
    assert_int_equal(disconnect(0, "42", 4001, "log in again").error, 0);
    for (unsigned i = 0; i < devices; i++) {
        assert_int_equal(subs[i].closes, 1);
        assert_int_equal(subs[i].code, 4001);
        assert_string_equal(subs[i].reason, "log in again");
        assert_int_equal(subs[i].s.handle, 0);
        assert_got(subs[i], "");
    }
    assert_int_equal(subs[7].closes, 0);
    assert_int_equal(bh_node_connection_count(node), 1);
    assert_int_equal(broker.published, 1);
    assert_int_equal(broker.last->kind, BH_MESSAGE_DISCONNECT);
    assert_slice(broker.last->payload, "4001 log in again");
    assert_int_equal(disconnect(0, "a b", 4001, "").error, BH_EINVAL);
    assert_int_equal(disconnect(0, "broadcast", 4001, "").error, BH_EINVAL);
    assert_int_equal(broker.published, 1);
}

static void a_disconnect_is_for_all_instances_whatever_the_default(void **state) {
    for (int s = BH_STRATEGY_LOCAL_FIRST; s <= BH_STRATEGY_LOCAL; s++) {
        node_up_with(1, true, (enum bh_strategy)s, NULL);
        opened(0, &subs[0], "42");
        broker.publish_error = BH_EUNAVAIL; /* the local sockets in any case */
        assert_int_equal(disconnect(0, "42", 4001, "").error, BH_EUNAVAIL);
        assert_int_equal(broker.published, 1);
        assert_int_equal(subs[0].closes, 1);
        node_down();
    }
}

static void a_disconnect_from_elsewhere(void **state) {
    static const struct {
        const char *payload;
        unsigned code;
        const char *reason;
    } orders[] = {{"4001 bye bye", 4001, "bye bye"},
                  {"4001 ", 4001, ""},
                  {"4001", 4001, ""},
                  {"", 1000, ""},
                  {"x y", 1000, "y"},
                  {"99999 z", 1000, "z"}};
    for (size_t i = 0; i < COUNT(orders); i++) {
        opened(0, &subs[0], "42");
        struct bh_topic to = test_topic("user:42");
        struct bh_message parts = {.kind = BH_MESSAGE_DISCONNECT,
                                   .opcode = BH_BINARY,
                                   .topic = &to,
                                   .origin = BH_SLICE("elsewhere"),
                                   .id = BH_SLICE("m"),
                                   .payload = bh_slice_cstr(orders[i].payload)};
        struct bh_message *m = bh_message_new(&parts);
        broker.sink.on_message(broker.sink.ud, m);
        bh_message_unref(m);
        settle();
        assert_int_equal(subs[0].closes, i + 1);
        assert_int_equal(subs[0].code, orders[i].code);
        assert_string_equal(subs[0].reason, orders[i].reason);
    }
}

#define TEST(fn)   cmocka_unit_test_setup_teardown(fn, up_1, node_teardown)
#define TEST_3(fn) cmocka_unit_test_setup_teardown(fn, up_3, node_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_strategy_serves_each_socket_once),
        TEST(a_publish_carries_what_others_need),
        TEST_3(topics_reach_their_own),
        TEST_3(the_brokers_error_is_the_publishers),
        TEST(the_broker_may_answer_later),
        TEST(what_was_seen_is_dropped),
        TEST_3(what_was_seen_is_dropped),
        TEST(a_namesake_is_not_the_origin),
        TEST_3(the_sender_can_be_excluded),
        TEST(what_has_expired_is_not_delivered),
        TEST(unfit_payloads_are_refused),
        TEST(the_hook_may_change_it),
        TEST(what_the_hook_makes_is_checked),
        TEST(what_was_checked_is_not_checked_again),
        TEST(the_payload_is_not_copied),
        TEST(the_hook_may_refuse_it),
        TEST(the_hook_may_take_its_time),
        TEST(the_verdict_on_a_delivery),
        TEST(a_publish_inside_a_delivery_keeps_the_order),
        TEST_3(a_publish_inside_a_delivery_keeps_the_order),
        TEST(closing_inside_a_delivery),
        TEST(a_circle_does_not_hold_the_loop),
        TEST_3(disconnects_all_of_a_user),
        cmocka_unit_test(a_disconnect_is_for_all_instances_whatever_the_default),
        TEST(a_disconnect_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
