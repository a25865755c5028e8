/* The tick: its phases, its clock, its end. */
#include "io_test.h"

#include "bellhop/base/metrics.h"
#include "bellhop/io/mailbox.h"
#include "bellhop/io/watch.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static char trace[64];

static void note(char c) {
    size_t n = strlen(trace);
    assert_true(n + 1 < sizeof trace);
    trace[n] = c;
    trace[n + 1] = '\0';
}

struct step {
    struct bh_defer defer;
    struct bh_loop *loop;
    char name;
    struct step *then; /* queued by this one */
    enum bh_phase then_phase;
    bool stops;
};

static void on_step(struct bh_defer *d) {
    struct step *s = BH_CONTAINER_OF(d, struct step, defer);
    note(s->name);
    if (s->then)
        bh_defer(s->loop, s->then_phase, &s->then->defer);
    if (s->stops)
        bh_loop_stop(s->loop);
}

static struct step step(struct bh_loop *loop, char name) {
    return (struct step){.loop = loop, .name = name};
}

static void queue(struct step *s, enum bh_phase phase) {
    bh_defer_init(&s->defer, on_step);
    bh_defer(s->loop, phase, &s->defer);
}

static int setup(void **state) {
    trace[0] = '\0';
    *state = bh_loop_new();
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(*state);
    bh_clock_real();
    return 0;
}

static void flush_comes_before_reap(void **state) {
    struct step a = step(*state, 'a'), b = step(*state, 'b'), c = step(*state, 'c');
    queue(&a, BH_PHASE_REAP);
    queue(&b, BH_PHASE_FLUSH);
    queue(&c, BH_PHASE_FLUSH);
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "bca");
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "bca");
}

static void queueing_twice_runs_once(void **state) {
    struct step a = step(*state, 'a');
    queue(&a, BH_PHASE_FLUSH);
    bh_defer(*state, BH_PHASE_FLUSH, &a.defer);
    bh_defer(*state, BH_PHASE_REAP, &a.defer);
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "a");
    bh_defer(*state, BH_PHASE_REAP, &a.defer);
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "aa");
}

static void cancelled_work_does_not_run(void **state) {
    struct step a = step(*state, 'a'), b = step(*state, 'b');
    queue(&a, BH_PHASE_FLUSH);
    queue(&b, BH_PHASE_FLUSH);
    bh_defer_cancel(&a.defer);
    bh_defer_cancel(&a.defer);
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "b");
}

static void phases_run_until_empty(void **state) {
    struct step a = step(*state, 'a'), b = step(*state, 'b'), c = step(*state, 'c');
    struct step x = step(*state, 'x');
    queue(&a, BH_PHASE_FLUSH);
    queue(&x, BH_PHASE_REAP);
    bh_defer_init(&b.defer, on_step);
    bh_defer_init(&c.defer, on_step);
    a.then = &b; /* flush queues flush: before any reaping */
    x.then = &c; /* reap queues flush: in the same tick */
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "abxc");
}

static void run_does_the_waiting_work_first(void **state) {
    struct step a = step(*state, 'a'), b = step(*state, 'b'), c = step(*state, 'c');
    queue(&a, BH_PHASE_FLUSH);
    queue(&b, BH_PHASE_REAP);
    a.stops = true;
    a.then = &c;
    a.then_phase = BH_PHASE_REAP;
    bh_defer_init(&c.defer, on_step);
    bh_loop_run(*state); /* would hang if it waited for an event */
    assert_string_equal(trace, "abc");
}

static void stop_before_run(void **state) {
    bh_loop_stop(*state);
    bh_loop_run(*state);
    struct step a = step(*state, 'a');
    queue(&a, BH_PHASE_FLUSH);
    a.stops = true;
    bh_loop_run(*state);
    assert_string_equal(trace, "a");
}

static void free_runs_what_is_deferred(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct step a = step(loop, 'a'), b = step(loop, 'b');
    queue(&a, BH_PHASE_REAP);
    a.then = &b;
    bh_defer_init(&b.defer, on_step);
    bh_loop_free(loop);
    assert_string_equal(trace, "ab");
    bh_loop_free(NULL);
}

/* --- work that was put off --- */

struct task {
    struct bh_defer defer;
    struct bh_loop *loop;
    char name;
    unsigned us;     /* a run takes */
    unsigned rounds; /* it puts itself off so often */
    struct task *also;
};

static void on_task(struct bh_defer *d) {
    struct task *t = BH_CONTAINER_OF(d, struct task, defer);
    note(t->name);
    bh_clock_fake_advance_us(t->us);
    if (t->rounds && t->rounds--)
        bh_loop_put_off(t->loop, &t->defer);
    if (t->also)
        bh_defer_cancel(&t->also->defer);
}

static struct task task(struct bh_loop *loop, char name, unsigned us) {
    return (struct task){.loop = loop, .name = name, .us = us};
}

static void put_off(struct task *t) {
    bh_defer_init(&t->defer, on_task);
    bh_loop_put_off(t->loop, &t->defer);
}

static void runnable_work_is_served_in_order(void **state) {
    struct task a = task(*state, 'a', 0), b = task(*state, 'b', 0), c = task(*state, 'c', 0);
    bh_clock_fake(1000, 0);
    put_off(&a);
    put_off(&b);
    put_off(&c);
    bh_loop_put_off(*state, &a.defer); /* twice is once */
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "abc");
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "abc");
}

static void runnable_work_has_a_budget(void **state) {
    struct task a = task(*state, 'a', 200), b = task(*state, 'b', 200), c = task(*state, 'c', 200),
                d = task(*state, 'd', 9000), e = task(*state, 'e', 0);
    bh_clock_fake(1000, 0);
    put_off(&a);
    put_off(&b);
    put_off(&c);
    put_off(&d);
    put_off(&e);
    bh_loop_tick(*state, true); /* does not wait */
    assert_string_equal(trace, "abc");
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "abcd"); /* one at least, however long it takes */
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "abcde");
}

static void what_puts_itself_off_goes_to_the_end(void **state) {
    struct task a = task(*state, 'a', 300), b = task(*state, 'b', 300), c = task(*state, 'c', 1);
    bh_clock_fake(1000, 0);
    a.rounds = b.rounds = 2;
    put_off(&a);
    put_off(&b);
    put_off(&c);
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "ab");
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "abcab");
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "abcabab");
    a.rounds = 3;
    a.us = 0;
    put_off(&a);
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "abcababa"); /* once a tick, even if there is time */
    bh_loop_tick(*state, true);
    bh_loop_tick(*state, true);
    bh_loop_tick(*state, true);
    assert_string_equal(trace, "abcababaaaa");
}

static void runnable_work_may_cancel_other(void **state) {
    struct task a = task(*state, 'a', 0), b = task(*state, 'b', 0), c = task(*state, 'c', 0);
    a.also = &b;
    put_off(&a);
    put_off(&b);
    put_off(&c);
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "ac");
    b.also = &c; /* the last one goes while the list is served */
    put_off(&b);
    put_off(&c);
    bh_loop_tick(*state, false);
    assert_string_equal(trace, "acb");
}

static void on_step_mail(struct bh_mail *mail) {
    note('m');
}

static void on_step_watch(void *ud, int fd, unsigned ready) {
    note('w');
    bh_watch_set(*(struct bh_watch **)ud, 0);
}

static void fresh_events_and_mail_come_first(void **state) {
    struct task a = task(*state, 'a', 9000), b = task(*state, 'b', 9000);
    struct step f = step(*state, 'f');
    struct bh_mailbox *box = bh_mailbox_new(*state);
    struct bh_mail mail = {.fn = on_step_mail};
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    struct bh_watch *watch = bh_watch_new(*state, fd, on_step_watch, &watch);
    bh_clock_fake(1000, 0);
    put_off(&a);
    put_off(&b);
    queue(&f, BH_PHASE_FLUSH);
    bh_watch_set(watch, BH_WATCH_READ);
    bh_mailbox_post(box, &mail);
    for (int i = 0; i < 5 && !strchr(trace, 'b'); i++)
        bh_loop_tick(*state, true);
    assert_true(strchr(trace, 'w') < strchr(trace, 'b'));
    assert_true(strchr(trace, 'm') < strchr(trace, 'b'));
    assert_true(strchr(trace, 'f') < strchr(trace, 'b'));
    bh_watch_close(watch);
    bh_mailbox_free(box);
    bh_loop_tick(*state, false);
    close(fd);
}

/* Uses up its share and notes how long that was. */
struct user {
    struct bh_defer defer;
    struct bh_loop *loop;
    unsigned us;
};

static void use_share(struct user *u) {
    bh_loop_share_begin(u->loop);
    for (u->us = 0; !bh_loop_share_used(u->loop); u->us += 10)
        bh_clock_fake_advance_us(10);
}

static void on_user(struct bh_defer *d) {
    use_share(BH_CONTAINER_OF(d, struct user, defer));
}

static struct user fresh_users[2];

static void on_fresh(void *ud, int fd, unsigned ready) {
    for (int i = 0; i < 2; i++)
        use_share(&fresh_users[i]);
    bh_watch_set(*(struct bh_watch **)ud, 0);
}

static void shares_get_smaller_when_many_wait(void **state) {
    struct user users[6];
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    struct bh_watch *watch = bh_watch_new(*state, fd, on_fresh, &watch);
    bh_clock_fake(1000, 0);
    for (int i = 0; i < 2; i++)
        fresh_users[i] = (struct user){.loop = *state};
    bh_watch_set(watch, BH_WATCH_READ);
    bh_loop_tick(*state, true);
    assert_int_equal(fresh_users[0].us, 250);
    assert_int_equal(fresh_users[1].us, 250);
    bh_watch_set(watch, BH_WATCH_READ);
    for (int i = 0; i < 6; i++) {
        users[i] = (struct user){.loop = *state};
        bh_defer_init(&users[i].defer, on_user);
        bh_loop_put_off(*state, &users[i].defer);
    }
    bh_loop_tick(*state, true);
    assert_int_equal(fresh_users[0].us, 50); /* others wait in the list */
    assert_int_equal(users[0].us, 250);
    assert_int_equal(users[1].us, 250);
    assert_int_equal(users[2].us, 0);
    bh_loop_tick(*state, true);
    for (int i = 2; i < 6; i++)
        assert_int_equal(users[i].us, 100); /* there were too many for one tick */
    bh_watch_close(watch);
    bh_loop_tick(*state, false);
    close(fd);
}

static void free_runs_what_was_put_off_once(void **state) {
    struct bh_loop *loop = bh_loop_new();
    struct task a = task(loop, 'a', 9000), b = task(loop, 'b', 9000);
    struct step f = step(loop, 'f');
    bh_clock_fake(1000, 0);
    a.rounds = 5;
    put_off(&a);
    put_off(&b);
    queue(&f, BH_PHASE_FLUSH);
    bh_loop_free(loop);
    assert_string_equal(trace, "abf");
    assert_true(bh_list_empty(&a.defer.node));
}

/* --- the clock --- */

static struct bh_loop *clock_loop;
static uint64_t seen_before, seen_after;

static void take_seven_ms(struct bh_defer *d) {
    seen_before = bh_loop_now(clock_loop);
    bh_clock_fake_advance(7);
    seen_after = bh_loop_now(clock_loop);
}

static void time_stands_still_within_a_tick(void **state) {
    bh_clock_fake(1000, 0);
    clock_loop = *state;
    assert_int_equal(bh_loop_now(clock_loop), 1000);
    bh_clock_fake_advance(5);
    assert_int_equal(bh_loop_now(clock_loop), 1005);
    struct bh_defer d;
    bh_defer_init(&d, take_seven_ms);
    bh_defer(clock_loop, BH_PHASE_FLUSH, &d);
    bh_loop_tick(clock_loop, false);
    assert_int_equal(seen_before, 1005);
    assert_int_equal(seen_after, 1005);
    assert_int_equal(bh_loop_now(clock_loop), 1012);
}

static void take_long(struct bh_defer *d) {
    bh_clock_fake_advance(21);
}

static long long slow_ticks(void) {
    struct bh_bytes text = {0};
    long long count = -1;
    bh_metrics_render(&text);
    bh_bytes_addc(&text, '\0');
    const char *at = strstr(text.p, "\nbellhop_io_slow_ticks_total ");
    if (at)
        count = atoll(strchr(at, ' ') + 1);
    bh_bytes_free(&text);
    return count;
}

static void slow_ticks_are_counted(void **state) {
    struct bh_defer quick, slow;
    bh_clock_fake(1000, 0);
    clock_loop = *state;
    bh_loop_metrics_register();
    bh_defer_init(&quick, take_seven_ms);
    bh_defer_init(&slow, take_long);
    bh_defer(clock_loop, BH_PHASE_FLUSH, &quick);
    bh_loop_tick(clock_loop, false);
    assert_int_equal(slow_ticks(), 0);
    bh_defer(clock_loop, BH_PHASE_FLUSH, &slow);
    bh_loop_tick(clock_loop, false);
    assert_int_equal(slow_ticks(), 1);
}

static void the_read_buffer_holds_what_it_says(void **state) {
    unsigned char *p = bh_loop_read_buffer(*state);
    memset(p, 0xa5, BH_LOOP_READ_BUFFER);
    assert_int_equal(p[BH_LOOP_READ_BUFFER - 1], 0xa5);
    bh_loop_tick(*state, false);
}

/* --- blocking --- */

struct late_post {
    struct bh_mail mail;
    struct bh_mailbox *box;
    pid_t sleeper;
    bool ran;
};

static bool is_asleep(pid_t tid) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *end_of_name = n > 0 ? strrchr(text, ')') : NULL;
    return end_of_name && end_of_name[2] == 'S';
}

static void *post_late(void *arg) {
    struct late_post *p = arg;
    while (!is_asleep(p->sleeper))
        sched_yield();
    bh_mailbox_post(p->box, &p->mail);
    return NULL;
}

static void on_late_post(struct bh_mail *mail) {
    BH_CONTAINER_OF(mail, struct late_post, mail)->ran = true;
}

static void a_tick_waits_for_something_to_do(void **state) {
    struct late_post p = {
        .mail.fn = on_late_post, .box = bh_mailbox_new(*state), .sleeper = gettid()};
    pthread_t thread;
    bh_loop_tick(*state, false); /* nothing yet: returns */
    assert_int_equal(pthread_create(&thread, NULL, post_late, &p), 0);
    bh_loop_tick(*state, true);
    assert_true(p.ran);
    pthread_join(thread, NULL);
    bh_mailbox_free(p.box);
}

/* --- many slow callbacks --- */

#define READY 200

static struct bh_watch *watches[READY];
static unsigned served;
static uint64_t callback_ms;

static void on_ready(void *ud, int fd, unsigned ready) {
    served++;
    bh_clock_fake_advance(callback_ms);
    if (callback_ms)
        bh_watch_set(*(struct bh_watch **)ud, 0);
}

static void a_tick_ends_before_all_of_many_slow_callbacks(void **state) {
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), fds[READY];
    bh_clock_fake(1000, 0);
    served = 0;
    callback_ms = 0;
    for (int i = 0; i < READY; i++) {
        fds[i] = dup(fd);
        watches[i] = bh_watch_new(*state, fds[i], on_ready, &watches[i]);
        assert_int_equal(bh_watch_set(watches[i], BH_WATCH_READ), 0);
    }
    for (unsigned before = 0; served - before < READY;) { /* libevent hands over few at first */
        before = served;
        bh_loop_tick(*state, false);
    }
    served = 0;
    callback_ms = 1;
    bh_loop_tick(*state, true);
    assert_int_equal(served, 6); /* 5 ms; the callback that ends the tick still runs */
    for (unsigned before = 0; served > before && served < READY;) {
        before = served;
        bh_loop_tick(*state, true); /* blocks for ever if the others are lost */
    }
    assert_int_equal(served, READY);
    for (int i = 0; i < READY; i++) {
        bh_watch_close(watches[i]);
        close(fds[i]);
    }
    close(fd);
    bh_loop_tick(*state, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(flush_comes_before_reap, setup, teardown),
        cmocka_unit_test_setup_teardown(queueing_twice_runs_once, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_work_does_not_run, setup, teardown),
        cmocka_unit_test_setup_teardown(phases_run_until_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(run_does_the_waiting_work_first, setup, teardown),
        cmocka_unit_test_setup_teardown(stop_before_run, setup, teardown),
        cmocka_unit_test_setup_teardown(free_runs_what_is_deferred, setup, teardown),
        cmocka_unit_test_setup_teardown(runnable_work_is_served_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(runnable_work_has_a_budget, setup, teardown),
        cmocka_unit_test_setup_teardown(what_puts_itself_off_goes_to_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(runnable_work_may_cancel_other, setup, teardown),
        cmocka_unit_test_setup_teardown(fresh_events_and_mail_come_first, setup, teardown),
        cmocka_unit_test_setup_teardown(shares_get_smaller_when_many_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(free_runs_what_was_put_off_once, setup, teardown),
        cmocka_unit_test_setup_teardown(time_stands_still_within_a_tick, setup, teardown),
        cmocka_unit_test_setup_teardown(slow_ticks_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(the_read_buffer_holds_what_it_says, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tick_waits_for_something_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tick_ends_before_all_of_many_slow_callbacks, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
