/* The ring of log lines: order, wrapping at each place, room, one thread putting and one taking. */
#include "log_ring.h"

#include "unit_test.h"

#include <pthread.h>
#include <sched.h>

#define BYTES_MAX 4096

static char memory[BYTES_MAX];

static struct bh_log_ring ring_of(size_t size) {
    return (struct bh_log_ring){.bytes = memory, .size = size};
}

/* Line number i has up to `most` bytes, of one kind. */
static struct bh_slice line_number(unsigned i, size_t most) {
    static _Thread_local char text[BYTES_MAX];
    size_t n = (i * 7) % (most + 1);
    memset(text, 'a' + (int)(i % 26), n);
    return bh_slice(text, n);
}

static bool put_number(struct bh_log_ring *r, unsigned i, size_t most) {
    struct bh_slice line = line_number(i, most);
    size_t head = i % (line.n + 1);
    return bh_log_ring_put(r, bh_slice(line.p, head), bh_slice(line.p + head, line.n - head));
}

static void take_number(struct bh_log_ring *r, unsigned i, size_t most) {
    struct bh_slice wanted = line_number(i, most);
    char got[BYTES_MAX];
    assert_int_equal(bh_log_ring_peek(r, got, wanted.n), wanted.n);
    assert_memory_equal(got, wanted.p, wanted.n);
    bh_log_ring_take(r, wanted.n);
}

static void keeps_the_order_wherever_it_wraps(void **state) {
    for (size_t size = 40; size <= 300; size += 7) {
        struct bh_log_ring r = ring_of(size);
        unsigned put = 0, taken = 0;
        for (int round = 0; round < 2000; round++) {
            if (test_random() % 2)
                put += put_number(&r, put, size);
            else if (taken < put)
                take_number(&r, taken++, size);
        }
        assert_true(put > 200);
        while (taken < put)
            take_number(&r, taken++, size);
        assert_true(bh_log_ring_is_empty(&r));
    }
}

static void takes_whole_lines_or_nothing(void **state) {
    static const char text[1000];
    char got[200];
    for (size_t start = 0; start < 128; start++) {
        struct bh_log_ring r = ring_of(128);
        atomic_store(&r.put, start);
        atomic_store(&r.taken, start);
        assert_false(bh_log_ring_put(&r, bh_slice(text, 3), bh_slice(text, 126)));
        assert_false(bh_log_ring_put(&r, bh_slice(text, 3), bh_slice(text, SIZE_MAX)));
        assert_false(bh_log_ring_put(&r, bh_slice(text, SIZE_MAX), bh_slice(text, 3)));
        assert_true(bh_log_ring_is_empty(&r));
        assert_true(bh_log_ring_put(&r, bh_slice(text, 3), bh_slice(text, 125)));
        assert_false(bh_log_ring_put(&r, bh_slice(NULL, 0), bh_slice(text, 1)));
        assert_int_equal(bh_log_ring_peek(&r, got, sizeof got), 128);
        assert_int_equal(bh_log_ring_peek(&r, got, 5), 5);
        bh_log_ring_take(&r, 1);
        assert_true(bh_log_ring_put(&r, bh_slice(NULL, 0), bh_slice(text, 1)));
    }
}

static void an_empty_one_has_nothing(void **state) {
    struct bh_log_ring r = ring_of(64);
    char got;
    assert_true(bh_log_ring_is_empty(&r));
    assert_int_equal(bh_log_ring_peek(&r, &got, 1), 0);
    bh_log_ring_take(&r, 0);
    assert_true(bh_log_ring_put(&r, bh_slice(NULL, 0), bh_slice(NULL, 0)));
    assert_true(bh_log_ring_is_empty(&r));
}

#define LINES 20000

static void *put_all(void *arg) {
    for (unsigned i = 0; i < LINES;) {
        if (put_number(arg, i, 100))
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void one_thread_puts_while_another_takes(void **state) {
    struct bh_log_ring r = ring_of(512);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, put_all, &r), 0);
    for (unsigned i = 0; i < LINES;) {
        if (bh_log_ring_is_empty(&r) && line_number(i, 100).n)
            sched_yield();
        else
            take_number(&r, i++, 100);
    }
    pthread_join(producer, NULL);
    assert_true(bh_log_ring_is_empty(&r));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_wherever_it_wraps),
        cmocka_unit_test(takes_whole_lines_or_nothing),
        cmocka_unit_test(an_empty_one_has_nothing),
        cmocka_unit_test(one_thread_puts_while_another_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
