/* streams_read.c - reads of the history: a few at a time, and not too many a second.
 *
 * A stream has at most one read under way, which serves all that wait for it. Streams with
 * something to read queue; those that heal, and new ones, before clients that come back. What can
 * be answered without a read never queues. Thread: the bus. */
#include "node_internal.h"
#include "streams_internal.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "metrics.h"

#define HEAL_JITTER_MS 50  /* instances that have lost the same message */
#define HOLE_MS        20  /* until a hole is read again */
#define RETRY_MS       250 /* doubled with each failure */
#define RETRY_MAX_MS   4000
#define BURST          16 /* reads at once, after a pause */
#define PUMP_MS        4

/* --- what is next for a stream --- */

static void wake_pump(struct bh_streams *st) {
    if (!st->stopped)
        bh_defer(st->node->bus_loop, BH_PHASE_FLUSH, &st->pump);
}

static void enqueue(struct bh_stream *s, enum bh_stream_work work, struct bh_list *queue) {
    bh_timer_cancel(&s->timer);
    s->put_off = false;
    bh_list_unlink(&s->queue);
    bh_list_append(queue, &s->queue);
    s->work = (uint8_t)work;
    wake_pump(s->streams);
}

void bh_stream_rest(struct bh_stream *s) {
    bh_timer_cancel(&s->timer);
    s->put_off = false;
    bh_list_unlink(&s->queue);
    if (s->work == BH_STREAM_CHECK_QUEUED || s->work == BH_STREAM_READ_QUEUED)
        s->work = BH_STREAM_IDLE;
}

void bh_stream_queue_check(struct bh_stream *s) {
    if (s->work == BH_STREAM_IDLE)
        enqueue(s, BH_STREAM_CHECK_QUEUED, &s->streams->checks);
    else if (s->work == BH_STREAM_CHECKING || s->work == BH_STREAM_READING)
        s->recheck = true;
}

static void queue_read(struct bh_stream *s, bool urgent) {
    if (s->work == BH_STREAM_READ_QUEUED && (s->urgent || !urgent))
        return;
    s->urgent = urgent;
    enqueue(s, BH_STREAM_READ_QUEUED, urgent ? &s->streams->reads_first : &s->streams->reads);
}

static void idle_for(struct bh_stream *s, uint64_t ms, bool put_off) {
    bh_list_unlink(&s->queue);
    s->work = BH_STREAM_IDLE;
    s->put_off = put_off;
    bh_timer_set(&s->timer, ms + bh_random_below((uint32_t)ms / 8 + 1));
}

static void next_for_requests(struct bh_stream *s, struct bh_position since) {
    if (!s->doubted && (since.epoch || s->absent))
        queue_read(s, !since.epoch);
    else if (s->work != BH_STREAM_CHECKING) /* many learn theirs at once */
        bh_stream_queue_check(s);
}

void bh_stream_next(struct bh_stream *s) {
    struct bh_position since;
    size_t bytes;
    bool heal = bh_stream_must_heal(s);
    if (s->streams->stopped || s->put_off || s->work == BH_STREAM_READING ||
        (!bh_list_empty(&s->answering) && !heal) || (s->work == BH_STREAM_READ_QUEUED && !heal))
        return;
    if (!s->live) {
        bh_stream_rest(s);
    } else if (heal && s->holes) {
        idle_for(s, HOLE_MS, true);
    } else if (heal) {
        queue_read(s, true);
    } else if (bh_stream_wanted(s, &since, &bytes)) {
        next_for_requests(s, since);
    } else if (s->recheck) {
        s->recheck = false;
        bh_stream_queue_check(s);
    } else if (s->work == BH_STREAM_IDLE) {
        idle_for(s, BH_STREAM_CHECK_MS, false);
    }
}

void bh_stream_heal(struct bh_stream *s) {
    if (!s->live || s->put_off || s->work == BH_STREAM_READING)
        return;
    if (s->work == BH_STREAM_READ_QUEUED)
        queue_read(s, true);
    else
        idle_for(s, bh_random_below(HEAL_JITTER_MS), true);
}

void bh_stream_on_timer(struct bh_timer *t) {
    struct bh_stream *s = BH_CONTAINER_OF(t, struct bh_stream, timer);
    s->put_off = false;
    if (bh_stream_must_heal(s))
        queue_read(s, true);
    else if (!bh_list_empty(&s->waiting))
        bh_stream_next(s);
    else
        bh_stream_queue_check(s);
}

void bh_stream_retry(struct bh_stream *s, const char *what, int error, const char *why) {
    uint64_t ms = (uint64_t)RETRY_MS << (s->failures < 8 ? s->failures : 8);
    bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_READ_ERRORS]);
    bh_warn_limited("history cannot be read; trying again", bh_kv_str("what", what),
                    bh_kv_slice("topic", bh_stream_name(s)),
                    bh_kv_str("error", why ? why : bh_strerror(error)));
    s->failures += s->failures < UINT8_MAX;
    if (s->live)
        idle_for(s, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS, true);
}

/* --- one read --- */

/* Whether the numbers of what was read agree; the log may have been changed by others. */
static bool is_whole(const struct bh_range *r) {
    return r->outcome != BH_HISTORY_OK ||
           (r->since.epoch == r->top.epoch && r->since.offset <= r->top.offset &&
            r->count == r->top.offset - r->since.offset);
}

static void on_found(struct bh_stream *s, struct bh_range *range) {
    s->failures = 0;
    bh_stream_tail_judge(s, range->top);
    bh_stream_apply(s, range);
    bh_stream_tell_live(s);
    bh_stream_answer(s, range);
    bh_stream_next(s);
}

static void on_read(void *ud, bh_handle handle, int error, struct bh_range *range,
                    const char *why) {
    struct bh_streams *st = ud;
    struct bh_stream *s = bh_slots_get(&st->handles, handle);
    st->reading--;
    wake_pump(st);
    if (!s)
        return;
    s->work = BH_STREAM_IDLE;
    if (error || range->top.epoch == 0) {
        s->behind |= s->healing;
        s->healing = false;
        bh_stream_tell_live(s);
        bh_stream_retry(s, "read", error ? error : BH_EPROTO, why);
        return;
    }
    s->healing = false;
    if (is_whole(range)) {
        on_found(s, range);
        return;
    }
    struct bh_range *gap = bh_range_new(0, NULL);
    gap->outcome = BH_HISTORY_GAP;
    gap->since = gap->top = range->top;
    on_found(s, gap);
    bh_range_unref(gap);
}

static void begin(struct bh_stream *s) {
    for (struct bh_list *node = s->waiting.next; node != &s->waiting; node = node->next)
        BH_CONTAINER_OF(node, struct bh_stream_request, waiting)->covered = true;
    s->work = BH_STREAM_READING;
    s->healing = s->behind;
    s->behind = s->recheck = false;
    s->held_judged = s->held_count;
    s->streams->reading++;
    bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_READS]);
}

/* False: nothing is missing any more. */
static bool start_read(struct bh_stream *s) {
    struct bh_history *h = s->streams->node->history;
    struct bh_topic topic;
    if (bh_stream_must_heal(s)) {
        s->asked = s->latest.epoch ? s->latest : s->known;
        s->asked_bytes = s->rule->bytes;
    } else if (!bh_stream_wanted(s, &s->asked, &s->asked_bytes)) {
        return false;
    }
    begin(s);
    bh_topic_parse(bh_stream_name(s), &topic);
    h->vt->read(h, &topic, s->rule, s->asked, s->rule->size, s->asked_bytes, on_read, s->streams,
                s->handle);
    return true;
}

/* --- the pump --- */

static void refill(struct bh_streams *st) {
    uint64_t now = bh_loop_now(st->node->bus_loop), ms = now - st->budget_ms;
    uint64_t more = ms < 1000 ? ms * BH_STREAM_READS_PER_SECOND / 1000 : BURST;
    st->budget_ms = now;
    st->budget = st->budget + more < BURST ? st->budget + (unsigned)more : BURST;
}

static struct bh_stream *next_to_read(struct bh_streams *st) {
    struct bh_list *queue = bh_list_empty(&st->reads_first) ? &st->reads : &st->reads_first;
    return bh_list_empty(queue) ? NULL : BH_CONTAINER_OF(queue->next, struct bh_stream, queue);
}

void bh_streams_pump_reads(struct bh_streams *st) {
    struct bh_stream *s;
    refill(st);
    while (st->reading < BH_STREAM_READS_MAX && (s = next_to_read(st))) {
        if (st->budget == 0) {
            bh_timer_set(&st->pump_later, PUMP_MS);
            return;
        }
        bh_list_unlink(&s->queue);
        s->work = BH_STREAM_IDLE;
        if (start_read(s))
            st->budget--;
        else
            bh_stream_next(s);
    }
}
