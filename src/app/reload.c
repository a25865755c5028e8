/* reload.c - new scripts without a restart.
 *
 * Load: a separate thread reads and compiles the scripts, one state for each worker. Prepare: each
 * worker runs on_init in its new state, while the old one serves. Activate: when all are ready,
 * each worker switches between two ticks. If a step before that fails, all new states are freed and
 * the old ones stay; the error is logged and returned to the requester. One reload at a time.
 *
 * Thread: the bus, unless a function says otherwise. */
#include "server.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/spawn.h"

/* --- request and answer --- */

struct reload_mail {
    struct bh_mail mail;
    struct bh_server_worker *worker;
    bh_handle handle;
    int error;
    unsigned generation;
    char *why; /* owned */
};

/* On the worker's thread. */
static void on_answer(struct bh_mail *mail) {
    struct reload_mail *a = BH_CONTAINER_OF(mail, struct reload_mail, mail);
    if (!a->worker->aborted)
        bh_edge_reloaded(a->worker->edge, a->handle, a->error, a->generation,
                         bh_slice_cstr(a->why ? a->why : ""));
    bh_free(a->why);
    bh_free(a);
}

static void answer(struct bh_server_worker *worker, bh_handle handle, int error, const char *why) {
    if (!worker)
        return;
    struct reload_mail *a = bh_malloc(sizeof *a);
    *a = (struct reload_mail){.mail.fn = on_answer,
                              .worker = worker,
                              .handle = handle,
                              .error = error,
                              .generation = worker->server->generation,
                              .why = why ? bh_strdup(why) : NULL};
    if (bh_mailbox_post(bh_thread_mailbox(worker->thread), &a->mail)) {
        bh_free(a->why);
        bh_free(a);
    }
}

static void on_request(struct bh_mail *mail) {
    struct reload_mail *a = BH_CONTAINER_OF(mail, struct reload_mail, mail);
    bh_server_reload(a->worker->server, a->worker, a->handle);
    bh_free(a);
}

/* On the worker's thread. */
void bh_server_ask_reload(void *ud, struct bh_worker *worker, bh_handle handle) {
    struct bh_server *s = ud;
    struct reload_mail *a = bh_malloc(sizeof *a);
    *a = (struct reload_mail){
        .mail.fn = on_request, .worker = &s->workers[worker->index], .handle = handle};
    if (bh_mailbox_post(s->mailbox, &a->mail))
        bh_free(a);
}

static void finish(struct bh_server *s, int error, const char *why) {
    s->reload.running = false;
    answer(s->reload.requester, s->reload.handle, error, why);
    if (error)
        bh_error("reload failed, keeping the current scripts",
                 bh_kv_int("generation", s->generation), bh_kv_str("why", why));
    else
        bh_info("scripts reloaded", bh_kv_int("generation", s->generation));
    bh_free(s->reload.why);
    s->reload.why = NULL;
}

/* --- activating --- */

/* When all have activated or freed their new state: `next` belongs to the loader again. */
static void on_worker_done(struct bh_mail *mail) {
    struct bh_server *s = bh_app_mail_open(mail).worker->server;
    if (--s->reload.waiting > 0)
        return;
    if (!s->reload.error)
        s->generation++;
    finish(s, s->reload.error, s->reload.why);
}

/* On the worker's thread. */
static void on_activate(struct bh_mail *mail) {
    struct bh_server_worker *w = bh_app_mail_open(mail).worker;
    if (w->aborted)
        return;
    bh_script_activate(w->next);
    w->script = w->next;
    w->next = NULL;
    bh_app_mail_post(w->server->mailbox, w, on_worker_done, 0, NULL);
}

/* On the worker's thread. */
static void on_discard(struct bh_mail *mail) {
    struct bh_server_worker *w = bh_app_mail_open(mail).worker;
    if (w->aborted)
        return; /* take_down frees it */
    bh_script_free(w->next);
    w->next = NULL;
    bh_app_mail_post(w->server->mailbox, w, on_worker_done, 0, NULL);
}

static void post_to_all(struct bh_server *s, void (*fn)(struct bh_mail *)) {
    s->reload.waiting = s->worker_count;
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_app_mail_post(bh_thread_mailbox(s->workers[i].thread), &s->workers[i], fn, 0, NULL);
}

/* --- preparing --- */

static void on_worker_prepared(struct bh_mail *mail) {
    struct bh_app_mail m = bh_app_mail_open(mail);
    struct bh_server *s = m.worker->server;
    if (m.error && !s->reload.error) {
        s->reload.error = m.error;
        s->reload.why = m.why;
        m.why = NULL;
    }
    bh_free(m.why);
    if (--s->reload.waiting > 0)
        return;
    if (s->state == BH_SERVER_DRAINING && !s->reload.error) {
        s->reload.error = BH_EUNAVAIL; /* on_shutdown has run, or does */
        s->reload.why = bh_strdup("the server is stopping");
    }
    post_to_all(s, s->reload.error ? on_discard : on_activate);
}

static void on_init_done(void *ud, int error, const char *why) {
    struct bh_server_worker *w = ud;
    bh_app_mail_post(w->server->mailbox, w, on_worker_prepared, error, why);
}

/* On the worker's thread. */
static void on_prepare(struct bh_mail *mail) {
    struct bh_server_worker *w = bh_app_mail_open(mail).worker;
    if (!w->aborted)
        bh_script_start(w->next, on_init_done, w);
}

/* --- loading --- */

/* When the server stops, it may have been joined before its mail arrives. */
static void join_loader(struct bh_server *s) {
    if (s->reload.loading)
        pthread_join(s->reload.loader, NULL);
    s->reload.loading = false;
}

static void on_loaded(struct bh_mail *mail) {
    struct bh_app_mail m = bh_app_mail_open(mail);
    struct bh_server *s = m.worker->server;
    join_loader(s);
    if (!m.error) {
        post_to_all(s, on_prepare);
        return;
    }
    for (unsigned i = 0; i < s->worker_count; i++) {
        if (s->workers[i].next)
            bh_script_free(s->workers[i].next);
        s->workers[i].next = NULL;
    }
    finish(s, m.error, m.why);
    bh_free(m.why);
}

/* On the loader thread, which touches only `next`. */
static void *load(void *ud) {
    struct bh_server *s = ud;
    char *error = NULL;
    int rc = 0;
    for (unsigned i = 0; i < s->worker_count && rc == 0; i++)
        rc = bh_script_new(&s->script, s->workers[i].worker, s->generation + 1, &s->workers[i].next,
                           &error);
    bh_app_mail_post(s->mailbox, &s->workers[0], on_loaded, rc, error);
    bh_free(error);
    return NULL;
}

void bh_server_reload(struct bh_server *s, struct bh_server_worker *requester, bh_handle handle) {
    if (s->reload.running || s->state != BH_SERVER_SERVING) {
        bh_warn("reload ignored: another one is running, or the server is starting or stopping");
        answer(requester, handle, BH_EEXIST, NULL);
        return;
    }
    s->reload.running = s->reload.loading = true;
    s->reload.error = 0;
    s->reload.requester = requester;
    s->reload.handle = handle;
    if (bh_spawn(&s->reload.loader, load, s) == 0)
        return;
    s->reload.loading = false;
    finish(s, BH_EIO, "cannot start a thread");
}

void bh_server_reload_stop(struct bh_server *s) {
    join_loader(s);
    bh_free(s->reload.why);
}
