/* The reserve of descriptors, in a process that may have 80 of them. */
#include "descriptors_internal.h"
#include "io_test.h"

#include "bellhop/io/listener.h"

#include <sys/resource.h>

#define ALL     80
#define RESERVE 10 /* an eighth */
#define SPARES  2  /* a quarter of those */

static int opened[ALL];
static int count;

static void set_limit(rlim_t soft) {
    struct rlimit files = {soft, ALL};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static int open_one(void) {
    int fd = dup(0);
    if (fd >= 0)
        opened[count++] = fd;
    return fd;
}

static void close_last(int n) {
    for (; n > 0 && count > 0; n--)
        close(opened[--count]);
}

static int group_setup(void **state) {
    set_limit(ALL / 2);
    bh_descriptors_init(1000);
    return 0;
}

static int teardown(void **state) {
    set_limit(ALL);
    close_last(count);
    bh_descriptors_restore();
    return 0;
}

static void the_limit_is_raised(void **state) {
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_equal(files.rlim_cur, ALL);
}

static void the_last_ones_are_the_reserve(void **state) {
    int fd, reserve = 0;
    while ((fd = open_one()) >= 0) {
        assert_int_equal(bh_descriptor_is_reserve(fd), fd >= ALL - RESERVE);
        reserve += bh_descriptor_is_reserve(fd);
    }
    assert_int_equal(reserve, RESERVE);
}

static void spare_ones_are_lent(void **state) {
    while (open_one() >= 0)
        ;
    for (int i = 0; i < SPARES; i++) {
        assert_true(bh_descriptors_lend());
        assert_true(bh_descriptor_is_reserve(open_one())); /* although its number is low */
    }
    assert_false(bh_descriptors_lend());
    bh_descriptors_restore(); /* in vain */
    assert_true(bh_descriptor_is_reserve(0));
    close_last(1);
    bh_descriptors_restore();
    assert_true(bh_descriptor_is_reserve(0));
    close_last(1);
    bh_descriptors_restore();
    assert_false(bh_descriptor_is_reserve(0));
}

static void the_limit_changes_meanwhile(void **state) {
    set_limit(40);
    int fd = open_one();
    while (fd >= 0 && fd < 38)
        fd = open_one();
    assert_int_equal(fd, 38);
    set_limit(20); /* below what is open: only a spare one helps */
    assert_int_equal(open_one(), -1);
    assert_true(bh_descriptors_lend());
    assert_true(bh_descriptor_is_reserve(open_one()));
    set_limit(ALL);
    bh_descriptors_restore();
    assert_false(bh_descriptor_is_reserve(open_one()));
}

/* --- a listener --- */

static int accepted[ALL];
static unsigned accepts, asked;
static struct bh_listener *listener;

static void on_accept(void *ud, int fd, const struct bh_addr *peer) {
    accepted[accepts++] = fd;
}

/* Gives up the first connection, once. */
static bool on_exhausted(void *ud) {
    if (asked++ > 0)
        return false;
    close(accepted[0]);
    bh_listener_yield(listener);
    return true;
}

static void a_listener_goes_on(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct bh_listener *l = NULL;
    struct bh_addr a = test_addr("127.0.0.1:0");
    int clients[5];
    assert_int_equal(bh_listener_open(&l, loop, &a, 16, on_accept, NULL), 0);
    bh_listener_on_exhausted(l, on_exhausted);
    listener = l;
    for (int i = 0; i < 5; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(clients[i], &bh_listener_addr(l)->sa, bh_listener_addr(l)->len),
                         0);
    }
    while (open_one() >= 0)
        ;
    bh_loop_tick(loop, false);
    assert_int_equal(accepts, SPARES + 1); /* one more in a tick */
    assert_int_equal(asked, 1);
    for (int i = 0; i < 3; i++)
        bh_loop_tick(loop, false);
    assert_int_equal(accepts, SPARES + 1); /* then it pauses */
    assert_int_equal(asked, 2);
    for (unsigned i = 1; i < accepts; i++)
        assert_true(bh_descriptor_is_reserve(accepted[i]));
    for (unsigned i = 1; i < accepts; i++)
        close(accepted[i]);
    for (int i = 0; i < 5; i++)
        close(clients[i]);
    bh_listener_close(l);
    bh_loop_free(loop);
}

/* Without a descriptor accept(2) fails also if nobody waits. */
static void nothing_is_given_up_for_nobody(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct bh_listener *l = NULL;
    struct bh_addr a = test_addr("127.0.0.1:0");
    accepts = asked = 0;
    assert_int_equal(bh_listener_open(&l, loop, &a, 16, on_accept, NULL), 0);
    bh_listener_on_exhausted(l, on_exhausted);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (open_one() >= 0)
        ;
    close_last(1);
    assert_int_equal(connect(client, &bh_listener_addr(l)->sa, bh_listener_addr(l)->len), 0);
    for (int i = 0; i < 3; i++)
        bh_loop_tick(loop, false);
    assert_int_equal(accepts, 1);
    assert_int_equal(asked, 0);
    assert_true(bh_descriptors_lend() && bh_descriptors_lend()); /* none was used */
    close(accepted[0]);
    close(client);
    bh_listener_close(l);
    bh_loop_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_limit_is_raised, teardown),
        cmocka_unit_test_teardown(the_last_ones_are_the_reserve, teardown),
        cmocka_unit_test_teardown(spare_ones_are_lent, teardown),
        cmocka_unit_test_teardown(the_limit_changes_meanwhile, teardown),
        cmocka_unit_test_teardown(a_listener_goes_on, teardown),
        cmocka_unit_test_teardown(nothing_is_given_up_for_nobody, teardown),
    };
    return cmocka_run_group_tests(tests, group_setup, NULL);
}
