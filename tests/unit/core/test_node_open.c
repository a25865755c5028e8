/* Connections open, join, leave and close: the calls to hooks and broker; each result exactly once.
 */
#include "node_test.h"

static int up_1(void **state) {
    node_up(1, true);
    return 0;
}

static int up_3(void **state) {
    node_up(3, true);
    return 0;
}

static void live(const char *topic) {
    broker.sink.on_subscribed(broker.sink.ud, bh_slice_cstr(topic));
    settle();
}

/* --- open --- */

static void open_completes_after_all_is_live(void **state) {
    unsigned last = bh_node_worker_count(node) - 1;
    struct answer a, second;
    open_sub(last, &subs[0], "42", &a);
    assert_int_equal(bh_node_connection_count(node), 1);
    assert_ptr_equal(bh_worker_subscriber(worker[last], subs[0].s.handle), &subs[0].s);
    settle();
    assert_string_equal(broker.calls, "+all +user:42 +tenant:7 +topic:news ");
    live("user:42");
    live("tenant:7");
    open_sub(0, &subs[1], "42", &second); /* waits like the first */
    settle();
    assert_int_equal(a.count + second.count, 0);
    live("topic:news");
    assert_answer(a, 0);
    assert_answer(second, 0);
    assert_int_equal(a.handle, 77);
    open_sub(0, &subs[2], "42", &a);
    settle(); /* all topics are live already */
    assert_answer(a, 0);
    assert_string_equal(broker.calls, "+all +user:42 +tenant:7 +topic:news ");
    assert_true(subs[0].s.number && subs[0].s.number != subs[1].s.number);
    assert_int_equal(subs[0].s.opened_at, 1700000000000);
}

static void without_other_instances_nobody_waits(void **state) {
    struct answer a;
    node_up(3, false);
    open_sub(1, &subs[0], "42", &a);
    assert_answer(a, 0);
    settle();
    assert_string_equal(broker.calls, "+all +user:42 +tenant:7 +topic:news ");
    node_down();
}

static void while_the_broker_is_down_nobody_waits(void **state) {
    struct answer before, after;
    open_sub(0, &subs[0], "1", &before);
    settle();
    assert_int_equal(before.count, 0);
    broker.sink.on_state(broker.sink.ud, 0, false);
    settle();
    assert_answer(before, 0);
    open_sub(0, &subs[1], "2", &after);
    settle();
    assert_answer(after, 0);
    broker.sink.on_state(broker.sink.ud, 0, true);
    live("user:1");
    assert_int_equal(before.count, 1);
}

static void nobody_in_particular_gets_broadcasts(void **state) {
    struct answer a = {0};
    bh_node_open(worker[0], &subs[0].s, identity(NULL, NULL, NULL), on_joined, &a, 1);
    settle();
    assert_answer(a, 0);
    assert_int_equal(subs[0].s.link_count, 1);
    arrives("all", "hello", "m1", 0);
    assert_got(subs[0], "hello ");
}

static void a_topic_twice_in_an_identity_is_one(void **state) {
    struct answer a = {0};
    struct bh_slice topics[] = {BH_SLICE("x"), BH_SLICE("x"), BH_SLICE("y")};
    struct bh_identity parts = {.topics = topics, .topic_count = 3}, *id;
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    bh_node_open(worker[0], &subs[0].s, id, on_joined, &a, 1);
    settle();
    live("topic:x");
    assert_int_equal(a.count, 0);
    live("topic:y");
    assert_answer(a, 0);
    assert_int_equal(subs[0].s.link_count, 3);
}

static void a_refused_topic_is_left_out(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.refuse = true;
    open_sub(0, &subs[0], "42", &a);
    settle();
    assert_string_equal(hooks.log, "ask topic:news; "); /* no other topic */
    assert_string_equal(broker.calls, "+all +user:42 +tenant:7 ");
    live("user:42");
    live("tenant:7");
    assert_answer(a, 0);
    assert_int_equal(subs[0].s.link_count, 3);
}

static void consent_may_come_later(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.hold = true;
    open_sub(0, &subs[0], "42", &a);
    settle();
    assert_int_equal(subs[0].s.link_count, 0);
    hooks.held_allowed(hooks.held_ud, hooks.held_handle, true, 0, (struct bh_slice){0});
    assert_int_equal(subs[0].s.link_count, 4);
    settle();
    live("user:42");
    live("tenant:7");
    live("topic:news");
    assert_answer(a, 0);
}

static void closed_while_it_waits_for_live(void **state) {
    struct answer a, other;
    open_sub(0, &subs[0], "42", &a);
    open_sub(0, &subs[1], "42", &other);
    settle();
    bh_node_close(worker[0], &subs[0].s, 1001, BH_SLICE(""));
    settle();
    live("user:42");
    live("tenant:7");
    live("topic:news");
    assert_answer(a, BH_ECLOSED);
    assert_answer(other, 0);
    pass(10 * LINGER);
    assert_int_equal(a.count, 1);
}

static void closed_and_never_live(void **state) {
    struct answer a;
    open_sub(0, &subs[0], "42", &a);
    settle();
    bh_node_close(worker[0], &subs[0].s, 1001, BH_SLICE(""));
    settle();
    pass(LINGER);
    assert_answer(a, BH_ECLOSED);
    assert_int_equal(worker[0]->ops.count, 0);
}

static void its_slot_used_again_while_it_waits(void **state) {
    struct answer a, next;
    open_sub(0, &subs[0], "1", &a);
    settle();
    bh_node_close(worker[0], &subs[0].s, 1001, BH_SLICE(""));
    open_sub(0, &subs[0], "2", &next); /* the same memory and slot, another user */
    settle();
    live("tenant:7");
    live("topic:news");
    live("user:1");
    assert_answer(a, BH_ECLOSED);
    assert_int_equal(next.count, 0);
    live("user:2");
    assert_answer(next, 0);
}

static void closed_while_a_hook_is_asked(void **state) {
    struct answer a;
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.hold = true;
    open_sub(0, &subs[0], "42", &a);
    bh_node_close(worker[0], &subs[0].s, 1001, BH_SLICE(""));
    assert_int_equal(a.count, 0);
    hooks.held_allowed(hooks.held_ud, hooks.held_handle, true, 0, (struct bh_slice){0});
    assert_answer(a, BH_ECLOSED);
    assert_int_equal(worker[0]->hub.topics.count, 0);
    settle();
    assert_string_equal(broker.calls, "+all ");
}

/* --- close --- */

static void close_tells_the_hooks_once_and_in_order(void **state) {
    with_hooks(BH_HOOK_UNSUBSCRIBE | BH_HOOK_CLOSE);
    opened(0, &subs[0], "42");
    bh_handle handle = subs[0].s.handle;
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE("bye"));
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE("bye"));
    assert_string_equal(hooks.log, "left topic:news closed; close 1000 bye; ");
    assert_null(bh_worker_subscriber(worker[0], handle));
    assert_null(subs[0].s.identity);
    assert_int_equal(subs[0].s.link_count, 0);
    assert_int_equal(subs[0].s.handle, 0);
    assert_int_equal(worker[0]->hub.topics.count, 0);
    assert_int_equal(bh_node_connection_count(node), 0);
    broker.calls[0] = '\0';
    settle();
    pass(LINGER - 1);
    assert_string_equal(broker.calls, "");
    pass(1);
    assert_non_null(strstr(broker.calls, "-user:42 "));
    assert_non_null(strstr(broker.calls, "-tenant:7 "));
    assert_non_null(strstr(broker.calls, "-topic:news "));
    assert_null(strstr(broker.calls, "-all")); /* pinned */
}

static void close_is_told_for_the_scripts_sake(void **state) {
    with_hooks(0); /* no hook, but s->script must be released */
    opened(0, &subs[0], "1");
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE(""));
    assert_string_equal(hooks.log, "");
    opened(0, &subs[0], "1");
    subs[0].s.script = &hooks;
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE(""));
    assert_string_equal(hooks.log, "close 1000 ; ");
}

static void what_never_opened_cannot_close(void **state) {
    with_hooks(BH_HOOK_CLOSE);
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE(""));
    assert_string_equal(hooks.log, "");
    assert_int_equal(bh_node_connection_count(node), 0);
}

static void close_again(struct bh_subscriber *s, struct bh_slice topic) {
    struct answer a = {0};
    bh_node_close(s->worker, s, 1008, BH_SLICE("again"));
    assert_int_equal(bh_node_unsubscribe(s->worker, s, BH_SLICE("news")), BH_ENOTFOUND);
    bh_node_subscribe(s->worker, s, BH_SLICE("more"), on_joined, &a, 1);
    assert_answer(a, BH_ECLOSED);
}

static void nothing_starts_while_it_closes(void **state) {
    with_hooks(BH_HOOK_UNSUBSCRIBE | BH_HOOK_CLOSE);
    opened(0, &subs[0], "42");
    hooks.on_unsubscribe = close_again;
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE("bye"));
    assert_string_equal(hooks.log, "left topic:news closed; close 1000 bye; ");
}

/* --- subscribe, unsubscribe --- */

static struct answer subscribe(struct sub *sub, const char *topic) {
    struct answer a = {0};
    char name[BH_TOPIC_NAME_MAX + 1];
    bh_node_subscribe(worker[0], &sub->s, bh_slice_cstr(topic), on_joined, &a, 5);
    settle();
    snprintf(name, sizeof name, "topic:%s", topic);
    live(name);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.handle, 5);
    return a;
}

static void subscribing_and_all_its_answers(void **state) {
    opened(0, &subs[0], "42");
    assert_int_equal(subscribe(&subs[0], "a/b").error, 0);
    arrives("topic:a/b", "hi", "m1", 0);
    assert_got(subs[0], "hi ");
    assert_int_equal(subscribe(&subs[0], "a/b").error, BH_EEXIST);
    assert_int_equal(subscribe(&subs[0], "a b").error, BH_EINVAL);
    assert_int_equal(subscribe(&subs[0], "").error, BH_EINVAL);
    with_hooks(BH_HOOK_SUBSCRIBE);
    hooks.refuse = true;
    assert_int_equal(subscribe(&subs[0], "c").error, BH_EDENIED);
    assert_int_equal(subs[0].s.link_count, 5);
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE(""));
    assert_int_equal(subscribe(&subs[0], "d").error, BH_ECLOSED);
    assert_int_equal(subscribe(&subs[1], "d").error, BH_ECLOSED);
}

static void the_longest_topics_are_subscribed_to(void **state) {
    static const char bytes[] = "x%:{";
    char id[BH_TOPIC_ID_MAX + 2], name[BH_TOPIC_NAME_MAX + 1];
    opened(0, &subs[0], "42");
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        memset(id, bytes[i], BH_TOPIC_ID_MAX);
        id[BH_TOPIC_ID_MAX] = '\0';
        assert_int_equal(subscribe(&subs[0], id).error, 0);
        sprintf(name, "topic:%s", id);
        arrives(name, "hi", "m1", 0);
        assert_got(subs[0], "hi ");
        assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, bh_slice_cstr(id)), 0);
        strcat(id, "x");
        assert_int_equal(subscribe(&subs[0], id).error, BH_EINVAL);
    }
    assert_int_equal(subs[0].s.link_count, 4);
}

static void an_identity_of_the_longest_ids_opens_and_closes(void **state) {
    struct bh_slice topics[256];
    struct bh_identity *identity;
    char ids[256][BH_TOPIC_ID_MAX];
    memset(ids, '%', sizeof ids);
    for (size_t i = 0; i < COUNT(topics); i++) {
        memset(ids[i], 'x', i);
        topics[i] = bh_slice(ids[i], i == 255 ? 1 : sizeof ids[i]);
    }
    struct bh_identity parts = {.user = test_long_id(':', BH_ID_MAX),
                                .tenant = test_long_id(':', BH_ID_MAX),
                                .topics = topics,
                                .topic_count = COUNT(topics)};
    assert_int_equal(bh_identity_new(&parts, &identity, NULL), 0);
    struct answer a = {0};
    with_hooks(BH_HOOK_UNSUBSCRIBE);
    bh_node_open(worker[0], &subs[0].s, identity, on_joined, &a, 77);
    settle();
    assert_int_equal(subs[0].s.link_count, 3 + COUNT(topics));
    bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE("bye"));
    settle();
    assert_int_equal(worker[0]->hub.topics.count, 0);
}

static void subscribing_has_an_end(void **state) {
    char name[32];
    opened(0, &subs[0], "42");
    for (int i = 4; i < BH_SUBSCRIBER_TOPICS_MAX; i++) {
        struct answer a = {0};
        sprintf(name, "t%d", i);
        bh_node_subscribe(worker[0], &subs[0].s, bh_slice_cstr(name), on_joined, &a, 5);
        settle();
        sprintf(name, "topic:t%d", i);
        broker.sink.on_subscribed(broker.sink.ud, bh_slice_cstr(name));
        settle();
        assert_answer(a, 0);
    }
    assert_int_equal(subscribe(&subs[0], "one-more").error, BH_ETOOBIG);
    assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, BH_SLICE("t4")), 0);
    assert_int_equal(subscribe(&subs[0], "one-more").error, 0);
}

static void unsubscribing(void **state) {
    with_hooks(BH_HOOK_UNSUBSCRIBE);
    opened(0, &subs[0], "42");
    assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, BH_SLICE("other")), BH_ENOTFOUND);
    assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, BH_SLICE("a b")), BH_EINVAL);
    assert_string_equal(hooks.log, "");
    assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, BH_SLICE("news")), 0);
    assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, BH_SLICE("news")), BH_ENOTFOUND);
    assert_string_equal(hooks.log, "left topic:news unsubscribed; ");
    settle();
    arrives("topic:news", "late", "m1", 0);
    assert_got(subs[0], "");
}

static struct answer returned;

static void join_again(struct bh_subscriber *s, struct bh_slice topic) {
    hooks.on_unsubscribe = NULL;
    bh_node_subscribe(s->worker, &subs[1].s, BH_SLICE("news"), on_joined, &returned, 1);
}

/* The bus must learn that it left before it learns that it joined again. */
static void a_hook_may_bring_the_topic_back(void **state) {
    for (int closing = 0; closing < 2; closing++) {
        returned = (struct answer){0};
        with_hooks(BH_HOOK_UNSUBSCRIBE);
        opened(0, &subs[0], "1");
        if (!subs[1].s.handle)
            opened(0, &subs[1], "2");
        bh_node_unsubscribe(worker[0], &subs[1].s, BH_SLICE("news"));
        hooks.on_unsubscribe = join_again;
        if (closing)
            bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE(""));
        else
            assert_int_equal(bh_node_unsubscribe(worker[0], &subs[0].s, BH_SLICE("news")), 0);
        settle();
        assert_answer(returned, 0);
        arrives("topic:news", "still", closing ? "m1" : "m2", 0);
        assert_got(subs[1], "still ");
        pass(10 * LINGER);
        arrives("topic:news", "there", closing ? "m3" : "m4", 0);
        assert_got(subs[1], "there ");
        if (!closing)
            bh_node_close(worker[0], &subs[0].s, 1000, BH_SLICE(""));
    }
}

static void memory_comes_back_after_many(void **state) {
    static struct sub many[2000];
    struct answer a;
    broker.live_at_once = true;
    for (size_t i = 0; i < COUNT(many); i++) {
        char user[16];
        sprintf(user, "u%zu", i);
        many[i].s.vt = &sub_vt;
        open_sub(i % 3, &many[i], user, &a);
        broker.calls[0] = '\0';
    }
    settle();
    assert_int_equal(bh_node_connection_count(node), COUNT(many));
    for (size_t i = 0; i < COUNT(many); i++)
        bh_node_close(many[i].s.worker, &many[i].s, 1000, BH_SLICE(""));
    settle();
    pass(LINGER);
    for (unsigned w = 0; w < 3; w++) {
        assert_int_equal(worker[w]->hub.topics.count, 0);
        assert_int_equal(worker[w]->ops.count + worker[w]->subscribers.count, 0);
    }
    assert_int_equal(bh_node_connection_count(node), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, up_1, node_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(open_completes_after_all_is_live),
        cmocka_unit_test_setup_teardown(open_completes_after_all_is_live, up_3, node_teardown),
        cmocka_unit_test(without_other_instances_nobody_waits),
        TEST(while_the_broker_is_down_nobody_waits),
        TEST(nobody_in_particular_gets_broadcasts),
        TEST(a_topic_twice_in_an_identity_is_one),
        TEST(a_refused_topic_is_left_out),
        TEST(consent_may_come_later),
        TEST(closed_while_it_waits_for_live),
        TEST(closed_and_never_live),
        TEST(its_slot_used_again_while_it_waits),
        TEST(closed_while_a_hook_is_asked),
        TEST(close_tells_the_hooks_once_and_in_order),
        TEST(close_is_told_for_the_scripts_sake),
        TEST(what_never_opened_cannot_close),
        TEST(nothing_starts_while_it_closes),
        TEST(subscribing_and_all_its_answers),
        TEST(the_longest_topics_are_subscribed_to),
        TEST(an_identity_of_the_longest_ids_opens_and_closes),
        TEST(subscribing_has_an_end),
        TEST(unsubscribing),
        TEST(a_hook_may_bring_the_topic_back),
        cmocka_unit_test_setup_teardown(memory_comes_back_after_many, up_3, node_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
