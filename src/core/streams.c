/* streams.c - streams appear, become live, and go; what arrives finds its stream.
 *
 * A stream exists as long as the interest map has its topic, lingering included. What it needs is
 * queued, and done at the end of the tick, so that many streams share a question. Thread: the bus.
 */
#include "node_internal.h"
#include "streams_internal.h"

#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "metrics.h"

static struct bh_slice key_of(const void *value) {
    return bh_stream_name(value);
}

static struct bh_stream *find(const struct bh_streams *st, struct bh_slice topic) {
    return bh_map_get(&st->map, topic);
}

static void pump(struct bh_streams *st) {
    bh_streams_pump_checks(st);
    bh_streams_pump_reads(st);
}

static void on_pump(struct bh_defer *d) {
    pump(BH_CONTAINER_OF(d, struct bh_streams, pump));
}

static void on_answer_more(struct bh_defer *d) {
    struct bh_streams *st = BH_CONTAINER_OF(d, struct bh_streams, answer_more);
    struct bh_list *node = bh_list_shift(&st->answering);
    if (node) {
        struct bh_stream *s = BH_CONTAINER_OF(node, struct bh_stream, answering);
        bh_stream_answer(s, NULL);
        bh_stream_next(s);
    }
    if (!bh_list_empty(&st->answering))
        bh_loop_put_off(st->node->bus_loop, d);
}

static void on_pump_later(struct bh_timer *t) {
    pump(BH_CONTAINER_OF(t, struct bh_streams, pump_later));
}

void bh_streams_init(struct bh_streams *st, struct bh_node *node) {
    *st = (struct bh_streams){.node = node};
    bh_map_init(&st->map, key_of);
    bh_slots_init(&st->handles);
    bh_list_init(&st->reads_first);
    bh_list_init(&st->reads);
    bh_list_init(&st->checks);
    bh_list_init(&st->window);
    bh_list_init(&st->answering);
    bh_list_init(&st->requests);
    bh_defer_init(&st->answer_more, on_answer_more);
    bh_defer_init(&st->pump, on_pump);
    bh_timer_init(&st->pump_later, node->bus_loop, on_pump_later);
    bh_timer_init(&st->deadline, node->bus_loop, bh_streams_on_deadline);
}

/* --- a stream --- */

const struct bh_history_rule *bh_node_stream_rule(const struct bh_node *n,
                                                  const struct bh_topic *topic) {
    return n->history ? bh_history_rule_of(&n->config.history, topic) : NULL;
}

/* For the first time, or again after a loss: messages may be missing, and notes that some were
 * removed. */
static void on_live(struct bh_stream *s) {
    s->doubted = s->tail_count > 0;
    s->unsure |= s->live && !s->known.epoch && !s->absent;
    s->live = true;
    s->failures = 0;
    s->put_off = false;
    if (s->known.epoch)
        bh_stream_tell_live(s);
    bh_stream_answer(s, NULL);
    if (bh_list_empty(&s->waiting) || s->doubted)
        bh_stream_queue_check(s);
    bh_stream_next(s);
}

void bh_streams_added(void *streams, struct bh_slice name, bool live) {
    struct bh_streams *st = streams;
    struct bh_broker *broker = st->node->broker;
    struct bh_topic topic;
    if (bh_topic_parse(name, &topic))
        return;
    const struct bh_history_rule *rule = bh_node_stream_rule(st->node, &topic);
    if (!rule)
        return;
    struct bh_stream *s = bh_calloc(1, BH_SIZE_WITH(struct bh_stream, name, name.n));
    s->streams = st;
    s->rule = rule;
    s->shard = (uint8_t)(broker->vt->shard_of ? broker->vt->shard_of(broker, name) : 0);
    s->len = (uint16_t)name.n;
    memcpy(s->name, name.p, name.n);
    bh_list_init(&s->queue);
    bh_list_init(&s->window);
    bh_list_init(&s->waiting);
    bh_list_init(&s->answering);
    bh_timer_init(&s->timer, st->node->bus_loop, bh_stream_on_timer);
    s->handle = bh_slots_add(&st->handles, s);
    bh_map_put(&st->map, s);
    bh_metric_inc(&bh_core_metrics[BH_CORE_STREAMS]);
    if (live)
        on_live(s);
}

static void stream_free(struct bh_stream *s) {
    bh_stream_rest(s);
    bh_list_unlink(&s->answering);
    bh_stream_tail_clear(s);
    bh_stream_forget_held(s);
    bh_slots_remove(&s->streams->handles, s->handle);
    bh_metric_add(&bh_core_metrics[BH_CORE_STREAMS], -1);
    bh_free(s);
}

void bh_streams_gone(void *streams, struct bh_slice topic) {
    struct bh_streams *st = streams;
    struct bh_stream *s = find(st, topic);
    if (!s)
        return;
    bh_stream_refuse_all(s);
    bh_map_remove(&st->map, topic);
    stream_free(s);
}

/* --- from the broker --- */

bool bh_streams_live(struct bh_streams *st, struct bh_slice topic) {
    struct bh_stream *s = find(st, topic);
    if (s)
        on_live(s);
    return s != NULL;
}

/* It goes on with on_live. */
static void on_lost(struct bh_stream *s) {
    s->unsure |= s->live && !s->known.epoch && !s->absent;
    s->live = s->told_live = false;
    bh_stream_rest(s);
}

void bh_streams_lost(struct bh_streams *st, struct bh_slice topic) {
    struct bh_stream *s = find(st, topic);
    if (s)
        on_lost(s);
}

void bh_streams_shard_down(struct bh_streams *st, unsigned shard) {
    size_t cursor = 0;
    struct bh_stream *s;
    while ((s = bh_map_next(&st->map, &cursor)))
        if (s->shard == shard)
            on_lost(s);
}

static void take(struct bh_stream *s, struct bh_message *m) {
    bool unknown = !s->known.epoch;
    bh_stream_message(s, m);
    if (unknown)
        bh_stream_tell_live(s);
    if (unknown && !bh_list_empty(&s->waiting))
        bh_stream_answer(s, NULL);
    if (bh_stream_must_heal(s))
        bh_stream_heal(s);
}

bool bh_streams_message(struct bh_streams *st, struct bh_message *m) {
    struct bh_stream *s = find(st, bh_topic_name(m->topic));
    if (!s || m->kind == BH_MESSAGE_DISCONNECT)
        return false;
    if (m->kind == BH_MESSAGE_PURGE)
        bh_stream_purge(s, m);
    else if (m->kind == BH_MESSAGE_DATA || m->kind == BH_MESSAGE_TOMBSTONE)
        take(s, m);
    return true;
}

void bh_streams_raw(struct bh_streams *st, const struct bh_message *m) {
    struct bh_stream *s = find(st, bh_topic_name(m->topic));
    if (!s)
        return;
    bh_metric_inc(&bh_core_metrics[BH_CORE_STREAM_RAW]);
    if (!s->raw_logged)
        bh_warn_limited("plain PUBLISH to a topic with history: delivered, and not stored; publish "
                        "with bellhop_publish",
                        bh_kv_slice("topic", bh_stream_name(s)));
    s->raw_logged = true;
}

/* --- from workers --- */

void bh_streams_on_request(struct bh_mail *mail) {
    struct bh_stream_request *r = BH_CONTAINER_OF(mail, struct bh_stream_request, mail);
    struct bh_streams *st = &r->worker->node->streams;
    if (bh_node_stopped(st->node) || st->stopped) {
        bh_stream_request_free(r);
        return;
    }
    struct bh_stream *s = find(st, bh_topic_name(&r->topic));
    bool without = r->since.epoch == 0;
    if (!s)
        bh_stream_request_refuse(r);
    else if (!bh_stream_ask(s, r) && !(without && s->work == BH_STREAM_CHECKING))
        bh_stream_next(s);
}

/* --- the end --- */

void bh_streams_stop(struct bh_streams *st) {
    size_t cursor = 0;
    struct bh_stream *s;
    st->stopped = true;
    bh_defer_cancel(&st->pump);
    bh_defer_cancel(&st->answer_more);
    bh_timer_cancel(&st->pump_later);
    bh_timer_cancel(&st->deadline);
    while ((s = bh_map_next(&st->map, &cursor))) {
        bh_stream_rest(s);
        bh_slots_remove(&st->handles, s->handle);
        s->live = false;
    }
    struct bh_list *node;
    while ((node = bh_list_shift(&st->requests))) {
        struct bh_stream_request *r = BH_CONTAINER_OF(node, struct bh_stream_request, by_age);
        bh_list_unlink(&r->waiting);
        bh_stream_request_free(r);
    }
}

void bh_streams_deinit(struct bh_streams *st) {
    size_t cursor = 0;
    struct bh_stream *s;
    while ((s = bh_map_next(&st->map, &cursor)))
        stream_free(s);
    bh_map_deinit(&st->map);
    bh_slots_deinit(&st->handles);
}
