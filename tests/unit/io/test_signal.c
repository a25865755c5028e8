/* Signals arrive as events of the loop that asked for them, on its own thread. */
#include "io_test.h"

#include "bellhop/io/signal.h"
#include "bellhop/io/thread.h"

#include <pthread.h>
#include <signal.h>

static int last, count;
static pthread_t where;

static void on_signal(int signo, void *ud) {
    last = signo;
    count++;
    where = pthread_self();
    if (ud)
        bh_thread_stop(ud);
}

static int setup(void **state) {
    last = count = 0;
    return 0;
}

static void delivers_to_the_loop(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct bh_signal *one = bh_signal_new(loop, SIGUSR1, on_signal, NULL);
    struct bh_signal *two = bh_signal_new(loop, SIGUSR2, on_signal, NULL);
    raise(SIGUSR1);
    assert_int_equal(count, 0); /* not in signal context */
    bh_loop_tick(loop, true);
    assert_int_equal(last, SIGUSR1);
    raise(SIGUSR2);
    bh_loop_tick(loop, true);
    assert_int_equal(last, SIGUSR2);
    assert_int_equal(count, 2);
    bh_signal_free(one);
    bh_signal_free(two);
    bh_signal_free(NULL);
    bh_loop_free(loop);
}

static void gives_the_disposition_back(void **state) {
    struct sigaction action;
    struct bh_loop *loop = bh_loop_new();
    signal(SIGUSR1, SIG_IGN);
    bh_signal_free(bh_signal_new(loop, SIGUSR1, on_signal, NULL));
    sigaction(SIGUSR1, NULL, &action);
    assert_true(action.sa_handler == SIG_IGN);
    raise(SIGUSR1);
    bh_loop_tick(loop, false);
    assert_int_equal(count, 0);
    signal(SIGUSR1, SIG_DFL);
    bh_loop_free(loop);
}

static void reaches_a_loop_on_another_thread(void **state) {
    struct bh_thread *bus = bh_thread_new("bus");
    struct bh_signal *s = bh_signal_new(bh_thread_loop(bus), SIGTERM, on_signal, bus);
    assert_int_equal(bh_thread_start(bus, NULL, NULL), 0);
    kill(getpid(), SIGTERM);
    bh_thread_join(bus);
    assert_int_equal(last, SIGTERM);
    assert_int_equal(count, 1);
    assert_false(pthread_equal(where, pthread_self()));
    bh_signal_free(s);
    bh_thread_free(bus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(delivers_to_the_loop, setup),
        cmocka_unit_test_setup(gives_the_disposition_back, setup),
        cmocka_unit_test_setup(reaches_a_loop_on_another_thread, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
