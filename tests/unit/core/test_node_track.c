/* Reports of connections to the tracker, restores, and presence events. */
#include "node_test.h"

#include "bellhop/base/error.h"

static void set_up(unsigned workers) {
    tracker = (struct local_tracker){.base = {.vt = &local_tracker_vt, .wants_changes = true}};
    node_up_with(workers, true, BH_STRATEGY_LOCAL_FIRST, &tracker.base);
}

static void connections_are_told(void **state) {
    set_up(2);
    opened(0, &subs[0], "1");
    opened(1, &subs[1], "1");
    settle();
    assert_int_equal(tracker.came, 2);
    bh_node_close(worker[1], &subs[1].s, 1000, BH_SLICE(""));
    settle();
    assert_int_equal(tracker.went, 1);
    node_down();
}

static void who_does_not_ask_is_not_told(void **state) {
    set_up(1);
    tracker.base.wants_changes = false;
    opened(0, &subs[0], "1");
    settle();
    assert_int_equal(tracker.came, 0);
    node_down();
}

static void all_are_told_again(void **state) {
    set_up(3);
    for (unsigned i = 0; i < 6; i++)
        opened(i % 3, &subs[i], "1");
    settle();
    assert_int_equal(tracker.came, 6);
    tracker.sink.on_restore(tracker.sink.ud);
    settle();
    assert_int_equal(tracker.came, 12);
    assert_int_equal(tracker.again, 6);
    assert_int_equal(tracker.restored, 1);
    /* A restore during another one: only the last one completes. */
    tracker.sink.on_restore(tracker.sink.ud);
    tracker.sink.on_restore(tracker.sink.ud);
    settle();
    assert_int_equal(tracker.restored, 2);
    node_down();
}

static void a_restore_of_nobody_ends_too(void **state) {
    set_up(2);
    tracker.sink.on_restore(tracker.sink.ud);
    settle();
    assert_int_equal(tracker.restored, 1);
    node_down();
}

static int events;
static char last_user[BH_ID_MAX + 1];

static void on_event(struct bh_hooks *h, struct bh_slice user, bool online, int64_t at) {
    events++;
    snprintf(last_user, sizeof last_user, "%.*s%s", BH_SLICE_ARG(user), online ? "+" : "-");
    assert_int_equal(at, 17);
}

static void presence_reaches_one_worker(void **state) {
    set_up(3);
    with_hooks(0);
    struct bh_hooks_vt vt = *hooks.hooks.vt;
    vt.presence = on_event;
    hooks.hooks.vt = &vt;
    tracker.sink.on_presence(tracker.sink.ud, BH_SLICE("42"), true, 17);
    settle();
    assert_int_equal(events, 0); /* no hook */
    hooks.hooks.present |= BH_HOOK_PRESENCE;
    tracker.sink.on_presence(tracker.sink.ud, BH_SLICE("42"), true, 17);
    settle();
    assert_int_equal(events, 1);
    assert_string_equal(last_user, "42+");
    node_down();
}

/* --- messages that reach nobody --- */

static int offline_calls;
static enum bh_offline offline_answer;
static unsigned offline_attempt;

static void on_offline(struct bh_hooks *h, struct bh_message *m, unsigned attempt,
                       bh_offline_cb done, void *ud, bh_handle handle) {
    offline_calls++;
    offline_attempt = attempt;
    done(ud, handle, offline_answer, 1000);
}

static struct answer publish_now(const char *topic) {
    struct answer a;
    publish(0, publish_of(topic, "hi"), &a);
    settle();
    assert_answer(a, 0);
    return a;
}

static void nobody_is_there(void **state) {
    set_up(2);
    with_hooks(0);
    struct bh_hooks_vt vt = *hooks.hooks.vt;
    vt.offline = on_offline;
    hooks.hooks.vt = &vt;
    hooks.hooks.present |= BH_HOOK_OFFLINE;
    offline_calls = 0;
    offline_answer = BH_OFFLINE_HANDLED;
    broker.receivers = 0;
    struct answer a = publish_now("user:nobody");
    assert_int_equal(a.status, BH_PUBLISH_OFFLINE);
    assert_int_equal(a.instances, 0);
    assert_int_equal(offline_calls, 1);
    publish_now("all"); /* a broadcast has no receivers to miss */
    assert_int_equal(offline_calls, 1);

    broker.receivers =
        2; /* others still hold the channel, but the tracker knows of no connection */
    publish(0, publish_of("user:nobody", "hi"), &a);
    settle();
    assert_int_equal(a.count, 0); /* it may not know them yet: asked again */
    pass(200);
    assert_answer(a, 0);
    assert_int_equal(a.status, BH_PUBLISH_OFFLINE);
    assert_int_equal(a.instances, 0);
    assert_int_equal(offline_calls, 2);
    a = publish_now("topic:news"); /* topics are not tracked */
    assert_int_equal(a.status, BH_PUBLISH_PUBLISHED);
    assert_int_equal(a.instances, 2);
    assert_int_equal(offline_calls, 2);
    node_down();
}

static void attempts_go_on_until_somebody_is_there(void **state) {
    set_up(1);
    with_hooks(0);
    struct bh_hooks_vt vt = *hooks.hooks.vt;
    vt.offline = on_offline;
    hooks.hooks.vt = &vt;
    hooks.hooks.present |= BH_HOOK_OFFLINE;
    offline_calls = 0;
    offline_answer = BH_OFFLINE_RETRY;
    broker.receivers = 0;
    publish_now("user:1");
    assert_int_equal(offline_attempt, 1);
    pass(1100);
    assert_int_equal(offline_calls, 2);
    assert_int_equal(offline_attempt, 2);
    opened(0, &subs[0], "1");
    pass(1100);
    assert_got(subs[0], "hi ");
    assert_int_equal(offline_calls, 2);
    pass(5000);
    assert_got(subs[0], "");
    /* The number of retries is limited. */
    publish_now("user:2");
    for (int i = 0; i < 30; i++)
        pass(1100);
    assert_int_equal(offline_attempt, 10);
    assert_int_equal(offline_calls, 12);
    node_down();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_told),
        cmocka_unit_test(who_does_not_ask_is_not_told),
        cmocka_unit_test(all_are_told_again),
        cmocka_unit_test(a_restore_of_nobody_ends_too),
        cmocka_unit_test(presence_reaches_one_worker),
        cmocka_unit_test(nobody_is_there),
        cmocka_unit_test(attempts_go_on_until_somebody_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
