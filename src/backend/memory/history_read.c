/* history_read.c - what a store of streams gives: what is behind a position, pages, tops. */
#include "history_stream.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

/* --- read --- */

/* The entries behind `since`, up to the top, which are all there. */
static struct bh_range *range_behind(const struct bh_history_stream *s, uint64_t since) {
    size_t count = s->top - since;
    struct bh_message **messages = bh_malloc((count + 1) * sizeof(struct bh_message *));
    for (size_t i = 0; i < count; i++)
        messages[i] = bh_message_ref(bh_history_stream_slot_of(s, since + 1 + i)->message);
    struct bh_range *r = bh_range_new(count, messages);
    bh_free(messages);
    r->since = bh_history_stream_position(s, since);
    r->top = bh_history_stream_position(s, s->top);
    return r;
}

static struct bh_range *range_without(const struct bh_history_stream *s,
                                      enum bh_history_outcome outcome) {
    struct bh_range *r = range_behind(s, s->top);
    r->outcome = outcome;
    return r;
}

static bool fits(const struct bh_history_stream *s, uint64_t since, uint64_t count, uint64_t most) {
    uint64_t bytes = s->bytes;
    if (bytes <= most)
        return true;
    bytes = 0;
    for (uint64_t i = 0; i < count && bytes <= most; i++)
        bytes +=
            bh_history_stream_entry_bytes(bh_history_stream_slot_of(s, since + 1 + i)->message);
    return bytes <= most;
}

/* The entry is the state of the topic: a client that does not have it gets it. */
static uint64_t since_of_latest(const struct bh_history_stream *s, struct bh_position asked,
                                uint64_t count) {
    bool has_it = asked.epoch == s->epoch && asked.offset == s->top;
    return has_it || count == 0 ? s->top : s->top - 1;
}

static struct bh_range *read_stream(const struct bh_history_stream *s, struct bh_position since,
                                    uint32_t limit, size_t bytes, uint64_t now_ms) {
    uint64_t from = since.offset > s->floor ? since.offset : s->floor;
    uint64_t there = bh_history_stream_readable(s, now_ms);
    if (s->rule->latest)
        from = since_of_latest(s, since, there);
    else if (since.epoch == 0)
        return range_without(s, BH_HISTORY_NEW);
    else if (since.epoch != s->epoch || from > s->top)
        return range_without(s, BH_HISTORY_GAP);
    uint64_t count = s->top - from;
    if (count > there || count > limit || !fits(s, from, count, bytes) ||
        (count && bh_history_stream_slot_of(s, from + 1)->message->position.epoch != s->epoch))
        return range_without(s, BH_HISTORY_GAP);
    return range_behind(s, from);
}

int bh_history_store_read(struct bh_history_store *st, const struct bh_topic *topic,
                          const struct bh_history_rule *rule, struct bh_position since,
                          uint32_t limit, size_t bytes, uint64_t now_ms, struct bh_range **out,
                          const char **why) {
    struct bh_history_stream *s = bh_history_stream_find(st, topic, now_ms);
    if (!s && !bh_history_stream_has_room(st, NULL)) {
        *why = "the streams of this instance use all of history.memory_bytes";
        return BH_EUNAVAIL;
    }
    if (!s)
        s = bh_history_stream_add(st, topic, rule, now_ms);
    *out = read_stream(s, since, limit, bytes, now_ms);
    return 0;
}

struct bh_position bh_history_store_top(struct bh_history_store *st, const struct bh_topic *topic,
                                        uint64_t now_ms) {
    const struct bh_history_stream *s = bh_history_stream_find(st, topic, now_ms);
    return s ? bh_history_stream_position(s, s->top) : (struct bh_position){0};
}

/* --- page --- */

struct page {
    const struct bh_page_query *query;
    struct bh_message **messages;
    size_t count, cap, bytes;
    bool more;
};

static bool is_visible(const struct bh_message *m, uint64_t now_ms) {
    return m->kind == BH_MESSAGE_DATA && !bh_message_expired(m, now_ms);
}

/* False: the page is full. */
static bool add_to_page(struct page *p, struct bh_message *m) {
    size_t bytes = bh_history_stream_entry_bytes(m);
    if (p->count >= p->query->limit || (p->count && p->bytes + bytes > p->query->bytes)) {
        p->more = true;
        return false;
    }
    if (p->count == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 16;
        p->messages = bh_realloc(p->messages, p->cap * sizeof(struct bh_message *));
    }
    p->bytes += bytes;
    p->messages[p->count++] = bh_message_ref(m);
    return true;
}

/* From one offset to the other, both included. */
static void fill(struct page *p, const struct bh_history_stream *s, uint64_t from, uint64_t last,
                 uint64_t now_ms) {
    bool up = p->query->ascending;
    for (uint64_t at = from; up ? at <= last : at >= last; up ? at++ : at--) {
        struct bh_message *m = bh_history_stream_slot_of(s, at)->message;
        if (is_visible(m, now_ms) && !add_to_page(p, m))
            return;
    }
}

static void fill_page(struct page *p, const struct bh_history_stream *s, uint64_t now_ms,
                      bool *gap) {
    struct bh_position from = p->query->from;
    uint64_t first = s->top - bh_history_stream_readable(s, now_ms) + 1;
    bool is_at = from.epoch == s->epoch && from.offset <= s->top;
    *gap = from.epoch != 0 && !is_at;
    if (!p->query->ascending) {
        uint64_t last = !is_at ? s->top : from.offset ? from.offset - 1 : 0;
        fill(p, s, last, first, now_ms);
        return;
    }
    uint64_t behind = is_at && from.offset < s->floor ? s->floor : from.offset;
    if (is_at && behind + 1 < first) {
        *gap = true;
        is_at = false;
    }
    fill(p, s, is_at ? behind + 1 : first, s->top, now_ms);
}

struct bh_range *bh_history_store_page(struct bh_history_store *st,
                                       const struct bh_page_query *query, uint64_t now_ms,
                                       bool *gap, bool *more) {
    struct page p = {.query = query};
    const struct bh_history_stream *s = bh_history_stream_find(st, &query->topic, now_ms);
    *gap = !s && query->from.epoch != 0;
    if (s)
        fill_page(&p, s, now_ms, gap);
    struct bh_range *r = bh_range_new(p.count, p.messages);
    r->since = query->from;
    if (s)
        r->top = bh_history_stream_position(s, s->top);
    bh_free(p.messages);
    *more = p.more;
    return r;
}
