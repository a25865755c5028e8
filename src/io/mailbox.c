/* mailbox.c - a queue of mails between threads.
 *
 * A mutex guards a singly linked list; posting is a few instructions under the lock, and the
 * receiver takes the whole list at once and runs it outside. Only the post that finds the box empty
 * writes to the eventfd, so a burst of mails costs one wake-up; a post from the receiver's own
 * thread queues the box in the loop instead.
 *
 * The eventfd is watched edge-triggered and never read: each write is an edge, and the counter
 * overflows only after 2^64 wake-ups. Mail posted while the receiver runs mails waits for the next
 * tick, so no sender can block a loop.
 *
 * The box owns a mail between post and run, but not what it contains. */
#include "mailbox_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "loop_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct bh_mailbox {
    pthread_mutex_t lock; /* head, tail, closed */
    struct bh_mail *head;
    struct bh_mail **tail;
    bool closed;
    int wake_fd;
    struct bh_loop *loop;
    struct bh_defer waiting; /* in the loop's list of mailboxes with mail */
    struct event event;
};

static struct bh_mail *take_all(struct bh_mailbox *box) {
    pthread_mutex_lock(&box->lock);
    struct bh_mail *mails = box->head;
    box->head = NULL;
    box->tail = &box->head;
    pthread_mutex_unlock(&box->lock);
    return mails;
}

static void run_all(struct bh_mail *mails) {
    while (mails) {
        struct bh_mail *mail = mails;
        mails = mail->next;
        mail->fn(mail);
    }
}

static void serve(struct bh_defer *d) {
    run_all(take_all(BH_CONTAINER_OF(d, struct bh_mailbox, waiting)));
}

/* On the receiver's thread. */
static void queue(struct bh_mailbox *box) {
    if (bh_list_empty(&box->waiting.node))
        bh_list_append(&box->loop->mail, &box->waiting.node);
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    struct bh_mailbox *box = arg;
    bh_loop_enter(box->loop);
    queue(box);
}

struct bh_mailbox *bh_mailbox_new(struct bh_loop *loop) {
    struct bh_mailbox *box = bh_calloc(1, sizeof *box);
    pthread_mutex_init(&box->lock, NULL);
    box->tail = &box->head;
    box->loop = loop;
    bh_defer_init(&box->waiting, serve);
    box->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->wake_fd < 0) {
        bh_error("cannot create a mailbox", bh_kv_str("reason", strerror(errno)));
        abort();
    }
    event_assign(&box->event, bh_loop_base(loop), box->wake_fd, EV_READ | EV_PERSIST | EV_ET,
                 on_wake, box);
    event_add(&box->event, NULL);
    return box;
}

void bh_mailbox_close(struct bh_mailbox *box) {
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    pthread_mutex_unlock(&box->lock);
}

void bh_mailbox_free(struct bh_mailbox *box) {
    if (!box)
        return;
    bh_mailbox_close(box);
    run_all(take_all(box));
    bh_defer_cancel(&box->waiting);
    event_del(&box->event);
    close(box->wake_fd);
    pthread_mutex_destroy(&box->lock);
    bh_free(box);
}

static void wake(struct bh_mailbox *box) {
    ssize_t n;
    if (bh_loop_current() == box->loop) {
        queue(box);
        return;
    }
    do
        n = write(box->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    while (n < 0 && errno == EINTR);
}

static int post(struct bh_mailbox *box, struct bh_mail *mail, bool even_closed) {
    mail->next = NULL;
    pthread_mutex_lock(&box->lock);
    bool refused = box->closed && !even_closed;
    bool was_empty = !box->head;
    if (!refused) {
        *box->tail = mail;
        box->tail = &mail->next;
    }
    pthread_mutex_unlock(&box->lock);
    if (refused)
        return BH_ECLOSED;
    if (was_empty)
        wake(box);
    return 0;
}

int bh_mailbox_post(struct bh_mailbox *box, struct bh_mail *mail) {
    return post(box, mail, false);
}

void bh_mailbox_post_always(struct bh_mailbox *box, struct bh_mail *mail) {
    post(box, mail, true);
}
