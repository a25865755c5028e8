/* node_settle.c - before an instance closes its sockets: the echoes come back.
 *
 * With strategy redis the result counts the local sockets at once, but only the echo delivers to
 * them. So each worker holds such results back and waits until the broker has confirmed those
 * publishes. When all workers have told the bus so, it lets a fence follow them through the broker.
 * The fence comes back behind the echoes, and the news of that reaches each worker behind the
 * deliveries: mail keeps its order.
 *
 * A worker looks for unconfirmed publishes at an interval, because it does so once in its life, and
 * a publish should not pay for it. Each worker has the same time-out, so a bus that waits for the
 * others needs none. Thread: see the sections. */
#include "node_internal.h"

#include "bellhop/base/mem.h"

#define CHECK_MS 2

/* --- a worker --- */

static void finish(struct bh_worker *w, bool proven) {
    struct bh_settle *s = &w->settle;
    if (s->state != BH_SETTLE_WAITING)
        return;
    s->state = BH_SETTLE_DONE;
    bh_timer_cancel(&s->timer);
    bh_node_release_echoes(w, proven);
    s->done(s->ud);
}

struct news {
    struct bh_mail mail;
    struct bh_worker *worker;
    bool proven;
};

static void post(struct bh_mailbox *to, struct bh_worker *w, void (*fn)(struct bh_mail *),
                 bool proven) {
    struct news *news = bh_malloc(sizeof *news);
    *news = (struct news){{.fn = fn}, w, proven};
    if (bh_mailbox_post(to, &news->mail))
        bh_free(news);
}

static struct news open_news(struct bh_mail *mail) {
    struct news *news = BH_CONTAINER_OF(mail, struct news, mail), copy = *news;
    bh_free(news);
    return copy;
}

static void on_fence_back(struct bh_mail *mail) {
    struct news news = open_news(mail);
    if (!bh_node_stopped(news.worker->node))
        finish(news.worker, news.proven);
}

static void on_confirmed(struct bh_mail *mail);

static void check(struct bh_worker *w) {
    struct bh_settle *s = &w->settle;
    uint64_t now_ms = bh_loop_now(w->loop);
    if (now_ms >= s->until_ms) {
        finish(w, false);
        return;
    }
    if (!s->told && !bh_node_holds_echo(w)) {
        s->told = true;
        post(w->node->bus, w, on_confirmed, true);
    }
    bh_timer_set(&s->timer, s->told ? s->until_ms - now_ms : CHECK_MS);
}

static void on_timer(struct bh_timer *t) {
    check(BH_CONTAINER_OF(t, struct bh_worker, settle.timer));
}

void bh_node_settle(struct bh_worker *w, uint64_t timeout_ms, void (*done)(void *ud), void *ud) {
    struct bh_settle *s = &w->settle;
    s->state = BH_SETTLE_WAITING;
    s->until_ms = bh_loop_now(w->loop) + timeout_ms;
    s->done = done;
    s->ud = ud;
    bh_node_hold_echoes(w);
    check(w);
}

void bh_node_settle_init(struct bh_worker *w) {
    bh_list_init(&w->settle.parked);
    bh_timer_init(&w->settle.timer, w->loop, on_timer);
}

void bh_node_settle_stop(struct bh_worker *w) {
    bh_timer_cancel(&w->settle.timer);
}

/* --- the bus --- */

static void on_fence(void *ud, bool proven) {
    struct bh_node *n = ud;
    for (unsigned i = 0; i < n->worker_count; i++)
        post(n->workers[i]->mailbox, n->workers[i], on_fence_back, proven);
}

static void on_confirmed(struct bh_mail *mail) {
    struct bh_node *n = open_news(mail).worker->node;
    struct bh_broker *b = n->broker;
    if (bh_node_stopped(n) || ++n->settled < n->worker_count)
        return;
    if (b->vt->fence)
        b->vt->fence(b, on_fence, n);
    else
        on_fence(n, true);
}
