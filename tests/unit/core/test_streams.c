/* Streams on the bus, with scripted histories and brokers: order, healing, checks, gaps, rewinds.
 */
#include "streams_test.h"

static int up_live(void **state) {
    streams_up(1, true);
    return 0;
}

static int up_waiting(void **state) {
    streams_up(1, false);
    return 0;
}

/* Long enough for a jittered read. */
static void heal(void) {
    for (int i = 0; i < 20; i++)
        pass(10);
}

static void raw_open(struct sub *sub, const char *user) {
    static struct answer a;
    a = (struct answer){0};
    bh_node_open(worker[0], &sub->s, identity(user, NULL, NULL), on_joined, &a, 77);
    settle();
}

static void test_next_is_dispatched_and_older_is_dropped(void **state) {
    raw_open(&subs[0], "1");
    struct bh_message *a = log_append("user:1", "a"), *b = log_append("user:1", "b");
    channel(bh_message_ref(a));
    channel(bh_message_ref(b));
    channel(a);
    channel(b);
    assert_got(subs[0], "a b ");
    assert_int_equal(fake.reads, 0);
}

static void test_a_lost_message_is_read(void **state) {
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    append("user:1", "c");
    assert_got(subs[0], "a ");
    append("user:1", "d");
    heal();
    assert_got(subs[0], "b c d ");
    assert_int_equal(fake.reads, 1);
    append("user:1", "e");
    assert_got(subs[0], "e ");
    assert_int_equal(fake.reads, 1);
}

static void test_what_arrives_during_the_read_waits(void **state) {
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    fake.hold = true;
    append("user:1", "c");
    heal();
    assert_int_equal(fake.call_count, 1);
    call_carry_out(0);
    append("user:1", "d");
    assert_got(subs[0], "a ");
    call_answer(0);
    assert_got(subs[0], "b c d ");
    assert_int_equal(fake.call_count, 0);
}

static void test_late_messages_are_dispatched_during_the_read(void **state) {
    raw_open(&subs[0], "1");
    append("user:1", "a");
    struct bh_message *b = log_append("user:1", "b");
    fake.hold = true;
    append("user:1", "c");
    heal();
    channel(b);
    assert_got(subs[0], "a b c ");
    call_answer(0);
    assert_got(subs[0], "");
}

static void test_while_the_history_fails_nothing_is_told(void **state) {
    with_hooks(BH_HOOK_GAP);
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    fake.error = BH_EUNAVAIL;
    append("user:1", "c");
    for (int i = 0; i < 1000; i++)
        pass(100);
    assert_got(subs[0], "a ");
    assert_true(fake.reads > 20 && fake.reads < 100);
    fake.error = 0;
    pass(10000);
    assert_got(subs[0], "b c ");
    assert_string_equal(hooks.log, "");
}

static void test_what_cannot_be_read_is_a_gap(void **state) {
    with_hooks(BH_HOOK_GAP);
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    struct bh_message *c = log_append("user:1", "c");
    log_trim("user:1", 1);
    channel(c);
    heal();
    assert_got(subs[0], "a c ");
    assert_string_equal(hooks.log, "gap user:1 expired; ");
    append("user:1", "d");
    assert_got(subs[0], "d ");
}

static void test_a_message_that_no_read_brings_is_a_gap(void **state) {
    with_hooks(BH_HOOK_GAP);
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    struct bh_message *c = log_append("user:1", "c");
    log_of("user:1")->top = 1; /* a replica that is behind */
    channel(c);
    heal();
    assert_got(subs[0], "a c ");
    assert_string_equal(hooks.log, "gap user:1 lost; ");
    assert_int_equal(fake.reads, 3);
}

static void test_a_quiet_topic_notices_its_last_message(void **state) {
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    pass(40000);
    heal();
    assert_got(subs[0], "a b ");
    assert_int_equal(fake.reads, 1);
}

static void test_a_loss_before_the_first_message_is_noticed(void **state) {
    log_of("user:1");
    raw_open(&subs[0], "1");
    assert_int_equal(fake.topics_checked, 1);
    bh_message_unref(log_append("user:1", "a"));
    append("user:1", "b");
    heal();
    assert_got(subs[0], "a b ");
}

static void test_learned_and_lost_at_once(void **state) {
    bh_message_unref(log_append("user:1", "old"));
    raw_open(&subs[0], "1");
    bh_message_unref(log_append("user:1", "a"));
    pass(40000);
    heal();
    assert_got(subs[0], "a ");
}

static void lose_link(void) {
    shard(false);
    bh_message_unref(log_append("user:1", "b"));
    bh_message_unref(log_append("user:1", "c"));
    bh_message_unref(log_append("user:1", "d"));
    shard(true);
}

static void test_after_a_lost_link_all_is_read_once(void **state) {
    raw_open(&subs[0], "1");
    subscribed("user:1");
    append("user:1", "a");
    lose_link();
    heal();
    assert_got(subs[0], "a "); /* not live yet */
    subscribed("user:1");
    heal();
    assert_got(subs[0], "b c d ");
    assert_int_equal(fake.reads, 1);
}

static void test_after_a_lost_subscription_all_is_read_once(void **state) {
    with_hooks(BH_HOOK_GAP);
    client_open(0, &clients[0], "1", "small", NULL);
    subscribed("user:1");
    subscribed("topic:small");
    append("user:1", "a");
    lost("user:1");
    bh_message_unref(log_append("user:1", "b"));
    bh_message_unref(log_append("user:1", "c"));
    append("topic:small", "other");
    heal();
    assert_log(clients[0], "new a other "); /* not live yet */
    unsigned checked = fake.topics_checked, reads = fake.reads;
    subscribed("user:1");
    heal();
    assert_log(clients[0], "b c ");
    assert_int_equal(fake.topics_checked, checked + 1); /* not the other topic */
    assert_int_equal(fake.reads, reads + 1);
    append("user:1", "d");
    assert_log(clients[0], "d ");
    assert_string_equal(hooks.log, "");
}

/* The position is known, so it is live again as soon as the subscription is. */
static void test_who_comes_while_the_subscription_is_lost_waits(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    subscribed("user:1");
    subscribed("all");
    append("user:1", "a");
    lost("user:1");
    bh_message_unref(log_append("user:1", "b"));
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    heal();
    assert_log(clients[1], "");
    assert_log(clients[0], "new a ");
    subscribed("user:1");
    heal();
    assert_log(clients[1], "recovered a b ");
    assert_log(clients[0], "b ");
}

/* From a server that does not have the topic any more. */
static void test_a_late_message_of_a_lost_subscription(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    subscribed("user:1");
    append("user:1", "a");
    struct bh_message *b = log_append("user:1", "b"), *c = log_append("user:1", "c");
    lost("user:1");
    channel(bh_message_ref(b));
    subscribed("user:1");
    channel(b);
    channel(c);
    heal();
    assert_log(clients[0], "new a b c ");
}

static void test_an_unknown_position_and_a_lost_subscription_are_a_gap(void **state) {
    with_hooks(BH_HOOK_GAP);
    bh_message_unref(log_append("user:1", "old"));
    fake.error = BH_EUNAVAIL;
    raw_open(&subs[0], "1");
    subscribed("user:1");
    lost("user:1");
    bh_message_unref(log_append("user:1", "b"));
    subscribed("user:1");
    fake.error = 0;
    pass(10000);
    assert_string_equal(hooks.log, "gap user:1 lost; ");
}

static void test_what_was_removed_while_the_subscription_was_lost_is_not_given(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    subscribed("all");
    subscribed("user:1");
    append("user:1", "a");
    append("user:1", "b");
    lost("user:1");
    log_of("user:1")->epochs[2] = 0;
    subscribed("user:1");
    heal();
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    heal();
    assert_log(clients[1], "recovered a ");
}

static void test_all_was_removed_while_the_link_was_lost(void **state) {
    with_hooks(BH_HOOK_GAP);
    raw_open(&subs[0], "1");
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    lose_link();
    log_remove_all("user:1");
    subscribed("user:1");
    heal();
    assert_int_equal(fake.reads, 2); /* one to begin the stream */
    assert_id(&clients[0], "user:1:1-4");
    append("user:1", "e");
    shard(false);
    bh_message_unref(log_append("user:1", "f"));
    log_remove_all("user:1");
    bh_message_unref(log_append("user:1", "g"));
    shard(true);
    subscribed("user:1");
    heal();
    assert_log(clients[0], "new a e g ");
    assert_id(&clients[0], "user:1:1-7");
    assert_got(subs[0], "a e g ");
    assert_string_equal(hooks.log, "");
}

static void test_what_was_removed_while_the_link_was_lost_is_not_given(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    subscribed("user:1");
    append("user:1", "a");
    append("user:1", "b");
    append("user:1", "c");
    shard(false);
    log_of("user:1")->epochs[2] = 0;
    shard(true);
    subscribed("all");
    subscribed("user:1");
    heal();
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    heal();
    assert_log(clients[1], "recovered a c ");
    assert_log(clients[0], "new a b c ");
}

/* Only this instance has it. */
static void test_what_the_history_has_lost_is_given_from_the_tail(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    subscribed("user:1");
    append("user:1", "a");
    append("user:1", "b");
    append("user:1", "c");
    shard(false);
    log_rewind("user:1", 2);
    shard(true);
    subscribed("all");
    subscribed("user:1");
    client_open(0, &clients[1], "1", NULL, "user:1:1-1");
    heal();
    assert_log(clients[1], "recovered b c ");
    assert_log(clients[0], "new a b c ");
}

static void test_all_was_removed_and_an_epoch_began(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    shard(false);
    log_rewind("user:1", 0);
    bh_message_unref(log_append("user:1", "b"));
    log_remove_all("user:1");
    bh_message_unref(log_append("user:1", "c"));
    shard(true);
    subscribed("user:1");
    heal();
    assert_log(clients[0], "new a c ");
    assert_id(&clients[0], "user:1:2-3");
}

static void test_a_message_before_the_check_of_a_lost_link(void **state) {
    raw_open(&subs[0], "1");
    subscribed("user:1");
    append("user:1", "a");
    lose_link();
    fake.hold = true;
    subscribed("user:1");
    append("user:1", "e");
    heal();
    calls_answer_all();
    heal();
    calls_answer_all();
    assert_got(subs[0], "a b c d e ");
    assert_int_equal(fake.reads, 1);
}

static void test_an_unknown_position_and_a_lost_link_are_a_gap(void **state) {
    with_hooks(BH_HOOK_GAP);
    bh_message_unref(log_append("user:1", "old"));
    fake.error = BH_EUNAVAIL;
    raw_open(&subs[0], "1");
    subscribed("user:1");
    lose_link();
    subscribed("user:1");
    fake.error = 0;
    pass(10000);
    assert_string_equal(hooks.log, "gap user:1 lost; ");
}

/* The top comes by another link than the messages: it must not be newer than the client. */
static void test_a_topic_is_live_when_its_position_is_known(void **state) {
    struct answer a = {0};
    bh_message_unref(log_append("user:1", "before"));
    fake.hold = true;
    bh_node_open(worker[0], &subs[0].s, identity("1", NULL, NULL), on_joined, &a, 77);
    subscribed("user:1");
    subscribed("all");
    assert_int_equal(a.count, 0);
    call_carry_out(0);
    struct bh_message *m = log_append("user:1", "a");
    call_answer(0);
    settle();
    assert_int_equal(a.count, 1);
    channel(m);
    assert_got(subs[0], "a ");
}

static void test_a_top_that_comes_late_is_a_gap(void **state) {
    struct answer a = {0};
    with_hooks(BH_HOOK_GAP);
    fake.error = BH_EUNAVAIL;
    bh_node_open(worker[0], &subs[0].s, identity("1", NULL, NULL), on_joined, &a, 77);
    subscribed("user:1");
    subscribed("all");
    pass(10);
    assert_int_equal(a.count, 1);
    struct bh_message *m = log_append("user:1", "a");
    fake.error = 0;
    pass(1000);
    channel(m);
    assert_got(subs[0], "");
    assert_string_equal(hooks.log, "gap user:1 lost; ");
}

static void test_a_new_epoch_that_lost_nothing(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    log_rewind("user:1", 0);
    append("user:1", "b");
    heal();
    assert_log(clients[0], "new a b ");
    assert_id(&clients[0], "user:1:2-2");
    assert_int_equal(fake.reads, 2); /* one to begin the stream */
}

static void test_a_rewound_stream(void **state) {
    with_hooks(BH_HOOK_GAP);
    raw_open(&subs[0], "1");
    client_open(0, &clients[0], "1", NULL, NULL);
    for (int i = 0; i < 5; i++)
        append("user:1", "x");
    log_rewind("user:1", 3);
    append("user:1", "new3");
    heal();
    assert_log(clients[0], "new x x x x x rewound:user:1 new3 ");
    assert_got(subs[0], "x x x x x new3 ");
    assert_id(&clients[0], "user:1:2-3");
    append("user:1", "new4");
    assert_log(clients[0], "new4 ");
    assert_string_equal(hooks.log, "");
}

static void test_an_unknown_epoch_is_a_gap(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    struct log *log = log_of("user:1");
    log->epoch = log->top = log->first = 0;
    append("user:1", "b");
    heal();
    assert_log(clients[0], "new a gap:user:1:expired b ");
    assert_id(&clients[0], "user:1:2-1");
    append("user:1", "c");
    assert_log(clients[0], "c ");
}

static void test_held_messages_are_bounded(void **state) {
    raw_open(&subs[0], "1");
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    fake.hold = true;
    rules[0].size = 4000;
    subs[0].got[0] = '\0';
    append("user:1", "c");
    heal();
    call_carry_out(0);
    for (int i = 0; i < 1500; i++)
        append("user:1", "");
    call_answer(0);
    fake.hold = false;
    calls_answer_all();
    assert_int_equal(fake.reads, 2);
    assert_int_equal(strlen(subs[0].got), strlen("b c ") + 1019); /* the buffer of the test */
}

static void test_5000_publishes_while_a_read_hangs(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    rules[0].size = 8000;
    append("user:1", "a");
    struct bh_message *b = log_append("user:1", "b"), *m;
    fake.hold = true;
    append("user:1", "c");
    heal();
    call_carry_out(0);
    for (int i = 0; i < 4000; i++) {
        m = log_append("user:1", "x");
        broker.sink.on_message(broker.sink.ud, m);
        bh_message_unref(m);
    }
    settle();
    bh_message_unref(b);
    clients[0].log[0] = '\0';
    call_answer(0);
    calls_answer_all();
    heal();
    calls_answer_all();
    assert_id(&clients[0], "user:1:1-4003");
}

static void test_purged_entries_of_the_tail(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    append("user:1", "b");
    append("user:1", "c");
    struct bh_topic topic = test_topic("user:1");
    struct bh_message parts = {.kind = BH_MESSAGE_PURGE,
                               .opcode = BH_BINARY,
                               .flags = BH_MESSAGE_POSITION,
                               .topic = &topic,
                               .position = {1, 0},
                               .payload = BH_SLICE("2 9")};
    channel(bh_message_new(&parts));
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    assert_log(clients[1], "recovered a c ");
    parts.payload = BH_SLICE("all");
    channel(bh_message_new(&parts));
    client_open(0, &clients[2], "1", NULL, "user:1:1-0");
    assert_log(clients[2], "recovered ");
    assert_id(&clients[2], "user:1:1-3");
    assert_int_equal(fake.reads, 1);
}

static void test_kinds_that_only_the_bus_makes_are_ignored(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    clients[0].log[0] = '\0';
    for (uint8_t kind = BH_MESSAGE_TOMBSTONE + 1; kind < 8; kind++) {
        struct bh_topic topic = test_topic("user:1");
        struct bh_message parts = {.kind = kind,
                                   .opcode = BH_TEXT,
                                   .topic = &topic,
                                   .position = {1, 7},
                                   .payload = BH_SLICE("expired")};
        channel(bh_message_new(&parts));
    }
    assert_log(clients[0], "");
    assert_id(&clients[0], "user:1:1-1");
}

static void test_messages_without_a_position(void **state) {
    raw_open(&subs[0], "1");
    append("user:1", "a");
    arrives("user:1", "raw", "", BH_MESSAGE_RAW);
    arrives("user:1", "local", "x", 0);
    append("user:1", "b");
    assert_got(subs[0], "a raw local b ");
}

static void test_the_latest_state(void **state) {
    client_open(0, &clients[0], "1", "state", NULL);
    append("topic:state", "one");
    append("topic:state", "two");
    assert_log(clients[0], "new one two ");
    client_open(0, &clients[1], "2", "state", NULL);
    assert_log(clients[1], "new two ");
    client_open(0, &clients[2], "3", "state", "topic:state:99-1");
    assert_log(clients[2], "recovered two ");
    for (int i = 0; i < 3; i++)
        bh_message_unref(log_append("topic:state", "lost"));
    pass(40000);
    heal();
    assert_log(clients[0], "lost ");
    client_open(0, &clients[3], "3", "state", "topic:state:2-5");
    assert_log(clients[3], "recovered ");
}

static void test_the_latest_state_on_a_fresh_instance(void **state) {
    bh_message_unref(log_append("topic:state", "one"));
    bh_message_unref(log_append("topic:state", "two"));
    client_open(0, &clients[0], "1", "state", "topic:state:1-1");
    client_open(0, &clients[1], "2", "state", "topic:state:1-2");
    client_open(0, &clients[2], "3", "state", NULL);
    heal();
    assert_log(clients[0], "recovered two ");
    assert_log(clients[1], "recovered ");
    assert_log(clients[2], "new two ");
}

static void test_stop_while_reads_and_requests_are_under_way(void **state) {
    fake.hold = true;
    client_open(0, &clients[0], "1", NULL, "user:1:1-0");
    client_open(0, &clients[1], "2", NULL, NULL);
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    append("user:1", "c");
    assert_true(fake.call_count > 0);
}

static void test_the_stream_goes_with_its_topic(void **state) {
    fake.hold = true;
    client_open(0, &clients[0], "1", NULL, "user:1:1-0");
    client_close(&clients[0]);
    settle();
    pass(LINGER + 10);
    assert_non_null(strstr(broker.calls, "-user:1"));
    calls_answer_all();
    client_open(0, &clients[0], "1", NULL, NULL);
    calls_answer_all();
    assert_log(clients[0], "new ");
}

int main(void) {
#define LIVE(name)    cmocka_unit_test_setup_teardown(name, up_live, streams_teardown)
#define WAITING(name) cmocka_unit_test_setup_teardown(name, up_waiting, streams_teardown)
    const struct CMUnitTest tests[] = {
        LIVE(test_next_is_dispatched_and_older_is_dropped),
        LIVE(test_a_lost_message_is_read),
        LIVE(test_what_arrives_during_the_read_waits),
        LIVE(test_late_messages_are_dispatched_during_the_read),
        LIVE(test_while_the_history_fails_nothing_is_told),
        LIVE(test_what_cannot_be_read_is_a_gap),
        LIVE(test_a_message_that_no_read_brings_is_a_gap),
        LIVE(test_a_quiet_topic_notices_its_last_message),
        LIVE(test_a_loss_before_the_first_message_is_noticed),
        LIVE(test_learned_and_lost_at_once),
        WAITING(test_after_a_lost_link_all_is_read_once),
        WAITING(test_after_a_lost_subscription_all_is_read_once),
        WAITING(test_who_comes_while_the_subscription_is_lost_waits),
        WAITING(test_a_late_message_of_a_lost_subscription),
        WAITING(test_an_unknown_position_and_a_lost_subscription_are_a_gap),
        WAITING(test_what_was_removed_while_the_subscription_was_lost_is_not_given),
        WAITING(test_a_message_before_the_check_of_a_lost_link),
        WAITING(test_an_unknown_position_and_a_lost_link_are_a_gap),
        WAITING(test_a_topic_is_live_when_its_position_is_known),
        WAITING(test_a_top_that_comes_late_is_a_gap),
        LIVE(test_a_new_epoch_that_lost_nothing),
        LIVE(test_a_rewound_stream),
        LIVE(test_an_unknown_epoch_is_a_gap),
        LIVE(test_held_messages_are_bounded),
        LIVE(test_5000_publishes_while_a_read_hangs),
        LIVE(test_purged_entries_of_the_tail),
        LIVE(test_kinds_that_only_the_bus_makes_are_ignored),
        LIVE(test_messages_without_a_position),
        LIVE(test_all_was_removed_while_the_link_was_lost),
        WAITING(test_what_was_removed_while_the_link_was_lost_is_not_given),
        WAITING(test_what_the_history_has_lost_is_given_from_the_tail),
        LIVE(test_all_was_removed_and_an_epoch_began),
        LIVE(test_the_latest_state),
        LIVE(test_the_latest_state_on_a_fresh_instance),
        LIVE(test_stop_while_reads_and_requests_are_under_way),
        LIVE(test_the_stream_goes_with_its_topic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
