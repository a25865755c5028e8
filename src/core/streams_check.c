/* streams_check.c - the tops of streams, many in one question.
 *
 * When its subscription has become live, and every 30 s: a stream whose position is unknown learns
 * it, and one whose last message was lost notices. Thread: the bus. */
#include "node_internal.h"
#include "streams_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "metrics.h"

#define CHECKS_MAX 2 /* questions under way */

struct check {
    struct bh_streams *streams;
    size_t count;
    bh_handle handles[BH_HISTORY_TOPS_MAX];
};

static void on_top(struct bh_stream *s, struct bh_position top) {
    bool doubted = s->doubted;
    bh_stream_tail_judge(s, top);
    if (s->known.epoch == 0) {
        s->absent |= !top.epoch;
        if (top.epoch)
            bh_stream_learn_top(s, top);
        bh_stream_tell_live(s);
        bh_stream_answer(s, NULL);
    } else if (top.epoch && (top.epoch != s->known.epoch || top.offset > s->known.offset)) {
        s->behind = true;
    }
    if (doubted)
        bh_stream_answer(s, NULL);
}

static void on_tops(void *ud, bh_handle handle, int error, const struct bh_position *tops,
                    size_t count) {
    struct check *c = ud;
    struct bh_streams *st = c->streams;
    st->checking--;
    if (!error && count != c->count)
        error = BH_EPROTO;
    for (size_t i = 0; i < c->count; i++) {
        struct bh_stream *s = bh_slots_get(&st->handles, c->handles[i]);
        if (!s || s->work != BH_STREAM_CHECKING)
            continue;
        s->work = BH_STREAM_IDLE;
        if (error) {
            bh_stream_tell_live(s);
            bh_stream_retry(s, "tops", error, NULL);
            continue;
        }
        s->failures = 0;
        on_top(s, tops[i]);
        bh_stream_next(s);
    }
    bh_free(c);
    if (!st->stopped)
        bh_defer(st->node->bus_loop, BH_PHASE_FLUSH, &st->pump);
}

static void ask(struct bh_streams *st) {
    struct bh_history *h = st->node->history;
    struct check *c = bh_malloc(sizeof *c);
    struct bh_topic *topics = bh_malloc(BH_HISTORY_TOPS_MAX * sizeof *topics);
    struct bh_list *node;
    c->streams = st;
    c->count = 0;
    while (c->count < BH_HISTORY_TOPS_MAX && (node = bh_list_shift(&st->checks))) {
        struct bh_stream *s = BH_CONTAINER_OF(node, struct bh_stream, queue);
        s->work = BH_STREAM_CHECKING;
        bh_topic_parse(bh_stream_name(s), &topics[c->count]);
        c->handles[c->count++] = s->handle;
    }
    st->checking++;
    bh_metric_add(&bh_core_metrics[BH_CORE_STREAM_CHECKS], (int64_t)c->count);
    h->vt->tops(h, topics, c->count, on_tops, c, 0);
    bh_free(topics);
}

void bh_streams_pump_checks(struct bh_streams *st) {
    while (st->checking < CHECKS_MAX && !bh_list_empty(&st->checks))
        ask(st);
}
