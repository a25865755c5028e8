/* Signals that end the process: the log is written first, and the previous action follows. */
#include "app_test.h"
#include "crash.h"

#include "bellhop/base/log_output.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPE_SIZE 8192
#define LINES     500

struct end {
    int status; /* of the child, as of waitpid */
    size_t lines;
    char text[100000];
};

static void on_previous(int signo) {
    static const char text[] = "previous action\n";
    _exit(write(STDERR_FILENO, text, sizeof text - 1) > 0 ? 7 : 8);
}

static void fault(void) {
    volatile char *page = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
}

static void quit(void) {
    kill(getpid(), SIGQUIT);
}

/* stderr is full while lines are logged, and has room at the end. */
static void die(void (*how)(void), int pipe) {
    static const char filler[PIPE_SIZE];
    const int signals[] = {SIGSEGV, SIGABRT, SIGQUIT};
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    for (size_t i = 0; i < COUNT(signals); i++)
        signal(signals[i], on_previous);
    dup2(pipe, STDERR_FILENO);
    bh_crash_set_up();
    bh_log_output_start();
    if (write(STDERR_FILENO, filler, sizeof filler) != sizeof filler)
        _exit(9);
    for (int i = 0; i < LINES; i++)
        bh_warn("line", bh_kv_int("i", i));
    fcntl(STDERR_FILENO, F_SETPIPE_SZ, 1 << 20);
    how();
    _exit(0);
}

static const struct end *end_of(void (*how)(void)) {
    static struct end end;
    int ends[2];
    end = (struct end){0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE), PIPE_SIZE);
    pid_t pid = fork();
    if (pid == 0)
        die(how, ends[1]);
    close(ends[1]);
    ssize_t n;
    size_t got = 0;
    while ((n = read(ends[0], end.text + got, sizeof end.text - 1 - got)) > 0)
        got += (size_t)n;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &end.status, 0), pid);
    memmove(end.text, end.text + PIPE_SIZE, got - PIPE_SIZE);
    end.text[got - PIPE_SIZE] = '\0';
    for (const char *l = end.text; (l = strstr(l, " i=")); l++)
        assert_int_equal(atoi(l + 3), end.lines++);
    return &end;
}

static void assert_all_written_before_the_previous_action(void (*how)(void)) {
    const struct end *e = end_of(how);
    assert_int_equal(e->lines, LINES);
    assert_true(WIFEXITED(e->status));
    assert_int_equal(WEXITSTATUS(e->status), 7);
    assert_string_equal(e->text + strlen(e->text) - 16, "previous action\n");
}

static void a_fault(void **state) {
    assert_all_written_before_the_previous_action(fault);
}

static void an_abort(void **state) {
    assert_all_written_before_the_previous_action(abort);
}

static void a_signal_from_outside(void **state) {
    assert_all_written_before_the_previous_action(quit);
}

/* Without the previous handler of this test. */
static void abort_by_default(void) {
    signal(SIGABRT, SIG_DFL);
    bh_crash_set_up();
    abort();
}

static void the_default_action_follows(void **state) {
    const struct end *e = end_of(abort_by_default);
    assert_int_equal(e->lines, LINES);
    assert_true(WIFSIGNALED(e->status) ? WTERMSIG(e->status) == SIGABRT : WEXITSTATUS(e->status));
}

static void ignored(void) {
    raise(SIGUSR1);
    raise(SIGUSR2);
    raise(SIGPIPE);
    raise(SIGXFSZ);
}

static void what_means_nothing_ends_nothing(void **state) {
    const struct end *e = end_of(ignored);
    assert_true(WIFEXITED(e->status));
    assert_int_equal(WEXITSTATUS(e->status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault),
        cmocka_unit_test(an_abort),
        cmocka_unit_test(a_signal_from_outside),
        cmocka_unit_test(the_default_action_follows),
        cmocka_unit_test(what_means_nothing_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
