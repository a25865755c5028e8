/* node_open.c - connections open, join topics, leave them, and close.
 *
 * Opening and subscribing are the same operation: ask on_subscribe for each topic, join the hub,
 * then, with a shared broker, wait until the bus reports all topics live, so that messages
 * published after the client's `open` event arrive. The operation holds the subscriber's handle,
 * never its pointer. Thread: the worker's, except on_interest and on_live (bus). */
#include "node_internal.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "recoveries.h"

/* --- mail to the bus: topics that a worker adds or removes --- */

struct interest {
    struct bh_mail mail;
    struct bh_interest_ticket ticket;
    struct bh_node *node;
    struct bh_worker *worker;
    bh_handle op; /* the join that waits for it, or 0 */
    bool add;
    unsigned count;
    char *end;                /* of the names, which are behind the slices */
    struct bh_slice topics[]; /* names */
};

static void interest_free(struct interest *i) {
    bh_free(i->ticket.waiters);
    bh_free(i);
}

static void finish_join(struct bh_worker *w, bh_handle op);

static void on_answer(struct bh_mail *mail) {
    struct interest *i = BH_CONTAINER_OF(mail, struct interest, mail);
    if (!bh_node_stopped(i->node))
        finish_join(i->worker, i->op);
    interest_free(i);
}

static void on_live(struct bh_interest_ticket *t) {
    struct interest *i = BH_CONTAINER_OF(t, struct interest, ticket);
    i->mail.fn = on_answer;
    if (bh_node_stopped(i->node) || bh_mailbox_post(i->worker->mailbox, &i->mail))
        interest_free(i);
}

static void on_interest(struct bh_mail *mail) {
    struct interest *i = BH_CONTAINER_OF(mail, struct interest, mail);
    struct bh_interest_map *map = &i->node->interest;
    if (bh_node_stopped(i->node)) {
        interest_free(i);
        return;
    }
    for (unsigned t = 0; t < i->count; t++) {
        if (i->add)
            bh_interest_map_add(map, i->worker->index, i->topics[t]);
        else
            bh_interest_map_remove(map, i->worker->index, i->topics[t]);
    }
    if (!i->op) {
        interest_free(i);
        return;
    }
    i->ticket.waiters = bh_malloc(i->count * sizeof *i->ticket.waiters);
    i->ticket.on_live = on_live;
    bh_interest_map_wait(map, &i->ticket, i->topics, i->count);
}

/* With room for topics whose names have `bytes` in all. */
static struct interest *interest_new(struct bh_worker *w, bool add, size_t room, size_t bytes) {
    struct interest *i = bh_malloc(sizeof *i + room * sizeof i->topics[0] + bytes);
    *i = (struct interest){{.fn = on_interest}, .node = w->node, .worker = w, .add = add};
    i->end = (char *)&i->topics[room];
    return i;
}

/* Returns the copy of the name. */
static struct bh_slice interest_add(struct interest *i, struct bh_slice name) {
    return i->topics[i->count++] = bh_slice_pack(&i->end, name);
}

static void interest_post(struct interest *i) {
    if (i->count == 0 || bh_mailbox_post(i->node->bus, &i->mail))
        interest_free(i);
}

/* --- joining --- */

struct join {
    struct bh_op op;
    struct bh_worker *worker;
    bh_handle subscriber;
    bh_node_cb done;
    void *ud;
    bh_handle handle;
    bool opening; /* skip refused topics; otherwise a refusal is the result */
    int error;
    unsigned asked, count;
    unsigned named, gained; /* of the topics, as in struct bh_identity */
    char *end; /* of the topics, which are behind the pointers and as long as their names */
    struct bh_topic *topics[];
};

static void join_done(struct join *j, int error) {
    struct join copy = *j;
    bh_slots_remove(&j->worker->ops, j->op.self);
    bh_free(j);
    copy.done(copy.ud, copy.handle, error);
    struct bh_subscriber *s = bh_worker_subscriber(copy.worker, copy.subscriber);
    if (s && s->resumption)
        bh_recovery_joined(s);
}

static void finish_join(struct bh_worker *w, bh_handle op) {
    struct join *j = bh_slots_get(&w->ops, op);
    if (j)
        join_done(j, bh_worker_subscriber(w, j->subscriber) ? j->error : BH_ECLOSED);
}

static size_t name_bytes(const struct join *j) {
    size_t n = 0;
    for (unsigned t = 0; t < j->count; t++)
        n += j->topics[t]->len;
    return n;
}

static void enter_hub(struct join *j, struct bh_subscriber *s) {
    struct bh_worker *w = j->worker;
    if (s->link_count + j->count > BH_SUBSCRIBER_TOPICS_MAX ||
        (s->resumption && bh_recovery_fits(s, j->topics, j->count))) {
        join_done(j, BH_ETOOBIG);
        return;
    }
    bool wait = w->node->broker->vt->shared;
    struct interest *interest = interest_new(w, true, j->count, name_bytes(j));
    for (unsigned t = 0; t < j->count; t++) {
        bool first = false;
        if (!bh_hub_join(&w->hub, s, bh_topic_name(j->topics[t]), &first))
            j->error = j->opening ? 0 : BH_EEXIST;
        else if (first || wait)
            interest_add(interest, bh_topic_name(j->topics[t]));
    }
    bh_handle self = j->op.self;
    wait = wait && interest->count > 0;
    if (wait)
        interest->op = self;
    interest_post(interest);
    for (unsigned t = 0; s->resumption && t < j->count; t++)
        bh_recovery_join(s, j->topics[t]);
    if (!wait)
        finish_join(w, self);
}

static void ask_next(struct join *j);

static bool is_among_last(const struct join *j, unsigned n) {
    return j->asked + n >= j->count;
}

/* The topic that was asked for. The client has named it, so it is told. */
static void refuse_named(struct join *j, int status, struct bh_slice why) {
    struct bh_subscriber *s = bh_worker_subscriber(j->worker, j->subscriber);
    if (s && s->vt->refused)
        s->vt->refused(s, bh_topic_name(j->topics[j->asked]), status, why);
    join_done(j, s ? BH_EDENIED : BH_ECLOSED);
}

static void refuse(struct join *j, int status, struct bh_slice why) {
    struct bh_topic **topic = &j->topics[j->asked];
    bh_info_limited("subscription refused", bh_kv_slice("topic", bh_topic_name(*topic)));
    if (is_among_last(j, j->named)) {
        refuse_named(j, status, why);
        return;
    }
    if (!j->opening)
        j->error = BH_EDENIED;
    memmove(topic, topic + 1, (--j->count - j->asked) * sizeof *topic);
    ask_next(j);
}

static void on_hook_done(void *ud, bh_handle handle, bool allowed, int status,
                         struct bh_slice body) {
    struct bh_worker *w = ud;
    struct join *j = bh_slots_get(&w->ops, handle);
    if (!j)
        return;
    if (!allowed) {
        refuse(j, status, body);
    } else if (status == 0 && is_among_last(j, j->gained)) {
        refuse(j, 403, bh_slice(NULL, 0));
    } else {
        j->asked++;
        ask_next(j);
    }
}

static void ask_next(struct join *j) {
    struct bh_worker *w = j->worker;
    struct bh_subscriber *s = bh_worker_subscriber(w, j->subscriber);
    if (!s) {
        join_done(j, BH_ECLOSED);
        return;
    }
    while (j->asked < j->count && j->topics[j->asked]->kind != BH_TOPIC_TOPIC)
        j->asked++;
    if (j->asked < j->count && bh_hooks_has(w->hooks, BH_HOOK_SUBSCRIBE)) {
        w->hooks->vt->subscribe(w->hooks, s, bh_topic_name(j->topics[j->asked]), on_hook_done, w,
                                j->op.self);
        return;
    }
    if (j->gained && j->asked < j->count) {
        j->asked = j->count - j->gained;
        refuse(j, 403, bh_slice(NULL, 0));
        return;
    }
    if (j->count == 0)
        join_done(j, j->error);
    else
        enter_hub(j, s);
}

static void discard_join(struct bh_op *op) {
    bh_free(BH_CONTAINER_OF(op, struct join, op));
}

/* With room for topics whose ids have `bytes` in all. */
static struct join *join_new(struct bh_worker *w, struct bh_subscriber *s, size_t room,
                             size_t bytes, bh_node_cb done, void *ud, bh_handle handle) {
    size_t each = offsetof(struct bh_topic, name) + sizeof "tenant:" + 1; /* to the next even */
    struct join *j = bh_malloc(sizeof *j + room * (sizeof j->topics[0] + each) + bytes);
    *j = (struct join){
        .worker = w, .subscriber = s->handle, .done = done, .ud = ud, .handle = handle};
    if (s->vt->recovered)
        bh_recovery_begin(s);
    j->op = (struct bh_op){bh_slots_add(&w->ops, j), discard_join};
    j->end = (char *)&j->topics[room];
    return j;
}

static void add_topic(struct join *j, const struct bh_topic *topic) {
    j->topics[j->count++] = bh_topic_copy(j->end, topic);
    j->end += (bh_topic_size(topic) + 1) / 2 * 2;
}

static void add_id(struct join *j, enum bh_topic_kind kind, struct bh_slice id) {
    struct bh_topic topic;
    if (kind != BH_TOPIC_ALL && id.n == 0)
        return;
    if (bh_topic_make(kind, id, &topic, NULL) == 0)
        add_topic(j, &topic);
}

static size_t id_bytes(const struct bh_identity *identity) {
    size_t n = identity->user.n + identity->tenant.n;
    for (size_t i = 0; i < identity->topic_count; i++)
        n += identity->topics[i].n;
    return n;
}

void bh_node_resume(struct bh_worker *w, struct bh_subscriber *s, struct bh_identity *identity,
                    const struct bh_resume *since, bh_node_cb done, void *ud, bh_handle handle) {
    s->worker = w;
    s->resumption = NULL;
    s->identity = identity;
    s->closing = false;
    s->handle = bh_slots_add(&w->subscribers, s);
    do
        bh_random(&s->number, sizeof s->number);
    while (s->number == 0);
    s->opened_at = bh_clock_wall_ms();
    atomic_fetch_add_explicit(&w->node->connections, 1, memory_order_relaxed);
    bh_node_track(w, s, true);
    struct join *j =
        join_new(w, s, 3 + identity->topic_count, id_bytes(identity), done, ud, handle);
    j->opening = true;
    if (since && s->resumption)
        bh_recovery_set_since(s, since);
    j->named = identity->named;
    j->gained = identity->gained;
    add_id(j, BH_TOPIC_USER, identity->user);
    add_id(j, BH_TOPIC_TENANT, identity->tenant);
    add_id(j, BH_TOPIC_ALL, (struct bh_slice){0});
    for (size_t i = 0; i < identity->topic_count; i++)
        add_id(j, BH_TOPIC_TOPIC, identity->topics[i]);
    ask_next(j);
}

void bh_node_open(struct bh_worker *w, struct bh_subscriber *s, struct bh_identity *identity,
                  bh_node_cb done, void *ud, bh_handle handle) {
    bh_node_resume(w, s, identity, NULL, done, ud, handle);
}

void bh_node_subscribe(struct bh_worker *w, struct bh_subscriber *s, struct bh_slice topic_id,
                       bh_node_cb done, void *ud, bh_handle handle) {
    struct bh_topic topic;
    if (!s->handle || s->closing) {
        done(ud, handle, BH_ECLOSED);
        return;
    }
    if (bh_topic_make(BH_TOPIC_TOPIC, topic_id, &topic, NULL)) {
        done(ud, handle, BH_EINVAL);
        return;
    }
    struct join *j = join_new(w, s, 1, topic_id.n, done, ud, handle);
    add_topic(j, &topic);
    ask_next(j);
}

/* --- leaving --- */

/* After the mail to the bus: the hook may join the topic again. */
static void run_unsubscribe_hook(struct bh_worker *w, struct bh_subscriber *s,
                                 struct bh_slice topic, const char *why) {
    if (bh_slice_starts(topic, BH_SLICE("topic:")) && bh_hooks_has(w->hooks, BH_HOOK_UNSUBSCRIBE))
        w->hooks->vt->unsubscribe(w->hooks, s, topic, why);
}

int bh_node_unsubscribe(struct bh_worker *w, struct bh_subscriber *s, struct bh_slice topic_id) {
    struct bh_topic topic;
    if (bh_topic_make(BH_TOPIC_TOPIC, topic_id, &topic, NULL))
        return BH_EINVAL;
    bool last = false;
    int error = bh_hub_leave(&w->hub, s, bh_topic_name(&topic), &last);
    if (last) {
        struct interest *gone = interest_new(w, false, 1, topic.len);
        interest_add(gone, bh_topic_name(&topic));
        interest_post(gone);
    }
    if (!error && s->resumption)
        bh_recovery_leave(s, bh_topic_name(&topic));
    if (!error)
        run_unsubscribe_hook(w, s, bh_topic_name(&topic), "unsubscribed");
    return error;
}

/* Leaves all topics; `left`, if not NULL, gets them all. */
static void leave_all(struct bh_worker *w, struct bh_subscriber *s, size_t bytes,
                      struct interest *left) {
    struct interest *gone = interest_new(w, false, s->link_count, bytes);
    while (s->link_count) {
        bool last = false;
        struct bh_slice name =
            interest_add(gone, bh_hub_topic_name(bh_subscriber_links(s)[s->link_count - 1].topic));
        if (left)
            interest_add(left, name);
        bh_hub_leave_last(&w->hub, s, &last);
        if (!last)
            gone->count--;
    }
    interest_post(gone);
}

static size_t link_bytes(const struct bh_subscriber *s) {
    size_t n = 0;
    for (unsigned i = 0; i < s->link_count; i++)
        n += bh_subscriber_links(s)[i].topic->len;
    return n;
}

void bh_node_close(struct bh_worker *w, struct bh_subscriber *s, unsigned code,
                   struct bh_slice reason) {
    if (!s->handle || s->closing)
        return;
    s->closing = true;
    bh_node_track(w, s, false);
    struct interest *left = NULL; /* never posted: the names alone */
    size_t bytes = link_bytes(s);
    if (bh_hooks_has(w->hooks, BH_HOOK_UNSUBSCRIBE))
        left = interest_new(w, false, s->link_count, bytes);
    leave_all(w, s, bytes, left);
    if (s->resumption)
        bh_recovery_close(s);
    for (unsigned i = 0; left && i < left->count; i++)
        run_unsubscribe_hook(w, s, left->topics[i], "closed");
    bh_free(left);
    if (w->hooks && (s->script || bh_hooks_has(w->hooks, BH_HOOK_CLOSE)))
        w->hooks->vt->close(w->hooks, s, code, reason);
    bh_slots_remove(&w->subscribers, s->handle);
    s->handle = 0;
    bh_identity_free(s->identity);
    s->identity = NULL;
    atomic_fetch_sub_explicit(&w->node->connections, 1, memory_order_relaxed);
}
