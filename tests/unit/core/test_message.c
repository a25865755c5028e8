/* Messages: all parts are copied, references are counted, the last one frees. */
#include "bellhop/core/message.h"

#include "core_test.h"

#include <pthread.h>

static void copies_all_parts(void **state) {
    struct bh_slice id = test_exact(BH_SLICE("m-1")), origin = test_exact(BH_SLICE("a")),
                    payload = test_exact(bh_slice("x\0y", 3)),
                    filter = test_exact(bh_slice("\1\0\1av", 5));
    struct bh_topic to = test_topic("tenant:7");
    struct bh_message parts = {.kind = BH_MESSAGE_DISCONNECT,
                               .opcode = BH_BINARY,
                               .flags = BH_MESSAGE_DEDUP,
                               .topic = &to,
                               .except = UINT64_MAX,
                               .expires_ms = 5,
                               .id = id,
                               .origin = origin,
                               .filter = filter,
                               .payload = payload};
    struct bh_message *m = bh_message_new(&parts);
    test_exact_free(id);
    test_exact_free(origin);
    test_exact_free(payload);
    test_exact_free(filter);
    assert_int_equal(m->kind, BH_MESSAGE_DISCONNECT);
    assert_int_equal(m->opcode, BH_BINARY);
    assert_int_equal(m->flags, BH_MESSAGE_DEDUP);
    assert_slice(bh_topic_name(m->topic), "tenant:7");
    assert_true(m->except == UINT64_MAX);
    assert_slice(m->id, "m-1");
    assert_slice(m->origin, "a");
    assert_int_equal(m->payload.n, 3);
    assert_memory_equal(m->payload.p, "x\0y", 3);
    assert_int_equal(m->filter.n, 5);
    assert_memory_equal(m->filter.p, "\1\0\1av", 5);
    bh_message_unref(m);
}

static void empty_parts_are_allowed(void **state) {
    struct bh_topic to = test_topic("all");
    struct bh_message parts = {.topic = &to};
    struct bh_message *m = bh_message_new(&parts);
    assert_int_equal(m->payload.n + m->id.n + m->origin.n + m->filter.n, 0);
    bh_message_unref(m);
    bh_message_unref(NULL);
}

static void references_count(void **state) {
    struct bh_message *m = test_message("user:1", "hello");
    assert_ptr_equal(bh_message_ref(m), m);
    assert_int_equal(atomic_load(&m->refs), 2);
    bh_message_unref(m);
    assert_slice(m->payload, "hello");
    bh_message_unref(m);
}

static void lack_of_memory_is_an_error(void **state) {
    bh_mem_fail_nth(1);
    assert_null(test_message("user:1", "hello"));
    bh_mem_fail_nth(0);
}

static void a_payload_in_a_buffer_is_not_copied(void **state) {
    struct bh_buf *buf = bh_buf_copy(BH_SLICE("hello"));
    struct bh_topic to = test_topic("user:1");
    struct bh_message parts = {.topic = &to, .payload = bh_buf_slice(buf), .buf = buf};
    bh_mem_fail_nth(1);
    assert_null(bh_message_new(&parts)); /* the reference is still the caller's */
    bh_mem_fail_nth(0);
    struct bh_message *m = bh_message_new(&parts);
    assert_ptr_equal(m->payload.p, buf->data);
    bh_buf_ref(buf);
    bh_message_unref(m);
    assert_int_equal(atomic_load(&buf->refs), 1);
    bh_buf_unref(buf);
}

static void the_same_at_a_position(void **state) {
    struct bh_buf *buf = bh_buf_copy(BH_SLICE("hello"));
    struct bh_topic to = test_topic("user:1");
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = BH_BINARY,
                               .flags = BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP,
                               .topic = &to,
                               .except = 7,
                               .expires_ms = 8,
                               .id = BH_SLICE("id"),
                               .origin = BH_SLICE("origin"),
                               .filter = BH_SLICE("filter"),
                               .payload = bh_buf_slice(buf),
                               .buf = buf};
    struct bh_message *m = bh_message_new(&parts);
    bh_mem_fail_nth(1);
    assert_null(bh_message_with_position(m, (struct bh_position){5, 6}, 9));
    bh_mem_fail_nth(0);
    struct bh_message *at = bh_message_with_position(m, (struct bh_position){5, 6}, 9);
    assert_int_equal(atomic_load(&at->refs), 1);
    assert_int_equal(at->opcode, BH_BINARY);
    assert_int_equal(at->flags, BH_MESSAGE_ECHO | BH_MESSAGE_POSITION);
    assert_slice(bh_topic_name(at->topic), "user:1");
    assert_ptr_not_equal(at->topic, m->topic);
    assert_true(at->position.epoch == 5 && at->position.offset == 6 && at->stored_ms == 9);
    assert_true(at->except == 7 && at->expires_ms == 8);
    assert_slice(at->id, "id");
    assert_slice(at->origin, "origin");
    assert_slice(at->filter, "filter");
    assert_ptr_equal(at->payload.p, buf->data);
    assert_int_equal(atomic_load(&buf->refs), 2);
    bh_message_unref(m);
    assert_slice(at->payload, "hello");
    bh_message_unref(at);
}

static void expiry(void **state) {
    struct bh_message m = {.expires_ms = 0};
    assert_false(bh_message_expired(&m, UINT64_MAX));
    m.expires_ms = 100;
    assert_false(bh_message_expired(&m, 99));
    assert_true(bh_message_expired(&m, 100));
}

static void *ref_and_unref(void *arg) {
    struct bh_message *m = arg;
    for (int i = 0; i < 10000; i++)
        bh_message_unref(bh_message_ref(m));
    bh_message_unref(m);
    return NULL;
}

static void threads_share_it(void **state) {
    struct bh_message *m = test_message("user:1", "hello");
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, bh_message_ref(m)), 0);
    bh_message_unref(m);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_all_parts),
        cmocka_unit_test(empty_parts_are_allowed),
        cmocka_unit_test(references_count),
        cmocka_unit_test(lack_of_memory_is_an_error),
        cmocka_unit_test(a_payload_in_a_buffer_is_not_copied),
        cmocka_unit_test(the_same_at_a_position),
        cmocka_unit_test(expiry),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
