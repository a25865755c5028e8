/* test_client_texts.c - a message is rendered once, and links with the same streams share a text.
 */
#include "client/texts.h"

#include "client/link.h"
#include "unit_test.h"

#include <stdio.h>

static struct bh_loop *loop;
static struct bh_texts texts;
static unsigned renders, ids;
static const char *id_text;
static int a, b; /* stream sets */

static void render(const struct bh_message *m, bool id, struct bh_bytes *before,
                   struct bh_bytes *after) {
    renders++;
    bh_bytes_adds(before, id ? "<" : "no id:");
    bh_bytes_addc(after, '>');
    bh_bytes_add(after, m->payload);
}

static size_t write_id(const void *ud, char out[BH_RESUME_TEXT_MAX + 1]) {
    ids++;
    strcpy(out, id_text);
    return strlen(id_text);
}

static int up(void **state) {
    loop = bh_loop_new();
    bh_texts_init(&texts, loop, render);
    renders = ids = 0;
    id_text = "1.";
    return 0;
}

static int down(void **state) {
    bh_texts_deinit(&texts);
    bh_loop_free(loop);
    return 0;
}

static struct bh_message *message(const char *payload, uint64_t epoch) {
    struct bh_topic topic;
    struct bh_message parts = {.topic = &topic,
                               .opcode = BH_BINARY,
                               .position = {epoch, 3},
                               .expires_ms = 99,
                               .payload = bh_slice_cstr(payload)};
    assert_int_equal(bh_topic_parse(BH_SLICE("user:42"), &topic), 0);
    return bh_message_new(&parts);
}

static struct bh_message *text_of(struct bh_message *m, const void *set, uint64_t moves) {
    struct bh_text_id id = {.set = set, .moves = moves, .write = write_id};
    return bh_texts_of(&texts, m, &id);
}

/* One that is not used any more. */
static struct bh_message *text(struct bh_message *m, const void *set, uint64_t moves) {
    struct bh_message *t = text_of(m, set, moves);
    bh_message_unref(t);
    return t;
}

static void a_text_is_a_message(void **state) {
    struct bh_message *m = message("data", 5);
    struct bh_message *t = text_of(m, &a, 1);
    assert_slice(t->payload, "<1.>data");
    assert_slice(bh_buf_slice(t->buf), "<1.>data");
    assert_int_equal(t->opcode, BH_TEXT);
    assert_int_equal(t->expires_ms, 99);
    assert_slice(bh_topic_name(t->topic), "user:42");
    assert_int_equal(t->buf->tag, bh_client_tag(BH_SLICE("user:42")));
    bh_message_unref(m);
    bh_message_unref(t);
}

static void those_with_the_same_streams_share_it(void **state) {
    struct bh_message *m = message("data", 5);
    struct bh_message *first = text_of(m, &a, 1);
    assert_ptr_equal(text(m, &a, 1), first);
    id_text = "2.";
    struct bh_message *second = text_of(m, &b, 1);
    assert_ptr_not_equal(second, first);
    assert_slice(second->payload, "<2.>data");
    assert_ptr_equal(text(m, &a, 1), first);
    assert_ptr_equal(text(m, &b, 1), second);
    assert_ptr_not_equal(text(m, &a, 2), first); /* it has moved on */
    assert_int_equal(renders, 1);
    assert_int_equal(ids, 3);
    bh_message_unref(m);
    bh_message_unref(first);
    bh_message_unref(second);
}

static void without_a_set_it_is_not_shared(void **state) {
    struct bh_message *m = message("data", 5);
    struct bh_message *first = text_of(m, NULL, 0);
    id_text = "2.";
    struct bh_message *second = text_of(m, NULL, 0);
    assert_slice(first->payload, "<1.>data");
    assert_slice(second->payload, "<2.>data");
    assert_int_equal(renders, 1);
    bh_message_unref(m);
    bh_message_unref(first);
    bh_message_unref(second);
}

static void without_a_position_all_share_it(void **state) {
    struct bh_message *m = message("data", 0);
    struct bh_message *first = text_of(m, &a, 1);
    assert_slice(first->payload, "no id:>data");
    assert_int_equal(first->buf->tag, BH_CLIENT_TAG_NONE);
    assert_ptr_equal(text(m, &b, 2), first);
    assert_ptr_equal(text(m, NULL, 0), first);
    assert_int_equal(renders, 1);
    assert_int_equal(ids, 0);
    bh_message_unref(m);
    bh_message_unref(first);
}

static void the_next_message_takes_its_place(void **state) {
    struct bh_message *m = message("one", 5), *n = message("two", 5);
    text(m, &a, 1);
    struct bh_message *t = text_of(n, &a, 2);
    assert_slice(t->payload, "<1.>two");
    bh_message_unref(t);
    text(m, &a, 1);
    assert_int_equal(renders, 3);
    bh_message_unref(m);
    bh_message_unref(n);
}

static void nothing_is_kept_after_the_tick(void **state) {
    struct bh_message *m = message("data", 5);
    struct bh_message *t = text_of(m, &a, 1);
    assert_int_equal(atomic_load(&t->refs), 2);
    assert_int_equal(atomic_load(&m->refs), 2);
    bh_loop_tick(loop, false);
    assert_int_equal(atomic_load(&t->refs), 1);
    assert_int_equal(atomic_load(&m->refs), 1);
    bh_message_unref(m);
    bh_message_unref(t);
}

static void more_sets_than_places(void **state) {
    static int sets[3 * BH_TEXTS_SETS];
    struct bh_message *m = message("data", 5);
    char id[16];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT(sets); i++) {
            snprintf(id, sizeof id, "%zu", i);
            id_text = id;
            struct bh_message *t = text_of(m, &sets[i], i);
            char expected[32];
            snprintf(expected, sizeof expected, "<%zu>data", i);
            assert_slice(t->payload, expected);
            assert_ptr_equal(text(m, &sets[i], i), t);
            bh_message_unref(t);
        }
    }
    assert_int_equal(renders, 1);
    bh_message_unref(m);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)
    const struct CMUnitTest tests[] = {
        TEST(a_text_is_a_message),
        TEST(those_with_the_same_streams_share_it),
        TEST(without_a_set_it_is_not_shared),
        TEST(without_a_position_all_share_it),
        TEST(the_next_message_takes_its_place),
        TEST(nothing_is_kept_after_the_tick),
        TEST(more_sets_than_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
