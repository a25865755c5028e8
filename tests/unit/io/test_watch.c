/* Watching descriptors of libraries. */
#include "io_test.h"

#include "bellhop/io/watch.h"

struct seen {
    struct bh_watch *watch;
    unsigned calls, ready;
    bool closes; /* in its callback */
    char byte;
};

static void on_ready(void *ud, int fd, unsigned ready) {
    struct seen *s = ud;
    s->calls++;
    s->ready |= ready;
    if (s->closes)
        bh_watch_close(s->watch);
}

static void test_tells_what_is_wanted(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct seen s = {0};
    int fds[2];
    test_unix_pair(fds);
    s.watch = bh_watch_new(loop, fds[0], on_ready, &s);
    bh_loop_tick(loop, false);
    assert_int_equal(s.calls, 0);

    assert_int_equal(bh_watch_set(s.watch, BH_WATCH_READ), 0);
    bh_loop_tick(loop, false);
    assert_int_equal(s.calls, 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    bh_loop_tick(loop, true);
    bh_loop_tick(loop, true); /* still ready, reported again */
    assert_int_equal(s.calls, 2);
    assert_int_equal(s.ready, BH_WATCH_READ);

    assert_int_equal(bh_watch_set(s.watch, BH_WATCH_READ | BH_WATCH_WRITE), 0);
    bh_loop_tick(loop, true);
    assert_int_equal(s.ready, BH_WATCH_READ | BH_WATCH_WRITE);

    assert_int_equal(bh_watch_set(s.watch, 0), 0);
    unsigned before = s.calls;
    bh_loop_tick(loop, false);
    assert_int_equal(s.calls, before);

    bh_watch_close(s.watch);
    close(fds[0]);
    close(fds[1]);
    bh_loop_free(loop);
}

static void test_hang_up(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct seen s = {0};
    int fds[2];
    test_unix_pair(fds);
    s.watch = bh_watch_new(loop, fds[0], on_ready, &s);
    bh_watch_set(s.watch, BH_WATCH_READ);
    close(fds[1]);
    bh_loop_tick(loop, true);
    assert_int_equal(s.ready & BH_WATCH_READ, BH_WATCH_READ);
    bh_watch_close(s.watch);
    close(fds[0]);
    bh_loop_free(loop);
}

static void test_close_in_its_callback_and_the_number_again(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct seen first = {.closes = true}, second = {0};
    int fds[2], others[2];
    test_unix_pair(fds);
    first.watch = bh_watch_new(loop, fds[0], on_ready, &first);
    bh_watch_set(first.watch, BH_WATCH_WRITE);
    bh_loop_tick(loop, true);
    assert_int_equal(first.calls, 1);
    close(fds[0]);
    test_unix_pair(others);
    assert_int_equal(others[0], fds[0]);
    second.watch = bh_watch_new(loop, others[0], on_ready, &second);
    assert_int_equal(bh_watch_set(second.watch, BH_WATCH_WRITE), 0);
    bh_loop_tick(loop, true);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 1);
    bh_watch_close(second.watch);
    bh_watch_close(NULL);
    bh_loop_tick(loop, false);
    close(fds[1]);
    close(others[0]);
    close(others[1]);
    bh_loop_free(loop);
}

static void test_what_cannot_be_watched(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct seen s = {0};
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    s.watch = bh_watch_new(loop, fd, on_ready, &s);
    assert_int_equal(bh_watch_set(s.watch, BH_WATCH_READ), BH_EIO);
    bh_watch_close(s.watch);
    close(fd);
    bh_loop_free(loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tells_what_is_wanted),
        cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_close_in_its_callback_and_the_number_again),
        cmocka_unit_test(test_what_cannot_be_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
