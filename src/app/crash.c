/* crash.c - the last lines of the log tell why the process ended, so they must not stay in memory.
 *
 * The handler runs with all signals blocked, on the thread with the fault. It restores the previous
 * action: an instruction that fails again takes that one, other signals are raised again and arrive
 * when the handler returns. */
#include "crash.h"

#include "bellhop/base/log_output.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>

#define OTHER_MS 2000 /* more than writing the rest of the log takes */

static const int fatal[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL, SIGABRT,
                            SIGTRAP, SIGQUIT, SIGXCPU, SIGSYS};
#define FATAL_COUNT (sizeof fatal / sizeof *fatal)

static struct sigaction previous[FATAL_COUNT];
static atomic_flag is_dying = ATOMIC_FLAG_INIT;

static void restore(int signo) {
    for (size_t i = 0; i < FATAL_COUNT; i++)
        if (fatal[i] == signo)
            sigaction(signo, &previous[i], NULL);
}

static bool happens_again(const siginfo_t *info) {
    int signo = info->si_signo;
    return info->si_code > 0 &&
           (signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL);
}

static void on_fatal(int signo, siginfo_t *info, void *context) {
    int saved_errno = errno;
    (void)context;
    if (atomic_flag_test_and_set(&is_dying))
        poll(NULL, 0, OTHER_MS); /* another thread has failed, too, and writes */
    else
        bh_log_output_drain();
    restore(signo);
    if (!happens_again(info))
        raise(signo);
    errno = saved_errno;
}

void bh_crash_set_up(void) {
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < FATAL_COUNT; i++) {
        sigaction(fatal[i], NULL, &previous[i]);
        if (previous[i].sa_handler != SIG_IGN)
            sigaction(fatal[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}
