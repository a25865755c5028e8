/* spawn.c - a thread that takes no signals. */
#include "bellhop/base/spawn.h"

#include "bellhop/base/error.h"

#include <signal.h>

int bh_spawn(pthread_t *out, void *(*run)(void *), void *ud) {
    /* A fault must still reach its handler (of a sanitizer or a crash reporter). */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(out, NULL, run, ud);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? BH_EIO : 0;
}
