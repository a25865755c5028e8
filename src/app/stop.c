/* stop.c - see the header.
 *
 * A step runs on each worker's thread and reports once to the main thread, which starts the next
 * one when all have reported. What a step needs to know is in the server; it is written before the
 * mails are posted, and not before all workers have finished with the step before. After
 * bh_server_stop reports are ignored. */
#include "stop.h"

#include "server.h"

#define FINISH_CHECK_MS 10

/* --- at once --- */

static void on_abort(struct bh_mail *mail) {
    struct bh_server_worker *w = bh_app_mail_open(mail).worker;
    w->aborted = true;
    bh_timer_cancel(&w->finish_timer);
    bh_edge_abort(w->edge);
    bh_thread_stop(w->thread);
}

void bh_server_stop(struct bh_server *s) {
    if (s->state == BH_SERVER_STOPPING)
        return;
    s->state = BH_SERVER_STOPPING;
    bh_timer_cancel(&s->stop.timer);
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].started)
            bh_app_mail_post(bh_thread_mailbox(s->workers[i].thread), &s->workers[i], on_abort, 0,
                             NULL);
    bh_loop_stop(s->loop);
}

/* --- the steps, on a worker's thread --- */

static void on_step_done(struct bh_mail *mail);

static void step_done(void *ud) {
    struct bh_server_worker *w = ud;
    bh_app_mail_post(w->server->mailbox, w, on_step_done, 0, NULL);
}

static void shut_down(struct bh_server_worker *w) {
    bh_edge_refuse(w->edge);
    bh_script_shutdown(w->script, "stop", w->server->config->drain_timeout, step_done, w);
}

static void settle(struct bh_server_worker *w) {
    bh_node_settle(w->worker, w->server->stop.left_ms / 4, step_done, w);
}

static void close_connections(struct bh_server_worker *w) {
    struct bh_edge_drain drain = {.clients = w->server->stop.clients,
                                  .spread_ms = w->server->stop.left_ms / 2,
                                  .on_drained = step_done,
                                  .ud = w};
    bh_edge_drain(w->edge, &drain);
}

static void finish(struct bh_server_worker *w) {
    if (bh_script_is_busy(w->worker) || bh_node_is_publishing(w->worker))
        bh_timer_set(&w->finish_timer, FINISH_CHECK_MS);
    else
        step_done(w);
}

static void on_finish_timer(struct bh_timer *t) {
    finish(BH_CONTAINER_OF(t, struct bh_server_worker, finish_timer));
}

static void (*const steps[])(struct bh_server_worker *w) = {shut_down, settle, close_connections,
                                                            finish};

static void on_step(struct bh_mail *mail) {
    struct bh_server_worker *w = bh_app_mail_open(mail).worker;
    if (!w->aborted)
        steps[w->server->stop.step](w);
}

/* --- the main thread --- */

static void start_step(struct bh_server *s, size_t step) {
    uint64_t now_ms = bh_loop_now(s->loop);
    s->stop.step = step;
    s->stop.waiting = s->worker_count;
    s->stop.left_ms = s->stop.until_ms > now_ms ? s->stop.until_ms - now_ms : 0;
    s->stop.clients = (size_t)bh_node_connection_count(s->node);
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_app_mail_post(bh_thread_mailbox(s->workers[i].thread), &s->workers[i], on_step, 0, NULL);
}

static void on_step_done(struct bh_mail *mail) {
    struct bh_server *s = bh_app_mail_open(mail).worker->server;
    if (s->state != BH_SERVER_DRAINING || --s->stop.waiting > 0)
        return;
    if (s->stop.step + 1 < sizeof steps / sizeof *steps) {
        start_step(s, s->stop.step + 1);
        return;
    }
    bh_info("drained");
    bh_server_stop(s);
}

static void begin_steps(struct bh_server *s) {
    s->state = BH_SERVER_DRAINING;
    bh_info("draining", bh_kv_int("connections", bh_node_connection_count(s->node)));
    s->stop.until_ms = bh_loop_now(s->loop) + s->config->drain_timeout;
    bh_timer_set(&s->stop.timer, s->config->drain_timeout);
    start_step(s, 0);
}

static void on_timer(struct bh_timer *t) {
    struct bh_server *s = BH_CONTAINER_OF(t, struct bh_server, stop.timer);
    if (s->state == BH_SERVER_DELAYING) {
        begin_steps(s);
        return;
    }
    bh_warn("drain timeout, dropping the remaining connections and hooks",
            bh_kv_int("connections", bh_node_connection_count(s->node)));
    bh_server_stop(s);
}

void bh_server_drain(struct bh_server *s) {
    bh_node_set_stopping(s->node);
    if (s->config->drain_delay == 0) {
        begin_steps(s);
        return;
    }
    s->state = BH_SERVER_DELAYING;
    bh_info("not ready any more, the drain begins after server.drain_delay",
            bh_kv_int("delay_ms", (int64_t)s->config->drain_delay));
    bh_timer_set(&s->stop.timer, s->config->drain_delay);
}

void bh_server_stop_init(struct bh_server *s) {
    bh_timer_init(&s->stop.timer, s->loop, on_timer);
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_timer_init(&s->workers[i].finish_timer, bh_thread_loop(s->workers[i].thread),
                      on_finish_timer);
}
