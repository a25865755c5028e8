/* test_heap.c - memory goes back to the system in steps, and what is in use stays as it is. */
#include "unit_test.h"

#include "bellhop/base/heap.h"
#include "bellhop/base/mem.h"

#include <unistd.h>

#define MIB ((size_t)1 << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_HEAP false /* the sanitizer's malloc keeps what is freed */
#else
#define OWN_HEAP true
#endif

static size_t resident(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t give_back(uint64_t us) {
    struct bh_heap_return r = {0};
    size_t steps = 1;
    while (bh_heap_return_step(&r, us))
        steps++;
    assert_null(r.taken);
    return steps;
}

/* Fills `bytes` with blocks, each with its number in every byte, and keeps every nth. */
static unsigned char **fill(size_t bytes, size_t size, size_t nth) {
    size_t count = bytes / size;
    unsigned char **blocks = bh_calloc(count, sizeof *blocks);
    for (size_t i = 0; i < count; i++)
        memset(blocks[i] = bh_malloc(size), (int)i, size);
    for (size_t i = 0; i < count; i++)
        if (i % nth) {
            bh_free(blocks[i]);
            blocks[i] = NULL;
        }
    return blocks;
}

static void check_and_free(unsigned char **blocks, size_t bytes, size_t size) {
    for (size_t i = 0; i < bytes / size; i++) {
        for (size_t at = 0; blocks[i] && at < size; at++)
            assert_int_equal(blocks[i][at], (unsigned char)i);
        bh_free(blocks[i]);
    }
    bh_free(blocks);
}

/* At least two thirds: the larger the blocks, the more. */
static void what_was_freed_goes_back(void **state) {
    static const size_t sizes[] = {100, 5000, 100000, MIB - 100};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t before = resident();
        unsigned char **blocks = fill(64 * MIB, sizes[i], 1000);
        size_t peak = resident();
        give_back(1000000);
        if (OWN_HEAP && peak > before + 8 * MIB)
            assert_true(resident() < before + (peak - before) / 3);
        check_and_free(blocks, 64 * MIB, sizes[i]);
        give_back(1000000);
    }
}

/* A step is short whatever the whole takes, and others may allocate in between. */
static void in_many_steps(void **state) {
    unsigned char **blocks = fill(64 * MIB, 3000, 100), **more;
    struct bh_heap_return r = {0};
    size_t steps = 1;
    for (; bh_heap_return_step(&r, 0); steps++)
        if (steps % 10 == 0) {
            more = fill(100000, 700, 3);
            check_and_free(more, 100000, 700);
        }
    assert_true(steps > 50);
    check_and_free(blocks, 64 * MIB, 3000);
}

static void a_second_time_there_is_little_to_do(void **state) {
    check_and_free(fill(64 * MIB, 5000, 1000), 64 * MIB, 5000);
    give_back(1000000);
    assert_true(give_back(0) < 1000 || !OWN_HEAP);
}

static void cancelled(void **state) {
    unsigned char **blocks = fill(16 * MIB, 5000, 100);
    struct bh_heap_return r = {0};
    bh_heap_return_cancel(&r);
    for (int i = 0; i < 20; i++)
        assert_true(bh_heap_return_step(&r, 0));
    bh_heap_return_cancel(&r);
    assert_null(r.taken);
    bh_heap_return_cancel(&r);
    check_and_free(blocks, 16 * MIB, 5000);
}

static int setup(void **state) {
    bh_heap_set_up();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_freed_goes_back),
        cmocka_unit_test(in_many_steps),
        cmocka_unit_test(a_second_time_there_is_little_to_do),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
