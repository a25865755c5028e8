/* signal.c - signals as events of a loop.
 *
 * libevent's handler writes the number into a pipe of the loop, on whichever thread the kernel
 * picks; our code never runs in signal context. libevent supports one such loop per process.
 * Thread: the loop's. */
#include "bellhop/io/signal.h"

#include "bellhop/base/mem.h"
#include "loop_internal.h"

#include <event2/event.h>

struct bh_signal {
    struct event event;
    struct bh_loop *loop;
    void (*on_signal)(int, void *);
    void *ud;
};

static void on_event(evutil_socket_t signo, short what, void *arg) {
    struct bh_signal *s = arg;
    bh_loop_enter(s->loop);
    s->on_signal((int)signo, s->ud);
}

struct bh_signal *bh_signal_new(struct bh_loop *loop, int signo, void (*on_signal)(int, void *),
                                void *ud) {
    struct bh_signal *s = bh_calloc(1, sizeof *s);
    s->loop = loop;
    s->on_signal = on_signal;
    s->ud = ud;
    evsignal_assign(&s->event, bh_loop_base(loop), signo, on_event, s);
    event_add(&s->event, NULL);
    return s;
}

void bh_signal_free(struct bh_signal *s) {
    if (!s)
        return;
    event_del(&s->event);
    bh_free(s);
}
