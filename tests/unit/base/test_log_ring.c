/* The ring of log lines: order, wrapping at each place, room, one thread putting and one taking. */
#include "log_ring.h"

#include "unit_test.h"

#include <pthread.h>
#include <sched.h>

#define BYTES_MAX 4096

static _Alignas(BH_LOG_RING_ALIGN) char memory[BYTES_MAX];

static struct bh_log_ring ring_of(size_t size) {
    return (struct bh_log_ring){.bytes = memory, .size = size};
}

/* Line number i has i % most bytes, of one kind. */
static struct bh_slice line_number(unsigned i, size_t most) {
    static _Thread_local char text[BYTES_MAX];
    size_t n = (i * 7) % most;
    memset(text, 'a' + (int)(i % 26), n);
    return bh_slice(text, n);
}

static void assert_first(struct bh_log_ring *r, unsigned i, size_t most) {
    struct bh_slice line, wanted = line_number(i, most);
    int level;
    assert_true(bh_log_ring_first(r, &level, &line));
    assert_int_equal(level, i % 4);
    assert_int_equal(line.n, wanted.n);
    assert_memory_equal(line.p, wanted.p, wanted.n);
}

static void keeps_the_order_wherever_it_wraps(void **state) {
    for (size_t size = 64; size <= 512; size += 8) {
        struct bh_log_ring r = ring_of(size);
        unsigned put = 0, taken = 0;
        for (int round = 0; round < 2000; round++) {
            if (test_random() % 2) {
                put += bh_log_ring_put(&r, (int)(put % 4), line_number(put, size / 2 - 8));
            } else if (taken < put) {
                assert_first(&r, taken++, size / 2 - 8);
                bh_log_ring_drop(&r);
            }
            assert_int_equal(bh_log_ring_is_empty(&r), taken == put);
        }
        assert_true(put > 500);
    }
}

static void an_empty_ring_takes_half_of_its_size_at_any_place(void **state) {
    struct bh_log_ring r = ring_of(256);
    for (int i = 0; i < 100; i++) {
        assert_true(bh_log_ring_put(&r, 0, line_number(7, 60)));
        bh_log_ring_drop(&r);
        assert_true(bh_log_ring_put(&r, 0, bh_slice(memory, 120)));
        bh_log_ring_drop(&r);
    }
}

static void refuses_what_does_not_fit_and_goes_on(void **state) {
    struct bh_log_ring r = ring_of(128);
    static const char text[1000];
    unsigned n = 0;
    while (bh_log_ring_put(&r, 0, bh_slice(text, 8)))
        n++;
    assert_int_equal(n, 8);
    assert_false(bh_log_ring_put(&r, 0, bh_slice(NULL, 0)));
    bh_log_ring_drop(&r);
    assert_true(bh_log_ring_put(&r, 0, bh_slice(text, 8)));
    struct bh_log_ring empty = ring_of(128);
    assert_false(bh_log_ring_put(&empty, 0, bh_slice(text, sizeof text)));
    assert_false(bh_log_ring_put(&empty, 0, bh_slice(text, SIZE_MAX)));
    assert_false(bh_log_ring_put(&empty, 0, bh_slice(text, 121)));
    assert_true(bh_log_ring_put(&empty, 0, bh_slice(text, 120)));
}

static void nothing_to_drop(void **state) {
    struct bh_log_ring r = ring_of(64);
    int level;
    struct bh_slice line;
    bh_log_ring_drop(&r);
    assert_false(bh_log_ring_first(&r, &level, &line));
}

#define LINES 20000

static void *put_all(void *arg) {
    for (unsigned i = 0; i < LINES;) {
        if (bh_log_ring_put(arg, (int)(i % 4), line_number(i, 100)))
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
        if (bh_log_ring_is_empty(&r)) {
            sched_yield();
            continue;
        }
        assert_first(&r, i++, 100);
        bh_log_ring_drop(&r);
    }
    pthread_join(producer, NULL);
    assert_true(bh_log_ring_is_empty(&r));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_wherever_it_wraps),
        cmocka_unit_test(an_empty_ring_takes_half_of_its_size_at_any_place),
        cmocka_unit_test(refuses_what_does_not_fit_and_goes_on),
        cmocka_unit_test(nothing_to_drop),
        cmocka_unit_test(one_thread_puts_while_another_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
