/* test_client_link.c - what a link remembers. The subscriber's positions are the test's own. */
#include "client/link.h"

#include "client/outq.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

#include <stdio.h>

static struct bh_hub hub;
static struct bh_subscriber sub;
static struct bh_client_link client;
static struct bh_resume at; /* its positions */
static uint64_t moves;
static bool recovered;
static unsigned told; /* to the core */

size_t bh_subscriber_resume_text(const struct bh_subscriber *s, char out[BH_RESUME_TEXT_MAX + 1]) {
    return bh_resume_format(&at, out);
}

uint64_t bh_subscriber_stream_moves(const struct bh_subscriber *s) {
    return moves;
}

bool bh_subscriber_is_recovered(const struct bh_subscriber *s) {
    return recovered;
}

void bh_subscriber_tell_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    told++;
    bh_client_link_note(&client, s, topic, why);
}

static void join(const char *topic) {
    bool first;
    assert_non_null(bh_hub_join(&hub, &sub, bh_slice_cstr(topic), &first));
}

static void leave(const char *topic) {
    bool last;
    assert_int_equal(bh_hub_leave(&hub, &sub, bh_slice_cstr(topic), &last), 0);
}

static int up(void **state) {
    bh_hub_init(&hub);
    sub = (struct bh_subscriber){0};
    client = (struct bh_client_link){0};
    at.count = 0;
    moves = 0;
    recovered = true;
    told = 0;
    join("user:42");
    join("topic:news");
    join("all");
    return 0;
}

static int down(void **state) {
    bool last;
    while (sub.link_count)
        bh_hub_leave_last(&hub, &sub, &last);
    bh_hub_deinit(&hub);
    bh_client_link_free(&client);
    return 0;
}

/* All that is to be told: "topic why; ". */
static void assert_notes(const char *expected) {
    char got[2048] = "";
    struct bh_slice topic;
    const char *why;
    bool last;
    while (bh_client_link_first(&client, &sub, &topic, &why, &last)) {
        sprintf(got + strlen(got), "%.*s %s%s; ", BH_SLICE_ARG(topic), why ? why : "rewound",
                last ? ", last" : "");
        bh_client_link_drop_note(&client);
    }
    assert_string_equal(got, expected);
    assert_false(bh_client_link_has_notes(&client));
}

static void note(const char *topic, const char *why) {
    bh_client_link_note(&client, &sub, bh_slice_cstr(topic), why);
}

static struct bh_message *message(const char *name, uint64_t epoch, uint64_t offset) {
    struct bh_topic topic;
    struct bh_message parts = {.topic = &topic, .opcode = BH_TEXT, .position = {epoch, offset}};
    assert_int_equal(bh_topic_parse(bh_slice_cstr(name), &topic), 0);
    return bh_message_new(&parts);
}

static void a_topic_is_told_once(void **state) {
    assert_notes("");
    note("user:42", "expired");
    note("all", NULL);
    note("user:42", "other");
    assert_true(bh_client_link_has_notes(&client));
    assert_notes("user:42 expired; all rewound, last; ");
}

static void a_gap_is_more_than_a_rewind(void **state) {
    note("all", NULL);
    note("all", "expired");
    note("user:42", "expired");
    note("user:42", NULL);
    assert_notes("all expired; user:42 expired, last; ");
}

static void the_first_stays_until_it_is_dropped(void **state) {
    struct bh_slice topic;
    const char *why;
    bool last;
    bh_client_link_drop_note(&client); /* nothing */
    note("all", "x");
    for (int i = 0; i < 2; i++) {
        assert_true(bh_client_link_first(&client, &sub, &topic, &why, &last));
        assert_slice(topic, "all");
    }
    assert_notes("all x, last; ");
}

static void topics_that_it_has_left_are_not_told(void **state) {
    note("topic:news", "x");
    note("all", "x");
    leave("topic:news");
    assert_notes("all x, last; ");
}

static void those_that_it_has_left_take_no_room(void **state) {
    char name[32];
    for (int i = 0; i < 3 * BH_RESUME_TOPICS_MAX; i++) {
        sprintf(name, "topic:t%d", i);
        join(name);
        note(name, "x");
        leave(name);
    }
    note("all", "x");
    note("user:42", "x");
    assert_notes("all x; user:42 x, last; ");
}

static void a_dropped_message_of_a_stream_is_a_gap(void **state) {
    struct bh_message *m = message("topic:news", 0, 0), *p = message("user:42", 5, 1);
    bh_client_link_note_message(&client, &sub, m, BH_GAP_SLOW);
    assert_notes("");
    bh_client_link_note_message(&client, &sub, p, BH_GAP_SLOW);
    bh_client_link_note_message(&client, &sub, p, BH_GAP_SLOW);
    assert_int_equal(told, 1);
    assert_notes("user:42 slow, last; ");
    bh_message_unref(m);
    bh_message_unref(p);
}

static void a_dropped_text_is_known_by_its_tag(void **state) {
    uint16_t tag = bh_client_tag(BH_SLICE("topic:news"));
    assert_int_not_equal(tag, BH_CLIENT_TAG_NONE);
    assert_int_not_equal(tag, BH_OUTQ_KEEP);
    bh_client_link_note_tag(&client, &sub, BH_CLIENT_TAG_NONE);
    bh_client_link_note_tag(&client, &sub, bh_client_tag(BH_SLICE("topic:other")));
    assert_notes("");
    bh_client_link_note_tag(&client, &sub, tag);
    bh_client_link_note_tag(&client, &sub, tag);
    assert_notes("topic:news slow, last; ");
}

static void no_tag_means_something_else(void **state) {
    char name[32];
    for (int i = 0; i < 200000; i++) {
        sprintf(name, "user:%d", i);
        uint16_t tag = bh_client_tag(bh_slice_cstr(name));
        assert_true(tag != BH_CLIENT_TAG_NONE && tag != BH_OUTQ_KEEP);
    }
}

static void a_heartbeat_is_due_after_a_move(void **state) {
    assert_false(bh_client_link_has_moved(&client, &sub));
    moves = 7;
    assert_true(bh_client_link_has_moved(&client, &sub));
    recovered = false;
    assert_false(bh_client_link_has_moved(&client, &sub));
    recovered = true;
    bh_client_link_sent(&client, &sub);
    assert_false(bh_client_link_has_moved(&client, &sub));
}

static void set_position(const char *topic, uint64_t epoch, uint64_t offset) {
    at.topics[at.count++] =
        (struct bh_resume_topic){bh_topic_hash(bh_slice_cstr(topic)), {epoch, offset}};
}

static void assert_before(const char *topic, uint64_t epoch, uint64_t offset, uint64_t user_epoch,
                          uint64_t user, uint64_t all) {
    char text[BH_RESUME_TEXT_MAX + 1];
    struct bh_message *m = message(topic, epoch, offset);
    struct bh_resume r;
    const char *why;
    size_t n = bh_client_id_before(&sub, m, text);
    assert_int_equal(n, strlen(text));
    assert_int_equal(bh_resume_parse(bh_slice(text, n), &r, &why), 0);
    assert_int_equal(r.count, 2);
    assert_true(bh_position_eq(r.topics[0].position, (struct bh_position){user_epoch, user}));
    assert_true(bh_position_eq(r.topics[1].position, (struct bh_position){6, all}));
    bh_message_unref(m);
}

static void the_id_before_a_message_does_not_cover_it(void **state) {
    set_position("user:42", 5, 9);
    set_position("all", 6, 3);
    assert_before("user:42", 5, 9, 5, 8, 3);
    assert_before("all", 6, 3, 5, 9, 2);
    assert_before("user:42", 5, 1, 5, 0, 3);
    assert_before("user:42", 5, 10, 5, 9, 3); /* it has not moved yet */
    assert_before("user:42", 4, 9, 5, 8, 3);  /* of an older epoch, missed and read */
    assert_before("topic:news", 0, 0, 5, 9, 3);
    assert_before("topic:news", 5, 9, 5, 9, 3);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(a_topic_is_told_once),
        TEST(a_gap_is_more_than_a_rewind),
        TEST(the_first_stays_until_it_is_dropped),
        TEST(topics_that_it_has_left_are_not_told),
        TEST(those_that_it_has_left_take_no_room),
        TEST(a_dropped_message_of_a_stream_is_a_gap),
        TEST(a_dropped_text_is_known_by_its_tag),
        TEST(no_tag_means_something_else),
        TEST(a_heartbeat_is_due_after_a_move),
        TEST(the_id_before_a_message_does_not_cover_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
