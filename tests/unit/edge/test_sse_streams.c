/* test_sse_streams.c - SSE links of clients that come back: ids, gaps and what slow clients are
 * told. Streams are where the test says (fake_streams.h). */
#include "edge_client.h"
#include "fake_streams.h"
#include "unit_test.h"

#define HASH "AAAAAAAAAAB"

static struct test t;
static struct client c;

static int up(void **state) {
    fake_streams_reset();
    test_setup(&t);
    return 0;
}

static int down(void **state) {
    hang_up(&c);
    test_end(&t);
    return 0;
}

static void request(struct client *client, const char *headers, int receive_buffer) {
    int before = t.opened;
    dial_with(&t, client, receive_buffer);
    send_text(client, "GET /sse?since=1." HASH ":5-6 HTTP/1.1\r\nHost: x\r\n");
    send_text(client, headers);
    send_text(client, "\r\n");
    WAIT_FOR(&t, t.opened == before + 1);
    expect_text(client, "\nretry: ");
}

/* The id comes in the gzip stream. */
static void request_gzip(struct client *client, const char *headers) {
    int before = t.opened;
    dial(&t, client);
    send_text(client, "GET /sse HTTP/1.1\r\nHost: x\r\n");
    send_text(client, headers);
    send_text(client, "\r\n");
    WAIT_FOR(&t, t.opened == before + 1);
    expect_text(client, "Content-Encoding: gzip\r\n");
}

/* format has one %s for the id of now. What came before is forgotten. */
static void expect_with_id(struct client *client, const char *format) {
    char id[BH_RESUME_TEXT_MAX + 1], text[BH_RESUME_TEXT_MAX + 256];
    bh_resume_format(&streams.at, id);
    snprintf(text, sizeof text, format, id);
    expect_text(client, text);
    assert_string_equal(strstr(client->got.p, text), text);
    bh_bytes_clear(&client->got);
}

static void start(void) {
    test_start(&t);
    request(&c, "", 0);
    expect_with_id(&c, "id: %s\n\n");
}

static void deliver(struct bh_message *m) {
    t.last->vt->deliver(t.last, m);
    bh_message_unref(m);
}

static struct bh_message *message(const char *name, const char *payload) {
    struct bh_topic topic;
    assert_int_equal(bh_topic_parse(bh_slice_cstr(name), &topic), 0);
    struct bh_message parts = {
        .opcode = BH_TEXT, .topic = &topic, .payload = bh_slice_cstr(payload)};
    return bh_message_new(&parts);
}

/* --- ids --- */

static void the_query_says_where_it_was(void **state) {
    int64_t before = count_of(BH_EDGE_SSE_RECOVERED);
    fake_streams_set("user:42", 7, 3);
    start();
    assert_int_equal(streams.since.count, 1);
    assert_true(bh_position_eq(streams.since.topics[0].position, (struct bh_position){5, 6}));
    assert_int_equal(count_of(BH_EDGE_SSE_RECOVERED), before + 1);
}

static void the_last_event_id_is_newer(void **state) {
    test_start(&t);
    request(&c, "Last-Event-ID: 1." HASH ":8-9\r\n", 0);
    assert_int_equal(streams.since.count, 1);
    assert_true(bh_position_eq(streams.since.topics[0].position, (struct bh_position){8, 9}));
}

static void an_empty_last_event_id_is_none(void **state) {
    test_start(&t);
    request(&c, "Last-Event-ID: \r\n", 0);
    assert_int_equal(streams.since.count, 1);
    assert_true(bh_position_eq(streams.since.topics[0].position, (struct bh_position){5, 6}));
}

static void a_message_of_a_stream_has_the_id_behind_it(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    deliver(fake_streams_next("user:42", "{}"));
    expect_with_id(&c, "data: {}\nid: %s\n\n");
    deliver(message("tenant:7", "1"));
    expect_text(&c, "data: 1\n\n");
    assert_string_equal(c.got.p, "data: 1\n\n");
}

static void a_move_without_a_message_is_a_heartbeat(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    fake_streams_set("user:42", 7, 4);
    expect_nothing(&c);
    advance(&t, 25000);
    expect_with_id(&c, "id: %s\n\n");
    advance(&t, 25000);
    expect_text(&c, ":\n\n");
    assert_string_equal(c.got.p, ":\n\n");
    bh_bytes_clear(&c.got);
    deliver(fake_streams_next("user:42", "{}"));
    expect_with_id(&c, "data: {}\nid: %s\n\n");
    advance(&t, 25000);
    expect_text(&c, ":\n\n");
    assert_string_equal(c.got.p, ":\n\n");
}

static void the_id_comes_when_it_is_recovered(void **state) {
    int64_t before = count_of(BH_EDGE_SSE_NOT_RECOVERED);
    streams.hold = true;
    streams.recovered = false;
    test_start(&t);
    request(&c, "", 0);
    bh_bytes_clear(&c.got);
    fake_streams_set("user:42", 7, 3);
    deliver(message("user:42", "not of the stream"));
    expect_text(&c, "data: not of the stream\n\n");
    bh_bytes_clear(&c.got);
    advance(&t, 25000);
    expect_text(&c, ":\n\n");
    assert_null(strstr(c.got.p, "id:"));
    streams.recovered = true;
    t.last->vt->recovered(t.last, false);
    expect_with_id(&c, "id: %s\n\n");
    assert_int_equal(count_of(BH_EDGE_SSE_NOT_RECOVERED), before + 1);
}

static void links_at_the_same_positions_share_an_event(void **state) {
    struct client other;
    streams.shared = true;
    fake_streams_set("user:42", 7, 3);
    start();
    struct bh_subscriber *first = t.last;
    request(&other, "", 0);
    expect_with_id(&other, "id: %s\n\n");
    struct bh_message *m = fake_streams_next("user:42", "{}");
    first->vt->deliver(first, m);
    t.last->vt->deliver(t.last, m);
    bh_message_unref(m);
    expect_with_id(&c, "data: {}\nid: %s\n\n");
    expect_with_id(&other, "data: {}\nid: %s\n\n");
    hang_up(&other);
}

static void a_shared_event_is_compressed_once(void **state) {
    static char payload[3000];
    struct client other;
    streams.shared = true;
    t.config.deflate =
        (struct bh_ws_deflate_config){BH_WS_DEFLATE_NO_TAKEOVER, .window_bits = 15, .level = 1};
    test_start(&t);
    fake_streams_set("user:42", 7, 3);
    request_gzip(&c, "Accept-Encoding: gzip\r\n");
    struct bh_subscriber *first = t.last;
    request_gzip(&other, "Accept-Encoding: deflate, gzip\r\n");
    memset(payload, '7', sizeof payload - 1);
    int64_t before = count_of(BH_EDGE_COMPRESSED);
    struct bh_message *m = fake_streams_next("user:42", payload);
    first->vt->deliver(first, m);
    t.last->vt->deliver(t.last, m);
    bh_message_unref(m);
    assert_int_equal(count_of(BH_EDGE_COMPRESSED), before + 1);
    assert_true(first->vt->queued(first) < 300);
    hang_up(&other);
}

/* --- gaps --- */

static void what_is_missing_is_told(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "lost");
    t.last->vt->rewound(t.last, BH_SLICE("all"));
    expect_with_id(&c, "event: gap\ndata: user:42\n\nevent: rewind\ndata: all\nid: %s\n\n");
}

static void it_is_told_before_a_message_that_covers_it(void **state) {
    char id[BH_RESUME_TEXT_MAX + 1], text[512];
    fake_streams_set("user:42", 7, 3);
    start();
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "lost");
    bh_resume_format(&streams.at, id);
    deliver(fake_streams_next("user:42", "{}"));
    snprintf(text, sizeof text, "event: gap\ndata: user:42\nid: %s\n\ndata: {}\n", id);
    expect_text(&c, text);
    expect_with_id(&c, "data: {}\nid: %s\n\n");
}

/* --- slow clients --- */

#define TOPICS 3
static const char *const names[TOPICS] = {"user:42", "tenant:7", "all"};

/* What a client has got of a stream. */
struct seen {
    bool got[4096];
    uint64_t told; /* up to here it knows what is missing */
    bool gap;      /* it was told, and the id comes with a later event */
    unsigned gaps, messages;
};

static uint64_t offset_in(const char *id, unsigned topic) {
    char hash[BH_RESUME_TEXT_MAX + 1];
    struct bh_resume one = {1, {{bh_topic_hash(bh_slice_cstr(names[topic])), {7, 0}}}};
    bh_resume_format(&one, hash);
    *strrchr(hash, '0') = '\0'; /* "1.<hash>:7-" */
    const char *at = strstr(id, hash + 2);
    assert_non_null(at);
    return strtoull(at + strlen(hash + 2), NULL, 10);
}

static unsigned gap_in(const char *block) {
    char text[64];
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(text, sizeof text, "event: gap\ndata: %s\n", names[i]);
        if (strncmp(block, text, strlen(text)) == 0)
            return i;
    }
    return TOPICS;
}

/* The client may go away behind each block and come back with its id: what the id covers it must
 * have got, or it was told. Data of streams begin with the number of the topic. */
static void check_block(struct seen *seen, const char *block) {
    unsigned gap = gap_in(block), topic = TOPICS;
    if (strncmp(block, "data: ", 6) == 0)
        topic = (unsigned)(block[6] - '0');
    const char *id = strncmp(block, "id: ", 4) == 0 ? block : strstr(block, "\nid: ");
    if (topic < TOPICS) {
        assert_non_null(id);
        assert_false(seen[topic].got[offset_in(id, topic)]);
        seen[topic].got[offset_in(id, topic)] = true;
        seen[topic].messages++;
    }
    if (gap < TOPICS) {
        seen[gap].gap = true;
        seen[gap].gaps++;
    }
    for (unsigned i = 0; id && i < TOPICS; i++) {
        if (seen[i].gap && topic == TOPICS)
            seen[i].told = offset_in(id, i);
        seen[i].gap = seen[i].gap && topic < TOPICS;
        for (uint64_t o = seen[i].told + 1; o <= offset_in(id, i); o++)
            if (!seen[i].got[o])
                fail_msg("%s %llu is missing: %.200s", names[i], (unsigned long long)o, id);
    }
}

static void read_blocks(struct seen *seen, unsigned most) {
    char *end;
    receive(&c);
    for (; most && (end = strstr(c.got.p, "\n\n")); most--) {
        end[1] = '\0';
        check_block(seen, c.got.p);
        bh_bytes_consume(&c.got, (size_t)(end + 2 - c.got.p));
        bh_bytes_addc(&c.got, '\0');
        c.got.len--;
    }
}

static const char *payload_of(char kind, size_t skip) {
    static char payload[40001];
    memset(payload, 'x', sizeof payload - 1);
    payload[skip] = kind;
    return payload + skip;
}

/* A client that reads now and then, and messages of three streams and of none, of any length. */
static void run_slow(enum bh_slow slow) {
    static struct seen seen[TOPICS];
    memset(seen, 0, sizeof seen);
    t.config.on_slow = slow;
    t.config.queue_bytes = 100000;
    for (unsigned i = 0; i < TOPICS; i++)
        fake_streams_set(names[i], 7, 0);
    test_start(&t);
    request(&c, "", 4096);
    expect_with_id(&c, "id: %s\n\n");
    int64_t before = count_of(BH_EDGE_MESSAGES_DROPPED);
    uint64_t random = 1;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned kind = test_random_from(&random) % (TOPICS + 1);
        size_t skip = test_random_from(&random) % 3 ? 39000 : test_random_from(&random) % 40000;
        if (kind == TOPICS)
            deliver(message("topic:none", payload_of('9', skip)));
        else
            deliver(fake_streams_next(names[kind], payload_of((char)('0' + kind), skip)));
        if (test_random_from(&random) % 8 == 0)
            run(&t);
        if (test_random_from(&random) % 300 == 0)
            read_blocks(seen, test_random_from(&random) % 200);
    }
    assert_true(count_of(BH_EDGE_MESSAGES_DROPPED) > before);
    for (int i = 0; i < 20; i++) {
        read_blocks(seen, UINT32_MAX);
        run_idle(&t);
    }
    for (unsigned i = 0; i < TOPICS; i++) {
        for (uint64_t o = seen[i].told + 1; o <= streams.at.topics[i].position.offset; o++)
            assert_true(seen[i].got[o]);
        assert_true(seen[i].gaps > 0 && seen[i].messages > 0);
    }
}

/* The id that follows what was missed would cover it. */
static void an_id_alone_goes_with_what_it_covers(void **state) {
    t.config.on_slow = BH_SLOW_DROP_OLDEST;
    t.config.queue_bytes = 100000;
    streams.hold = true;
    fake_streams_set("user:42", 7, 0);
    test_start(&t);
    request(&c, "", 4096);
    for (int i = 0; i < 4000 && t.last->vt->queued(t.last) < 60000; i++) { /* the kernel is full */
        deliver(message("topic:none", payload_of('9', 20000)));
        run(&t);
    }
    deliver(fake_streams_next("user:42", payload_of('0', 20000)));
    t.last->vt->recovered(t.last, true);
    run(&t);
    for (int i = 0; i < 5; i++)
        deliver(message("topic:none", payload_of('9', 20000)));
    expect_text(&c, "event: gap\ndata: user:42\nid: ");
    const char *gap = strstr(c.got.p, "event: gap");
    assert_null(memmem(c.got.p, (size_t)(gap - c.got.p), "\nid: ", 5));
    assert_null(memmem(c.got.p, (size_t)(gap - c.got.p), "data: 0", 7));
}

static void slow_clients_know_what_the_oldest_were(void **state) {
    run_slow(BH_SLOW_DROP_OLDEST);
}

static void slow_clients_know_what_the_newest_were(void **state) {
    run_slow(BH_SLOW_DROP_NEWEST);
}

/* To be closed for it would make it come back for the same. */
static void what_does_not_fit_of_what_it_missed_is_a_gap(void **state) {
    t.config.on_slow = BH_SLOW_CLOSE;
    t.config.queue_bytes = 100000;
    fake_streams_set("user:42", 7, 0);
    streams.hold = true;
    streams.recovered = false;
    test_start(&t);
    request(&c, "", 4096);
    for (int i = 0; i < 400; i++)
        deliver(fake_streams_next("user:42", payload_of('0', 20000)));
    assert_int_equal(t.closed, 0);
    streams.recovered = true;
    t.last->vt->recovered(t.last, true);
    expect_with_id(&c, "event: gap\ndata: user:42\nid: %s\n\n");
    assert_int_equal(t.closed, 0);
}

/* Without a stream only what does not fit is dropped, and nothing is told. */
static void messages_of_no_stream_are_dropped_one_by_one(void **state) {
    t.config.on_slow = BH_SLOW_DROP_OLDEST;
    t.config.queue_bytes = 100000;
    test_start(&t);
    request(&c, "", 4096);
    int64_t before = count_of(BH_EDGE_MESSAGES_DROPPED);
    int sent = 0;
    for (; sent < 3000 && count_of(BH_EDGE_MESSAGES_DROPPED) < before + 20; sent++) {
        deliver(message("topic:none", payload_of('9', 20000)));
        run(&t);
    }
    assert_int_equal(count_of(BH_EDGE_MESSAGES_DROPPED), before + 20);
    deliver(message("topic:none", "end"));
    expect_text(&c, "data: end\n\n");
    assert_int_equal(times(c.got.p, "data: 9"), sent - 20);
    assert_null(strstr(c.got.p, "event: gap"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_query_says_where_it_was),
        TEST(the_last_event_id_is_newer),
        TEST(an_empty_last_event_id_is_none),
        TEST(a_message_of_a_stream_has_the_id_behind_it),
        TEST(a_move_without_a_message_is_a_heartbeat),
        TEST(the_id_comes_when_it_is_recovered),
        TEST(links_at_the_same_positions_share_an_event),
        TEST(a_shared_event_is_compressed_once),
        TEST(what_is_missing_is_told),
        TEST(it_is_told_before_a_message_that_covers_it),
        TEST(an_id_alone_goes_with_what_it_covers),
        TEST(slow_clients_know_what_the_oldest_were),
        TEST(slow_clients_know_what_the_newest_were),
        TEST(what_does_not_fit_of_what_it_missed_is_a_gap),
        TEST(messages_of_no_stream_are_dropped_one_by_one),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
