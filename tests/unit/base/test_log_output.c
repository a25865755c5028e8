/* Where lines go: stderr is a small pipe here, so it is full soon. */
#include "bellhop/base/log_output.h"

#include "bellhop/base/metrics.h"
#include "unit_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY      30000 /* lines: more than the ring has room for */
#define WAIT_MS   20000
#define PIPE_SIZE 8192 /* two pages: a pipe of one is never ready while it has a byte */

static int reader, real_stderr;
static struct bh_bytes text; /* read, without the lines that next_line has returned */
static char line[300000];

/* --- stderr --- */

static void new_pipe(int flags) {
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE), PIPE_SIZE);
    fcntl(ends[1], F_SETFL, O_WRONLY | flags);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    reader = ends[0];
    bh_bytes_clear(&text);
}

static void close_reader(void) {
    close(reader);
    reader = -1;
}

static void fill_pipe(void) {
    static const char filler[PIPE_SIZE - 1];
    char all[PIPE_SIZE];
    memcpy(all, filler, sizeof filler);
    all[PIPE_SIZE - 1] = '\n';
    assert_int_equal(write(STDERR_FILENO, all, sizeof all), sizeof all);
}

static void skip_filler(void) {
    char bytes[PIPE_SIZE];
    assert_int_equal(read(reader, bytes, sizeof bytes), sizeof bytes);
}

static bool read_some(int ms) {
    struct pollfd p = {.fd = reader, .events = POLLIN};
    char bytes[5000];
    if (poll(&p, 1, ms) <= 0)
        return false;
    ssize_t n = read(reader, bytes, sizeof bytes);
    if (n > 0)
        bh_bytes_add(&text, bh_slice(bytes, (size_t)n));
    return n > 0;
}

/* Waits for it. */
static const char *next_line(void) {
    char *end;
    while (!text.len || !(end = memchr(text.p, '\n', text.len)))
        if (!read_some(WAIT_MS))
            fail_msg("no line came");
    size_t n = (size_t)(end - text.p);
    assert_true(n < sizeof line);
    memcpy(line, text.p, n);
    line[n] = '\0';
    bh_bytes_consume(&text, n + 1);
    return line;
}

static bool pipe_is_empty(void) {
    return text.len == 0 && !read_some(0);
}

static int64_t field(const char *in, const char *name) {
    char key[32];
    snprintf(key, sizeof key, " %s=", name);
    const char *found = strstr(in, key);
    return found ? atoll(found + strlen(key)) : -1;
}

static void assert_next(int64_t i) {
    assert_int_equal(field(next_line(), "i"), i);
}

static void say(int from, int to) {
    for (int i = from; i < to; i++)
        bh_info("line", bh_kv_int("i", i));
}

static int64_t lost_total(void) {
    struct bh_bytes all = {0};
    bh_metrics_render(&all);
    bh_bytes_addc(&all, '\0');
    int64_t n = atoll(strstr(all.p, "\nbellhop_base_log_lost_total ") + 29);
    bh_bytes_free(&all);
    return n;
}

static int setup(void **state) {
    real_stderr = dup(STDERR_FILENO);
    new_pipe(0);
    return 0;
}

static int teardown(void **state) {
    bh_log_output_stop();
    close_reader();
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    return 0;
}

/* --- tests --- */

static void before_the_start_lines_are_written_directly(void **state) {
    say(0, 1);
    assert_true(read_some(0));
    assert_next(0);
    bh_log_output_stop(); /* not started: nothing happens */
    bh_log_output_drain();
    say(1, 2);
    assert_true(read_some(0));
    assert_next(1);
}

static void lines_arrive_in_order(void **state) {
    assert_int_equal(bh_log_output_start(), 0);
    for (int i = 0; i < 300; i++) {
        say(i, i + 1);
        assert_next(i);
    }
    say(300, 400);
    for (int i = 300; i < 400; i++)
        assert_next(i);
    assert_true(pipe_is_empty());
}

static void *say_many(void *arg) {
    for (int i = 0; i < 500; i++)
        bh_info("line", bh_kv_int("thread", *(int *)arg), bh_kv_int("i", i));
    return NULL;
}

static void threads_keep_their_order(void **state) {
    pthread_t threads[4];
    int numbers[COUNT(threads)], next[COUNT(threads)] = {0};
    assert_int_equal(bh_log_output_start(), 0);
    for (int i = 0; i < (int)COUNT(threads); i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, say_many, &numbers[i]);
    }
    for (int i = 0; i < 500 * (int)COUNT(threads); i++) {
        const char *l = next_line();
        int64_t thread = field(l, "thread");
        assert_in_range(thread, 0, COUNT(threads) - 1);
        assert_int_equal(field(l, "i"), next[thread]++);
    }
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

/* Expects the lines from first on, then one that tells the lost ones; the next number. */
static int64_t read_to_the_gap(int64_t first) {
    for (;; first++) {
        const char *l = next_line();
        if (strstr(l, "level=warn msg=\"log lines were lost\""))
            return first + field(l, "lines");
        assert_int_equal(field(l, "i"), first);
    }
}

static void a_full_pipe_stops_no_one_and_lost_lines_are_told(void **state) {
    int64_t lost = lost_total();
    fill_pipe();
    assert_int_equal(bh_log_output_start(), 0);
    for (int round = 0; round < 3; round++) {
        say(0, MANY); /* returns */
        assert_true(lost_total() > lost + MANY / 10);
        if (round == 0)
            skip_filler();
        assert_int_equal(read_to_the_gap(0), MANY);
        say(MANY, MANY + 10);
        for (int i = MANY; i < MANY + 10; i++)
            assert_next(i);
        lost = lost_total();
    }
    assert_true(pipe_is_empty());
}

/* A line of 16 fields of 2048 control characters, which take six bytes each. */
static void long_lines_arrive_whole(void **state) {
    static char control[2048];
    struct bh_kv fields[17] = {{0}};
    memset(control, 1, sizeof control);
    for (int i = 0; i < 16; i++)
        fields[i] = bh_kv_slice("v", bh_slice(control, sizeof control));
    assert_int_equal(bh_log_output_start(), 0);
    for (int i = 0; i < 3; i++)
        bh_log_write(BH_LOG_INFO, NULL, "long", fields);
    for (int i = 0; i < 3; i++)
        assert_int_equal(strlen(next_line()), strlen("ts=2023-11-14T22:13:20.007Z level=info "
                                                     "msg=long") +
                                                  16 * (strlen(" v=\"\"") + 6 * sizeof control));
    say(0, 1);
    assert_next(0);
}

static void a_line_longer_than_the_ring_is_lost(void **state) {
    static char huge[2 << 20];
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\n';
    assert_int_equal(bh_log_output_start(), 0);
    say(0, 1);
    assert_next(0);
    bh_log_output_put(BH_LOG_INFO, bh_slice(huge, sizeof huge));
    assert_int_equal(read_to_the_gap(1), 2);
    say(2, 3);
    assert_next(2);
}

static void the_flags_of_stderr_stay(void **state) {
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        close_reader();
        new_pipe(flags);
        fill_pipe();
        assert_int_equal(bh_log_output_start(), 0);
        say(0, 1000);
        assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, flags);
        skip_filler();
        for (int i = 0; i < 1000; i++)
            assert_next(i);
        bh_log_output_stop();
        assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, flags);
    }
}

static void a_reader_that_goes_loses_lines_only(void **state) {
    int64_t lost = lost_total();
    assert_int_equal(bh_log_output_start(), 0);
    close_reader();
    say(0, 5);
    while (lost_total() < lost + 5)
        poll(NULL, 0, 1);
    new_pipe(0);
    say(5, 6);
    assert_next(5);
    assert_int_equal(field(next_line(), "lines"), 5);
    assert_true(pipe_is_empty());
}

static void the_stop_writes_what_is_left(void **state) {
    assert_int_equal(bh_log_output_start(), 0);
    say(0, 20);
    bh_log_output_stop();
    say(20, 21);
    while (read_some(0))
        ;
    for (int i = 0; i < 21; i++)
        assert_next(i);
    assert_true(pipe_is_empty());
}

static void the_stop_does_not_wait_for_a_reader(void **state) {
    fill_pipe();
    assert_int_equal(bh_log_output_start(), 0);
    say(0, 5);
    bh_log_output_stop(); /* returns */
    int64_t lost = lost_total();
    say(5, 6); /* returns, too */
    assert_int_equal(lost_total(), lost + 1);
    bh_log_output_stop();
    bh_log_output_last_words("none\n");
    skip_filler();
    for (int i = 0; i < 5; i++)
        assert_next(i); /* of the writer, which lives as long as the process */
    assert_int_equal(bh_log_output_start(), 0);
    say(6, 7);
    bool told = false, said = false;
    while (!told || !said) {
        const char *l = next_line(); /* the writer may tell the loss before */
        told |= field(l, "lines") == 1;
        said |= field(l, "i") == 6;
    }
}

static void on_fatal(int signo) {
    bh_log_output_last_words("the end\n");
    _exit(7);
}

/* In a child. The pipe is enlarged at last, so that the parent's speed does not matter. */
static void die(void) {
    static int number = 1;
    pthread_t thread;
    signal(SIGABRT, on_fatal);
    fill_pipe();
    bh_log_output_start();
    say(0, 2000);
    pthread_create(&thread, NULL, say_many, &number);
    pthread_join(thread, NULL);
    fcntl(STDERR_FILENO, F_SETPIPE_SZ, 1 << 20);
    raise(SIGABRT);
}

static void a_signal_handler_writes_what_is_left(void **state) {
    int status;
    pid_t pid = fork();
    if (pid == 0)
        die();
    assert_true(pid > 0);
    skip_filler();
    for (int i = 0; i < 2000; i++)
        assert_next(i);
    for (int i = 0; i < 500; i++)
        assert_next(i);
    assert_string_equal(next_line(), "the end");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_true(pipe_is_empty());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(before_the_start_lines_are_written_directly), /* must be first */
        TEST(a_signal_handler_writes_what_is_left),        /* a fork, before threads start */
        TEST(lines_arrive_in_order),
        TEST(threads_keep_their_order),
        TEST(a_full_pipe_stops_no_one_and_lost_lines_are_told),
        TEST(long_lines_arrive_whole),
        TEST(a_line_longer_than_the_ring_is_lost),
        TEST(the_flags_of_stderr_stay),
        TEST(a_reader_that_goes_loses_lines_only),
        TEST(the_stop_writes_what_is_left),
        TEST(the_stop_does_not_wait_for_a_reader),
    };
    signal(SIGPIPE, SIG_IGN);
    bh_log_metrics_register();
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
