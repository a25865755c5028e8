/* node_track.c - reports connections to the tracker, and receives its presence events.
 *
 * A worker collects the connections that opened and closed in a tick and mails them to the bus, in
 * order. When the tracker has lost its store (a restore), each worker reports all its connections,
 * a slice at a time, so that many thousands do not stall its loop. New changes use the same
 * batches, so the reports about one connection keep their order. Restores are numbered: the end of
 * an outdated one is ignored. Thread: see the sections. */
#include "node_internal.h"

#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#define BATCH_MAX     500
#define SLICE         500 /* connections of a restore step */
#define SLICE_STEP_MS 4

struct bh_track_batch {
    struct bh_mail mail;
    struct bh_node *node;
    unsigned restore; /* the number of the restore that this batch completes; 0: none */
    unsigned count;
    struct entry {
        bool here, again;
        uint8_t user_len, tenant_len;
        uint64_t number;
        int64_t opened_at;
        uint32_t at; /* of its names in `names` */
    } entries[BATCH_MAX];
    struct bh_bytes names;
};

/* --- the bus --- */

static void report(struct bh_track_batch *b) {
    struct bh_tracker *t = b->node->tracker;
    struct bh_track changes[BATCH_MAX];
    for (unsigned i = 0; i < b->count; i++) {
        const struct entry *e = &b->entries[i];
        const char *names = b->names.p + e->at;
        changes[i] = (struct bh_track){.here = e->here,
                                       .again = e->again,
                                       .number = e->number,
                                       .opened_at = e->opened_at,
                                       .user = bh_slice(names, e->user_len),
                                       .tenant = bh_slice(names + e->user_len, e->tenant_len)};
    }
    if (b->count)
        t->vt->changed(t, changes, b->count);
}

static void batch_free(struct bh_track_batch *b) {
    bh_bytes_free(&b->names);
    bh_free(b);
}

static void on_batch(struct bh_mail *mail) {
    struct bh_track_batch *b = BH_CONTAINER_OF(mail, struct bh_track_batch, mail);
    struct bh_node *n = b->node;
    if (!bh_node_stopped(n)) {
        report(b);
        if (b->restore && b->restore == n->restore_number && --n->restoring == 0)
            n->tracker->vt->restored(n->tracker);
    }
    batch_free(b);
}

/* --- a worker --- */

static struct bh_track_batch *batch_of(struct bh_worker *w) {
    if (w->changes)
        return w->changes;
    w->changes = bh_malloc(sizeof *w->changes);
    w->changes->mail.fn = on_batch;
    w->changes->node = w->node;
    w->changes->restore = w->changes->count = 0;
    w->changes->names = (struct bh_bytes){0};
    bh_defer(w->loop, BH_PHASE_FLUSH, &w->post_changes);
    return w->changes;
}

static void post_batch(struct bh_worker *w) {
    struct bh_track_batch *b = w->changes;
    w->changes = NULL;
    bh_defer_cancel(&w->post_changes);
    if (b && bh_mailbox_post(w->node->bus, &b->mail))
        batch_free(b);
}

static void on_post_changes(struct bh_defer *d) {
    post_batch(BH_CONTAINER_OF(d, struct bh_worker, post_changes));
}

static void track(struct bh_worker *w, const struct bh_subscriber *s, bool here, bool again) {
    const struct bh_identity *identity = s->identity;
    if (!w->node->tracker->wants_changes || identity->user.n == 0)
        return;
    struct bh_track_batch *b = batch_of(w);
    b->entries[b->count++] = (struct entry){.here = here,
                                            .again = again,
                                            .user_len = (uint8_t)identity->user.n,
                                            .tenant_len = (uint8_t)identity->tenant.n,
                                            .number = s->number,
                                            .opened_at = s->opened_at,
                                            .at = (uint32_t)b->names.len};
    bh_bytes_add(&b->names, identity->user);
    bh_bytes_add(&b->names, identity->tenant);
    if (b->count == BATCH_MAX)
        post_batch(w);
}

void bh_node_track(struct bh_worker *w, const struct bh_subscriber *s, bool here) {
    track(w, s, here, false);
}

static void on_restore_step(struct bh_timer *t) {
    struct bh_worker *w = BH_CONTAINER_OF(t, struct bh_worker, restore);
    struct bh_subscriber *s = NULL;
    for (int i = 0; i < SLICE && (s = bh_slots_next(&w->subscribers, &w->restore_cursor)); i++)
        if (!s->closing)
            track(w, s, true, true);
    if (s) {
        bh_timer_set(t, SLICE_STEP_MS);
        return;
    }
    batch_of(w)->restore = w->restore_number;
    post_batch(w);
}

struct restore {
    struct bh_mail mail;
    struct bh_worker *worker;
    unsigned number;
};

static void on_restore_mail(struct bh_mail *mail) {
    struct restore *r = BH_CONTAINER_OF(mail, struct restore, mail);
    struct bh_worker *w = r->worker;
    w->restore_cursor = 0;
    w->restore_number = r->number;
    bh_free(r);
    if (!bh_node_stopped(w->node))
        on_restore_step(&w->restore);
}

void bh_node_track_init(struct bh_worker *w) {
    bh_defer_init(&w->post_changes, on_post_changes);
    bh_timer_init(&w->restore, w->loop, on_restore_step);
}

void bh_node_track_stop(struct bh_worker *w) {
    bh_timer_cancel(&w->restore);
    bh_defer_cancel(&w->post_changes);
    if (w->changes)
        batch_free(w->changes);
    w->changes = NULL;
}

/* --- the tracker's calls, on the bus --- */

static void on_restore(void *ud) {
    struct bh_node *n = ud;
    n->restore_number++;
    n->restoring = n->worker_count;
    for (unsigned i = 0; i < n->worker_count; i++) {
        struct restore *r = bh_malloc(sizeof *r);
        *r = (struct restore){{.fn = on_restore_mail}, n->workers[i], n->restore_number};
        if (bh_mailbox_post(n->workers[i]->mailbox, &r->mail))
            bh_free(r);
    }
}

struct presence {
    struct bh_mail mail;
    struct bh_worker *worker;
    bool online;
    int64_t at;
    uint8_t user_len;
    char user[BH_ID_MAX];
};

static void on_presence_mail(struct bh_mail *mail) {
    struct presence *p = BH_CONTAINER_OF(mail, struct presence, mail);
    struct bh_hooks *hooks = p->worker->hooks;
    if (!bh_node_stopped(p->worker->node) && bh_hooks_has(hooks, BH_HOOK_PRESENCE))
        hooks->vt->presence(hooks, bh_slice(p->user, p->user_len), p->online, p->at);
    bh_free(p);
}

/* All events of one user go to the same worker, so that they keep their order. */
static void on_presence(void *ud, struct bh_slice user, bool online, int64_t at) {
    struct bh_node *n = ud;
    if (n->worker_count == 0 || user.n > BH_ID_MAX)
        return;
    struct presence *p = bh_malloc(sizeof *p);
    *p = (struct presence){{.fn = on_presence_mail},
                           n->workers[bh_hash(user) % n->worker_count],
                           online,
                           at,
                           (uint8_t)user.n,
                           {0}};
    memcpy(p->user, user.p, user.n);
    if (bh_mailbox_post(p->worker->mailbox, &p->mail))
        bh_free(p);
}

int bh_node_track_start(struct bh_node *n) {
    struct bh_tracker_sink sink = {on_restore, on_presence, n};
    return n->tracker->vt->start(n->tracker, n->bus_loop, &sink);
}
