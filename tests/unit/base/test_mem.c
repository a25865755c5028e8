/* Allocation: zero sizes, copies, the failure switch, and the abort for our own sizes. */
#include "bellhop/base/mem.h"

#include "unit_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void zero_bytes_are_an_allocation(void **state) {
    void *p[] = {bh_malloc(0), bh_calloc(0, 8), bh_calloc(8, 0), bh_try_malloc(0)};
    for (size_t i = 0; i < COUNT(p); i++) {
        assert_non_null(p[i]);
        p[i] = bh_realloc(p[i], 0);
        assert_non_null(p[i]);
        bh_free(p[i]);
    }
    bh_free(NULL);
}

static void calloc_clears(void **state) {
    unsigned char *p = bh_calloc(3, 5);
    for (int i = 0; i < 15; i++)
        assert_int_equal(p[i], 0);
    bh_free(p);
}

static void copies_strings(void **state) {
    char *s = bh_strdup("bell");
    assert_string_equal(s, "bell");
    bh_free(s);
    s = bh_strndup("a\0b-rest", 3);
    assert_memory_equal(s, "a\0b", 4);
    bh_free(s);
    s = bh_strndup(NULL, 0);
    assert_string_equal(s, "");
    bh_free(s);
}

static void the_nth_try_fails_once(void **state) {
    bh_mem_fail_nth(3);
    void *a = bh_try_malloc(1);
    void *b = bh_try_realloc(NULL, 1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(bh_try_realloc(b, 100)); /* b stays as it was */
    void *c = bh_try_malloc(1);
    assert_non_null(c);
    bh_free(a);
    bh_free(b);
    bh_free(c);
}

static void house_allocations_never_fail_by_the_switch(void **state) {
    bh_mem_fail_nth(1);
    bh_free(bh_malloc(1));
    bh_free(bh_calloc(1, 1));
    assert_null(bh_try_malloc(1));
}

static void zero_switches_it_off(void **state) {
    bh_mem_fail_nth(1);
    bh_mem_fail_nth(0);
    void *p = bh_try_malloc(1);
    assert_non_null(p);
    bh_free(p);
}

static void *allocate_elsewhere(void *arg) {
    return bh_try_malloc(1);
}

static void the_switch_belongs_to_its_thread(void **state) {
    bh_mem_fail_nth(1);
    pthread_t thread;
    void *p = NULL;
    assert_int_equal(pthread_create(&thread, NULL, allocate_elsewhere, NULL), 0);
    pthread_join(thread, &p);
    assert_non_null(p);
    bh_free(p);
    assert_null(bh_try_malloc(1));
}

/* A size that no address space has, in a way the compiler cannot see. */
static void exhaust_memory(void) {
    volatile size_t size = SIZE_MAX / 4;
    bh_free(bh_malloc(size));
}

static void no_memory_for_the_house_aborts(void **state) {
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        exhaust_memory();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* A sanitizer ends the process itself, with an exit code of its own. */
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_bytes_are_an_allocation),
        cmocka_unit_test(calloc_clears),
        cmocka_unit_test(copies_strings),
        cmocka_unit_test(the_nth_try_fails_once),
        cmocka_unit_test(house_allocations_never_fail_by_the_switch),
        cmocka_unit_test(zero_switches_it_off),
        cmocka_unit_test(the_switch_belongs_to_its_thread),
        cmocka_unit_test(no_memory_for_the_house_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
