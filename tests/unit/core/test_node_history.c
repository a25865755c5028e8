/* Publishing to topics with history: which publishes are appended, what their results say, and what
 * is refused. */
#include "node_internal.h"
#include "node_test.h"

static const struct bh_history_rule rules[] = {
    {.pattern = BH_SLICE("user:"), .prefix = true, .size = 10, .ttl_ms = 1000, .bytes = 1000}};

/* A history that appends at once, or later. */
static struct {
    struct bh_history base;
    int error;
    bool hold, known;
    int64_t receivers;
    unsigned appends;
    struct bh_message *last; /* a reference */
    const struct bh_history_rule *rule;
    char collapse[BH_COLLAPSE_MAX + 1];
    bh_appended_cb done;
    void *ud;
    bh_handle handle;
} fx;

static int fx_start(struct bh_history *h, struct bh_loop *l) {
    return 0;
}

static void fx_stop(struct bh_history *h) {}

static void answer_append(void) {
    struct bh_appended a = {{7, fx.appends}, fx.receivers, fx.known};
    fx.done(fx.ud, fx.handle, fx.error, fx.error ? NULL : &a, fx.error ? "the reason" : NULL);
}

static void fx_append(struct bh_history *h, unsigned w, struct bh_message *m,
                      const struct bh_history_rule *rule, struct bh_slice collapse,
                      bh_appended_cb done, void *ud, bh_handle handle) {
    fx.appends++;
    bh_message_unref(fx.last);
    fx.last = bh_message_ref(m);
    fx.rule = rule;
    snprintf(fx.collapse, sizeof fx.collapse, "%.*s", BH_SLICE_ARG(collapse));
    fx.done = done;
    fx.ud = ud;
    fx.handle = handle;
    if (!fx.hold)
        answer_append();
}

/* What is there already does not matter here. */
static void fx_read(struct bh_history *h, const struct bh_topic *topic,
                    const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                    size_t bytes, bh_range_cb done, void *ud, bh_handle handle) {
    done(ud, handle, BH_EUNAVAIL, NULL, NULL);
}

static void fx_tops(struct bh_history *h, const struct bh_topic *topics, size_t count,
                    bh_tops_cb done, void *ud, bh_handle handle) {
    done(ud, handle, BH_EUNAVAIL, NULL, 0);
}

static const struct bh_history_vt vt = {
    .start = fx_start,
    .stop = fx_stop,
    .append = fx_append,
    .read = fx_read,
    .tops = fx_tops,
};

static void up_with_history(unsigned workers, bool shared, enum bh_strategy strategy) {
    memset(&fx, 0, sizeof fx);
    fx.base.vt = &vt;
    fx.receivers = 1;
    node_up_with(workers, shared, strategy, NULL);
    node->config.history = (struct bh_history_config){.rules = rules, .rule_count = COUNT(rules)};
    bh_node_set_history(node, &fx.base);
}

static int up(void **state) {
    up_with_history(1, true, BH_STRATEGY_LOCAL_FIRST);
    return 0;
}

static int up_3(void **state) {
    up_with_history(3, true, BH_STRATEGY_LOCAL_FIRST);
    return 0;
}

static int up_alone(void **state) {
    up_with_history(1, false, BH_STRATEGY_LOCAL_FIRST);
    return 0;
}

static int down(void **state) {
    node_down();
    bh_message_unref(fx.last);
    return 0;
}

/* As the broker brings it back. */
static void echo(void) {
    struct bh_message parts = *fx.last;
    parts.flags |= BH_MESSAGE_POSITION;
    parts.position = (struct bh_position){7, fx.appends};
    bh_buf_ref(parts.buf);
    struct bh_message *m = bh_message_new(&parts);
    broker.sink.on_message(broker.sink.ud, m);
    bh_message_unref(m);
    settle();
}

/* --- what is appended --- */

static void every_strategy_but_local(void **state) {
    static const struct {
        enum bh_strategy strategy;
        enum bh_publish_history history;
        bool appended;
        enum bh_strategy used;
    } table[] = {
        {BH_STRATEGY_DEFAULT, BH_PUBLISH_HISTORY_DEFAULT, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_DEFAULT, BH_PUBLISH_HISTORY_ON, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_DEFAULT, BH_PUBLISH_HISTORY_OFF, false, BH_STRATEGY_LOCAL_FIRST},
        {BH_STRATEGY_LOCAL_FIRST, BH_PUBLISH_HISTORY_DEFAULT, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_REDIS, BH_PUBLISH_HISTORY_DEFAULT, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_REDIS, BH_PUBLISH_HISTORY_OFF, false, BH_STRATEGY_REDIS},
        {BH_STRATEGY_BOTH, BH_PUBLISH_HISTORY_ON, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_DURABLE, BH_PUBLISH_HISTORY_DEFAULT, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_DURABLE, BH_PUBLISH_HISTORY_ON, true, BH_STRATEGY_DURABLE},
        {BH_STRATEGY_LOCAL, BH_PUBLISH_HISTORY_DEFAULT, false, BH_STRATEGY_LOCAL},
        {BH_STRATEGY_LOCAL, BH_PUBLISH_HISTORY_OFF, false, BH_STRATEGY_LOCAL},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        unsigned before = fx.appends;
        fx.receivers = 0;
        struct bh_publish p = publish_of("user:42", "hi");
        p.strategy = (uint8_t)table[i].strategy;
        p.history = (uint8_t)table[i].history;
        struct answer a = publish_and_settle(0, p);
        assert_answer(a, 0);
        assert_int_equal(fx.appends - before, table[i].appended);
        assert_int_equal(a.strategy, table[i].used);
        assert_int_equal(a.position.epoch, table[i].appended ? 7 : 0);
        assert_int_equal(a.position.offset, table[i].appended ? fx.appends : 0);
        if (table[i].appended)
            assert_int_equal(a.status, BH_PUBLISH_STORED);
    }
}

static void other_topics_as_ever(void **state) {
    opened(0, &subs[0], "42");
    struct answer a = publish_and_settle(0, publish_of("topic:news", "hi"));
    assert_answer(a, 0);
    assert_int_equal(a.strategy, BH_STRATEGY_LOCAL_FIRST);
    assert_int_equal(a.position.epoch, 0);
    assert_int_equal(fx.appends, 0);
    assert_int_equal(broker.published, 1);
    assert_got(subs[0], "hi ");
}

static void a_default_of_local(void **state) {
    down(NULL);
    up_with_history(1, true, BH_STRATEGY_LOCAL);
    struct answer a = publish_and_settle(0, publish_of("user:42", "hi"));
    assert_int_equal(a.strategy, BH_STRATEGY_LOCAL);
    assert_int_equal(fx.appends, 0);
    struct bh_publish p = publish_of("user:42", "hi");
    p.history = BH_PUBLISH_HISTORY_ON;
    a = publish_and_settle(0, p);
    assert_int_equal(a.strategy, BH_STRATEGY_DURABLE);
    assert_int_equal(fx.appends, 1);
}

static void a_disconnect_is_never_appended(void **state) {
    struct answer a = {0};
    opened(0, &subs[0], "42");
    bh_node_disconnect(worker[0], BH_SLICE("42"), 4000, BH_SLICE("bye"), on_published, &a, 88);
    settle();
    assert_answer(a, 0);
    assert_int_equal(fx.appends, 0);
    assert_int_equal(subs[0].code, 4000);
}

static void what_is_refused(void **state) {
    static const struct {
        const char *topic;
        enum bh_strategy strategy;
        enum bh_publish_history history;
        bool collapse;
        const char *why;
    } table[] = {
        {"topic:news", BH_STRATEGY_DURABLE, BH_PUBLISH_HISTORY_DEFAULT, false,
         "strategy durable is for topics with history; add a rule for this topic to `history`"},
        {"topic:news", BH_STRATEGY_DEFAULT, BH_PUBLISH_HISTORY_ON, false,
         "this topic has no history"},
        {"topic:news", BH_STRATEGY_DEFAULT, BH_PUBLISH_HISTORY_DEFAULT, true, "collapse replaces"},
        {"user:42", BH_STRATEGY_LOCAL, BH_PUBLISH_HISTORY_DEFAULT, true, "collapse replaces"},
        {"user:42", BH_STRATEGY_DEFAULT, BH_PUBLISH_HISTORY_OFF, true, "collapse replaces"},
        {"user:42", BH_STRATEGY_LOCAL, BH_PUBLISH_HISTORY_ON, false, "strategy local stores"},
        {"user:42", BH_STRATEGY_DURABLE, BH_PUBLISH_HISTORY_OFF, false, "strategy durable stores"},
    };
    opened(0, &subs[0], "42");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT(table); i++) {
            struct bh_publish p = publish_of(table[i].topic, "hi");
            p.strategy = (uint8_t)table[i].strategy;
            p.history = (uint8_t)table[i].history;
            p.collapse = table[i].collapse ? bh_buf_copy(BH_SLICE("k")) : NULL;
            struct answer a = publish_and_settle(0, p);
            assert_answer(a, BH_EINVAL);
            assert_non_null(strstr(a.why, round ? "" : table[i].why));
        }
        bh_node_set_history(node, NULL); /* then no topic is a stream */
    }
    bh_node_set_history(node, &fx.base);
    assert_int_equal(fx.appends + broker.published, 0);
    assert_got(subs[0], "");
}

/* --- the append and its result --- */

static void it_is_delivered_by_its_echo(void **state) {
    for (unsigned i = 0; i < 3; i++)
        opened(i, &subs[i], "42");
    fx.receivers = 2;
    struct bh_publish p = publish_of("user:42", "hi");
    p.collapse = bh_buf_copy(BH_SLICE("key"));
    p.ttl_s = 3;
    p.except = 99;
    struct answer a = publish_and_settle(0, p);
    assert_answer(a, 0);
    assert_int_equal(a.status, BH_PUBLISH_DELIVERED);
    assert_int_equal(a.local, 3);
    assert_int_equal(a.instances, 2);
    assert_int_equal(broker.published, 0);
    assert_ptr_equal(fx.rule, &rules[0]);
    assert_string_equal(fx.collapse, "key");
    assert_int_equal(fx.last->flags, BH_MESSAGE_ECHO);
    assert_int_equal(fx.last->except, 99);
    assert_true(fx.last->expires_ms == bh_clock_ms() + 3000);
    assert_slice(fx.last->id, a.id);
    assert_got(subs[0], "");
    echo();
    for (unsigned i = 0; i < 3; i++)
        assert_got(subs[i], "hi ");
}

static void statuses(void **state) {
    static const struct {
        int64_t receivers;
        enum bh_publish_status status;
    } table[] = {{0, BH_PUBLISH_STORED}, {-1, BH_PUBLISH_STORED}, {2, BH_PUBLISH_PUBLISHED}};
    for (size_t i = 0; i < COUNT(table); i++) {
        fx.receivers = table[i].receivers;
        struct answer a = publish_and_settle(0, publish_of("user:42", "hi"));
        assert_answer(a, 0);
        assert_int_equal(a.status, table[i].status);
    }
}

static void without_other_instances(void **state) {
    struct answer a = publish_and_settle(0, publish_of("user:42", "hi"));
    assert_int_equal(a.status, BH_PUBLISH_STORED);
    assert_int_equal(a.instances, 0);
    opened(0, &subs[0], "42");
    a = publish_and_settle(0, publish_of("user:42", "hi"));
    assert_int_equal(a.status, BH_PUBLISH_DELIVERED);
    assert_int_equal(a.instances, 1);
}

/* The history knows the ids: the bus is not asked, and would punch holes. */
static void ids_are_the_history_s(void **state) {
    opened(0, &subs[0], "42");
    for (unsigned i = 1; i <= 2; i++) {
        struct bh_publish p = publish_of("user:42", "hi");
        with_id(&p, "m1");
        struct answer a = publish_and_settle(0, p);
        assert_answer(a, 0);
        assert_false(a.duplicate);
        assert_int_equal(fx.appends, i);
        assert_slice(fx.last->id, "m1");
        assert_false(fx.last->flags & BH_MESSAGE_DEDUP);
        echo();
        assert_got(subs[0], "hi ");
    }
    fx.known = true;
    struct bh_publish p = publish_of("user:42", "hi");
    with_id(&p, "m1");
    struct answer a = publish_and_settle(0, p);
    assert_answer(a, 0);
    assert_true(a.duplicate);
    assert_int_equal(a.status, BH_PUBLISH_STORED);
    assert_int_equal(a.position.offset, 3);
    assert_int_equal(a.strategy, BH_STRATEGY_DURABLE);
    assert_string_equal(a.id, "m1");
}

static void errors_are_the_publisher_s(void **state) {
    static const int errors[] = {BH_EUNAVAIL, BH_EIO, BH_ENOMEM, BH_EDENIED, BH_ETOOBIG};
    opened(0, &subs[0], "42");
    for (size_t i = 0; i < COUNT(errors); i++) {
        fx.error = errors[i];
        struct answer a = publish_and_settle(0, publish_of("user:42", "hi"));
        assert_answer(a, errors[i]);
        assert_string_equal(a.why, "the reason");
        assert_int_equal(a.strategy, BH_STRATEGY_DURABLE);
        assert_int_equal(a.position.epoch, 0);
        assert_int_equal(strlen(a.id), BH_UNIQUE_ID_LEN); /* to repeat it with */
    }
    assert_got(subs[0], "");
}

static void the_answer_may_come_later(void **state) {
    struct answer a;
    fx.hold = true;
    publish(0, publish_of("user:42", "hi"), &a);
    settle();
    assert_int_equal(a.count, 0);
    assert_true(bh_node_is_publishing(worker[0]));
    answer_append();
    answer_append(); /* looked up by its handle: no effect */
    settle();
    assert_answer(a, 0);
    assert_false(bh_node_is_publishing(worker[0]));
    publish(0, publish_of("user:42", "never"), &a); /* freed with the node */
}

static void the_hook_chooses(void **state) {
    with_hooks(BH_HOOK_PUBLISH);
    hooks.hold = true;
    struct answer a;
    struct bh_publish p = publish_of("user:42", "hi");
    p.collapse = bh_buf_copy(BH_SLICE("key"));
    publish(0, p, &a);
    assert_int_equal(fx.appends, 0);
    hooks.held_published(hooks.held_ud, 0, NULL);
    settle();
    assert_answer(a, 0);
    assert_int_equal(fx.appends, 1);
}

/* --- while the instance stops --- */

static unsigned settled;

static void on_settled(void *ud) {
    settled++;
}

static void an_append_needs_no_echo_when_it_stops(void **state) {
    struct answer before, meanwhile, after;
    settled = 0;
    opened(0, &subs[0], "42");
    fx.hold = true;
    publish(0, publish_of("user:42", "before"), &before);
    settle();
    bh_node_settle(worker[0], 1000, on_settled, NULL);
    settle();
    assert_int_equal(settled, 1); /* it does not wait for the append */
    answer_append();
    settle();
    assert_answer(before, 0);
    fx.hold = false;
    publish(0, publish_of("user:42", "after"), &after);
    settle();
    assert_answer(after, 0);
    assert_int_equal(after.strategy, BH_STRATEGY_DURABLE);
    assert_int_equal(after.position.offset, 2);
    echo();
    assert_got(subs[0], "after ");
    down(NULL);

    up(NULL);
    broker.hold = true; /* so that it waits for one with strategy redis */
    struct bh_publish p = publish_of("topic:x", "x");
    p.strategy = BH_STRATEGY_REDIS;
    publish(0, p, &before);
    bh_node_settle(worker[0], 1000, on_settled, NULL);
    settle();
    assert_int_equal(settled, 1);
    publish(0, publish_of("user:42", "meanwhile"), &meanwhile);
    settle();
    assert_answer(meanwhile, 0); /* not parked */
    assert_int_equal(fx.appends, 1);
}

/* --- nobody is there --- */

static struct {
    unsigned calls, attempt;
    enum bh_offline answer;
    struct bh_position position;
    char payload[32];
} offline;

static void on_offline(struct bh_hooks *h, struct bh_message *m, unsigned attempt,
                       bh_offline_cb done, void *ud, bh_handle handle) {
    offline.calls++;
    offline.attempt = attempt;
    done(ud, handle, offline.answer, 1000); /* m stays valid */
    offline.position = m->position;
    snprintf(offline.payload, sizeof offline.payload, "%.*s", BH_SLICE_ARG(m->payload));
}

static void with_on_offline(enum bh_offline answer) {
    with_hooks(BH_HOOK_OFFLINE);
    hooks.vt.offline = on_offline;
    memset(&offline, 0, sizeof offline);
    offline.answer = answer;
}

static void a_retry_appends_nothing(void **state) {
    with_on_offline(BH_OFFLINE_RETRY);
    fx.receivers = 0;
    struct answer a = publish_and_settle(0, publish_of("user:42", "hi"));
    assert_int_equal(a.status, BH_PUBLISH_STORED);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(offline.calls, i);
        assert_int_equal(offline.attempt, i);
        assert_true(bh_position_eq(offline.position, a.position));
        assert_string_equal(offline.payload, "hi");
        pass(1100);
        pass(300); /* the tracker is asked twice */
    }
    assert_int_equal(fx.appends, 1);
    opened(0, &subs[0], "42");
    unsigned calls = offline.calls;
    pass(1100);
    pass(300);
    pass(5000);
    assert_int_equal(offline.calls, calls); /* somebody has come, who reads the history */
    assert_got(subs[0], "");
    assert_int_equal(fx.appends, 1);
    assert_int_equal(broker.published, 0);
}

static void a_retry_without_other_instances(void **state) {
    with_on_offline(BH_OFFLINE_RETRY);
    publish_and_settle(0, publish_of("user:42", "hi"));
    pass(1100);
    assert_int_equal(offline.calls, 2);
    for (int i = 0; i < 30; i++)
        pass(1100);
    assert_int_equal(offline.calls, 10);
    assert_int_equal(fx.appends, 1);
}

static void the_tracker_decides_about_users(void **state) {
    with_on_offline(BH_OFFLINE_HANDLED);
    struct answer a;
    fx.receivers = 2; /* a channel lingers elsewhere, and the tracker knows of nobody */
    publish(0, publish_of("user:42", "hi"), &a);
    settle();
    assert_int_equal(a.count, 0);
    pass(300);
    assert_answer(a, 0);
    assert_int_equal(a.status, BH_PUBLISH_STORED);
    assert_int_equal(a.position.epoch, 7);
    assert_int_equal(offline.calls, 1);
}

#define TEST(test, setup) cmocka_unit_test_setup_teardown(test, setup, down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_strategy_but_local, up),
        TEST(other_topics_as_ever, up),
        TEST(a_default_of_local, up),
        TEST(a_disconnect_is_never_appended, up),
        TEST(what_is_refused, up),
        TEST(it_is_delivered_by_its_echo, up_3),
        TEST(statuses, up),
        TEST(without_other_instances, up_alone),
        TEST(ids_are_the_history_s, up),
        TEST(errors_are_the_publisher_s, up),
        TEST(the_answer_may_come_later, up),
        TEST(the_hook_chooses, up),
        TEST(an_append_needs_no_echo_when_it_stops, up),
        TEST(a_retry_appends_nothing, up),
        TEST(a_retry_without_other_instances, up_alone),
        TEST(the_tracker_decides_about_users, up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
