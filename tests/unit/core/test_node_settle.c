/* The end of the echoes, when an instance stops. */
#include "node_test.h"

#define TIMEOUT_MS 1000

static struct {
    unsigned done; /* workers */
    unsigned fences;
    void (*back)(void *ud, bool proven);
    void *ud;
} fx;

static void on_done(void *ud) {
    fx.done++;
}

static void fence(struct bh_broker *b, void (*done)(void *ud, bool proven), void *ud) {
    fx.fences++;
    fx.back = done;
    fx.ud = ud;
}

static void up(unsigned workers) {
    memset(&fx, 0, sizeof fx);
    node_up(workers, true);
    broker.vt.fence = fence;
    for (unsigned i = 0; i < workers; i++)
        opened(i, &subs[i], "42");
}

static int up_1(void **state) {
    up(1);
    return 0;
}

static int up_2(void **state) {
    up(2);
    return 0;
}

static struct bh_publish publish_to_42(const char *payload, enum bh_strategy strategy) {
    struct bh_publish p = publish_of("user:42", payload);
    p.strategy = (uint8_t)strategy;
    return p;
}

static void begin(void) {
    for (unsigned i = 0; i < bh_node_worker_count(node); i++)
        bh_node_settle(worker[i], TIMEOUT_MS, on_done, NULL);
    pass(10);
    settle();
}

static void confirm(void) {
    broker.held(broker.held_ud, broker.held_handle, 0, 2, NULL);
    pass(10);
    settle();
}

static void fence_back(bool proven) {
    fx.back(fx.ud, proven);
    settle();
}

/* As the broker brings it. */
static void echo(void) {
    broker.sink.on_message(broker.sink.ud, broker.last);
    settle();
}

static void a_result_waits_for_its_echo(void **state) {
    struct answer a = {0};
    broker.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_REDIS), &a);
    settle();
    assert_true(bh_node_is_publishing(worker[0]));
    begin();
    assert_int_equal(fx.fences, 0);
    confirm();
    assert_false(bh_node_is_publishing(worker[0]));
    assert_int_equal(fx.fences, 1);
    assert_int_equal(a.count, 0);
    echo();
    assert_int_equal(fx.done, 0);
    fence_back(true);
    assert_answer(a, 0);
    assert_int_equal(a.local, 2);
    assert_int_equal(a.status, BH_PUBLISH_DELIVERED);
    assert_got(subs[0], "hi ");
    assert_got(subs[1], "hi ");
    assert_int_equal(fx.done, 2);
}

static void without_a_proof_it_is_an_error(void **state) {
    struct answer a = {0};
    broker.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_REDIS), &a);
    begin();
    confirm();
    fence_back(false);
    assert_answer(a, BH_EIO);
    assert_int_equal(fx.done, 1);
}

static void it_ends_with_the_time_out(void **state) {
    struct answer a = {0};
    broker.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_REDIS), &a);
    begin();
    pass(TIMEOUT_MS);
    settle();
    assert_answer(a, BH_EIO);
    assert_int_equal(fx.done, 2);
    assert_int_equal(fx.fences, 0);
    confirm(); /* too late, and harmless */
    assert_int_equal(a.count, 1);
}

static void a_fence_that_is_lost(void **state) {
    begin();
    assert_int_equal(fx.fences, 1);
    assert_int_equal(fx.done, 0);
    pass(TIMEOUT_MS);
    settle();
    assert_int_equal(fx.done, 2);
    fence_back(true);
    assert_int_equal(fx.done, 2);
}

static void later_ones_keep_their_order_and_need_no_echo(void **state) {
    struct answer first = {0}, second = {0}, third = {0}, last = {0};
    broker.hold = true;
    publish(0, publish_to_42("first", BH_STRATEGY_REDIS), &first);
    begin();
    confirm();
    broker.hold = false;
    publish(0, publish_to_42("second", BH_STRATEGY_REDIS), &second);
    publish(0, publish_to_42("third", BH_STRATEGY_REDIS), &third);
    settle();
    assert_got(subs[0], "");
    assert_int_equal(broker.published, 1);
    echo();
    fence_back(true);
    assert_answer(first, 0);
    assert_answer(second, 0);
    assert_answer(third, 0);
    assert_int_equal(broker.published, 3);
    assert_false(broker.last->flags & BH_MESSAGE_ECHO);
    publish(0, publish_to_42("last", BH_STRATEGY_REDIS), &last);
    settle();
    assert_answer(last, 0);
    assert_int_equal(last.local, 1);
    assert_got(subs[0], "first second third last ");
}

static void with_an_id_they_deliver_once(void **state) {
    struct answer a = {0}, again = {0};
    begin();
    fence_back(true);
    struct bh_publish p = publish_to_42("once", BH_STRATEGY_REDIS);
    with_id(&p, "id");
    publish(0, p, &a);
    settle();
    assert_answer(a, 0);
    assert_int_equal(a.local, 2);
    p = publish_to_42("once", BH_STRATEGY_REDIS);
    with_id(&p, "id");
    publish(1, p, &again);
    settle();
    assert_true(again.duplicate);
    assert_got(subs[0], "once ");
    assert_got(subs[1], "once ");
}

static void others_are_not_held(void **state) {
    struct answer a = {0}, b = {0};
    broker.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_LOCAL_FIRST), &a);
    begin();
    assert_int_equal(fx.fences, 1);
    confirm();
    assert_answer(a, 0);
    broker.hold = false;
    publish(0, publish_to_42("there", BH_STRATEGY_LOCAL_FIRST), &b);
    settle();
    assert_answer(b, 0);
    assert_int_equal(fx.done, 0);
    fence_back(true);
    assert_got(subs[0], "hi there ");
}

/* Its plan is made when the hook has answered. */
static void a_publish_in_its_hook_is_not_waited_for(void **state) {
    struct answer a = {0};
    with_hooks(BH_HOOK_PUBLISH);
    hooks.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_REDIS), &a);
    begin();
    fence_back(true);
    assert_int_equal(fx.done, 1);
    assert_int_equal(a.count, 0);
    hooks.held_published(hooks.held_ud, 0, NULL);
    settle();
    assert_answer(a, 0);
    assert_int_equal(a.local, 1);
    assert_got(subs[0], "hi ");
}

static void without_time(void **state) {
    bh_node_settle(worker[0], 0, on_done, NULL);
    assert_int_equal(fx.done, 1);
}

static void a_broker_without_a_fence(void **state) {
    struct answer a = {0};
    broker.vt.fence = NULL;
    broker.echo = broker.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_REDIS), &a);
    begin();
    confirm();
    assert_answer(a, 0);
    assert_int_equal(fx.done, 1);
    assert_got(subs[0], "hi ");
}

static void the_node_may_stop_meanwhile(void **state) {
    struct answer a = {0};
    broker.hold = true;
    publish(0, publish_to_42("hi", BH_STRATEGY_REDIS), &a);
    begin();
    publish(0, publish_to_42("parked", BH_STRATEGY_REDIS), &a);
}

static void a_node_that_stops_is_not_ready(void **state) {
    const char *why = "";
    assert_false(bh_node_is_stopping(node));
    bh_node_set_stopping(node);
    assert_int_equal(bh_node_ready(node, &why), BH_EUNAVAIL);
    assert_string_equal(why, "the instance is shutting down");
}

#define TEST(test, setup) cmocka_unit_test_setup_teardown(test, setup, node_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_result_waits_for_its_echo, up_2),
        TEST(without_a_proof_it_is_an_error, up_1),
        TEST(it_ends_with_the_time_out, up_2),
        TEST(a_fence_that_is_lost, up_2),
        TEST(later_ones_keep_their_order_and_need_no_echo, up_1),
        TEST(with_an_id_they_deliver_once, up_2),
        TEST(others_are_not_held, up_1),
        TEST(a_publish_in_its_hook_is_not_waited_for, up_1),
        TEST(without_time, up_1),
        TEST(a_broker_without_a_fence, up_1),
        TEST(the_node_may_stop_meanwhile, up_1),
        TEST(a_node_that_stops_is_not_ready, up_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
