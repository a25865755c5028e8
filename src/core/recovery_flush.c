/* recovery_flush.c - the answers of the bus, and what was missed on its way to the client.
 *
 * When all streams of a client have been answered it queues, and is given everything in one turn of
 * the loop: whether it is complete, then stream by stream what it missed, then what has arrived
 * since. A turn serves clients for about a millisecond. Callbacks may close the subscriber, or
 * leave and join topics: everything is looked up again after each. Thread: the worker's. */
#include "node_internal.h"
#include "recoveries.h"

#include "bellhop/base/mem.h"
#include "metrics.h"

#define TURN_US 1000

/* --- the answers --- */

static size_t bytes_behind(const struct bh_range *range, uint64_t from) {
    size_t bytes = 0;
    for (size_t i = (size_t)(from - range->since.offset); i < range->count; i++)
        bytes += range->messages[i]->payload.n;
    return bytes;
}

static void take_range(struct bh_recovery *rec, struct bh_missed *m, struct bh_stream_request *r) {
    size_t bytes = bytes_behind(r->range, r->since.offset);
    if (rec->bytes + bytes > bh_subscriber_room(rec->subscriber)) {
        m->gap = BH_GAP_SIZE;
        return;
    }
    m->range = r->range;
    r->range = NULL;
    m->bytes = bytes;
    rec->bytes += bytes;
}

static void take_answer(struct bh_recovery *rec, struct bh_missed *m, struct bh_stream_request *r) {
    m->state = BH_MISSED_ANSWERED;
    m->top = r->top;
    m->from = r->since.epoch ? r->since.offset : r->top.offset;
    m->gap = r->gap;
    m->rewound = r->rewound;
    if (m->at.epoch == 0 && !m->gap) /* a client without a position begins here */
        m->at = (struct bh_position){m->top.epoch, m->from};
    if (r->range)
        take_range(rec, m, r);
    if (r->top.epoch)
        bh_place_move(r->worker, m->place, r->top);
    bh_recovery_check(rec);
}

void bh_recovery_on_answer(struct bh_stream_request *r) {
    struct bh_subscriber *s = bh_worker_subscriber(r->worker, r->subscriber);
    struct bh_recovery *rec = s && s->resumption ? s->resumption->recovery : NULL;
    struct bh_place *place = bh_place_find(r->worker, bh_topic_name(&r->topic));
    struct bh_missed *m = rec && place ? bh_recovery_missed(rec, place) : NULL;
    if (m && m->state == BH_MISSED_ASKED && m->ticket == r->ticket)
        take_answer(rec, m, r);
    bh_stream_request_free(r);
}

static bool is_ready(const struct bh_recovery *r) {
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX; i++)
        if (r->missed[i].state == BH_MISSED_ASKED)
            return false;
    return r->joins == 0;
}

void bh_recovery_check(struct bh_recovery *r) {
    struct bh_worker *w = r->subscriber->worker;
    if (r->flushing || !bh_list_empty(&r->ready) || !is_ready(r))
        return;
    bh_list_append(&w->recoveries->ready, &r->ready);
    bh_loop_put_off(w->loop, &w->recoveries->flush);
}

/* --- one client --- */

static struct bh_missed *missed_of_hash(struct bh_recovery *r, uint64_t hash) {
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX; i++)
        if (r->missed[i].state == BH_MISSED_ANSWERED && r->missed[i].place->hash == hash)
            return &r->missed[i];
    return NULL;
}

static bool is_complete(struct bh_recovery *r) {
    for (unsigned i = 0; i < r->since.count; i++) {
        struct bh_missed *m = missed_of_hash(r, r->since.topics[i].hash);
        if (!m || m->gap)
            return false;
    }
    return r->since.count > 0;
}

/* Topics that it is in, and of which it gave a position, and that are no streams. */
static unsigned find_off(struct bh_recovery *r, struct bh_topic *out) {
    const struct bh_subscriber *s = r->subscriber;
    unsigned n = 0;
    for (unsigned i = 0; i < s->link_count && n < r->since.count; i++) {
        struct bh_slice name = bh_hub_topic_name(bh_subscriber_links(s)[i].topic);
        uint64_t hash = bh_topic_hash(name);
        if (bh_resume_find(&r->since, hash) && !bh_subscriber_place(s, name))
            bh_topic_parse(name, &out[n++]);
    }
    return n;
}

static void tell_off(struct bh_recovery *r) {
    struct bh_topic topics[BH_RESUME_TOPICS_MAX];
    unsigned n = find_off(r, topics);
    for (unsigned i = 0; i < n && !r->closed; i++)
        bh_subscriber_tell_gap(r->subscriber, bh_topic_name(&topics[i]), BH_GAP_OFF);
}

static void move_to(struct bh_recovery *r, struct bh_missed *m, struct bh_position at) {
    m->at = at;
    r->subscriber->resumption->moves++;
}

static bool is_still(const struct bh_recovery *r, const struct bh_missed *m, uint32_t ticket) {
    return !r->closed && m->state == BH_MISSED_ANSWERED && m->ticket == ticket;
}

static void give_range(struct bh_recovery *r, struct bh_missed *m) {
    struct bh_range *range = m->range;
    uint32_t ticket = m->ticket;
    size_t i = (size_t)(m->from - range->since.offset);
    m->range = NULL;
    for (; i < range->count && is_still(r, m, ticket); i++) {
        move_to(r, m, (struct bh_position){range->top.epoch, range->since.offset + 1 + i});
        if (range->messages[i]->kind == BH_MESSAGE_DATA)
            bh_worker_deliver_stream_to(r->subscriber, range->messages[i]);
    }
    bh_range_unref(range);
}

/* What the answer says. A gap is told before what is behind it. */
static void give_answer(struct bh_recovery *r, struct bh_missed *m) {
    struct bh_subscriber *s = r->subscriber;
    struct bh_slice name = bh_slice(m->place->name, m->place->len);
    struct bh_topic topic;
    uint32_t ticket = m->ticket;
    bh_topic_parse(name, &topic);
    if (m->gap)
        move_to(r, m, m->top.epoch ? m->top : m->place->position);
    else
        move_to(r, m, (struct bh_position){m->top.epoch, m->from});
    if (m->gap)
        bh_subscriber_tell_gap(s, bh_topic_name(&topic), m->gap);
    if (m->rewound && is_still(r, m, ticket))
        bh_subscriber_tell_rewound(s, bh_topic_name(&topic));
    if (m->range && is_still(r, m, ticket))
        give_range(r, m);
}

static void give_arrived(struct bh_recovery *r) {
    for (size_t i = 0; i < r->arrived_count && !r->closed; i++) {
        struct bh_arrived a = r->arrived[i];
        r->arrived[i] = (struct bh_arrived){0};
        struct bh_missed *m = a.message ? bh_recovery_missed(r, a.place) : NULL;
        if (m) {
            move_to(r, m, a.message->position);
            bh_worker_deliver_stream_to(r->subscriber, a.message);
        }
        bh_message_unref(a.message);
    }
}

static void give_everything(struct bh_recovery *r) {
    struct bh_subscriber *s = r->subscriber;
    if (!s->resumption->told) {
        s->resumption->told = true;
        s->vt->recovered(s, is_complete(r));
        if (!r->closed)
            tell_off(r);
    }
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX && !r->closed; i++)
        if (r->missed[i].state == BH_MISSED_ANSWERED)
            give_answer(r, &r->missed[i]);
    give_arrived(r);
}

/* It is at the positions of the worker now. */
static void finish(struct bh_recovery *r) {
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX; i++) {
        struct bh_missed *m = &r->missed[i];
        if (m->state != BH_MISSED_ANSWERED)
            continue;
        m->place->recovering--;
        m->state = BH_MISSED_NONE;
    }
    r->arrived_count = 0;
    r->bytes = 0;
    r->since.count = 0;
    if (is_ready(r)) {
        r->subscriber->resumption->recovery = NULL;
        bh_recovery_free(r);
    }
}

static void flush(struct bh_recovery *r) {
    r->flushing = true;
    give_everything(r);
    r->flushing = false;
    if (r->closed)
        bh_recovery_free(r);
    else
        finish(r);
}

void bh_recoveries_on_flush(struct bh_defer *d) {
    struct bh_recoveries *rs = BH_CONTAINER_OF(d, struct bh_recoveries, flush);
    struct bh_loop *loop = rs->loop;
    uint64_t until = bh_loop_read_clock(loop) + TURN_US;
    struct bh_list *node;
    while ((node = bh_list_shift(&rs->ready))) {
        flush(BH_CONTAINER_OF(node, struct bh_recovery, ready));
        if (bh_loop_read_clock(loop) >= until)
            break;
    }
    if (!bh_list_empty(&rs->ready))
        bh_loop_put_off(loop, d);
}
