/* node_lookup.c - which connections users and tenants have.
 *
 * A local lookup is one object that is mailed from worker to worker, each adding what its hub
 * holds, and back to the first. Nothing is cached between lookups, so nothing can be stale.
 *
 * A lookup that asks the tracker waits for it as an operation of its worker. An uncertain answer
 * leaves out the connections of this instance, so it is copied, and a local lookup adds them to the
 * names that are uncertain.
 * Thread: each step on its worker's. */
#include "node_internal.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <assert.h>

struct lookup {
    struct bh_op op; /* while it waits for the tracker */
    struct bh_mail mail;
    struct bh_worker *home;
    unsigned next; /* worker to visit */
    enum bh_lookup what;
    bool uncertain; /* `found` began with an uncertain answer of the tracker */
    bh_tracker_cb done;
    void *ud;
    bh_handle handle;
    int64_t as_of;
    size_t count;
    struct bh_slice *topics; /* their names */
    struct bh_presence *found;
};

struct info { /* a connection with room for its names */
    struct bh_connection_info info;
    char tenant[BH_ID_MAX], instance[BH_ID_MAX];
};

static void count_connection(struct bh_subscriber *s, void *ud) {
    ((struct bh_presence *)ud)->count++;
}

/* What a tracker counts. */
static void count_of_user(struct bh_subscriber *s, void *ud) {
    if (s->identity->user.n)
        count_connection(s, ud);
}

static struct bh_slice copy_name(struct bh_slice name, char room[BH_ID_MAX]) {
    if (name.n)
        memcpy(room, name.p, name.n);
    return bh_slice(NULL, name.n);
}

/* The copies of the names are pointed to in the end: the array moves as it grows. */
static void add_info(struct bh_presence *p, struct bh_connection_info info) {
    struct info *all = (struct info *)p->connections;
    if ((p->count & (p->count - 1)) == 0) /* 0, 1, 2, 4, ...: full */
        all = bh_realloc(all, (p->count ? p->count * 2 : 1) * sizeof *all);
    p->connections = (struct bh_connection_info *)all;
    struct info *i = &all[p->count++];
    i->info = info;
    i->info.tenant = copy_name(info.tenant, i->tenant);
    i->info.instance = copy_name(info.instance, i->instance);
}

static void add_connection(struct bh_subscriber *s, void *ud) {
    add_info(ud, (struct bh_connection_info){.instance = bh_slice_cstr(s->worker->node->instance),
                                             .tenant = s->identity->tenant,
                                             .number = s->number,
                                             .opened_at = s->opened_at});
}

typedef void (*visitor)(struct bh_subscriber *s, void *ud);

static visitor visitor_of(const struct lookup *l) {
    if (l->what == BH_LOOKUP_CONNECTIONS)
        return add_connection;
    return l->uncertain ? count_of_user : count_connection;
}

static void visit(struct bh_worker *w, struct lookup *l) {
    for (size_t u = 0; u < l->count; u++)
        if (!l->uncertain || l->found[u].uncertain)
            bh_hub_foreach(&w->hub, l->topics[u], visitor_of(l), &l->found[u]);
}

static void lookup_free(struct lookup *l) {
    for (size_t u = 0; u < l->count; u++)
        bh_free((void *)l->found[u].connections);
    bh_free(l->found);
    bh_free(l->topics);
    bh_free(l);
}

/* The array that callers see; its names stay in the found entries. */
static struct bh_connection_info *public_infos(struct bh_presence *p) {
    const struct info *all = (const struct info *)p->connections;
    struct bh_connection_info *out = bh_malloc((p->count + 1) * sizeof *out);
    for (size_t i = 0; i < p->count; i++) {
        out[i] = all[i].info;
        out[i].tenant.p = all[i].tenant;
        out[i].instance.p = all[i].instance;
    }
    return out;
}

static void finish(struct bh_mail *mail) {
    struct lookup *l = BH_CONTAINER_OF(mail, struct lookup, mail);
    if (bh_node_stopped(l->home->node)) {
        lookup_free(l);
        return;
    }
    struct bh_presence *answer = bh_calloc(l->count + 1, sizeof *answer);
    for (size_t u = 0; u < l->count; u++) {
        answer[u].count = l->found[u].count;
        answer[u].uncertain = l->uncertain;
        if (l->what == BH_LOOKUP_CONNECTIONS)
            answer[u].connections = public_infos(&l->found[u]);
    }
    l->done(l->ud, l->handle, 0, answer, l->count, l->as_of);
    for (size_t u = 0; u < l->count; u++)
        bh_free((void *)answer[u].connections);
    bh_free(answer);
    lookup_free(l);
}

static void advance(struct lookup *l);

static void on_visit(struct bh_mail *mail) {
    struct lookup *l = BH_CONTAINER_OF(mail, struct lookup, mail);
    struct bh_node *n = l->home->node;
    if (bh_node_stopped(n)) {
        lookup_free(l);
        return;
    }
    visit(n->workers[l->next++], l);
    advance(l);
}

static void advance(struct lookup *l) {
    struct bh_node *n = l->home->node;
    bool more = l->next < n->worker_count;
    l->mail.fn = more ? on_visit : finish;
    struct bh_worker *to = more ? n->workers[l->next] : l->home;
    if (bh_mailbox_post(to->mailbox, &l->mail))
        lookup_free(l); /* shutting down: the caller's worker ends, too */
}

/* Copies the names of their topics into one block. BH_EINVAL: a name is no id. */
static int set_topics(struct lookup *l, const struct bh_slice *names) {
    enum bh_topic_kind kind = l->what == BH_LOOKUP_TENANTS ? BH_TOPIC_TENANT : BH_TOPIC_USER;
    size_t bytes = 0;
    for (size_t u = 0; u < l->count; u++)
        bytes += sizeof "tenant:" + names[u].n;
    l->topics = bh_malloc((l->count + 1) * sizeof *l->topics + bytes);
    char *at = (char *)(l->topics + l->count);
    for (size_t u = 0; u < l->count; u++) {
        struct bh_topic topic;
        if (bh_topic_make(kind, names[u], &topic, NULL))
            return BH_EINVAL;
        l->topics[u] = bh_slice_pack(&at, bh_topic_name(&topic));
    }
    return 0;
}

/* NULL: a name is no id. */
static struct lookup *lookup_new(struct bh_worker *w, enum bh_lookup what,
                                 const struct bh_slice *names, size_t count, bh_tracker_cb done,
                                 void *ud, bh_handle handle) {
    assert(count <= BH_LOOKUP_MAX);
    struct lookup *l = bh_calloc(1, sizeof *l);
    l->home = w;
    l->what = what;
    l->done = done;
    l->ud = ud;
    l->handle = handle;
    l->as_of = bh_clock_wall_ms();
    l->count = count;
    l->found = bh_calloc(count + 1, sizeof *l->found);
    if (set_topics(l, names) == 0)
        return l;
    lookup_free(l);
    return NULL;
}

void bh_node_lookup_local(struct bh_worker *w, enum bh_lookup what, const struct bh_slice *names,
                          size_t count, bh_tracker_cb done, void *ud, bh_handle handle) {
    struct lookup *l = lookup_new(w, what, names, count, done, ud, handle);
    if (l)
        advance(l);
    else
        done(ud, handle, BH_EINVAL, NULL, 0, 0);
}

/* --- asking the tracker --- */

static void discard(struct bh_op *op) {
    lookup_free(BH_CONTAINER_OF(op, struct lookup, op));
}

static bool is_uncertain(const struct bh_presence *found, size_t count) {
    for (size_t u = 0; u < count; u++)
        if (found[u].uncertain)
            return true;
    return false;
}

static void copy_found(struct lookup *l, const struct bh_presence *found) {
    for (size_t u = 0; u < l->count; u++) {
        l->found[u].uncertain = found[u].uncertain;
        if (!found[u].connections)
            l->found[u].count = found[u].count;
        for (size_t i = 0; found[u].connections && i < found[u].count; i++)
            add_info(&l->found[u], found[u].connections[i]);
    }
}

static void on_tracked(void *ud, bh_handle handle, int error, const struct bh_presence *found,
                       size_t count, int64_t as_of) {
    struct bh_worker *w = ud;
    struct lookup *l = bh_slots_get(&w->ops, handle);
    if (!l)
        return;
    bh_slots_remove(&w->ops, handle);
    if (error || count != l->count || !is_uncertain(found, count)) {
        l->done(l->ud, l->handle, error, found, count, as_of);
        lookup_free(l);
        return;
    }
    l->uncertain = true;
    l->as_of = as_of;
    copy_found(l, found);
    advance(l);
}

void bh_node_lookup(struct bh_worker *w, enum bh_lookup what, const struct bh_slice *names,
                    size_t count, bh_tracker_cb done, void *ud, bh_handle handle) {
    struct bh_tracker *tracker = w->node->tracker;
    struct lookup *l = lookup_new(w, what, names, count, done, ud, handle);
    if (!l) {
        done(ud, handle, BH_EINVAL, NULL, 0, 0);
        return;
    }
    l->op = (struct bh_op){bh_slots_add(&w->ops, l), discard};
    tracker->vt->lookup(tracker, w, what, names, count, on_tracked, w, l->op.self);
}
