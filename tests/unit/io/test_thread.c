/* Threads with a loop: their life, and mail between them. */
#include "io_test.h"

#include "bellhop/io/thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

struct report {
    struct bh_thread *thread;
    pthread_t self;
    char name[16];
    sigset_t blocked;
    unsigned mails;
    bool stops_itself;
};

static void on_start(void *ud) {
    struct report *r = ud;
    r->self = pthread_self();
    pthread_getname_np(r->self, r->name, sizeof r->name);
    pthread_sigmask(SIG_SETMASK, NULL, &r->blocked);
    if (r->stops_itself)
        bh_thread_stop(r->thread);
}

struct count_mail {
    struct bh_mail mail;
    struct report *report;
};

static void on_count(struct bh_mail *mail) {
    struct count_mail *m = BH_CONTAINER_OF(mail, struct count_mail, mail);
    m->report->mails++;
    bh_free(m);
}

static void post_count(struct report *r) {
    struct count_mail *m = bh_malloc(sizeof *m);
    *m = (struct count_mail){.mail.fn = on_count, .report = r};
    assert_int_equal(bh_mailbox_post(bh_thread_mailbox(r->thread), &m->mail), 0);
}

static void finish(struct bh_thread *t) {
    bh_thread_join(t);
    bh_thread_free(t);
}

static void starts_works_and_stops(void **state) {
    struct report r = {.thread = bh_thread_new("a-name-that-is-too-long")};
    assert_non_null(bh_thread_loop(r.thread));
    post_count(&r); /* before it runs */
    assert_int_equal(bh_thread_start(r.thread, on_start, &r), 0);
    for (int i = 0; i < 1000; i++)
        post_count(&r);
    bh_thread_stop(r.thread);
    bh_thread_stop(r.thread);
    bh_thread_join(r.thread);
    bh_thread_join(r.thread);
    assert_int_equal(r.mails, 1001); /* all that was posted before the stop */
    assert_string_equal(r.name, "a-name-that-is-");
    assert_false(pthread_equal(r.self, pthread_self()));
    bh_thread_free(r.thread);
}

static void signals_go_elsewhere(void **state) {
    struct report r = {.thread = bh_thread_new("worker"), .stops_itself = true};
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(bh_thread_start(r.thread, on_start, &r), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    finish(r.thread);
    static const int asynchronous[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE};
    for (size_t i = 0; i < sizeof asynchronous / sizeof *asynchronous; i++) {
        assert_true(sigismember(&r.blocked, asynchronous[i]));
        assert_int_equal(sigismember(&before, asynchronous[i]),
                         sigismember(&after, asynchronous[i]));
    }
    assert_false(sigismember(&r.blocked, SIGSEGV));
}

static void stop_comes_before_start(void **state) {
    struct report r = {.thread = bh_thread_new("early")};
    bh_thread_stop(r.thread);
    assert_int_equal(bh_thread_start(r.thread, NULL, NULL), 0);
    finish(r.thread);
}

static void a_closed_mailbox_does_not_keep_it_alive(void **state) {
    struct report r = {.thread = bh_thread_new("closed")};
    assert_int_equal(bh_thread_start(r.thread, on_start, &r), 0);
    bh_mailbox_close(bh_thread_mailbox(r.thread));
    bh_thread_stop(r.thread);
    finish(r.thread);
}

static void never_started(void **state) {
    struct report r = {.thread = bh_thread_new("idle")};
    post_count(&r);
    finish(r.thread);
    assert_int_equal(r.mails, 1);
    bh_thread_free(NULL);
}

struct ball {
    struct bh_mail mail;
    struct bh_thread *sides[2];
    unsigned at, bounces;
};

static void on_ball(struct bh_mail *mail) {
    struct ball *b = BH_CONTAINER_OF(mail, struct ball, mail);
    if (++b->bounces == 20000) {
        bh_thread_stop(b->sides[0]);
        bh_thread_stop(b->sides[1]);
        return;
    }
    b->at = !b->at;
    bh_mailbox_post(bh_thread_mailbox(b->sides[b->at]), mail);
}

static void ping_pong(void **state) {
    struct ball b = {.mail.fn = on_ball};
    for (int i = 0; i < 2; i++) {
        b.sides[i] = bh_thread_new("side");
        assert_int_equal(bh_thread_start(b.sides[i], NULL, NULL), 0);
    }
    bh_mailbox_post(bh_thread_mailbox(b.sides[0]), &b.mail);
    bh_thread_join(b.sides[0]);
    bh_thread_join(b.sides[1]);
    assert_int_equal(b.bounces, 20000);
    bh_thread_free(b.sides[0]);
    bh_thread_free(b.sides[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_works_and_stops),
        cmocka_unit_test(signals_go_elsewhere),
        cmocka_unit_test(stop_comes_before_start),
        cmocka_unit_test(a_closed_mailbox_does_not_keep_it_alive),
        cmocka_unit_test(never_started),
        cmocka_unit_test(ping_pong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
