/* The log goes to a syslog() that can be stuck, as the real one is when its reader stops. */
#include "bellhop/base/log_output.h"

#include "unit_test.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <syslog.h>
#include <unistd.h>

#define MANY 30000 /* lines: more than the ring has room for */

struct call {
    int i, lost, priority; /* fields of the line, or -1 */
    bool by_main;
};

static atomic_bool is_stuck;
static sem_t enters, goes_on;
static pthread_t main_thread;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the next two */
static struct call calls[MANY + 1000];
static size_t call_count;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static size_t seen; /* calls that the tests have seen */

static int field(const char *in, const char *name) {
    const char *found = strstr(in, name);
    return found ? atoi(found + strlen(name)) : -1;
}

void syslog(int priority, const char *format, ...) {
    char text[1000];
    va_list args;
    if (is_stuck) {
        sem_post(&enters);
        sem_wait(&goes_on);
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_null(strchr(text, '\n'));
    pthread_mutex_lock(&lock);
    calls[call_count++] = (struct call){field(text, " i="), field(text, " lines="), priority,
                                        pthread_equal(pthread_self(), main_thread)};
    pthread_cond_signal(&called);
    pthread_mutex_unlock(&lock);
}

/* Waits for it. */
static struct call next_call(void) {
    pthread_mutex_lock(&lock);
    while (call_count == seen)
        pthread_cond_wait(&called, &lock);
    struct call c = calls[seen++];
    pthread_mutex_unlock(&lock);
    return c;
}

static void say(int from, int to) {
    for (int i = from; i < to; i++)
        bh_error("line", bh_kv_int("i", i));
}

static void the_first_lines_go_there_directly(void **state) {
    say(0, 1);
    assert_int_equal(call_count, 1);
    struct call c = next_call();
    assert_int_equal(c.priority, LOG_ERR);
    assert_true(c.by_main);
}

static void only_the_writer_waits_for_it(void **state) {
    assert_int_equal(bh_log_output_start(), 0);
    is_stuck = true;
    say(0, 1);
    sem_wait(&enters);
    say(1, MANY); /* returns */
    is_stuck = false;
    sem_post(&goes_on);
    int i = 0;
    struct call c;
    while ((c = next_call()).lost < 0) {
        assert_int_equal(c.i, i++);
        assert_false(c.by_main);
    }
    assert_int_equal(i + c.lost, MANY);
    assert_int_equal(c.priority, LOG_WARNING);
}

static void the_stop_lets_the_writer_finish(void **state) {
    say(0, 100);
    bh_log_output_stop();
    for (int i = 0; i < 100; i++) {
        struct call c = next_call();
        assert_int_equal(c.i, i);
        assert_false(c.by_main);
    }
}

/* The rest goes to stderr. */
static void the_stop_does_not_wait_for_a_stuck_syslog(void **state) {
    char text[8192];
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(bh_log_output_start(), 0);
    is_stuck = true;
    say(0, 1);
    sem_wait(&enters);
    say(1, 20);
    dup2(ends[1], STDERR_FILENO);
    bh_log_output_stop();
    say(20, 21);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    int lines = 0;
    for (char *l = strtok(text, "\n"); l; l = strtok(NULL, "\n"))
        assert_int_equal(field(l, " i="), ++lines);
    assert_int_equal(lines, 20);
    sem_post(&goes_on);
    assert_int_equal(next_call().i, 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_lines_go_there_directly),
        cmocka_unit_test(only_the_writer_waits_for_it),
        cmocka_unit_test(the_stop_lets_the_writer_finish),
        cmocka_unit_test(the_stop_does_not_wait_for_a_stuck_syslog),
    };
    main_thread = pthread_self();
    sem_init(&enters, 0, 0);
    sem_init(&goes_on, 0, 0);
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, true, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
