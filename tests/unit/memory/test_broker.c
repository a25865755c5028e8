/* test_broker.c - the broker of a single instance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/backend/memory.h"
#include "bellhop/base/error.h"

struct fixture {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    unsigned ups, messages, done;
    int error;
    int64_t receivers;
    struct bh_message *expected;
};

static void on_message(void *ud, struct bh_message *m) {
    struct fixture *fx = ud;
    assert_ptr_equal(m, fx->expected); /* by reference, not by copy */
    fx->messages++;
}

static void on_subscribed(void *ud, struct bh_slice topic) {
    fail_msg("subscriptions are live at once");
}

static void on_state(void *ud, unsigned shard, bool up) {
    assert_true(up);
    ((struct fixture *)ud)->ups++;
}

static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {
    struct fixture *fx = ud;
    assert_int_equal(handle, 3);
    assert_true((error == 0) == (why == NULL));
    fx->done++;
    fx->error = error;
    fx->receivers = receivers;
}

static void start(struct fixture *fx) {
    struct bh_broker_sink sink = {on_message, on_subscribed, NULL, on_state, fx};
    struct bh_topic to;
    struct bh_message parts = {.topic = &to, .opcode = BH_TEXT, .payload = BH_SLICE("x")};
    bh_topic_parse(BH_SLICE("all"), &to);
    *fx = (struct fixture){.loop = bh_loop_new(), .broker = bh_memory_broker_new()};
    fx->mailbox = bh_mailbox_new(fx->loop);
    fx->expected = bh_message_new(&parts);
    assert_int_equal(fx->broker->vt->start(fx->broker, fx->loop, fx->mailbox, &sink), 0);
    assert_int_equal(fx->broker->vt->worker_start(fx->broker, 0, fx->loop), 0);
}

static void publish(struct fixture *fx) {
    fx->broker->vt->publish(fx->broker, 0, fx->expected, on_published, fx, 3);
}

static void finish(struct fixture *fx, bool broker_first) {
    if (broker_first)
        fx->broker->vt->free(fx->broker);
    bh_mailbox_free(fx->mailbox);
    if (!broker_first)
        fx->broker->vt->free(fx->broker);
    bh_loop_free(fx->loop);
    assert_int_equal(atomic_load(&fx->expected->refs), 1);
    bh_message_unref(fx->expected);
}

static void test_publish_comes_back_on_the_bus(void **state) {
    struct fixture fx;
    start(&fx);
    assert_int_equal(fx.ups, 1);
    publish(&fx);
    assert_int_equal(fx.done, 1);
    assert_int_equal(fx.error, 0);
    assert_int_equal(fx.receivers, 1);
    assert_int_equal(fx.messages, 0); /* never inside the publish */
    bh_loop_tick(fx.loop, false);
    assert_int_equal(fx.messages, 1);
    fx.broker->vt->stop(fx.broker);
    finish(&fx, false);
}

static void test_always_ready_and_live(void **state) {
    struct fixture fx;
    const char *why = "";
    start(&fx);
    assert_int_equal(fx.broker->vt->ready(fx.broker, &why), 0);
    assert_null(why);
    assert_false(fx.broker->vt->shared);
    assert_string_equal(fx.broker->vt->name, "memory");
    assert_true(fx.broker->vt->subscribe(fx.broker, BH_SLICE("user:1")));
    fx.broker->vt->unsubscribe(fx.broker, BH_SLICE("user:1"));
    fx.broker->vt->worker_stop(fx.broker, 0);
    fx.broker->vt->stop(fx.broker);
    finish(&fx, true);
}

static void test_nothing_comes_after_stop(void **state) {
    struct fixture fx;
    start(&fx);
    publish(&fx);
    fx.broker->vt->stop(fx.broker);
    bh_loop_tick(fx.loop, false);
    assert_int_equal(fx.messages, 0);
    finish(&fx, false);
}

static void test_mails_outlive_the_broker(void **state) {
    struct fixture fx;
    start(&fx);
    publish(&fx);
    publish(&fx);
    fx.broker->vt->stop(fx.broker);
    finish(&fx, true);
    assert_int_equal(fx.messages, 0);
}

static void test_closed_mailbox(void **state) {
    struct fixture fx;
    start(&fx);
    bh_mailbox_close(fx.mailbox);
    publish(&fx);
    assert_int_equal(fx.done, 1);
    assert_int_equal(fx.error, BH_EUNAVAIL);
    assert_int_equal(fx.receivers, -1);
    fx.broker->vt->stop(fx.broker);
    finish(&fx, true);
}

static void test_publish_before_start(void **state) {
    struct fixture fx;
    start(&fx);
    fx.broker->vt->stop(fx.broker);
    struct bh_broker *young = bh_memory_broker_new();
    young->vt->publish(young, 0, fx.expected, on_published, &fx, 3);
    assert_int_equal(fx.error, BH_EUNAVAIL);
    young->vt->free(young);
    finish(&fx, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish_comes_back_on_the_bus),
        cmocka_unit_test(test_always_ready_and_live),
        cmocka_unit_test(test_nothing_comes_after_stop),
        cmocka_unit_test(test_mails_outlive_the_broker),
        cmocka_unit_test(test_closed_mailbox),
        cmocka_unit_test(test_publish_before_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
