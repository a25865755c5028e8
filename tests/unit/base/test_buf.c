/* Shared buffers across threads; growable bytes, their growth and its failure. */
#include "bellhop/base/buf.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "unit_test.h"

#include <pthread.h>

static void a_buffer_keeps_its_bytes(void **state) {
    struct bh_buf *b = bh_buf_copy(bh_slice("a\0b", 3));
    assert_int_equal(b->len, 3);
    assert_memory_equal(b->data, "a\0b", 3);
    assert_ptr_equal(bh_buf_ref(b), b);
    bh_buf_unref(b);
    assert_true(bh_slice_eq(bh_buf_slice(b), bh_slice("a\0b", 3)));
    bh_buf_unref(b);
    bh_buf_unref(NULL);
}

static void empty_buffers(void **state) {
    struct bh_buf *b = bh_buf_copy(bh_slice(NULL, 0));
    assert_int_equal(b->len, 0);
    bh_buf_unref(b);
    assert_int_equal(bh_buf_slice(NULL).n, 0);
    b = bh_buf_new(0);
    bh_buf_unref(b);
}

static void a_peers_size_may_fail(void **state) {
    assert_null(bh_buf_try_new(SIZE_MAX));
    assert_null(bh_buf_try_new(SIZE_MAX - sizeof(struct bh_buf) + 1));
    bh_mem_fail_nth(1);
    assert_null(bh_buf_try_new(10));
    struct bh_buf *b = bh_buf_try_new(10);
    assert_non_null(b);
    memset(b->data, 'x', 10);
    bh_buf_unref(b);
}

static void *ref_and_unref(void *arg) {
    struct bh_buf *b = arg;
    for (int i = 0; i < 20000; i++) {
        bh_buf_ref(b);
        if (b->data[0] != 'z')
            abort();
        bh_buf_unref(b);
    }
    bh_buf_unref(b);
    return NULL;
}

static void threads_share_a_buffer(void **state) {
    struct bh_buf *b = bh_buf_copy(BH_SLICE("z"));
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, bh_buf_ref(b)), 0);
    bh_buf_unref(b); /* the last thread frees */
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

static void appends(void **state) {
    struct bh_bytes b = {0};
    bh_bytes_add(&b, bh_slice(NULL, 0));
    assert_null(b.p);
    bh_bytes_addc(&b, 'a');
    bh_bytes_adds(&b, "bc");
    bh_bytes_add(&b, BH_SLICE("de"));
    bh_bytes_addf(&b, "%d-%s", 42, "x");
    assert_slice(bh_bytes_slice(&b), "abcde42-x");
    bh_bytes_consume(&b, 3);
    assert_slice(bh_bytes_slice(&b), "de42-x");
    bh_bytes_consume(&b, 6);
    assert_int_equal(b.len, 0);
    bh_bytes_free(&b);
    assert_null(b.p);
    assert_int_equal(b.cap, 0);
    bh_bytes_consume(&b, 0);
    bh_bytes_free(&b);
}

static void clear_keeps_the_memory(void **state) {
    struct bh_bytes b = {0};
    bh_bytes_adds(&b, "something");
    char *p = b.p;
    bh_bytes_clear(&b);
    assert_int_equal(b.len, 0);
    bh_bytes_adds(&b, "else");
    assert_ptr_equal(b.p, p);
    bh_bytes_free(&b);
}

static void grows_geometrically(void **state) {
    struct bh_bytes b = {0};
    int moves = 0;
    for (int i = 0; i < 1000000; i++) {
        size_t cap = b.cap;
        bh_bytes_addc(&b, (char)i);
        moves += b.cap != cap;
    }
    assert_true(moves < 20);
    for (int i = 0; i < 1000000; i++)
        assert_int_equal(b.p[i], (char)i);
    bh_bytes_free(&b);
}

/* Every length around the room that is left, where the NUL of vsnprintf needs one more. */
static void formats_at_every_fill(void **state) {
    for (int before = 0; before < 130; before++) {
        for (int length = 0; length < 130; length += 13) {
            struct bh_bytes b = {0};
            for (int i = 0; i < before; i++)
                bh_bytes_addc(&b, 'x');
            bh_bytes_addf(&b, "%.*s%*s", 0, "", length, "");
            assert_int_equal(b.len, before + length);
            for (int i = 0; i < length; i++)
                assert_int_equal(b.p[before + i], ' ');
            bh_bytes_free(&b);
        }
    }
}

static void a_failed_reserve_changes_nothing(void **state) {
    struct bh_bytes b = {0};
    bh_mem_fail_nth(1);
    assert_int_equal(bh_bytes_try_reserve(&b, 10), BH_ENOMEM);
    bh_bytes_adds(&b, "kept");
    bh_mem_fail_nth(1);
    assert_int_equal(bh_bytes_try_reserve(&b, 1000), BH_ENOMEM);
    assert_int_equal(bh_bytes_try_reserve(&b, SIZE_MAX), BH_ENOMEM);
    assert_int_equal(bh_bytes_try_reserve(&b, SIZE_MAX / 2), BH_ENOMEM);
    assert_slice(bh_bytes_slice(&b), "kept");
    assert_int_equal(bh_bytes_try_reserve(&b, 1000), 0);
    assert_true(b.cap - b.len >= 1000);
    assert_slice(bh_bytes_slice(&b), "kept");
    bh_bytes_free(&b);
}

static void memory_doubles_up_to_the_limit(void **state) {
    struct bh_bytes b = {0};
    size_t grown = 0;
    for (size_t i = 0; i < 1000; i++) {
        size_t cap = b.cap;
        assert_int_equal(bh_bytes_try_add(&b, bh_slice("x", 1), 1000), 0);
        assert_true(b.cap <= 1000 && b.cap <= 2 * b.len);
        grown += b.cap != cap;
    }
    assert_true(grown <= 11);
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.cap, 1000);
    bh_bytes_free(&b);
}

static void a_first_piece_takes_exactly_its_size(void **state) {
    struct bh_bytes b = {0};
    assert_int_equal(bh_bytes_try_add(&b, BH_SLICE("0123456789"), SIZE_MAX), 0);
    assert_int_equal(b.cap, 10);
    assert_int_equal(bh_bytes_try_add(&b, bh_slice(NULL, 0), SIZE_MAX), 0);
    assert_slice(bh_bytes_slice(&b), "0123456789");
    bh_bytes_free(&b);
}

static void a_failed_try_add_changes_nothing(void **state) {
    struct bh_bytes b = {0};
    assert_int_equal(bh_bytes_try_add(&b, BH_SLICE("abc"), 100), 0);
    bh_mem_fail_nth(1);
    assert_int_equal(bh_bytes_try_add(&b, BH_SLICE("def"), 100), BH_ENOMEM);
    assert_slice(bh_bytes_slice(&b), "abc");
    bh_bytes_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_keeps_its_bytes),
        cmocka_unit_test(empty_buffers),
        cmocka_unit_test(a_peers_size_may_fail),
        cmocka_unit_test(threads_share_a_buffer),
        cmocka_unit_test(appends),
        cmocka_unit_test(clear_keeps_the_memory),
        cmocka_unit_test(grows_geometrically),
        cmocka_unit_test(formats_at_every_fill),
        cmocka_unit_test(a_failed_reserve_changes_nothing),
        cmocka_unit_test(memory_doubles_up_to_the_limit),
        cmocka_unit_test(a_first_piece_takes_exactly_its_size),
        cmocka_unit_test(a_failed_try_add_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
