/* Resolving: beside the loop, once, cancellable at each stage. The system's resolver is replaced by
 * one with made-up names that can be blocked. */
#include "io_test.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* --- the made-up resolver --- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opens = PTHREAD_COND_INITIALIZER;
static bool gate_is_open;
static atomic_uint inside; /* lookups that stand before the gate */
static atomic_uint lookups;
static atomic_bool pass_through; /* to the real one */

static struct addrinfo *made_up(int family, const char *host, const char *port,
                                struct addrinfo *next) {
    struct addrinfo *info = calloc(1, sizeof *info);
    struct sockaddr_storage *storage = calloc(1, sizeof *storage);
    info->ai_family = family;
    info->ai_next = next;
    info->ai_addr = (struct sockaddr *)storage;
    storage->ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
        info->ai_addrlen = sizeof *v4;
        v4->sin_port = htons((uint16_t)atoi(port));
        inet_pton(family, host, &v4->sin_addr);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
        info->ai_addrlen = sizeof *v6;
        v6->sin6_port = htons((uint16_t)atoi(port));
        inet_pton(family, host, &v6->sin6_addr);
    }
    return info;
}

static void wait_at_the_gate(void) {
    pthread_mutex_lock(&gate);
    atomic_fetch_add(&inside, 1);
    while (!gate_is_open)
        pthread_cond_wait(&gate_opens, &gate);
    atomic_fetch_sub(&inside, 1);
    pthread_mutex_unlock(&gate);
}

static void open_the_gate(void) {
    pthread_mutex_lock(&gate);
    gate_is_open = true;
    pthread_cond_broadcast(&gate_opens);
    pthread_mutex_unlock(&gate);
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **out) {
    atomic_fetch_add(&lookups, 1);
    if (pass_through) {
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
            (__typeof__(real))dlsym(RTLD_NEXT, "getaddrinfo");
        return real(host, port, hints, out);
    }
    if (strcmp(host, "none.test") == 0)
        return EAI_NONAME;
    if (strcmp(host, "down.test") == 0)
        return EAI_AGAIN;
    if (strcmp(host, "slow.test") == 0)
        wait_at_the_gate();
    if (strcmp(host, "six.test") == 0)
        *out = made_up(AF_INET6, "::1", port, NULL);
    else if (strcmp(host, "unroutable.test") == 0)
        *out = made_up(AF_INET6, "ff02::1", port, NULL); /* no route */
    else
        *out = made_up(AF_INET6, "::1", port, made_up(AF_INET, "127.0.0.1", port, NULL));
    return 0;
}

void freeaddrinfo(struct addrinfo *list) {
    if (pass_through) {
        void (*real)(struct addrinfo *) = (__typeof__(real))dlsym(RTLD_NEXT, "freeaddrinfo");
        real(list);
        return;
    }
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_addr);
        free(list);
        list = next;
    }
}

/* --- */

static struct bh_loop *loop;
static unsigned answers, expected;
static int last_error;
static char
    last_text[4 * BH_ADDR_TEXT_MAX]; /* all addresses of the last answer, with blanks between */

static int setup(void **state) {
    loop = bh_loop_new();
    answers = 0;
    last_text[0] = '\0';
    gate_is_open = false;
    atomic_store(&lookups, 0);
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(loop);
    open_the_gate();
    while (atomic_load(&inside) > 0)
        sched_yield();
    return 0;
}

static void on_done(void *ud, int error, const struct bh_addr *list, size_t count) {
    answers++;
    last_error = error;
    last_text[0] = '\0';
    assert_true((error == 0) == (list != NULL && count > 0));
    for (size_t i = 0; i < count; i++) {
        char text[BH_ADDR_TEXT_MAX];
        bh_addr_format(&list[i], text);
        if (i)
            strcat(last_text, " ");
        strcat(last_text, text);
    }
    if (ud)
        *(unsigned *)ud += 1;
}

static void never(void *ud, int error, const struct bh_addr *list, size_t count) {
    fail_msg("a cancelled request has been answered");
}

static void wait_for_answers(unsigned n) {
    while (answers < n)
        bh_loop_tick(loop, true);
}

static void ask(const char *host, uint16_t port) {
    expected = answers + 1;
    last_text[0] = '\0';
    assert_non_null(bh_resolve(loop, host, port, on_done, NULL));
    assert_int_equal(answers, expected - 1); /* never before the return */
    wait_for_answers(expected);
    bh_loop_tick(loop, false);
    assert_int_equal(answers, expected);
}

static void numeric_hosts_need_no_lookup(void **state) {
    ask("127.0.0.1", 80);
    assert_string_equal(last_text, "127.0.0.1:80");
    ask("::1", 443);
    assert_string_equal(last_text, "[::1]:443");
    ask("10.0.0.1", 65535);
    assert_string_equal(last_text, "10.0.0.1:65535");
    assert_int_equal(atomic_load(&lookups), 0);
}

static void names_are_looked_up(void **state) {
    ask("two.test", 6379);
    assert_int_equal(last_error, 0);
    assert_string_equal(last_text, "[::1]:6379 127.0.0.1:6379"); /* in the order of the system */
    ask("six.test", 1);
    assert_string_equal(last_text, "[::1]:1");
    ask("unroutable.test", 1);
    assert_string_equal(last_text, "[ff02::1]:1");
    ask("unix", 80);
    assert_string_equal(last_text, "[::1]:80 127.0.0.1:80");
    assert_int_equal(atomic_load(&lookups), 4);
}

static void errors_are_told_apart(void **state) {
    char long_name[300];
    memset(long_name, 'a', sizeof long_name);
    long_name[254] = '\0';
    ask("none.test", 1);
    assert_int_equal(last_error, BH_ENOTFOUND);
    ask("down.test", 1);
    assert_int_equal(last_error, BH_EUNAVAIL);
    ask("", 1);
    assert_int_equal(last_error, BH_EINVAL);
    ask(long_name, 1);
    assert_int_equal(last_error, BH_EINVAL);
    long_name[253] = '\0';
    ask(long_name, 1);
    assert_int_equal(last_error, 0);
}

static void many_at_once(void **state) {
    enum { N = 200 };
    unsigned counts[N] = {0};
    for (int i = 0; i < N; i++)
        bh_resolve(loop, i % 3 ? "two.test" : "127.0.0.1", 1, on_done, &counts[i]);
    wait_for_answers(N);
    for (int i = 0; i < N; i++)
        assert_int_equal(counts[i], 1);
}

static void wait_inside(unsigned n) {
    while (atomic_load(&inside) < n)
        sched_yield();
}

static void slow_names_do_not_hold_the_loop(void **state) {
    bh_resolve(loop, "slow.test", 1, on_done, NULL);
    wait_inside(1);
    ask("two.test", 7);
    assert_string_equal(last_text, "[::1]:7 127.0.0.1:7");
    open_the_gate();
    wait_for_answers(2);
}

static void cancelling_at_each_stage(void **state) {
    struct bh_resolve *slow[6];
    for (int i = 0; i < 6; i++)
        slow[i] = bh_resolve(loop, "slow.test", 1, never, NULL);
    wait_inside(4);             /* four run, two are queued */
    bh_resolve_cancel(slow[5]); /* queued */
    bh_resolve_cancel(slow[0]); /* running */
    struct bh_resolve *numeric = bh_resolve(loop, "127.0.0.1", 1, never, NULL);
    bh_resolve_cancel(numeric); /* in the mailbox */
    for (int i = 1; i < 5; i++)
        bh_resolve_cancel(slow[i]);
    open_the_gate();
    ask("two.test", 9);
    assert_int_equal(answers, 1);
}

static void the_loop_may_go_first(void **state) {
    struct bh_loop *other = bh_loop_new();
    for (int i = 0; i < 6; i++)
        bh_resolve(other, "slow.test", 1, never, NULL);
    bh_resolve(other, "127.0.0.1", 1, never, NULL);
    wait_inside(4);
    bh_loop_free(other); /* does not wait for the helper */
}

/* Through the system's own resolver, without any name server. */
static void localhost(void **state) {
    pass_through = true;
    ask("localhost", 80);
    pass_through = false;
    assert_int_equal(last_error, 0);
    last_text[strcspn(last_text, " ")] = '\0';
    struct bh_addr a = test_addr(last_text);
    assert_true(bh_addr_is_loopback(&a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numeric_hosts_need_no_lookup, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_looked_up, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(slow_names_do_not_hold_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelling_at_each_stage, setup, teardown),
        cmocka_unit_test_setup_teardown(the_loop_may_go_first, setup, teardown),
        cmocka_unit_test_setup_teardown(localhost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
