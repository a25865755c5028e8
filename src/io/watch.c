/* watch.c - one libevent event for the descriptor of a library.
 *
 * The owner may close the descriptor as soon as bh_watch_close returns, and the kernel may reuse
 * its number within the same tick. So the event leaves epoll at once; only the memory waits for the
 * reap phase, because a callback of it may be running. */
#include "bellhop/io/watch.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "loop_internal.h"

#include <event2/event.h>

struct bh_watch {
    struct event event;
    struct bh_loop *loop;
    struct bh_defer reap;
    unsigned wanted;
    void (*on_ready)(void *ud, int fd, unsigned ready);
    void *ud;
};

static void on_event(evutil_socket_t fd, short what, void *arg) {
    struct bh_watch *w = arg;
    unsigned ready =
        (what & EV_READ ? BH_WATCH_READ : 0u) | (what & EV_WRITE ? BH_WATCH_WRITE : 0u);
    struct bh_loop *loop = w->loop;
    bh_loop_enter(loop);
    w->on_ready(w->ud, fd, ready);
    bh_loop_read_clock(loop);
}

static void on_reap(struct bh_defer *d) {
    bh_free(BH_CONTAINER_OF(d, struct bh_watch, reap));
}

struct bh_watch *bh_watch_new(struct bh_loop *loop, int fd,
                              void (*on_ready)(void *ud, int fd, unsigned ready), void *ud) {
    struct bh_watch *w = bh_calloc(1, sizeof *w);
    w->loop = loop;
    w->on_ready = on_ready;
    w->ud = ud;
    bh_defer_init(&w->reap, on_reap);
    event_assign(&w->event, bh_loop_base(loop), fd, EV_PERSIST, on_event, w);
    return w;
}

int bh_watch_set(struct bh_watch *w, unsigned wanted) {
    short events =
        (short)((wanted & BH_WATCH_READ ? EV_READ : 0) | (wanted & BH_WATCH_WRITE ? EV_WRITE : 0));
    if (wanted == w->wanted)
        return 0;
    w->wanted = 0;
    event_del(&w->event);
    if (!events)
        return 0;
    event_assign(&w->event, bh_loop_base(w->loop), event_get_fd(&w->event), events | EV_PERSIST,
                 on_event, w);
    if (event_add(&w->event, NULL))
        return BH_EIO;
    w->wanted = wanted;
    return 0;
}

void bh_watch_close(struct bh_watch *w) {
    if (!w)
        return;
    event_del(&w->event);
    bh_defer(w->loop, BH_PHASE_REAP, &w->reap);
}
