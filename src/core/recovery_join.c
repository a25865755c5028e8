/* recovery_join.c - clients that resume join streams and leave them.
 *
 * The request for what was missed follows the mail of the join to the bus, so that the bus
 * dispatches to this worker before it answers. A topic that is left and joined again has two
 * requests under way; the ticket tells their answers apart. Thread: the worker's. */
#include "node_internal.h"
#include "recoveries.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <assert.h>

void bh_recovery_begin(struct bh_subscriber *s) {
    if (!s->resumption)
        s->resumption = bh_calloc(1, sizeof *s->resumption);
    struct bh_recovery *r = s->resumption->recovery;
    if (!r) {
        r = s->resumption->recovery = bh_calloc(1, sizeof *r);
        bh_list_init(&r->ready);
        r->subscriber = s;
    }
    r->joins++;
    bh_list_unlink(&r->ready);
}

void bh_recovery_set_since(struct bh_subscriber *s, const struct bh_resume *since) {
    s->resumption->recovery->since = *since;
}

int bh_recovery_fits(const struct bh_subscriber *s, struct bh_topic *const *topics,
                     unsigned count) {
    const struct bh_stream_set *set = s->resumption->set;
    unsigned streams = set ? set->count : 0;
    for (unsigned i = 0; i < count; i++)
        if (bh_node_stream_rule(s->worker->node, topics[i]) &&
            bh_subscriber_place(s, bh_topic_name(topics[i])) == NULL)
            streams++;
    return streams <= BH_RESUME_TOPICS_MAX ? 0 : BH_ETOOBIG;
}

/* --- joining --- */

static void set_streams(struct bh_subscriber *s, struct bh_place **places, unsigned count) {
    struct bh_stream_set *old = s->resumption->set;
    s->resumption->set = bh_stream_set_of(s->worker, places, count);
    bh_stream_set_unref(s->worker, old);
}

static void add_stream(struct bh_subscriber *s, struct bh_place *place) {
    const struct bh_stream_set *set = s->resumption->set;
    struct bh_place *places[BH_RESUME_TOPICS_MAX];
    unsigned count = set ? set->count : 0;
    if (set)
        memcpy(places, set->places, count * sizeof *places);
    places[count++] = place;
    set_streams(s, places, count);
}

static void remove_stream(struct bh_subscriber *s, const struct bh_place *place) {
    const struct bh_stream_set *set = s->resumption->set;
    struct bh_place *places[BH_RESUME_TOPICS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < set->count; i++)
        if (set->places[i] != place)
            places[count++] = set->places[i];
    set_streams(s, places, count);
}

static struct bh_missed *free_slot(struct bh_recovery *r) {
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX; i++)
        if (r->missed[i].state == BH_MISSED_NONE)
            return &r->missed[i];
    return NULL;
}

static void ask(struct bh_subscriber *s, const struct bh_topic *topic, const struct bh_missed *m) {
    struct bh_worker *w = s->worker;
    struct bh_stream_request *r = bh_stream_request_new(w, topic);
    r->mail.fn = bh_streams_on_request;
    r->done = bh_recovery_on_answer;
    r->subscriber = s->handle;
    r->ticket = m->ticket;
    r->since = m->at;
    r->bytes = bh_subscriber_room(s);
    if (bh_mailbox_post(w->node->bus, &r->mail))
        bh_stream_request_free(r); /* the node stops */
}

void bh_recovery_join(struct bh_subscriber *s, const struct bh_topic *topic) {
    struct bh_worker *w = s->worker;
    struct bh_recovery *r = s->resumption->recovery;
    if (!bh_node_stream_rule(w->node, topic) || bh_subscriber_place(s, bh_topic_name(topic)))
        return;
    struct bh_missed *m = free_slot(r);
    assert(m && r->joins);
    struct bh_place *place = bh_place_find_or_new(w, bh_topic_name(topic));
    const struct bh_position *since = bh_resume_find(&r->since, place->hash);
    *m = (struct bh_missed){
        .state = BH_MISSED_ASKED, .ticket = ++w->recoveries->ticket, .place = place};
    if (since)
        m->at = *since;
    place->recovering++;
    r->subscriber->resumption->moves++;
    add_stream(s, place);
    ask(s, topic, m);
}

void bh_recovery_joined(struct bh_subscriber *s) {
    struct bh_recovery *r = s->resumption->recovery;
    r->joins--;
    bh_recovery_check(r);
}

/* --- leaving --- */

/* Where it was does not count any more, even if it joins again. */
static void drop_since(struct bh_resume *since, uint64_t hash) {
    unsigned kept = 0;
    for (unsigned i = 0; i < since->count; i++)
        if (since->topics[i].hash != hash)
            since->topics[kept++] = since->topics[i];
    since->count = kept;
}

static void forget(struct bh_recovery *r, struct bh_missed *m) {
    bh_missed_drop(r, m);
    drop_since(&r->since, m->place->hash);
    m->place->recovering--;
    m->state = BH_MISSED_NONE;
}

void bh_recovery_leave(struct bh_subscriber *s, struct bh_slice topic) {
    struct bh_place *place = bh_subscriber_place(s, topic);
    if (!place)
        return;
    struct bh_recovery *r = s->resumption->recovery;
    struct bh_missed *m = bh_recovery_missed(r, place);
    if (m)
        forget(r, m);
    remove_stream(s, place);
    if (r)
        bh_recovery_check(r);
}

void bh_recovery_close(struct bh_subscriber *s) {
    struct bh_resumption *rs = s->resumption;
    struct bh_recovery *r = rs->recovery;
    for (unsigned i = 0; r && i < BH_RESUME_TOPICS_MAX; i++)
        if (r->missed[i].state != BH_MISSED_NONE)
            forget(r, &r->missed[i]);
    s->resumption = NULL;
    bh_stream_set_unref(s->worker, rs->set);
    bh_free(rs);
    if (r && r->flushing)
        r->closed = true; /* freed when the flush returns */
    else if (r)
        bh_recovery_free(r);
}
