/* Clients that come back: what they are given and told, in which turn, and what leaves halfway. */

#include "streams.h"
#include "streams_test.h"

static int up_live(void **state) {
    streams_up(2, true);
    return 0;
}

static int up_waiting(void **state) {
    streams_up(1, false);
    return 0;
}

static void append_abc(const char *topic) {
    bh_message_unref(log_append(topic, "a"));
    bh_message_unref(log_append(topic, "b"));
    bh_message_unref(log_append(topic, "c"));
}

/* --- what a client is given --- */

static void test_a_new_client(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    assert_log(clients[0], "new ");
    assert_id(&clients[0], "user:1:1-0");
    append("user:1", "a");
    assert_log(clients[0], "a ");
    assert_id(&clients[0], "user:1:1-1");
    assert_int_equal(bh_subscriber_position(&clients[0].s, BH_SLICE("user:1")).offset, 1);
    assert_int_equal(bh_subscriber_position(&clients[0].s, BH_SLICE("all")).epoch, 0);
}

static void test_a_client_without_streams(void **state) {
    client_open(0, &clients[0], NULL, "other", NULL);
    assert_log(clients[0], "new ");
    assert_id(&clients[0], NULL);
    assert_true(bh_subscriber_is_recovered(&clients[0].s));
}

static void test_it_gets_what_it_missed(void **state) {
    append_abc("user:1");
    client_open(0, &clients[0], "1", NULL, "user:1:1-1");
    assert_log(clients[0], "recovered b c ");
    assert_id(&clients[0], "user:1:1-3");
    client_open(1, &clients[1], "1", NULL, "user:1:1-3");
    assert_log(clients[1], "recovered ");
    client_open(1, &clients[2], "1", NULL, "user:1:1-2");
    assert_log(clients[2], "recovered c ");
    assert_int_equal(fake.reads, 1);
}

static void test_a_position_beyond_the_tail(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    bh_message_unref(log_append("user:1", "b"));
    client_open(1, &clients[1], "1", NULL, "user:1:1-2");
    assert_log(clients[1], "recovered ");
    assert_log(clients[0], "new a b ");
    client_open(0, &clients[2], "1", NULL, "user:1:1-9");
    assert_log(clients[2], "recovered rewound:user:1 ");
    assert_id(&clients[2], "user:1:1-2");
}

static void test_what_is_not_kept_is_a_gap(void **state) {
    append_abc("user:1");
    log_trim("user:1", 1);
    client_open(0, &clients[0], "1", NULL, "user:1:1-1");
    assert_log(clients[0], "new gap:user:1:expired ");
    assert_id(&clients[0], "user:1:1-3");
    for (int i = 0; i < 20; i++) { /* one that asks again and again */
        client_open(0, &clients[1], "1", NULL, "user:1:1-1");
        assert_log(clients[1], "new gap:user:1:expired ");
        client_close(&clients[1]);
    }
    assert_int_equal(fake.reads, 1);
    client_open(0, &clients[2], "1", NULL, "user:1:77-1");
    assert_log(clients[2], "new gap:user:1:expired ");
    append("user:1", "d");
    assert_log(clients[2], "d ");
}

static void test_what_was_removed_is_no_gap(void **state) {
    append_abc("user:1");
    log_trim("user:1", 1);
    log_remove_all("user:1");
    client_open(0, &clients[0], "1", NULL, "user:1:1-1");
    assert_log(clients[0], "recovered ");
    assert_id(&clients[0], "user:1:1-3");
    append("user:1", "d");
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    assert_log(clients[1], "recovered d ");
}

static void test_a_snapshot_was_restored(void **state) {
    for (int i = 1; i <= 8; i++)
        bh_message_unref(log_append("user:1", "old"));
    log_rewind("user:1", 3);
    for (int i = 6; i <= 9; i++) {
        char text[16];
        snprintf(text, sizeof text, "new%d", i);
        bh_message_unref(log_append("user:1", text));
    }
    client_open(0, &clients[0], "1", NULL, "user:1:1-8");
    assert_log(clients[0], "recovered rewound:user:1 new6 new7 new8 new9 ");
    assert_id(&clients[0], "user:1:2-9");
    client_open(0, &clients[1], "1", NULL, "user:1:1-4");
    assert_log(clients[1], "recovered old new6 new7 new8 new9 ");
    client_open(0, &clients[2], "1", NULL, "user:1:1-7");
    assert_log(clients[2], "recovered rewound:user:1 new6 new7 new8 new9 ");
}

/* The first epoch began before its position, the next one behind it. */
static void test_a_rewind_is_told_over_two_epochs(void **state) {
    for (int i = 1; i <= 8; i++)
        bh_message_unref(log_append("user:1", "old"));
    log_rewind("user:1", 3);
    bh_message_unref(log_append("user:1", "new6"));
    bh_message_unref(log_append("user:1", "new7"));
    fake.hold = true;
    client_open(0, &clients[0], "1", NULL, "user:1:1-8");
    call_carry_out(0);
    bh_message_unref(log_append("user:1", "lost8"));
    append("user:1", "lost9");
    log_rewind("user:1", 3);
    bh_message_unref(log_append("user:1", "newer7"));
    for (int i = 0; i < 10; i++) {
        calls_answer_all();
        pass(100);
    }
    assert_log(clients[0], "recovered rewound:user:1 new6 newer7 ");
    assert_id(&clients[0], "user:1:3-7");
}

static void test_a_topic_that_is_no_stream_any_more(void **state) {
    client_open(0, &clients[0], "1", "other", "topic:other:1-4,user:1:1-0");
    assert_log(clients[0], "new gap:topic:other:off ");
    client_open(0, &clients[1], "1", NULL, "topic:secret:1-4,user:1:1-0"); /* not its topic now */
    assert_log(clients[1], "new ");
}

static void test_two_streams(void **state) {
    append_abc("user:1");
    append_abc("topic:small");
    fake.hold = true;
    client_open(0, &clients[0], "1", "small", "user:1:1-2,topic:small:2-1");
    assert_int_equal(fake.call_count, 2);
    call_answer(1);
    append("topic:small", "d");
    append("user:1", "d");
    assert_log(clients[0], "");
    calls_answer_all();
    assert_string_equal(clients[0].log + strlen("recovered "),
                        strstr(clients[0].log, "recovered ") + strlen("recovered "));
    assert_int_equal(strlen(clients[0].log), strlen("recovered b c c d d "));
    assert_id(&clients[0], "user:1:1-4,topic:small:2-4");
}

static void test_it_has_too_many_streams(void **state) {
    char names[9][16];
    struct bh_slice topics[9];
    struct answer a = {0};
    rules[0].pattern = BH_SLICE("topic:");
    for (int i = 0; i < 9; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        topics[i] = bh_slice_cstr(names[i]);
    }
    struct bh_identity parts = {.topics = topics, .topic_count = 9}, *who;
    assert_int_equal(bh_identity_new(&parts, &who, NULL), 0);
    bh_node_resume(worker[0], &clients[0].s, who, NULL, on_joined, &a, 0);
    settle();
    assert_answer(a, BH_ETOOBIG);
    client_close(&clients[0]);
    parts.topic_count = 8;
    a = (struct answer){0};
    assert_int_equal(bh_identity_new(&parts, &who, NULL), 0);
    bh_node_resume(worker[0], &clients[0].s, who, NULL, on_joined, &a, 0);
    settle();
    assert_answer(a, 0);
    a = (struct answer){0};
    bh_node_subscribe(worker[0], &clients[0].s, BH_SLICE("t8"), on_joined, &a, 0);
    settle();
    assert_answer(a, BH_ETOOBIG);
    assert_int_equal(bh_node_unsubscribe(worker[0], &clients[0].s, BH_SLICE("t0")), 0);
    a = (struct answer){0};
    bh_node_subscribe(worker[0], &clients[0].s, BH_SLICE("t8"), on_joined, &a, 0);
    settle();
    assert_answer(a, 0);
}

static void with_parts(const char *text, uint64_t except, uint64_t expires_ms) {
    struct bh_message *m = log_append("user:1", text);
    m->except = except;
    m->expires_ms = expires_ms;
    channel(m);
}

static void test_what_holds_for_live_messages_holds_for_missed_ones(void **state) {
    client_open(0, &clients[1], "1", NULL, NULL); /* keeps the tail */
    client_open(0, &clients[0], "1", NULL, NULL);
    client_close(&clients[0]);
    append("user:1", "a");
    with_parts("expired", 0, bh_loop_now(loop) + 10);
    with_parts("excepted", clients[1].s.number, 0);
    pass(20);
    clients[0].log[0] = '\0';
    client_open(0, &clients[0], "1", NULL, "user:1:1-0");
    assert_log(clients[0], "recovered a excepted ");
    assert_log(clients[1], "new a expired ");
    assert_id(&clients[0], "user:1:1-3");
    with_hooks(BH_HOOK_DELIVER);
    hooks.verdict = BH_DELIVER_REPLACED;
    client_open(0, &clients[2], "1", NULL, "user:1:1-2");
    assert_log(clients[2], "recovered replaced ");
    hooks.verdict = BH_DELIVER_SKIP;
    client_open(0, &clients[3], "1", NULL, "user:1:1-0");
    assert_log(clients[3], "recovered ");
    assert_id(&clients[3], "user:1:1-3");
}

/* --- waiting --- */

static void test_it_waits_until_the_subscription_is_live(void **state) {
    append_abc("user:1");
    client_open(0, &clients[0], "1", NULL, "user:1:1-2");
    assert_int_equal(fake.reads, 0);
    bh_message_unref(log_append("user:1", "d"));
    struct bh_message *e = log_append("user:1", "e");
    subscribed("user:1");
    channel(e);
    assert_log(clients[0], "recovered c d e ");
    assert_int_equal(fake.reads, 1);
}

static void test_it_waits_while_the_link_is_down(void **state) {
    append_abc("user:1");
    shard(false);
    client_open(0, &clients[0], "1", NULL, "user:1:1-2");
    pass(20000);
    assert_log(clients[0], "");
    shard(true);
    subscribed("user:1");
    assert_log(clients[0], "recovered c ");
}

static void test_it_is_told_after_recover_wait(void **state) {
    append_abc("user:1");
    shard(false);
    client_open(0, &clients[0], "1", NULL, "user:1:1-2");
    client_open(0, &clients[1], "1", NULL, NULL);
    pass(29000);
    assert_log(clients[0], "");
    pass(2000);
    assert_log(clients[0], "new gap:user:1:unavailable ");
    assert_log(clients[1], "new ");
    assert_id(&clients[0], NULL);
    shard(true);
    subscribed("user:1");
    pass(1000);
    assert_id(&clients[0], "user:1:1-3");
    append("user:1", "d");
    assert_log(clients[0], "d ");
    assert_log(clients[1], "d ");
}

static void test_the_history_is_away_for_20_s(void **state) {
    client_open(0, &clients[0], "1", NULL, NULL);
    append("user:1", "a");
    append("user:1", "b");
    fake.error = BH_EUNAVAIL;
    client_open(1, &clients[1], "1", NULL, "user:1:1-1");
    assert_log(clients[1], "recovered b "); /* needs no history */
    client_open(1, &clients[2], "1", NULL, "user:1:1-5");
    for (int i = 0; i < 20; i++)
        pass(1000);
    assert_log(clients[2], "");
    fake.error = 0;
    append_abc("user:1");
    pass(5000);
    assert_log(clients[2], "recovered ");
    assert_log(clients[0], "new a b a b c ");
    assert_id(&clients[2], "user:1:1-5");
}

/* --- limits --- */

static void test_more_than_its_room_is_a_gap(void **state) {
    append_abc("user:1");
    clients[0].room = 2;
    client_open(0, &clients[0], "1", NULL, "user:1:1-0");
    assert_log(clients[0], "new gap:user:1:expired ");
    append("user:1", "d");
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    assert_log(clients[1], "recovered a b c d ");
    clients[2].room = 2; /* now from the tail */
    client_open(0, &clients[2], "1", NULL, "user:1:1-1");
    assert_log(clients[2], "new gap:user:1:size ");
    clients[3].room = 2;
    client_open(0, &clients[3], "1", NULL, "user:1:1-2");
    assert_log(clients[3], "recovered c d ");
}

static void test_what_arrives_meanwhile_is_bounded_too(void **state) {
    append_abc("user:1");
    append_abc("topic:small");
    fake.hold = true;
    clients[0].room = 8;
    client_open(0, &clients[0], "1", "small", "user:1:1-3,topic:small:2-3");
    for (unsigned i = 0; i < fake.call_count; i++)
        if (strcmp(fake.calls[i].topics->name, "topic:small") == 0)
            call_answer(i);
    for (int i = 0; i < 10; i++)
        append("topic:small", "x");
    calls_answer_all();
    assert_log(clients[0], "new gap:topic:small:size ");
    append("topic:small", "y");
    assert_log(clients[0], "y ");
    assert_id(&clients[0], "user:1:1-3,topic:small:2-14");
}

static void test_the_window_keeps_the_last_used(void **state) {
    bh_clock_fake_run(0);
    client_open(0, &clients[0], "1", NULL, NULL);
    client_open(0, &clients[1], "2", NULL, NULL);
    append("user:1", "a");
    for (int i = 0; i < 99; i++)
        append("user:2", "bbbbbbbb");
    fake.reads = 0;
    client_open(0, &clients[2], "1", NULL, "user:1:1-0");
    assert_int_equal(fake.reads, 0);
    assert_log(clients[2], "recovered a ");
    client_open(0, &clients[3], "2", NULL, "user:2:2-98");
    assert_log(clients[3], "recovered bbbbbbbb ");
    assert_int_equal(fake.reads, 0);
}

static void test_a_tail_is_not_older_than_the_log(void **state) {
    client_open(0, &clients[0], NULL, "small", NULL);
    append("topic:small", "a");
    log_trim("topic:small", 0); /* expired */
    log_of("topic:small")->first = 2;
    pass(3600000);
    client_open(0, &clients[1], NULL, "small", "topic:small:1-0");
    assert_log(clients[1], "new gap:topic:small:expired ");
}

/* --- leaving halfway --- */

static void test_close_while_a_request_is_under_way(void **state) {
    append_abc("user:1");
    fake.hold = true;
    client_open(0, &clients[0], "1", NULL, "user:1:1-1");
    client_close(&clients[0]);
    client_open(0, &clients[0], "1", NULL, "user:1:1-2");
    calls_answer_all();
    assert_log(clients[0], "recovered c ");
}

static void close_it(struct client *c) {
    client_close(c);
}

static void test_close_inside_each_callback(void **state) {
    append_abc("user:1");
    log_rewind("user:1", 1);
    bh_message_unref(log_append("user:1", "C"));
    client_open(0, &clients[1], "1", NULL, "user:1:1-0");
    for (unsigned wanted = 1; wanted <= 4; wanted++) {
        clients[0].log[0] = '\0';
        clients[0].on_event = NULL;
        client_open(0, &clients[0], "1", NULL, NULL);
        client_close(&clients[0]);
    }
    clients[0].log[0] = '\0';
    clients[0].on_event = close_it;
    client_open(0, &clients[0], "1", NULL, "user:1:1-3");
    assert_log(clients[0], "recovered ");
    assert_int_equal(clients[0].s.handle, 0);
}

static unsigned events_until_close;

static void close_later(struct client *c) {
    if (--events_until_close == 0)
        client_close(c);
}

static void test_close_after_some_events(void **state) {
    append_abc("user:1");
    log_rewind("user:1", 1);
    bh_message_unref(log_append("user:1", "C"));
    for (unsigned n = 1; n <= 4; n++) {
        clients[0].on_event = close_later;
        events_until_close = n;
        clients[0].log[0] = '\0';
        client_open(0, &clients[0], "1", NULL, "user:1:1-3");
        if (n <= 3)
            assert_int_equal(clients[0].s.handle, 0);
        client_close(&clients[0]);
    }
    assert_log(clients[0], "recovered rewound:user:1 C ");
}

static void leave_small(struct client *c) {
    bh_node_unsubscribe(c->s.worker, &c->s, BH_SLICE("small"));
}

static void test_leave_inside_a_callback(void **state) {
    append_abc("topic:small");
    clients[0].on_event = leave_small;
    client_open(0, &clients[0], "1", "small", "topic:small:1-0");
    assert_log(clients[0], "recovered ");
    assert_id(&clients[0], "user:1:2-0");
    append("topic:small", "d");
    assert_log(clients[0], "");
    clients[0].on_event = NULL;
    append("user:1", "x");
    assert_log(clients[0], "x ");
}

static void rejoin_small(struct client *c) {
    static struct answer ignored;
    c->on_event = NULL;
    bh_node_unsubscribe(c->s.worker, &c->s, BH_SLICE("small"));
    bh_node_subscribe(c->s.worker, &c->s, BH_SLICE("small"), on_joined, &ignored, 0);
}

static void test_leave_and_join_inside_a_callback(void **state) {
    append_abc("topic:small");
    clients[0].on_event = rejoin_small;
    client_open(0, &clients[0], "1", "small", "topic:small:1-0");
    assert_log(clients[0], "recovered ");
    assert_true(bh_subscriber_is_recovered(&clients[0].s));
    append("topic:small", "d");
    assert_log(clients[0], "d ");
    assert_id(&clients[0], "user:1:2-0,topic:small:1-4");
}

static void test_leave_and_join_while_a_request_is_under_way(void **state) {
    struct answer a = {0};
    append_abc("topic:small");
    fake.hold = true;
    client_open(0, &clients[0], NULL, "small", "topic:small:1-1");
    call_carry_out(0);
    bh_node_unsubscribe(worker[0], &clients[0].s, BH_SLICE("small"));
    bh_node_subscribe(worker[0], &clients[0].s, BH_SLICE("small"), on_joined, &a, 0);
    append("topic:small", "d");
    calls_answer_all();
    assert_log(clients[0], "new ");
    assert_id(&clients[0], "topic:small:1-4");
}

/* --- stream sets --- */

static void test_clients_with_the_same_streams_share_their_set(void **state) {
    char text[BH_RESUME_TEXT_MAX + 1];
    client_open(0, &clients[0], "1", "small", NULL);
    client_open(0, &clients[1], "1", "small", NULL);
    client_open(0, &clients[2], "2", "small", NULL);
    client_open(1, &clients[3], "1", "small", NULL);
    const void *set = bh_subscriber_stream_set(&clients[0].s);
    assert_non_null(set);
    assert_ptr_equal(set, bh_subscriber_stream_set(&clients[1].s));
    assert_ptr_not_equal(set, bh_subscriber_stream_set(&clients[2].s));
    assert_ptr_not_equal(set, bh_subscriber_stream_set(&clients[3].s));
    uint64_t moves = bh_subscriber_stream_moves(&clients[0].s);
    append("topic:small", "a");
    assert_int_not_equal(moves, bh_subscriber_stream_moves(&clients[0].s));
    assert_int_equal(bh_subscriber_stream_moves(&clients[1].s),
                     bh_subscriber_stream_moves(&clients[0].s));
    assert_true(bh_subscriber_resume_text(&clients[0].s, text) > 2);
    assert_id(&clients[0], "user:1:1-0,topic:small:2-1");
    fake.hold = true;
    client_open(0, &clients[4], "1", "small", "user:1:77-1");
    assert_null(bh_subscriber_stream_set(&clients[4].s));
    assert_id(&clients[4], "user:1:77-1,topic:small:2-1");
    calls_answer_all();
    assert_ptr_equal(set, bh_subscriber_stream_set(&clients[4].s));
}

static uint64_t moves_at_last;

static void note_moves(struct client *c, struct bh_message *m) {
    moves_at_last = bh_subscriber_stream_moves(&c->s);
}

/* What a link noted at its last id says whether another one is due. */
static void test_moves_after_a_recovery(void **state) {
    for (int i = 0; i < 3; i++)
        bh_message_unref(log_append("user:1", "x"));
    clients[0].on_message = note_moves;
    client_open(0, &clients[0], "1", NULL, "user:1:1-0");
    settle();
    assert_log(clients[0], "recovered x x x ");
    assert_int_equal(bh_subscriber_stream_moves(&clients[0].s), moves_at_last);
    clients[0].on_message = NULL;
    for (int i = 0; i < 10; i++) {
        append("user:1", "y");
        assert_int_not_equal(bh_subscriber_stream_moves(&clients[0].s), moves_at_last);
    }
}

/* --- many --- */

#define MANY 10000

static struct client *many;

static void many_close(void) {
    for (unsigned i = 0; i < MANY; i++)
        client_close(&many[i]);
    bh_free(many);
}

static unsigned given, given_max;

static void count_given(struct client *c) {
    given += c->log[0] == 'r';
    c->log[0] = '\0';
}

static void test_10000_clients_of_one_topic(void **state) {
    append_abc("user:1");
    many = bh_calloc(MANY, sizeof *many);
    fake.hold = true;
    given = given_max = 0;
    for (unsigned i = 0; i < MANY; i++) {
        many[i].on_event = count_given;
        struct bh_identity *who = identity("1", NULL, NULL);
        struct bh_resume since = since_of(i % 2 ? "user:1:1-1" : "user:1:1-2");
        static struct answer ignored;
        many[i].room = 1000;
        many[i].s.vt = &client_vt;
        bh_node_resume(worker[i % 2], &many[i].s, who, &since, on_joined, &ignored, 0);
    }
    settle();
    assert_int_equal(fake.call_count, 1);
    bh_clock_fake_run(10); /* each reading of the clock is 10 us later */
    fake.hold = false;
    call_carry_out(0);
    struct call c = fake.calls[0];
    fake.call_count = 0;
    c.done_read(c.ud, c.handle, 0, c.range, NULL);
    bh_range_unref(c.range);
    bh_free(c.topics);
    unsigned turns = 0;
    while (given < MANY && turns < 10000) {
        unsigned before = given;
        bh_loop_tick(loop, false);
        turns++;
        if (given - before > given_max)
            given_max = given - before;
    }
    bh_clock_fake_run(0);
    assert_int_equal(given, MANY);
    assert_true(given_max <= 2 * 120); /* a millisecond for each of two workers */
    assert_int_equal(fake.reads, 1);
    many_close();
}

static void test_10000_own_topics(void **state) {
    char user[16], since[40];
    many = bh_calloc(MANY, sizeof *many);
    bh_free(fake.logs);
    fake.logs = NULL; /* no log at all: each read finds an unknown epoch */
    fake.log_count = fake.log_cap = 0;
    rules[0].size = 1;
    fake.error = BH_EUNAVAIL;
    for (unsigned i = 0; i < MANY; i++) {
        static struct answer ignored;
        snprintf(user, sizeof user, "%u", i);
        snprintf(since, sizeof since, "user:%u:1-1", i);
        struct bh_resume resume = since_of(since);
        many[i].room = 1000;
        many[i].s.vt = &client_vt;
        bh_node_resume(worker[i % 2], &many[i].s, identity(user, NULL, NULL), &resume, on_joined,
                       &ignored, 0);
    }
    bh_clock_fake_advance(1000);
    settle();
    unsigned before = fake.reads;
    for (int ms = 0; ms < 1000; ms += 4)
        pass(4);
    unsigned reads = fake.reads - before;
    assert_true(reads <= BH_STREAM_READS_PER_SECOND && reads > BH_STREAM_READS_PER_SECOND * 9 / 10);
    /* Those that need no read do not wait behind them. */
    client_open(0, &clients[0], NULL, "other", NULL);
    assert_log(clients[0], "new ");
    fake.error = 0;
    bh_message_unref(log_append("topic:small", "a"));
    fake.hold = true;
    client_open(0, &clients[1], NULL, "small", NULL);
    for (unsigned i = 0; i < fake.call_count; i++)
        if (fake.calls[i].what == CALL_TOPS)
            call_answer(i--);
    assert_log(clients[1], "new ");
    assert_id(&clients[1], "topic:small:1-1");
    fake.hold = false;
    for (unsigned n = fake.call_count; n > 0; n--)
        call_fail(0, BH_EIO);
    many_close();
}

int main(void) {
#define LIVE(name)    cmocka_unit_test_setup_teardown(name, up_live, streams_teardown)
#define WAITING(name) cmocka_unit_test_setup_teardown(name, up_waiting, streams_teardown)
    const struct CMUnitTest tests[] = {
        LIVE(test_a_new_client),
        LIVE(test_a_client_without_streams),
        LIVE(test_it_gets_what_it_missed),
        LIVE(test_a_position_beyond_the_tail),
        LIVE(test_what_is_not_kept_is_a_gap),
        LIVE(test_what_was_removed_is_no_gap),
        LIVE(test_a_snapshot_was_restored),
        LIVE(test_a_rewind_is_told_over_two_epochs),
        LIVE(test_a_topic_that_is_no_stream_any_more),
        LIVE(test_two_streams),
        LIVE(test_it_has_too_many_streams),
        LIVE(test_what_holds_for_live_messages_holds_for_missed_ones),
        WAITING(test_it_waits_until_the_subscription_is_live),
        WAITING(test_it_waits_while_the_link_is_down),
        WAITING(test_it_is_told_after_recover_wait),
        LIVE(test_the_history_is_away_for_20_s),
        LIVE(test_more_than_its_room_is_a_gap),
        LIVE(test_what_arrives_meanwhile_is_bounded_too),
        LIVE(test_the_window_keeps_the_last_used),
        LIVE(test_a_tail_is_not_older_than_the_log),
        LIVE(test_close_while_a_request_is_under_way),
        LIVE(test_close_inside_each_callback),
        LIVE(test_close_after_some_events),
        LIVE(test_leave_inside_a_callback),
        LIVE(test_leave_and_join_inside_a_callback),
        LIVE(test_leave_and_join_while_a_request_is_under_way),
        LIVE(test_clients_with_the_same_streams_share_their_set),
        LIVE(test_moves_after_a_recovery),
        LIVE(test_10000_clients_of_one_topic),
        LIVE(test_10000_own_topics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
