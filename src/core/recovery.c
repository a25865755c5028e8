/* recovery.c - where the streams of a worker are, for the clients that resume.
 *
 * Sets are found by their places, which have one address as long as any set contains them. The text
 * of a set is formatted once for all its clients each time it has moved. Thread: the worker's. */
#include "node_internal.h"
#include "recoveries.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "metrics.h"

#include <assert.h>

#define ROOM_DEFAULT (1024 * 1024)

static struct bh_slice place_key(const void *value) {
    const struct bh_place *p = value;
    return bh_slice(p->name, p->len);
}

static struct bh_slice set_key(const void *value) {
    const struct bh_stream_set *set = value;
    return bh_slice((const char *)set->places, set->count * sizeof set->places[0]);
}

void bh_recoveries_init(struct bh_worker *w, void (*on_flush)(struct bh_defer *d)) {
    struct bh_recoveries *rs = bh_calloc(1, sizeof *rs);
    bh_defer_init(&rs->flush, on_flush);
    rs->loop = w->loop;
    bh_map_init(&rs->places, place_key);
    bh_map_init(&rs->sets, set_key);
    bh_list_init(&rs->ready);
    w->recoveries = rs;
}

void bh_recoveries_stop(struct bh_worker *w) {
    bh_defer_cancel(&w->recoveries->flush);
}

void bh_recoveries_deinit(struct bh_worker *w) {
    struct bh_recoveries *rs = w->recoveries;
    assert(rs->places.count == 0 && rs->sets.count == 0);
    bh_map_deinit(&rs->places);
    bh_map_deinit(&rs->sets);
    bh_free(rs);
}

/* --- places --- */

struct bh_place *bh_place_find(const struct bh_worker *w, struct bh_slice topic) {
    return bh_map_get(&w->recoveries->places, topic);
}

struct bh_place *bh_place_find_or_new(struct bh_worker *w, struct bh_slice topic) {
    struct bh_place *p = bh_place_find(w, topic);
    if (p)
        return p;
    p = bh_calloc(1, BH_SIZE_WITH(struct bh_place, name, topic.n));
    p->hash = bh_topic_hash(topic);
    p->len = (uint16_t)topic.n;
    memcpy(p->name, topic.p, topic.n);
    bh_map_put(&w->recoveries->places, p);
    return p;
}

void bh_place_move(struct bh_worker *w, struct bh_place *p, struct bh_position to) {
    if (bh_position_eq(p->position, to))
        return;
    p->position = to;
    p->moved = ++w->recoveries->moves;
}

/* --- sets --- */

static void sort(struct bh_place **places, unsigned count) {
    for (unsigned i = 1; i < count; i++)
        for (unsigned k = i; k > 0 && places[k] < places[k - 1]; k--) {
            struct bh_place *p = places[k];
            places[k] = places[k - 1];
            places[k - 1] = p;
        }
}

struct bh_stream_set *bh_stream_set_of(struct bh_worker *w, struct bh_place **places,
                                       unsigned count) {
    if (count == 0)
        return NULL;
    sort(places, count);
    struct bh_slice key = bh_slice((const char *)places, count * sizeof *places);
    struct bh_stream_set *set = bh_map_get(&w->recoveries->sets, key);
    if (!set) {
        set = bh_calloc(1, sizeof *set + key.n);
        set->count = count;
        for (unsigned i = 0; i < count; i++) {
            set->places[i] = places[i];
            places[i]->sets++;
        }
        bh_map_put(&w->recoveries->sets, set);
    }
    set->refs++;
    return set;
}

void bh_stream_set_unref(struct bh_worker *w, struct bh_stream_set *set) {
    if (!set || --set->refs > 0)
        return;
    bh_map_remove(&w->recoveries->sets, set_key(set));
    bh_free(set->text);
    for (unsigned i = 0; i < set->count; i++) {
        struct bh_place *p = set->places[i];
        if (--p->sets > 0)
            continue;
        bh_map_remove(&w->recoveries->places, place_key(p));
        bh_free(p);
    }
    bh_free(set);
}

#define MIX UINT64_C(0x9e3779b97f4a7c15)

static uint64_t set_moves(const struct bh_stream_set *set) {
    uint64_t moves = set->count;
    for (unsigned i = 0; i < set->count; i++)
        moves = moves * MIX + set->places[i]->moved;
    return moves;
}

/* --- a recovery --- */

struct bh_missed *bh_recovery_missed(struct bh_recovery *r, const struct bh_place *place) {
    for (unsigned i = 0; r && i < BH_RESUME_TOPICS_MAX; i++)
        if (r->missed[i].state != BH_MISSED_NONE && r->missed[i].place == place)
            return &r->missed[i];
    return NULL;
}

size_t bh_subscriber_room(const struct bh_subscriber *s) {
    return s->vt->room ? s->vt->room(s) : ROOM_DEFAULT;
}

void bh_missed_drop(struct bh_recovery *r, struct bh_missed *m) {
    bh_range_unref(m->range);
    m->range = NULL;
    r->bytes -= m->bytes;
    m->bytes = 0;
    for (size_t i = 0; i < r->arrived_count; i++) {
        struct bh_arrived *a = &r->arrived[i];
        if (!a->message || a->place != m->place)
            continue;
        r->bytes -= a->message->payload.n;
        bh_message_unref(a->message);
        *a = (struct bh_arrived){0};
    }
}

static void append(struct bh_recovery *r, struct bh_place *place, struct bh_message *m) {
    if (r->arrived_count == r->arrived_cap) {
        r->arrived_cap = r->arrived_cap ? r->arrived_cap * 2 : 4;
        r->arrived = bh_realloc(r->arrived, r->arrived_cap * sizeof *r->arrived);
    }
    r->arrived[r->arrived_count++] = (struct bh_arrived){place, bh_message_ref(m)};
    r->bytes += m->payload.n;
}

/* Beyond its room nothing of the stream is kept: a gap. */
static void keep(struct bh_recovery *r, struct bh_missed *missed, struct bh_message *m) {
    if (missed->gap && missed->top.epoch == 0)
        return;
    if (r->bytes + m->payload.n <= bh_subscriber_room(r->subscriber)) {
        append(r, missed->place, m);
        return;
    }
    bh_missed_drop(r, missed);
    missed->gap = BH_GAP_SIZE;
    missed->top = (struct bh_position){0};
}

bool bh_recovery_takes(struct bh_subscriber *s, struct bh_place *place, struct bh_message *m) {
    struct bh_recovery *r = s->resumption ? s->resumption->recovery : NULL;
    struct bh_missed *missed = bh_recovery_missed(r, place);
    if (!missed)
        return false;
    if (missed->state == BH_MISSED_ANSWERED)
        keep(r, missed, m);
    return true;
}

void bh_recovery_free(struct bh_recovery *r) {
    bh_list_unlink(&r->ready);
    for (unsigned i = 0; i < BH_RESUME_TOPICS_MAX; i++)
        bh_range_unref(r->missed[i].range);
    for (size_t i = 0; i < r->arrived_count; i++)
        bh_message_unref(r->arrived[i].message);
    bh_free(r->arrived);
    bh_free(r);
}

/* --- what the protocols ask --- */

static struct bh_position position_in(const struct bh_resumption *rs, const struct bh_place *p) {
    const struct bh_missed *missed = bh_recovery_missed(rs->recovery, p);
    return missed ? missed->at : p->position;
}

static size_t format(const struct bh_resumption *rs, char out[BH_RESUME_TEXT_MAX + 1]) {
    struct bh_resume resume = {0};
    for (unsigned i = 0; rs->set && i < rs->set->count; i++) {
        const struct bh_place *p = rs->set->places[i];
        struct bh_position at = position_in(rs, p);
        if (at.epoch)
            resume.topics[resume.count++] = (struct bh_resume_topic){p->hash, at};
    }
    return bh_resume_format(&resume, out);
}

size_t bh_subscriber_resume_text(const struct bh_subscriber *s, char out[BH_RESUME_TEXT_MAX + 1]) {
    const struct bh_resumption *rs = s->resumption;
    struct bh_stream_set *set = rs->set;
    if (rs->recovery || !set || set->refs == 1)
        return format(rs, out);
    uint64_t moves = set_moves(set);
    if (!set->text || set->text_moves != moves) {
        if (!set->text)
            set->text = bh_malloc(BH_RESUME_TEXT_MAX + 1);
        set->text_moves = moves;
        set->text_len = format(rs, set->text);
    }
    memcpy(out, set->text, set->text_len + 1);
    return set->text_len;
}

const void *bh_subscriber_stream_set(const struct bh_subscriber *s) {
    return s->resumption && !s->resumption->recovery ? s->resumption->set : NULL;
}

uint64_t bh_subscriber_stream_moves(const struct bh_subscriber *s) {
    const struct bh_resumption *rs = s->resumption;
    if (!rs || !rs->set)
        return 0;
    return set_moves(rs->set) * MIX + rs->moves;
}

bool bh_subscriber_is_recovered(const struct bh_subscriber *s) {
    return s->resumption && s->resumption->told && !s->resumption->recovery;
}

struct bh_place *bh_subscriber_place(const struct bh_subscriber *s, struct bh_slice topic) {
    const struct bh_stream_set *set = s->resumption ? s->resumption->set : NULL;
    for (unsigned i = 0; set && i < set->count; i++)
        if (bh_slice_eq(place_key(set->places[i]), topic))
            return set->places[i];
    return NULL;
}

struct bh_position bh_subscriber_position(const struct bh_subscriber *s, struct bh_slice topic) {
    const struct bh_place *p = bh_subscriber_place(s, topic);
    return p ? position_in(s->resumption, p) : (struct bh_position){0};
}

void bh_subscriber_tell_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why) {
    struct bh_hooks *hooks = s->worker->hooks;
    for (unsigned i = 0; i < BH_GAP_REASONS; i++)
        if (strcmp(bh_gap_reasons[i], why) == 0)
            bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_GAPS + i]);
    if (s->vt->gap)
        s->vt->gap(s, topic, why);
    else if (bh_hooks_has(hooks, BH_HOOK_GAP))
        hooks->vt->gap(hooks, s, topic, why);
}

void bh_subscriber_tell_rewound(struct bh_subscriber *s, struct bh_slice topic) {
    if (!s->vt->rewound)
        return;
    bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_REWINDS]);
    s->vt->rewound(s, topic);
}
