/* Seen ids: limited in number and age; an id belongs to one topic. */
#include "seen.h"

#include "core_test.h"

static const struct bh_slice topic = {"user:1", 6};

static void remembers_what_was_noted(void **state) {
    struct bh_seen s;
    bh_seen_init(&s, 10, 1000);
    assert_null(bh_seen_find(&s, topic, BH_SLICE("a"), 0));
    struct bh_seen_entry *e = bh_seen_note(&s, topic, BH_SLICE("a"), 0);
    assert_false(e->delivered || e->published);
    e->delivered = true;
    assert_ptr_equal(bh_seen_find(&s, topic, BH_SLICE("a"), 0), e);
    assert_ptr_equal(bh_seen_note(&s, topic, BH_SLICE("a"), 999), e);
    assert_true(e->delivered);
    assert_int_equal(s.entries.count, 1);
    bh_seen_deinit(&s);
}

static void one_id_on_two_topics_is_two_messages(void **state) {
    struct bh_seen s;
    bh_seen_init(&s, 10, 1000);
    bh_seen_note(&s, BH_SLICE("user:1"), BH_SLICE("a"), 0);
    assert_null(bh_seen_find(&s, BH_SLICE("user:2"), BH_SLICE("a"), 0));
    assert_null(bh_seen_find(&s, BH_SLICE("user:1a"), BH_SLICE(""), 0));
    assert_null(bh_seen_find(&s, BH_SLICE("user:"), BH_SLICE("1a"), 0));
    bh_seen_deinit(&s);
}

static void forgets_by_age(void **state) {
    struct bh_seen s;
    bh_seen_init(&s, 10, 1000);
    bh_seen_note(&s, topic, BH_SLICE("a"), 0);
    bh_seen_note(&s, topic, BH_SLICE("b"), 500);
    assert_non_null(bh_seen_find(&s, topic, BH_SLICE("a"), 999));
    assert_null(bh_seen_find(&s, topic, BH_SLICE("a"), 1000));
    assert_non_null(bh_seen_find(&s, topic, BH_SLICE("b"), 1499));
    assert_int_equal(s.entries.count, 1);
    assert_false(bh_seen_note(&s, topic, BH_SLICE("b"), 1500)->delivered); /* a new one */
    bh_seen_deinit(&s);
}

static void meeting_it_again_does_not_prolong_it(void **state) {
    struct bh_seen s;
    bh_seen_init(&s, 10, 1000);
    bh_seen_note(&s, topic, BH_SLICE("a"), 0)->delivered = true;
    bh_seen_note(&s, topic, BH_SLICE("a"), 900);
    assert_null(bh_seen_find(&s, topic, BH_SLICE("a"), 1000));
    assert_int_equal(s.entries.count, 0);
    bh_seen_deinit(&s);
}

static void the_oldest_go_when_it_is_full(void **state) {
    enum { MAX = 100 };
    struct bh_seen s;
    bh_seen_init(&s, MAX, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        char id[16], old[16];
        struct bh_slice now = bh_slice(id, (size_t)sprintf(id, "m%u", i));
        struct bh_seen_entry *e = bh_seen_note(&s, topic, now, 0);
        assert_ptr_equal(bh_seen_find(&s, topic, now, 0), e);
        assert_true(s.entries.count <= MAX);
        if (i < MAX)
            continue;
        assert_null(
            bh_seen_find(&s, topic, bh_slice(old, (size_t)sprintf(old, "m%u", i - MAX)), 0));
        assert_non_null(
            bh_seen_find(&s, topic, bh_slice(old, (size_t)sprintf(old, "m%u", i - MAX + 1)), 0));
    }
    bh_seen_deinit(&s);
}

static void room_for_one(void **state) {
    struct bh_seen s;
    bh_seen_init(&s, 1, 1000);
    bh_seen_note(&s, topic, BH_SLICE("a"), 0);
    struct bh_seen_entry *b = bh_seen_note(&s, topic, BH_SLICE("b"), 0);
    b->published = true; /* still valid memory */
    assert_null(bh_seen_find(&s, topic, BH_SLICE("a"), 0));
    assert_ptr_equal(bh_seen_find(&s, topic, BH_SLICE("b"), 0), b);
    bh_seen_deinit(&s);
}

static void the_longest_topic_and_id_fit(void **state) {
    char bytes[BH_TOPIC_NAME_MAX];
    struct bh_seen s;
    bh_seen_init(&s, 10, 1000);
    memset(bytes, '%', sizeof bytes);
    struct bh_slice name = bh_slice(bytes, sizeof bytes);
    struct bh_slice id = test_long_id('i', BH_MESSAGE_ID_MAX);
    bh_seen_note(&s, name, id, 0);
    assert_non_null(bh_seen_find(&s, name, id, 0));
    name.n--;
    assert_null(bh_seen_find(&s, name, id, 0));
    bh_seen_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_what_was_noted),
        cmocka_unit_test(one_id_on_two_topics_is_two_messages),
        cmocka_unit_test(forgets_by_age),
        cmocka_unit_test(meeting_it_again_does_not_prolong_it),
        cmocka_unit_test(the_oldest_go_when_it_is_full),
        cmocka_unit_test(room_for_one),
        cmocka_unit_test(the_longest_topic_and_id_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
