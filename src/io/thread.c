/* thread.c - a pthread that runs a loop with a mailbox.
 *
 * The creator makes the loop and the mailbox and may use both before the start; from then until the
 * join they belong to the new thread, and other threads only post to the mailbox. The request to
 * stop is a mail, so it is served after what the same thread posted before. */
#include "bellhop/io/thread.h"

#include "bellhop/base/mem.h"
#include "bellhop/base/spawn.h"
#include "mailbox_internal.h"

#include <stdatomic.h>
#include <stdio.h>

struct bh_thread {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_mail stop;
    atomic_bool stopping;
    bool started;
    pthread_t pthread;
    void (*on_start)(void *ud);
    void *ud;
    char name[16];
};

static void on_stop(struct bh_mail *mail) {
    bh_loop_stop(BH_CONTAINER_OF(mail, struct bh_thread, stop)->loop);
}

struct bh_thread *bh_thread_new(const char *name) {
    struct bh_thread *t = bh_calloc(1, sizeof *t);
    t->loop = bh_loop_new();
    t->mailbox = bh_mailbox_new(t->loop);
    t->stop.fn = on_stop;
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

struct bh_loop *bh_thread_loop(struct bh_thread *t) {
    return t->loop;
}

struct bh_mailbox *bh_thread_mailbox(struct bh_thread *t) {
    return t->mailbox;
}

static void *run(void *arg) {
    struct bh_thread *t = arg;
    pthread_setname_np(pthread_self(), t->name);
    if (t->on_start)
        t->on_start(t->ud);
    bh_loop_run(t->loop);
    return NULL;
}

int bh_thread_start(struct bh_thread *t, void (*on_start)(void *ud), void *ud) {
    t->on_start = on_start;
    t->ud = ud;
    int error = bh_spawn(&t->pthread, run, t);
    t->started = error == 0;
    return error;
}

void bh_thread_stop(struct bh_thread *t) {
    if (!atomic_exchange(&t->stopping, true))
        bh_mailbox_post_always(t->mailbox, &t->stop);
}

void bh_thread_join(struct bh_thread *t) {
    if (t->started)
        pthread_join(t->pthread, NULL);
    t->started = false;
}

void bh_thread_free(struct bh_thread *t) {
    if (!t)
        return;
    bh_mailbox_free(t->mailbox);
    bh_loop_free(t->loop);
    bh_free(t);
}
