/* give_back.c - the watch over the use of memory, and the steps of each thread.
 *
 * malloc keeps what is freed, and can be asked how much of it is in use only under its locks, in a
 * time that grows with its free blocks. So the use is what peers make the process hold (the memory
 * budget) and their sockets, which is what peaks are made of.
 *
 * A thread works for STEP_US, then serves its connections for PAUSE_MS. */
#include "give_back.h"

#include "server.h"

#include "bellhop/base/budget.h"

#define CHECK_MS     1000
#define STEP_US      300
#define PAUSE_MS     4
#define SOCKET_BYTES 8192 /* a WebSocket takes 1 KiB, one with TLS 20 */

static void on_step(struct bh_timer *t) {
    struct bh_give_back *g = BH_CONTAINER_OF(t, struct bh_give_back, step);
    if (bh_heap_return_step(&g->heap, STEP_US))
        bh_timer_set(t, PAUSE_MS);
}

static void begin(struct bh_give_back *g, struct bh_loop *loop) {
    if (g->step.fn && bh_timer_pending(&g->step))
        return; /* still at the last one */
    bh_timer_init(&g->step, loop, on_step);
    bh_timer_set(&g->step, 0);
}

static void on_begin(struct bh_mail *mail) {
    struct bh_server_worker *w = bh_app_mail_open(mail).worker;
    begin(&w->give_back, bh_thread_loop(w->thread));
}

static void begin_all(struct bh_server *s) {
    begin(&s->give_back.own, s->loop);
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].started)
            bh_app_mail_post(bh_thread_mailbox(s->workers[i].thread), &s->workers[i], on_begin, 0,
                             NULL);
}

static void on_check(struct bh_timer *t) {
    struct bh_server *s = BH_CONTAINER_OF(t, struct bh_server, give_back.timer);
    uint64_t used = (uint64_t)bh_budget_used() + bh_edge_socket_count() * SOCKET_BYTES;
    if (bh_peak_passed(&s->give_back.peak, used, bh_loop_now(s->loop)))
        begin_all(s);
    bh_timer_set(t, CHECK_MS);
}

void bh_give_back_start(struct bh_server *s) {
    bh_timer_init(&s->give_back.timer, s->loop, on_check);
    bh_timer_set(&s->give_back.timer, CHECK_MS);
}

static void end(struct bh_give_back *g) {
    if (g->step.fn)
        bh_timer_cancel(&g->step);
    bh_heap_return_cancel(&g->heap);
}

void bh_give_back_stop(struct bh_server *s) {
    if (s->give_back.timer.fn)
        bh_timer_cancel(&s->give_back.timer);
    end(&s->give_back.own);
    for (unsigned i = 0; i < s->worker_count; i++)
        end(&s->workers[i].give_back);
}
