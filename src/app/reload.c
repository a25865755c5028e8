/* reload.c - the scripts anew, while everything goes on.
 *
 * Load: a thread of its own reads and compiles, a state for each worker. Prepare: each worker runs
 * on_init in its new state, beside the one that serves. When all are ready each changes over
 * between two ticks. If anything fails before that, all new states go, and nothing has happened but
 * a line in the log and the answer to whoever asked. One reload at a time.
 *
 * Thread: the bus, where not said otherwise. */
#include "server.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"

/* --- who asks --- */

struct asked {
    struct bh_mail mail;
    struct bh_server_lane *lane;
    bh_handle handle;
    int error;
    unsigned generation;
    char *why; /* owned */
};

/* On the worker's thread. */
static void on_answer(struct bh_mail *mail) {
    struct asked *a = BH_CONTAINER_OF(mail, struct asked, mail);
    if (!a->lane->aborted)
        bh_edge_reloaded(a->lane->edge, a->handle, a->error, a->generation,
                         bh_slice_cstr(a->why ? a->why : ""));
    bh_free(a->why);
    bh_free(a);
}

static void answer(struct bh_server_lane *lane, bh_handle handle, int error, const char *why) {
    if (!lane)
        return;
    struct asked *a = bh_malloc(sizeof *a);
    *a = (struct asked){.mail.fn = on_answer,
                        .lane = lane,
                        .handle = handle,
                        .error = error,
                        .generation = lane->server->generation,
                        .why = why ? bh_strdup(why) : NULL};
    if (bh_mailbox_post(bh_thread_mailbox(lane->thread), &a->mail)) {
        bh_free(a->why);
        bh_free(a);
    }
}

static void on_asked(struct bh_mail *mail) {
    struct asked *a = BH_CONTAINER_OF(mail, struct asked, mail);
    bh_server_reload(a->lane->server, a->lane, a->handle);
    bh_free(a);
}

/* On the worker's thread. */
void bh_server_ask_reload(void *ud, struct bh_worker *worker, bh_handle handle) {
    struct bh_server *s = ud;
    struct asked *a = bh_malloc(sizeof *a);
    *a = (struct asked){.mail.fn = on_asked, .lane = &s->lanes[worker->index], .handle = handle};
    if (bh_mailbox_post(s->mailbox, &a->mail))
        bh_free(a);
}

static void finish(struct bh_server *s, int error, const char *why) {
    s->reload.under_way = false;
    answer(s->reload.asker, s->reload.handle, error, why);
    if (error)
        bh_error("scripts not reloaded, those at hand stay", bh_kv_int("generation", s->generation),
                 bh_kv_str("why", why));
    else
        bh_info("scripts reloaded", bh_kv_int("generation", s->generation));
    bh_free(s->reload.why);
    s->reload.why = NULL;
}

/* --- the change --- */

/* All have changed over, or all have let the new state go: `next` is the loader's again. */
static void on_lane_done(struct bh_mail *mail) {
    struct bh_server *s = bh_order_open(mail).lane->server;
    if (--s->reload.waiting > 0)
        return;
    if (!s->reload.error)
        s->generation++;
    finish(s, s->reload.error, s->reload.why);
}

/* On the worker's thread. */
static void on_flip(struct bh_mail *mail) {
    struct bh_server_lane *l = bh_order_open(mail).lane;
    if (l->aborted)
        return;
    bh_script_activate(l->next);
    l->script = l->next;
    l->next = NULL;
    bh_order_post(l->server->mailbox, l, on_lane_done, 0, NULL);
}

/* On the worker's thread. */
static void on_discard(struct bh_mail *mail) {
    struct bh_server_lane *l = bh_order_open(mail).lane;
    if (l->aborted)
        return; /* take-down frees it */
    bh_script_free(l->next);
    l->next = NULL;
    bh_order_post(l->server->mailbox, l, on_lane_done, 0, NULL);
}

static void tell_all(struct bh_server *s, void (*fn)(struct bh_mail *)) {
    s->reload.waiting = s->lane_count;
    for (unsigned i = 0; i < s->lane_count; i++)
        bh_order_post(bh_thread_mailbox(s->lanes[i].thread), &s->lanes[i], fn, 0, NULL);
}

/* --- making ready --- */

static void on_lane_prepared(struct bh_mail *mail) {
    struct bh_order o = bh_order_open(mail);
    struct bh_server *s = o.lane->server;
    if (o.error && !s->reload.error) {
        s->reload.error = o.error;
        s->reload.why = o.why;
        o.why = NULL;
    }
    bh_free(o.why);
    if (--s->reload.waiting > 0)
        return;
    tell_all(s, s->reload.error ? on_discard : on_flip);
}

static void on_init_done(void *ud, int error, const char *why) {
    struct bh_server_lane *l = ud;
    bh_order_post(l->server->mailbox, l, on_lane_prepared, error, why);
}

/* On the worker's thread. */
static void on_prepare(struct bh_mail *mail) {
    struct bh_server_lane *l = bh_order_open(mail).lane;
    if (!l->aborted)
        bh_script_start(l->next, on_init_done, l);
}

/* --- loading --- */

/* At the end of the server the mail may come when it has been joined already. */
static void join_loader(struct bh_server *s) {
    if (s->reload.loading)
        pthread_join(s->reload.loader, NULL);
    s->reload.loading = false;
}

static void on_loaded(struct bh_mail *mail) {
    struct bh_order o = bh_order_open(mail);
    struct bh_server *s = o.lane->server;
    join_loader(s);
    if (!o.error) {
        tell_all(s, on_prepare);
        return;
    }
    for (unsigned i = 0; i < s->lane_count; i++) {
        if (s->lanes[i].next)
            bh_script_free(s->lanes[i].next);
        s->lanes[i].next = NULL;
    }
    finish(s, o.error, o.why);
    bh_free(o.why);
}

/* On a thread of its own, which touches nothing but `next`. */
static void *load(void *ud) {
    struct bh_server *s = ud;
    char *error = NULL;
    int rc = 0;
    for (unsigned i = 0; i < s->lane_count && rc == 0; i++)
        rc = bh_script_new(&s->script, s->lanes[i].worker, s->generation + 1, &s->lanes[i].next,
                           &error);
    bh_order_post(s->mailbox, &s->lanes[0], on_loaded, rc, error);
    bh_free(error);
    return NULL;
}

void bh_server_reload(struct bh_server *s, struct bh_server_lane *asker, bh_handle handle) {
    if (s->reload.under_way || s->state != BH_SERVER_SERVING) {
        bh_warn("no reload: another one is under way, or the server is starting or stopping");
        answer(asker, handle, BH_EEXIST, NULL);
        return;
    }
    s->reload.under_way = s->reload.loading = true;
    s->reload.error = 0;
    s->reload.asker = asker;
    s->reload.handle = handle;
    if (pthread_create(&s->reload.loader, NULL, load, s) == 0)
        return;
    s->reload.loading = false;
    finish(s, BH_EIO, "cannot start a thread");
}

void bh_server_reload_stop(struct bh_server *s) {
    join_loader(s);
    bh_free(s->reload.why);
}
