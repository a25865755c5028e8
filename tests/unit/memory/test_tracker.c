/* test_tracker.c - the tracker and the broker of a single instance, under a real node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/backend/memory.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/core/node.h"

#include <stdio.h>

enum { WORKERS = 2 };

struct answer {
    unsigned count;
    int error;
    size_t users, connections[4];
    uint64_t number;
    char tenant[16];
};

static struct {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_node *node;
    struct bh_worker *workers[WORKERS];
} fx;

static unsigned delivered;

static int deliver(struct bh_subscriber *s, struct bh_message *m) {
    delivered++;
    return 0;
}

static const struct bh_subscriber_vt subscriber_vt = {.deliver = deliver};

static int setup(void **state) {
    struct bh_node_config config = {.instance = BH_SLICE("one"),
                                    .strategy = BH_STRATEGY_LOCAL_FIRST,
                                    .linger_ms = 1000,
                                    .payload_max = 1000,
                                    .seen_max = 100,
                                    .seen_ms = 1000};
    delivered = 0;
    fx.loop = bh_loop_new();
    fx.mailbox = bh_mailbox_new(fx.loop);
    fx.broker = bh_memory_broker_new();
    fx.tracker = bh_memory_tracker_new(3000);
    fx.node = bh_node_new(&config, fx.broker, fx.tracker, fx.loop, fx.mailbox);
    for (int i = 0; i < WORKERS; i++)
        fx.workers[i] = bh_node_add_worker(fx.node, fx.loop, fx.mailbox);
    assert_int_equal(bh_node_start(fx.node), 0);
    return 0;
}

static void tick(void) {
    for (int i = 0; i < 20; i++)
        bh_loop_tick(fx.loop, false);
}

static int teardown(void **state) {
    tick();
    bh_node_stop(fx.node);
    bh_mailbox_free(fx.mailbox);
    bh_node_free(fx.node);
    fx.tracker->vt->free(fx.tracker);
    fx.broker->vt->free(fx.broker);
    bh_loop_free(fx.loop);
    return 0;
}

static void on_open(void *ud, bh_handle handle, int error) {
    assert_int_equal(error, 0);
    (*(unsigned *)ud)++;
}

static void open_one(struct bh_worker *w, struct bh_subscriber *s, struct bh_slice user) {
    struct bh_identity parts = {.user = user, .tenant = BH_SLICE("t7")}, *identity;
    const char *why;
    unsigned opened = 0;
    assert_int_equal(bh_identity_new(&parts, &identity, &why), 0);
    *s = (struct bh_subscriber){.vt = &subscriber_vt};
    bh_node_open(w, s, identity, on_open, &opened, 1);
    tick();
    assert_int_equal(opened, 1);
}

static void close_one(struct bh_subscriber *s) {
    bh_node_close(s->worker, s, 1000, BH_SLICE("bye"));
}

static void on_answer(void *ud, bh_handle handle, int error, const struct bh_presence *users,
                      size_t count, int64_t as_of) {
    struct answer *a = ud;
    assert_int_equal(handle, 4);
    a->count++;
    a->error = error;
    a->users = count;
    assert_true(error || as_of > 0);
    for (size_t i = 0; i < count; i++) {
        a->connections[i] = users[i].count;
        if (!users[i].count || !users[i].connections)
            continue;
        a->number = users[i].connections[0].number;
        assert_true(bh_slice_eq(users[i].connections[0].instance, BH_SLICE("one")));
        snprintf(a->tenant, sizeof a->tenant, "%.*s", BH_SLICE_ARG(users[i].connections[0].tenant));
    }
}

static struct answer ask(size_t n, const struct bh_slice *users, bool with_connections) {
    struct answer a = {0};
    fx.tracker->vt->lookup(fx.tracker, fx.workers[1],
                           with_connections ? BH_LOOKUP_CONNECTIONS : BH_LOOKUP_ONLINE, users, n,
                           on_answer, &a, 4);
    tick();
    assert_int_equal(a.count, 1);
    return a;
}

static void test_lookup_asks_all_workers(void **state) {
    struct bh_subscriber a, b, c;
    struct bh_slice users[] = {BH_SLICE("42"), BH_SLICE("nobody"), BH_SLICE("43")};
    open_one(fx.workers[0], &a, BH_SLICE("42"));
    open_one(fx.workers[1], &b, BH_SLICE("42"));
    open_one(fx.workers[0], &c, BH_SLICE("43"));
    struct answer answer = ask(3, users, true);
    assert_int_equal(answer.error, 0);
    assert_int_equal(answer.users, 3);
    assert_int_equal(answer.connections[0], 2);
    assert_int_equal(answer.connections[1], 0);
    assert_int_equal(answer.connections[2], 1);
    assert_true(answer.number == c.number);
    assert_string_equal(answer.tenant, "t7");
    close_one(&a);
    close_one(&c);
    answer = ask(3, users, false);
    assert_int_equal(answer.connections[0], 1);
    assert_int_equal(answer.connections[2], 0);
    close_one(&b);
}

static void test_bad_user(void **state) {
    assert_int_equal(ask(1, &BH_SLICE("no user"), false).error, BH_EINVAL);
}

static void on_published(void *ud, bh_handle handle, int error, int64_t receivers,
                         const char *why) {
    *(int *)ud = error;
}

static void test_what_the_broker_brings_reaches_the_sockets(void **state) {
    struct bh_subscriber a, b;
    struct bh_topic to;
    struct bh_message parts = {.topic = &to,
                               .kind = BH_MESSAGE_DATA,
                               .opcode = BH_TEXT,
                               .flags = BH_MESSAGE_RAW,
                               .payload = BH_SLICE("hello")};
    int error = 1;
    open_one(fx.workers[0], &a, BH_SLICE("42"));
    open_one(fx.workers[1], &b, BH_SLICE("42"));
    bh_topic_parse(BH_SLICE("user:42"), &to);
    struct bh_message *m = bh_message_new(&parts);
    fx.broker->vt->publish(fx.broker, 0, m, on_published, &error, 0);
    bh_message_unref(m);
    tick();
    assert_int_equal(error, 0);
    assert_int_equal(delivered, 2);
    close_one(&a);
    close_one(&b);
}

/* --- presence: the tracker alone --- */

static char events[256];

static void on_presence(void *ud, struct bh_slice user, bool online, int64_t at) {
    size_t n = strlen(events);
    snprintf(events + n, sizeof events - n, "%.*s%s ", BH_SLICE_ARG(user), online ? "+" : "-");
    assert_true(at > 0);
}

static void tell(struct bh_tracker *t, const char *user, bool here) {
    struct bh_track change = {.here = here, .number = 1, .user = bh_slice_cstr(user)};
    t->vt->changed(t, &change, 1);
}

static void pass(struct bh_loop *loop, uint64_t ms) {
    bh_clock_fake_advance(ms);
    bh_loop_tick(loop, false);
}

static void expect_events(const char *expected) {
    assert_string_equal(events, expected);
    events[0] = '\0';
}

static void test_presence(void **state) {
    bh_clock_fake(1000000, 1700000000000);
    struct bh_loop *loop = bh_loop_new();
    struct bh_tracker *t = bh_memory_tracker_new(3000);
    struct bh_tracker_sink sink = {NULL, on_presence, NULL};
    events[0] = '\0';
    assert_int_equal(t->vt->start(t, loop, &sink), 0);
    tell(t, "a", true);
    tell(t, "a", true); /* a second device */
    expect_events("a+ ");
    tell(t, "a", false);
    pass(loop, 5000);
    expect_events("");
    tell(t, "a", false);
    pass(loop, 2000);
    tell(t, "a", true); /* back before the debounce is over */
    pass(loop, 5000);
    expect_events("");
    tell(t, "b", true);
    tell(t, "a", false);
    pass(loop, 1000);
    tell(t, "b", false);
    expect_events("b+ ");
    pass(loop, 2100);
    expect_events("a- ");
    pass(loop, 1000);
    expect_events("b- ");
    tell(t, "a", false); /* unknown: harmless */
    tell(t, "a", true);
    tell(t, "b", true);
    tell(t, "b", false);
    expect_events("a+ b+ ");
    t->vt->stop(t);
    pass(loop, 5000);
    expect_events("");
    t->vt->free(t);
    bh_loop_free(loop);
    bh_clock_real();
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_lookup_asks_all_workers),
        cmocka_unit_test(test_presence),
        T(test_bad_user),
        T(test_what_the_broker_brings_reaches_the_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
