/* history_stream.h - a stream and its entries, shared by history_store.c, which changes them, and
 * history_read.c, which reads them. */
#ifndef BELLHOP_SRC_MEMORY_HISTORY_STREAM_H
#define BELLHOP_SRC_MEMORY_HISTORY_STREAM_H

#include "bellhop/base/list.h"
#include "history_store.h"

#define BH_HISTORY_ENTRY_HEAD 48 /* of an envelope with a position */

/* An id or a collapse key. */
struct bh_history_stream_name {
    struct bh_list node; /* of an id: in id_order */
    struct bh_position position;
    uint64_t at_ms;
    uint16_t len;
    char key[]; /* the stream's birth, then the text */
};

struct bh_history_stream_slot {
    struct bh_message *message;
    struct bh_history_stream_name *name; /* the collapse key that leads here; NULL: none */
};

struct bh_history_stream {
    struct bh_list node; /* in one of the lists of its rule */
    const struct bh_history_rule *rule;
    uint64_t birth; /* its first epoch */
    uint64_t epoch, top, floor;
    uint64_t last_ms; /* the last append, or the birth */
    uint64_t bytes;   /* of the entries, as envelopes */
    struct bh_history_stream_slot *slots;
    uint32_t cap, head, count; /* cap: a power of two */
    uint16_t len;
    char topic[];
};

static inline struct bh_position bh_history_stream_position(const struct bh_history_stream *s,
                                                            uint64_t offset) {
    return (struct bh_position){s->epoch, offset};
}

static inline size_t bh_history_stream_entry_bytes(const struct bh_message *m) {
    return BH_HISTORY_ENTRY_HEAD + m->origin.n + m->id.n + m->filter.n + m->payload.n;
}

static inline struct bh_history_stream_slot *
bh_history_stream_slot_at(const struct bh_history_stream *s, uint64_t index) {
    return &s->slots[(s->head + index) & (s->cap - 1)];
}

static inline uint64_t bh_history_stream_first(const struct bh_history_stream *s) {
    return s->top - s->count + 1;
}

static inline struct bh_history_stream_slot *
bh_history_stream_slot_of(const struct bh_history_stream *s, uint64_t offset) {
    return bh_history_stream_slot_at(s, offset - bh_history_stream_first(s));
}

static inline bool bh_history_stream_log_is_over(const struct bh_history_stream *s,
                                                 uint64_t now_ms) {
    return now_ms - s->last_ms > s->rule->ttl_ms;
}

/* Entries that may be read. */
static inline uint64_t bh_history_stream_readable(const struct bh_history_stream *s,
                                                  uint64_t now_ms) {
    return bh_history_stream_log_is_over(s, now_ms) ? 0 : s->count;
}

/* NULL: there is none, or its position_ttl is over. */
struct bh_history_stream *bh_history_stream_find(struct bh_history_store *st,
                                                 const struct bh_topic *topic, uint64_t now_ms);
struct bh_history_stream *bh_history_stream_add(struct bh_history_store *st,
                                                const struct bh_topic *topic,
                                                const struct bh_history_rule *rule,
                                                uint64_t now_ms);
/* Streams without entries, except `keep`, are dropped for it: their positions are a gap then. */
bool bh_history_stream_has_room(struct bh_history_store *st, const struct bh_history_stream *keep);

#endif
