/* test_json_session.c - connections with format=json: positions, gaps and what slow clients are
 * told. Streams are where the test says (fake_streams.h); topics, rights and texts are tested with
 * the real program (format_json_spec.lua). */
#include "edge_client.h"
#include "fake_streams.h"
#include "unit_test.h"

#include <stdlib.h>

#define HASH "AAAAAAAAAAB"

static struct test t;
static struct client c;

static int up(void **state) {
    fake_streams_reset();
    test_setup(&t);
    return 0;
}

static int down(void **state) {
    test_end(&t);
    return 0;
}

static void begin_upgrade(struct client *client, const char *headers, int receive_buffer) {
    dial_with(&t, client, receive_buffer);
    send_text(client, UPGRADE("/ws?format=json&since=1." HASH ":5-6"));
    send_text(client, headers);
    send_text(client, "\r\n");
    expect_101(client);
    WAIT_FOR(&t, t.last != NULL);
}

/* {"recovered":...}, with the positions of now. */
static void expect_first(struct client *client, const char *recovered) {
    char id[BH_RESUME_TEXT_MAX + 1], text[BH_RESUME_TEXT_MAX + 64];
    bh_resume_format(&streams.at, id);
    snprintf(text, sizeof text, "{\"recovered\":%s,\"id\":\"%s\"}", recovered, id);
    expect_frame(client, 1, bh_slice_cstr(text));
}

static void start(void) {
    test_start(&t);
    begin_upgrade(&c, "", 0);
    expect_first(&c, "true");
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

/* format has one %s for the id of now. */
static void expect_with_id(struct client *client, const char *format) {
    char id[BH_RESUME_TEXT_MAX + 1], text[BH_RESUME_TEXT_MAX + 256];
    bh_resume_format(&streams.at, id);
    snprintf(text, sizeof text, format, id);
    expect_frame(client, 1, bh_slice_cstr(text));
}

/* --- positions --- */

static void the_first_frame_says_where_it_is(void **state) {
    test_start(&t);
    fake_streams_set("user:42", 7, 3);
    begin_upgrade(&c, "", 0);
    assert_int_equal(streams.since.count, 1);
    assert_true(streams.since.topics[0].hash == 1);
    assert_true(bh_position_eq(streams.since.topics[0].position, (struct bh_position){5, 6}));
    expect_first(&c, "true");
    hang_up(&c);
}

static void a_message_of_a_stream_has_the_id_behind_it(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    deliver(fake_streams_next("user:42", "{}"));
    expect_with_id(&c, "{\"topic\":\"user:42\",\"id\":\"%s\",\"data\":{}}");
    deliver(fake_streams_next("user:42", "x"));
    expect_with_id(&c,
                   "{\"topic\":\"user:42\",\"id\":\"%s\",\"data\":\"x\",\"encoding\":\"text\"}");
    deliver(message("tenant:7", "1"));
    expect_frame(&c, 1, BH_SLICE("{\"topic\":\"tenant:7\",\"data\":1}"));
    hang_up(&c);
}

/* New clients: the core knows where they are behind the first frame. */
static void the_first_id_comes_at_once(void **state) {
    streams.hold = true;
    streams.recovered = false;
    test_start(&t);
    begin_upgrade(&c, "", 0);
    t.last->vt->recovered(t.last, false);
    expect_first(&c, "false");
    fake_streams_set("user:42", 7, 0);
    expect_nothing(&c);
    streams.recovered = true;
    deliver(message("user:42", "1"));
    expect_frame(&c, 1, BH_SLICE("{\"topic\":\"user:42\",\"data\":1}"));
    expect_with_id(&c, "{\"id\":\"%s\"}");
    fake_streams_set("user:42", 7, 1); /* from now on it has its time */
    deliver(message("user:42", "1"));
    expect_frame(&c, 1, BH_SLICE("{\"topic\":\"user:42\",\"data\":1}"));
    expect_nothing(&c);
    hang_up(&c);
}

static void one_that_comes_back_has_its_id(void **state) {
    streams.hold = true;
    streams.recovered = false;
    fake_streams_set("user:42", 7, 3);
    test_start(&t);
    begin_upgrade(&c, "", 0);
    t.last->vt->recovered(t.last, true);
    expect_first(&c, "true");
    deliver(fake_streams_next("user:42", "{}"));
    streams.moves++; /* without another text, as at the end of a recovery */
    streams.recovered = true;
    expect_with_id(&c, "{\"topic\":\"user:42\",\"id\":\"%s\",\"data\":{}}");
    expect_nothing(&c);
    hang_up(&c);
}

static void a_move_without_a_message_is_a_heartbeat(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    send_frame(&c, 0x8a, BH_SLICE("")); /* heard: no ping is due for a while */
    fake_streams_set("user:42", 7, 4);
    expect_nothing(&c);
    advance(&t, 25000);
    expect_with_id(&c, "{\"id\":\"%s\"}");
    hang_up(&c);
}

static void without_a_move_there_is_no_heartbeat(void **state) {
    t.config.ping_interval_ms = 0;
    fake_streams_set("user:42", 7, 3);
    start();
    deliver(fake_streams_next("user:42", "{}"));
    expect_with_id(&c, "{\"topic\":\"user:42\",\"id\":\"%s\",\"data\":{}}");
    for (int i = 0; i < 5; i++)
        advance(&t, 25000);
    expect_nothing(&c);
    fake_streams_set("user:42", 7, 9);
    advance(&t, 25000);
    expect_with_id(&c, "{\"id\":\"%s\"}");
    advance(&t, 25000);
    expect_nothing(&c);
    hang_up(&c);
}

static void clients_with_the_same_streams_share_a_frame(void **state) {
    static char payload[3000];
    struct client other;
    struct bh_bytes got = {0};
    streams.shared = true;
    fake_streams_set("user:42", 7, 3);
    start();
    struct bh_subscriber *first = t.last;
    begin_upgrade(&other, "", 0);
    expect_first(&other, "true");
    memset(payload, '7', sizeof payload - 1);
    struct bh_message *m = fake_streams_next("user:42", payload);
    first->vt->deliver(first, m);
    t.last->vt->deliver(t.last, m);
    bh_message_unref(m);
    assert_int_equal(take_frame(&c, &got), 1);
    expect_frame(&other, 1, bh_bytes_slice(&got));
    bh_bytes_free(&got);
    hang_up(&c);
    hang_up(&other);
}

/* --- compression --- */

#define DEFLATE "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

static void start_deflate(enum bh_ws_deflate_mode mode) {
    t.config.deflate = (struct bh_ws_deflate_config){mode, 15, 6};
    t.config.deflate_threshold = 100;
    test_start(&t);
    begin_upgrade(&c, DEFLATE, 0);
}

/* The next frame, inflated if it is compressed. */
static void expect_inflated(struct bh_inflater *inflater, const char *expected, bool compressed) {
    struct bh_slice payload;
    struct bh_bytes out = {0};
    WAIT_FOR(&t, has_frame(&c));
    size_t n = whole_frame(&c, &payload);
    assert_int_equal((unsigned char)c.got.p[0], compressed ? 0xc1 : 0x81);
    if (compressed) {
        bh_inflater_begin(inflater);
        while (bh_inflater_step(inflater, &payload, 1 << 20, &out) == BH_INFLATE_AGAIN)
            ;
        payload = bh_bytes_slice(&out);
    }
    assert_slice(payload, expected);
    bh_bytes_consume(&c.got, n);
    bh_bytes_free(&out);
}

static void a_shared_text_is_compressed_once(void **state) {
    static char payload[3000];
    struct client other;
    streams.shared = true;
    fake_streams_set("user:42", 7, 3);
    start_deflate(BH_WS_DEFLATE_NO_TAKEOVER);
    expect_first(&c, "true");
    struct bh_subscriber *first = t.last;
    begin_upgrade(&other, DEFLATE, 0);
    expect_first(&other, "true");
    memset(payload, '7', sizeof payload - 1);
    int64_t before = count_of(BH_EDGE_COMPRESSED);
    struct bh_message *m = fake_streams_next("user:42", payload);
    first->vt->deliver(first, m);
    t.last->vt->deliver(t.last, m);
    bh_message_unref(m);
    assert_int_equal(count_of(BH_EDGE_COMPRESSED), before + 1);
    WAIT_FOR(&t, has_frame(&c) && has_frame(&other));
    assert_int_equal(c.got.len, other.got.len);
    assert_memory_equal(c.got.p, other.got.p, c.got.len);
    hang_up(&c);
    hang_up(&other);
}

/* Frames that were compressed before the first one are sent behind it. */
static void a_context_survives_what_is_sent_late(void **state) {
    static char payload[1000], expected[1300];
    char id[BH_RESUME_TEXT_MAX + 1];
    struct bh_inflater *inflater = bh_inflater_new(15, true);
    streams.hold = true;
    start_deflate(BH_WS_DEFLATE_TAKEOVER);
    for (size_t i = 0; i < sizeof payload - 1; i++)
        payload[i] = (char)('1' + i % 8);
    for (int i = 0; i < 2; i++)
        deliver(message("user:42", payload));
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX; i++) {
        snprintf(id, sizeof id, "topic:%u", i);
        fake_streams_set(id, BH_POSITION_END - 1, BH_POSITION_END - 1);
    }
    t.last->vt->recovered(t.last, true);
    deliver(message("user:42", payload));
    bh_resume_format(&streams.at, id);
    snprintf(expected, sizeof expected, "{\"recovered\":true,\"id\":\"%s\"}", id);
    expect_inflated(inflater, expected, false);
    snprintf(expected, sizeof expected, "{\"topic\":\"user:42\",\"data\":%s}", payload);
    for (int i = 0; i < 3; i++)
        expect_inflated(inflater, expected, true);
    bh_inflater_free(inflater);
    hang_up(&c);
}

/* --- before the first frame --- */

static void nothing_comes_before_the_first_frame(void **state) {
    streams.hold = true;
    test_start(&t);
    begin_upgrade(&c, "", 0);
    deliver(message("user:42", "1"));
    t.last->vt->send(t.last, BH_TEXT, BH_SLICE("2"));
    t.last->vt->send(t.last, BH_BINARY, BH_SLICE("3"));
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "expired");
    expect_nothing(&c);
    fake_streams_set("user:42", 7, 3);
    t.last->vt->recovered(t.last, false);
    expect_first(&c, "false");
    expect_frame(&c, 1, BH_SLICE("{\"topic\":\"user:42\",\"data\":1}"));
    expect_frame(&c, 1, BH_SLICE("{\"data\":2}"));
    expect_frame(&c, 1, BH_SLICE("{\"data\":\"Mw==\",\"encoding\":\"base64\"}"));
    expect_with_id(&c, "{\"gap\":\"user:42\",\"id\":\"%s\",\"reason\":\"expired\"}");
    t.last->vt->recovered(t.last, true); /* once */
    expect_nothing(&c);
    hang_up(&c);
}

static void what_waits_for_the_first_frame_is_bounded(void **state) {
    static char payload[50000];
    streams.hold = true;
    test_start(&t);
    begin_upgrade(&c, "", 0);
    memset(payload, '1', sizeof payload - 1);
    int64_t before = count_of(BH_EDGE_MESSAGES_DROPPED);
    for (int i = 0; i < 20; i++)
        deliver(message("user:42", payload));
    assert_in_range(count_of(BH_EDGE_MESSAGES_DROPPED) - before, 20 - 256 * 1024 / 50000, 19);
    t.last->vt->recovered(t.last, true);
    expect_first(&c, "true");
    hang_up(&c);
}

static void a_close_before_the_first_frame_is_a_close(void **state) {
    streams.hold = true;
    test_start(&t);
    begin_upgrade(&c, "", 0);
    deliver(message("user:42", "1"));
    t.last->vt->close(t.last, 4000, BH_SLICE("bye"));
    expect_close(&c, 4000, "bye");
    hang_up(&c);
}

/* --- gaps --- */

static void what_is_missing_is_told(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "lost");
    t.last->vt->rewound(t.last, BH_SLICE("all"));
    expect_frame(&c, 1, BH_SLICE("{\"gap\":\"user:42\",\"reason\":\"lost\"}"));
    expect_with_id(&c, "{\"rewound\":\"all\",\"id\":\"%s\"}");
    t.last->vt->rewound(t.last, BH_SLICE("all"));
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "lost");
    expect_frame(&c, 1, BH_SLICE("{\"rewound\":\"all\"}"));
    expect_with_id(&c, "{\"gap\":\"user:42\",\"id\":\"%s\",\"reason\":\"lost\"}");
    hang_up(&c);
}

static void it_is_told_before_a_message_that_covers_it(void **state) {
    fake_streams_set("user:42", 7, 3);
    start();
    t.last->vt->gap(t.last, BH_SLICE("user:42"), "lost");
    char id[BH_RESUME_TEXT_MAX + 1], text[512];
    bh_resume_format(&streams.at, id);
    deliver(fake_streams_next("user:42", "{}"));
    snprintf(text, sizeof text, "{\"gap\":\"user:42\",\"id\":\"%s\",\"reason\":\"lost\"}", id);
    expect_frame(&c, 1, bh_slice_cstr(text));
    expect_with_id(&c, "{\"topic\":\"user:42\",\"id\":\"%s\",\"data\":{}}");
    hang_up(&c);
}

/* --- slow clients --- */

#define TOPICS 3
static const char *const names[TOPICS] = {"user:42", "tenant:7", "all"};

/* What a client has got of a stream. */
struct seen {
    bool got[4096];
    uint64_t told; /* up to here it knows what is missing */
    bool gap;      /* it was told, and the id comes with a later frame */
    unsigned gaps, messages;
};

static uint64_t offset_in(const char *text, unsigned topic) {
    char hash[BH_RESUME_TEXT_MAX + 1];
    struct bh_resume one = {1, {{bh_topic_hash(bh_slice_cstr(names[topic])), {7, 0}}}};
    bh_resume_format(&one, hash);
    *strrchr(hash, '0') = '\0'; /* "1.<hash>:7-" */
    const char *at = strstr(text, hash + 2);
    assert_non_null(at);
    return strtoull(at + strlen(hash + 2), NULL, 10);
}

static unsigned topic_in(const char *text, const char *member) {
    char part[64];
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(part, sizeof part, "{\"%s\":\"%s\",", member, names[i]);
        if (strncmp(text, part, strlen(part)) == 0)
            return i;
    }
    return TOPICS;
}

/* The client may go away behind each frame and come back with its id: what the id covers it must
 * have got, or it was told. */
static void check_frame(struct seen *seen, const char *text) {
    unsigned topic = topic_in(text, "topic"), gap = topic_in(text, "gap");
    if (topic < TOPICS) {
        assert_false(seen[topic].got[offset_in(text, topic)]);
        seen[topic].got[offset_in(text, topic)] = true;
        seen[topic].messages++;
    }
    if (gap < TOPICS) {
        seen[gap].gap = true;
        seen[gap].gaps++;
    }
    if (!strstr(text, "\"id\""))
        return;
    for (unsigned i = 0; i < TOPICS && topic == TOPICS; i++) {
        if (seen[i].gap)
            seen[i].told = offset_in(text, i);
        seen[i].gap = false;
    }
    for (unsigned i = 0; i < TOPICS; i++)
        for (uint64_t o = seen[i].told + 1; o <= offset_in(text, i); o++)
            if (!seen[i].got[o])
                fail_msg("%s %llu is missing: %.200s", names[i], (unsigned long long)o, text);
}

static void read_frames(struct seen *seen, unsigned most) {
    struct bh_bytes got = {0};
    while (most-- && has_frame(&c)) {
        int opcode = take_frame(&c, &got);
        if (opcode == 9)
            continue;
        assert_int_equal(opcode, 1);
        check_frame(seen, got.p);
    }
    bh_bytes_free(&got);
}

/* A client that reads now and then, and messages of three streams and of none, of any length. */
static void run_slow(enum bh_slow slow, bool third_is_quiet) {
    static struct seen seen[TOPICS];
    static char payload[40001];
    memset(seen, 0, sizeof seen);
    t.config.on_slow = slow;
    t.config.queue_bytes = 100000;
    for (unsigned i = 0; i < TOPICS; i++)
        fake_streams_set(names[i], 7, 0);
    test_start(&t);
    begin_upgrade(&c, "", 4096);
    expect_first(&c, "true");
    memset(payload, '1', sizeof payload - 1);
    int64_t before = count_of(BH_EDGE_MESSAGES_DROPPED);
    uint64_t random = 1;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned kind = test_random_from(&random) % (third_is_quiet ? TOPICS - 1 : TOPICS + 1);
        size_t skip = test_random_from(&random) % 3 ? 39000 : test_random_from(&random) % 40000;
        if (kind == TOPICS)
            deliver(message("topic:none", payload + skip));
        else
            deliver(fake_streams_next(names[kind], payload + skip));
        if (test_random_from(&random) % 8 == 0)
            run(&t);
        if (test_random_from(&random) % 300 == 0)
            read_frames(seen, test_random_from(&random) % 200);
    }
    assert_true(count_of(BH_EDGE_MESSAGES_DROPPED) > before);
    for (int i = 0; i < 20; i++) {
        read_frames(seen, UINT32_MAX);
        run_idle(&t);
    }
    deliver(message("topic:none", "\"end\""));
    read_frames(seen, UINT32_MAX);
    for (unsigned i = 0; i < TOPICS; i++) {
        uint64_t last = streams.at.topics[i].position.offset;
        for (uint64_t o = seen[i].told + 1; o <= last; o++)
            assert_true(seen[i].got[o]);
        assert_true(last == 0 || (seen[i].gaps > 0 && seen[i].messages > 0));
        assert_true(last > 0 || seen[i].gaps == 0); /* nothing of it was dropped */
    }
    hang_up(&c);
}

static void slow_clients_know_what_the_oldest_were(void **state) {
    run_slow(BH_SLOW_DROP_OLDEST, false);
}

static void slow_clients_know_what_the_newest_were(void **state) {
    run_slow(BH_SLOW_DROP_NEWEST, false);
}

static void only_streams_with_drops_are_told(void **state) {
    run_slow(BH_SLOW_DROP_OLDEST, true);
}

/* More than the queue and the kernel take. */
static void one_that_comes_back_is_not_slow(void **state) {
    static struct seen seen[TOPICS];
    static char payload[5000];
    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < TOPICS; i++)
        fake_streams_set(names[i], 7, 0);
    t.config.queue_bytes = 20000;
    streams.hold = true;
    streams.recovered = false;
    test_start(&t);
    begin_upgrade(&c, "", 4096);
    t.last->vt->recovered(t.last, true);
    expect_first(&c, "true");
    memset(payload, '1', sizeof payload - 1);
    for (int i = 0; i < 3000; i++)
        deliver(fake_streams_next("user:42", payload));
    streams.recovered = true;
    for (int i = 0; i < 5; i++)
        run_idle(&t);
    struct bh_bytes got = {0};
    bool told = false;
    while (has_frame(&c)) {
        assert_int_equal(take_frame(&c, &got), 1);
        if (strstr(got.p, "\"topic\"") || strstr(got.p, "\"gap\""))
            check_frame(seen, got.p);
        told = told || strstr(got.p, "\"reason\":\"size\"");
    }
    bh_bytes_free(&got);
    assert_int_equal(t.closed, 0);
    assert_true(told);
    assert_in_range(seen[0].messages, 1, 2999);
    assert_int_equal(seen[0].told, 3000);
    hang_up(&c);
}

static void slow_clients_may_be_closed(void **state) {
    static char payload[50000];
    start();
    hang_up(&c);
    begin_upgrade(&c, "", 4096);
    memset(payload, '1', sizeof payload - 1);
    for (int i = 0; i < 1000 && t.last; i++) {
        deliver(fake_streams_next("user:42", payload));
        run(&t);
    }
    WAIT_FOR(&t, t.close_code == 1008);
    hang_up(&c);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(the_first_frame_says_where_it_is),
        TEST(a_message_of_a_stream_has_the_id_behind_it),
        TEST(the_first_id_comes_at_once),
        TEST(one_that_comes_back_has_its_id),
        TEST(a_move_without_a_message_is_a_heartbeat),
        TEST(without_a_move_there_is_no_heartbeat),
        TEST(clients_with_the_same_streams_share_a_frame),
        TEST(a_shared_text_is_compressed_once),
        TEST(a_context_survives_what_is_sent_late),
        TEST(nothing_comes_before_the_first_frame),
        TEST(what_waits_for_the_first_frame_is_bounded),
        TEST(a_close_before_the_first_frame_is_a_close),
        TEST(what_is_missing_is_told),
        TEST(it_is_told_before_a_message_that_covers_it),
        TEST(slow_clients_know_what_the_oldest_were),
        TEST(slow_clients_know_what_the_newest_were),
        TEST(only_streams_with_drops_are_told),
        TEST(one_that_comes_back_is_not_slow),
        TEST(slow_clients_may_be_closed),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
