/* A thread that takes no signals but faults. */
#include "bellhop/base/spawn.h"

#include "unit_test.h"

#include <signal.h>

static void *get_mask(void *arg) {
    pthread_sigmask(SIG_SETMASK, NULL, arg);
    return NULL;
}

static void blocks_signals_but_faults(void **state) {
    sigset_t before, after, there;
    pthread_t thread;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(bh_spawn(&thread, get_mask, &there), 0);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_true(sigismember(&there, SIGTERM) && sigismember(&there, SIGABRT));
    assert_false(sigismember(&there, SIGSEGV) || sigismember(&there, SIGBUS));
    assert_false(sigismember(&before, SIGTERM) || sigismember(&after, SIGTERM));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_signals_but_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
