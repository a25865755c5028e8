/* streams_window.c - the last messages of the streams, for clients that come back soon.
 *
 * A tail ends at the position of its stream and has no holes, so an offset is an index. All tails
 * together have a limit: the oldest messages of the stream that was unused for the longest time go
 * first. Clients that come back at once share one range, made from the tail until it moves.
 * Thread: the bus. */
#include "node_internal.h"
#include "streams_internal.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "metrics.h"

static size_t cost(const struct bh_message *m) {
    return sizeof *m + m->payload.n + m->id.n + m->origin.n + m->filter.n;
}

static void charge(struct bh_stream *s, const struct bh_message *m, bool more) {
    size_t bytes = cost(m);
    s->tail_bytes += more ? bytes : -bytes;
    s->streams->window_bytes += more ? bytes : -bytes;
    bh_metric_add(&bh_core_metrics[BH_CORE_STREAM_WINDOW], more ? (int64_t)bytes : -(int64_t)bytes);
}

static struct bh_message **entry(const struct bh_stream *s, uint32_t index) {
    return &s->tail[(s->tail_first + index) & (s->tail_cap - 1)];
}

static void touch(struct bh_stream *s) {
    bh_list_unlink(&s->window);
    if (s->tail_count)
        bh_list_append(&s->streams->window, &s->window);
}

static void drop_shared(struct bh_stream *s) {
    bh_range_unref(s->shared);
    s->shared = NULL;
}

static void free_ring(struct bh_stream *s) {
    bh_free(s->tail);
    s->tail = NULL;
    s->tail_cap = s->tail_first = 0;
    bh_list_unlink(&s->window);
}

static void pop_oldest(struct bh_stream *s) {
    struct bh_message *m = *entry(s, 0);
    charge(s, m, false);
    bh_message_unref(m);
    s->tail_first = (s->tail_first + 1) & (s->tail_cap - 1);
    if (--s->tail_count == 0)
        free_ring(s);
}

void bh_stream_tail_clear(struct bh_stream *s) {
    drop_shared(s);
    while (s->tail_count)
        pop_oldest(s);
}

static void set_capacity(struct bh_stream *s, uint32_t cap) {
    struct bh_message **ring = bh_malloc(cap * sizeof *ring);
    for (uint32_t i = 0; i < s->tail_count; i++)
        ring[i] = *entry(s, i);
    bh_free(s->tail);
    s->tail = ring;
    s->tail_cap = cap;
    s->tail_first = 0;
}

static void append(struct bh_stream *s, struct bh_message *m) {
    if (s->tail_count == s->tail_cap)
        set_capacity(s, s->tail_cap ? s->tail_cap * 2 : 2);
    s->tail_count++;
    *entry(s, s->tail_count - 1) = bh_message_ref(m);
    charge(s, m, true);
}

/* The limits of the stream, then of all. */
static void trim(struct bh_stream *s) {
    struct bh_streams *st = s->streams;
    while (s->tail_count > s->rule->size || (s->tail_count && s->tail_bytes > s->rule->bytes))
        pop_oldest(s);
    touch(s);
    while (st->window_bytes > st->node->config.history.window_bytes) {
        struct bh_stream *unused = BH_CONTAINER_OF(st->window.next, struct bh_stream, window);
        drop_shared(unused);
        pop_oldest(unused);
    }
}

void bh_stream_tail_push(struct bh_stream *s, struct bh_message *m) {
    drop_shared(s);
    append(s, m);
    s->tail_ms = bh_loop_now(s->streams->node->bus_loop);
    trim(s);
}

/* In two steps, so that what both have is referenced all the time. */
void bh_stream_tail_extend(struct bh_stream *s, struct bh_range *r) {
    uint64_t begin = s->known.offset - s->tail_count;
    if (r->count == 0 || r->since.offset >= begin || r->top.offset < begin)
        return;
    size_t older = begin - r->since.offset, later = s->tail_count;
    struct bh_message **all = bh_malloc((older + later) * sizeof *all);
    for (size_t i = 0; i < older; i++)
        all[i] = bh_message_ref(r->messages[i]);
    for (size_t i = 0; i < later; i++)
        all[older + i] = bh_message_ref(*entry(s, (uint32_t)i));
    bh_stream_tail_clear(s);
    for (size_t i = 0; i < older + later; i++) {
        append(s, all[i]);
        bh_message_unref(all[i]);
    }
    bh_free(all);
    s->tail_ms = bh_loop_now(s->streams->node->bus_loop);
    trim(s);
    if (r->top.offset == s->known.offset) /* also what the limits do not allow to keep */
        s->shared = bh_range_ref(r);
}

void bh_stream_tail_settle(struct bh_stream *s) {
    if (s->shared && s->shared->since.offset < s->known.offset - s->tail_count)
        drop_shared(s);
}

/* What is older than the log keeps is not served. */
static bool is_too_old(const struct bh_stream *s) {
    return s->rule->ttl_ms &&
           bh_loop_now(s->streams->node->bus_loop) - s->tail_ms >= s->rule->ttl_ms;
}

struct bh_range *bh_stream_tail_range(struct bh_stream *s, uint64_t offset) {
    if (s->tail_count && is_too_old(s))
        bh_stream_tail_clear(s);
    if (s->shared && s->shared->since.offset <= offset)
        return bh_range_ref(s->shared);
    uint64_t begin = s->known.offset - s->tail_count;
    if (offset < begin || offset >= s->known.offset)
        return NULL;
    if (s->shared) /* others want more each time: the whole tail */
        offset = begin;
    uint32_t from = (uint32_t)(offset - begin), count = s->tail_count - from;
    struct bh_message **all = bh_malloc(count * sizeof *all);
    for (uint32_t i = 0; i < count; i++)
        all[i] = bh_message_ref(*entry(s, from + i));
    drop_shared(s);
    s->shared = bh_range_new(count, all);
    s->shared->outcome = BH_HISTORY_OK;
    s->shared->since = (struct bh_position){s->known.epoch, offset};
    s->shared->top = s->known;
    bh_free(all);
    touch(s);
    return bh_range_ref(s->shared);
}

struct bh_message *bh_stream_note(const struct bh_stream *s, enum bh_message_kind kind,
                                  struct bh_position at, const char *why) {
    struct bh_topic topic;
    struct bh_message parts = {.kind = (uint8_t)kind,
                               .topic = &topic,
                               .opcode = BH_TEXT,
                               .flags = BH_MESSAGE_POSITION,
                               .position = at,
                               .payload = bh_slice_cstr(why)};
    bh_topic_parse(bh_stream_name(s), &topic);
    return bh_message_new(&parts); /* NULL only for the size of a payload */
}

void bh_stream_tail_judge(struct bh_stream *s, struct bh_position top) {
    if (s->doubted && top.epoch == s->known.epoch && top.offset >= s->known.offset)
        bh_stream_tail_clear(s);
    s->doubted = false;
}

/* --- removed entries --- */

static bool is_removed(struct bh_slice offsets, uint64_t up_to, uint64_t offset) {
    struct bh_slice one;
    uint64_t number;
    if (bh_slice_eq(offsets, BH_SLICE("all")))
        return up_to == 0 || offset <= up_to;
    while (bh_slice_split(&offsets, ' ', &one))
        if (bh_slice_u64(one, BH_POSITION_END - 1, &number) == 0 && number == offset)
            return true;
    return false;
}

void bh_stream_purge(struct bh_stream *s, const struct bh_message *purge) {
    uint64_t begin = s->known.offset - s->tail_count, up_to = purge->position.offset;
    s->gap = (struct bh_position){0};
    drop_shared(s);
    if (purge->position.epoch != s->known.epoch)
        bh_stream_tail_clear(s);
    for (uint32_t i = 0; i < s->tail_count; i++) {
        struct bh_message **at = entry(s, i), *m = *at;
        struct bh_position place = {s->known.epoch, begin + 1 + i};
        if (m->kind != BH_MESSAGE_DATA || !is_removed(purge->payload, up_to, place.offset))
            continue;
        charge(s, m, false);
        *at = bh_stream_note(s, BH_MESSAGE_TOMBSTONE, place, NULL);
        charge(s, *at, true);
        bh_message_unref(m);
    }
    for (uint32_t i = 0; i < s->held_count; i++) {
        struct bh_message *m = s->held[i];
        if (m->position.epoch != purge->position.epoch ||
            !is_removed(purge->payload, up_to, m->position.offset))
            continue;
        s->held[i] = bh_stream_note(s, BH_MESSAGE_TOMBSTONE, m->position, NULL);
        s->held_bytes -= m->payload.n;
        s->streams->held_bytes -= m->payload.n;
        bh_message_unref(m);
    }
}
