/* streams_answer.c - what a subscriber has missed.
 *
 * A request waits until the subscription of its topic is live. If its position is in the tail it is
 * answered at once, else a read is made for all that wait (streams_read.c), which also moves the
 * stream on for everybody, so an answer always ends at `known`.
 *
 * A position of an older epoch is read once, the highest of those that wait: that tells where the
 * new epoch begins for it, and turns the positions of all others into ones of the new epoch.
 * One that cannot be read is remembered, so that a client that asks again costs no read.
 * Thread: the bus. */
#include "node_internal.h"
#include "streams_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "metrics.h"

#define ANSWERS_MAX 1000 /* in a turn of the loop: a worker takes about as many microseconds */
#define READS_MAX   8    /* that have not answered a request */

struct bh_stream_request *bh_stream_request_new(struct bh_worker *w, const struct bh_topic *topic) {
    struct bh_stream_request *r = bh_calloc(1, sizeof *r);
    r->worker = w;
    bh_topic_copy(&r->topic, topic);
    bh_list_init(&r->waiting);
    bh_list_init(&r->by_age);
    return r;
}

void bh_stream_request_free(struct bh_stream_request *r) {
    bh_range_unref(r->range);
    bh_free(r);
}

static void on_answered(struct bh_mail *mail) {
    struct bh_stream_request *r = BH_CONTAINER_OF(mail, struct bh_stream_request, mail);
    if (bh_node_stopped(r->worker->node))
        bh_stream_request_free(r);
    else
        r->done(r);
}

static void count_outcome(const struct bh_stream_request *r) {
    unsigned which = r->gap           ? BH_CORE_STREAM_RECOVERIES_GAP
                     : r->rewound     ? BH_CORE_STREAM_RECOVERIES_REWOUND
                     : r->since.epoch ? BH_CORE_STREAM_RECOVERIES_OK
                                      : BH_CORE_STREAM_RECOVERIES_NEW;
    bh_metric_inc(&bh_core_metrics[which]);
}

/* At the position of s; s NULL: there is no stream. */
static void post(struct bh_stream *s, struct bh_stream_request *r) {
    bh_list_unlink(&r->waiting);
    bh_list_unlink(&r->by_age);
    count_outcome(r);
    if (s) {
        r->top = s->known;
        if (!s->known.epoch)
            s->pending = true;
    }
    r->mail.fn = on_answered;
    if (bh_mailbox_post(r->worker->mailbox, &r->mail))
        bh_stream_request_free(r);
}

static void refuse(struct bh_stream *s, struct bh_stream_request *r, const char *why) {
    r->gap = why;
    post(s, r);
}

/* --- answers without a read, and after one --- */

/* Its messages, if the tail or what was just read has them. */
static bool give(struct bh_stream *s, struct bh_stream_request *r) {
    if (r->since.offset < s->known.offset) {
        r->range = bh_stream_tail_range(s, r->since.offset);
        if (!r->range)
            return false;
    }
    post(s, r);
    return true;
}

/* A log has no more than the rule allows. */
static size_t bytes_to_ask(const struct bh_stream *s, size_t bytes) {
    return bytes < s->rule->bytes || !s->rule->bytes ? bytes : s->rule->bytes;
}

static bool is_known_gap(const struct bh_stream *s, const struct bh_stream_request *r) {
    return r->since.epoch == s->gap.epoch && r->since.offset <= s->gap.offset &&
           bytes_to_ask(s, r->bytes) <= s->gap_bytes;
}

/* The state of a topic is its last message, whatever the position. */
static bool try_latest(struct bh_stream *s, struct bh_stream_request *r) {
    struct bh_position since = r->since;
    if (bh_position_eq(since, s->known) || s->known.offset == 0) {
        post(s, r);
        return true;
    }
    r->since = (struct bh_position){s->known.epoch, s->known.offset - 1};
    if (give(s, r))
        return true;
    r->since = since;
    return false;
}

/* Of the epoch of s. */
static bool try_same_epoch(struct bh_stream *s, struct bh_stream_request *r) {
    if (r->since.offset > s->known.offset) {
        if (r->reads == 0 || bh_stream_must_heal(s)) /* the log may have more than is known */
            return false;
        r->since = s->known;
        r->rewound = true;
    }
    return give(s, r);
}

static bool try(struct bh_stream *s, struct bh_stream_request *r) {
    if (s->rule->latest)
        return try_latest(s, r);
    if (r->since.epoch == 0) {
        post(s, r);
        return true;
    }
    if (r->since.epoch == s->known.epoch && try_same_epoch(s, r))
        return true;
    if (is_known_gap(s, r)) {
        refuse(s, r, BH_GAP_EXPIRED);
        return true;
    }
    return false;
}

bool bh_stream_ask(struct bh_stream *s, struct bh_stream_request *r) {
    struct bh_streams *st = s->streams;
    uint64_t wait_ms = st->node->config.history.recover_wait_ms;
    bh_list_append(&s->waiting, &r->waiting);
    bh_list_append(&st->requests, &r->by_age);
    r->until_ms = bh_loop_now(st->node->bus_loop) + wait_ms;
    if (!bh_timer_pending(&st->deadline))
        bh_timer_set(&st->deadline, wait_ms);
    return s->live && s->known.epoch && !s->doubted && try(s, r);
}

/* What the read from s->asked, in an older epoch, tells of another position of that epoch. */
static void convert(const struct bh_stream *s, const struct bh_range *range,
                    struct bh_stream_request *r) {
    bool begins = range->since.offset < s->asked.offset; /* the new epoch, at range->since */
    if (range->outcome != BH_HISTORY_OK || range->top.epoch != s->known.epoch ||
        s->asked.epoch == range->top.epoch || r->since.epoch != s->asked.epoch ||
        (r->since.offset > s->asked.offset && !begins))
        return;
    r->since.epoch = range->since.epoch;
    if (r->since.offset <= range->since.offset)
        return;
    r->rewound = true; /* and stays it over further epochs */
    r->since.offset = range->since.offset;
}

/* Whether nothing can be read behind a smaller position, either: more is missing there. */
static void remember_gap(struct bh_stream *s, const struct bh_range *range) {
    if (range->outcome != BH_HISTORY_GAP || s->asked.epoch == 0)
        return;
    s->gap = s->asked;
    s->gap_bytes = s->asked_bytes;
    if (s->asked.epoch == range->top.epoch && range->top.offset > s->rule->size &&
        s->gap.offset < range->top.offset - s->rule->size - 1)
        s->gap.offset = range->top.offset - s->rule->size - 1;
}

/* A range that begins behind the place it was read from: all before was removed. */
static void skip_removed(const struct bh_stream *s, const struct bh_range *range,
                         struct bh_stream_request *r) {
    if (range->outcome == BH_HISTORY_OK && s->asked.epoch == range->since.epoch &&
        range->since.offset > s->asked.offset && r->since.epoch == range->since.epoch &&
        r->since.offset < range->since.offset)
        r->since.offset = range->since.offset;
}

static void after_read(struct bh_stream *s, struct bh_range *range, struct bh_stream_request *r) {
    r->reads += r->covered;
    skip_removed(s, range, r);
    if (r->since.epoch != s->known.epoch)
        convert(s, range, r);
}

static void note_read(struct bh_stream *s, struct bh_range *range) {
    for (struct bh_list *node = s->waiting.next; node != &s->waiting; node = node->next)
        after_read(s, range, BH_CONTAINER_OF(node, struct bh_stream_request, waiting));
}

/* False: there are more. */
static bool answer_some(struct bh_stream *s) {
    unsigned answered = 0;
    for (struct bh_list *node = s->waiting.next, *next; node != &s->waiting; node = next) {
        struct bh_stream_request *r = BH_CONTAINER_OF(node, struct bh_stream_request, waiting);
        next = node->next;
        if (answered == ANSWERS_MAX)
            return false;
        bool done = try(s, r);
        if (!done && r->reads >= READS_MAX)
            refuse(s, r, BH_GAP_LOST);
        answered += done;
    }
    return true;
}

void bh_stream_answer(struct bh_stream *s, struct bh_range *range) {
    if (range) {
        remember_gap(s, range);
        note_read(s, range);
    }
    if (!s->live || !s->known.epoch || s->doubted)
        return;
    if (answer_some(s)) {
        bh_list_unlink(&s->answering);
        bh_stream_tail_settle(s);
    } else if (bh_list_empty(&s->answering)) {
        bh_list_append(&s->streams->answering, &s->answering);
        bh_loop_put_off(s->streams->node->bus_loop, &s->streams->answer_more);
    }
}

/* --- what must be read --- */

struct wanted {
    struct bh_position since;
    size_t bytes;
};

static void widen(struct wanted *w, const struct bh_stream_request *r, bool lowest) {
    bool further = lowest ? r->since.offset < w->since.offset : r->since.offset > w->since.offset;
    if (further)
        w->since.offset = r->since.offset;
    if (r->bytes > w->bytes)
        w->bytes = r->bytes;
}

/* Of the requests in this epoch; false: none. */
static bool wanted_in(const struct bh_stream *s, uint64_t epoch, bool lowest, struct wanted *w) {
    bool any = false;
    for (struct bh_list *node = s->waiting.next; node != &s->waiting; node = node->next) {
        struct bh_stream_request *r = BH_CONTAINER_OF(node, struct bh_stream_request, waiting);
        if (r->since.epoch != epoch)
            continue;
        if (!any)
            *w = (struct wanted){r->since, r->bytes};
        else
            widen(w, r, lowest);
        any = true;
    }
    return any;
}

static uint64_t oldest_epoch(const struct bh_stream *s) {
    for (struct bh_list *node = s->waiting.next; node != &s->waiting; node = node->next) {
        struct bh_stream_request *r = BH_CONTAINER_OF(node, struct bh_stream_request, waiting);
        if (r->since.epoch)
            return r->since.epoch;
    }
    return 0;
}

static struct wanted wanted(const struct bh_stream *s) {
    struct wanted w = {{0}, s->rule->bytes};
    if (s->rule->latest) {
        if (s->known.epoch)
            w.since = s->latest.epoch
                          ? s->latest
                          : (struct bh_position){s->known.epoch,
                                                 s->known.offset ? s->known.offset - 1 : 0};
        return w;
    }
    if (s->known.epoch && wanted_in(s, s->known.epoch, true, &w)) {
        if (w.since.offset > s->known.offset)
            w.since.offset = s->known.offset;
        return w;
    }
    uint64_t epoch = oldest_epoch(s);
    if (epoch) /* most likely that of the stream, if it is not known */
        wanted_in(s, epoch, !s->known.epoch, &w);
    return w;
}

bool bh_stream_wanted(const struct bh_stream *s, struct bh_position *since, size_t *bytes) {
    if (bh_list_empty(&s->waiting))
        return false;
    struct wanted w = wanted(s);
    *since = w.since;
    *bytes = bytes_to_ask(s, w.bytes);
    return true;
}

/* --- without an answer --- */

/* A gap, unless nothing is missing for it, or what is can be given. */
static void give_up(struct bh_stream *s, struct bh_stream_request *r) {
    r->reads++;
    if (r->since.epoch == 0)
        post(s, r);
    else if (!s->known.epoch || !try(s, r))
        refuse(s, r, BH_GAP_UNAVAILABLE);
}

void bh_streams_on_deadline(struct bh_timer *t) {
    struct bh_streams *st = BH_CONTAINER_OF(t, struct bh_streams, deadline);
    uint64_t now = bh_loop_now(t->loop);
    while (!bh_list_empty(&st->requests)) {
        struct bh_stream_request *r =
            BH_CONTAINER_OF(st->requests.next, struct bh_stream_request, by_age);
        if (r->until_ms > now) {
            bh_timer_set(t, r->until_ms - now);
            return;
        }
        struct bh_stream *s = bh_map_get(&st->map, bh_topic_name(&r->topic));
        give_up(s, r);
    }
}

void bh_stream_request_refuse(struct bh_stream_request *r) {
    refuse(NULL, r, BH_GAP_UNAVAILABLE);
}

void bh_stream_refuse_all(struct bh_stream *s) {
    while (!bh_list_empty(&s->waiting))
        bh_stream_request_refuse(
            BH_CONTAINER_OF(s->waiting.next, struct bh_stream_request, waiting));
}
