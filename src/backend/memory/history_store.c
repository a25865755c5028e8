/* history_store.c - see the header.
 *
 * A stream is a ring of its entries; the offset of an entry is its place in it, counted from the
 * top. Ids and collapse keys of all streams are in two maps of the store, because most streams have
 * none; the birth of the stream, which no other one has, is a part of their keys.
 *
 * Times of one rule are the same for all its streams, so the streams of a rule in the order of
 * their last appends expire in that order: a sweep looks at the first ones only. */
#include "history_store.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"

#include <stdio.h>

#define ENTRY_HEAD 48 /* of an envelope with a position */
#define NAME_MAX   (sizeof(uint64_t) + 255)
#define RING_MIN   4
#define TRIM_MAX   1000 /* entries in one append, so that a smaller size does not stop the bus */

/* An id or a collapse key. */
struct name {
    struct bh_list node; /* of an id: in id_order */
    struct bh_position position;
    uint64_t at_ms;
    uint16_t len;
    char key[]; /* the stream's birth, then the text */
};

struct slot {
    struct bh_message *message;
    struct name *name; /* the collapse key that leads here; NULL: none */
};

struct stream {
    struct bh_list node; /* in one of the lists of its rule */
    const struct bh_history_rule *rule;
    uint64_t birth; /* its first epoch */
    uint64_t epoch, top, floor;
    uint64_t last_ms; /* the last append, or the birth */
    uint64_t bytes;   /* of the entries, as envelopes */
    struct slot *slots;
    uint32_t cap, head, count; /* cap: a power of two */
    uint16_t len;
    char topic[];
};

static struct bh_slice topic_of_stream(const void *value) {
    const struct stream *s = value;
    return bh_slice(s->topic, s->len);
}

static struct bh_slice key_of_name(const void *value) {
    const struct name *n = value;
    return bh_slice(n->key, n->len);
}

/* --- epochs --- */

/* As Redis' are: the time in microseconds; of the whole process, so that another history in it has
 * other ones, too. */
static uint64_t next_epoch(void) {
    static atomic_ullong last;
    uint64_t now = (uint64_t)bh_clock_wall_ms() * 1000, before = atomic_load(&last), epoch;
    do
        epoch = now > before ? now : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, epoch));
    return epoch;
}

static struct bh_position position(const struct stream *s, uint64_t offset) {
    return (struct bh_position){s->epoch, offset};
}

/* --- entries --- */

static size_t entry_bytes(const struct bh_message *m) {
    return ENTRY_HEAD + m->origin.n + m->id.n + m->filter.n + m->payload.n;
}

static size_t message_cost(const struct bh_message *m) {
    return sizeof *m + bh_topic_size(m->topic) + entry_bytes(m);
}

static size_t stream_cost(const struct stream *s) {
    return sizeof *s + s->len + 2 * BH_MAP_SLOT_BYTES;
}

static size_t name_cost(const struct name *n) {
    return sizeof *n + n->len + 2 * BH_MAP_SLOT_BYTES;
}

static struct slot *slot_at(const struct stream *s, uint64_t index) {
    return &s->slots[(s->head + index) & (s->cap - 1)];
}

static uint64_t first_offset(const struct stream *s) {
    return s->top - s->count + 1;
}

static struct slot *slot_of(const struct stream *s, uint64_t offset) {
    return slot_at(s, offset - first_offset(s));
}

static struct bh_message *of_stream(const struct bh_topic *topic, enum bh_message_kind kind,
                                    struct bh_position at, uint64_t stored_ms,
                                    struct bh_slice payload) {
    struct bh_message parts = {.kind = (uint8_t)kind,
                               .opcode = BH_TEXT,
                               .flags = BH_MESSAGE_POSITION,
                               .topic = topic,
                               .position = at,
                               .stored_ms = stored_ms,
                               .payload = payload};
    return bh_message_new(&parts);
}

static struct bh_message *with_position(const struct bh_message *m, struct bh_position at) {
    struct bh_message parts = *m;
    parts.flags = (uint8_t)((m->flags & ~BH_MESSAGE_DEDUP) | BH_MESSAGE_POSITION);
    parts.position = at;
    parts.stored_ms = (uint64_t)bh_clock_wall_ms();
    if (parts.buf)
        bh_buf_ref(parts.buf);
    struct bh_message *result = bh_message_new(&parts);
    if (!result)
        bh_buf_unref(parts.buf);
    return result;
}

static void grow(struct bh_history_store *st, struct stream *s) {
    uint32_t cap = s->cap ? s->cap * 2 : RING_MIN;
    struct slot *slots = bh_malloc(cap * sizeof *slots);
    for (uint32_t i = 0; i < s->count; i++)
        slots[i] = *slot_at(s, i);
    bh_free(s->slots);
    st->bytes += (cap - s->cap) * sizeof *slots;
    s->slots = slots;
    s->cap = cap;
    s->head = 0;
}

/* --- ids and collapse keys --- */

static struct bh_slice make_key(char key[NAME_MAX], const struct stream *s, struct bh_slice text) {
    memcpy(key, &s->birth, sizeof s->birth);
    memcpy(key + sizeof s->birth, text.p, text.n);
    return bh_slice(key, sizeof s->birth + text.n);
}

static struct name *find_name(const struct bh_map *map, const struct stream *s,
                              struct bh_slice text) {
    char key[NAME_MAX];
    return text.n ? bh_map_get(map, make_key(key, s, text)) : NULL;
}

static struct name *add_name(struct bh_history_store *st, struct bh_map *map,
                             const struct stream *s, struct bh_slice text) {
    char key[NAME_MAX];
    struct bh_slice whole = make_key(key, s, text);
    struct name *n = bh_malloc(BH_SIZE_WITH(struct name, key, whole.n));
    *n = (struct name){.len = (uint16_t)whole.n};
    memcpy(n->key, whole.p, whole.n);
    bh_list_init(&n->node);
    bh_map_put(map, n);
    st->bytes += name_cost(n);
    return n;
}

static void free_name(struct bh_history_store *st, struct bh_map *map, struct name *n) {
    if (!n)
        return;
    st->bytes -= name_cost(n);
    bh_map_remove(map, key_of_name(n));
    bh_list_unlink(&n->node);
    bh_free(n);
}

static struct name *oldest_id(const struct bh_history_store *st) {
    return bh_list_empty(&st->id_order) ? NULL
                                        : BH_CONTAINER_OF(st->id_order.next, struct name, node);
}

static bool is_known(const struct bh_history_store *st, const struct name *id, uint64_t now_ms) {
    return id && now_ms - id->at_ms < st->config->ids_ms;
}

/* At most `max` that nobody needs any more. */
static unsigned forget_ids(struct bh_history_store *st, unsigned max, uint64_t now_ms) {
    unsigned count = 0;
    struct name *id;
    for (; count < max && (id = oldest_id(st)) != NULL; count++) {
        if (is_known(st, id, now_ms) && st->ids.count <= BH_HISTORY_IDS_MAX)
            break;
        free_name(st, &st->ids, id);
    }
    return count;
}

static void remember_id(struct bh_history_store *st, const struct stream *s, struct bh_slice text,
                        uint64_t now_ms) {
    if (text.n == 0)
        return;
    free_name(st, &st->ids, find_name(&st->ids, s, text));
    struct name *id = add_name(st, &st->ids, s, text);
    id->position = position(s, s->top);
    id->at_ms = now_ms;
    bh_list_append(&st->id_order, &id->node);
    forget_ids(st, 2, now_ms);
}

/* --- the log of a stream --- */

static void set_entry(struct bh_history_store *st, struct stream *s, struct slot *slot,
                      struct bh_message *m) {
    if (slot->message) {
        s->bytes -= entry_bytes(slot->message);
        st->bytes -= message_cost(slot->message);
        bh_message_unref(slot->message);
        free_name(st, &st->keys, slot->name);
    }
    *slot = (struct slot){m, NULL};
    if (m) {
        s->bytes += entry_bytes(m);
        st->bytes += message_cost(m);
    }
}

static void push(struct bh_history_store *st, struct stream *s, struct bh_message *m) {
    if (s->count == s->cap)
        grow(st, s);
    struct slot *slot = slot_at(s, s->count++);
    *slot = (struct slot){0};
    set_entry(st, s, slot, m);
    s->top++;
}

static void drop_first(struct bh_history_store *st, struct stream *s) {
    set_entry(st, s, slot_at(s, 0), NULL);
    s->head = (s->head + 1) & (s->cap - 1);
    s->count--;
}

static void trim(struct bh_history_store *st, struct stream *s) {
    for (unsigned left = TRIM_MAX; left > 0 && s->count > 1; left--) {
        if (s->count <= s->rule->size && s->bytes <= s->rule->bytes)
            return;
        drop_first(st, s);
    }
}

static size_t rule_index(const struct bh_history_store *st, const struct stream *s) {
    return (size_t)(s->rule - st->config->rules);
}

/* Last in the list that it belongs to. */
static void place(struct bh_history_store *st, struct stream *s) {
    bh_list_unlink(&s->node);
    bh_list_append(&(s->count ? st->fresh : st->idle)[rule_index(st, s)], &s->node);
}

static void clear_log(struct bh_history_store *st, struct stream *s) {
    while (s->count)
        drop_first(st, s);
    st->bytes -= s->cap * sizeof *s->slots;
    bh_free(s->slots);
    s->slots = NULL;
    s->cap = s->head = 0;
    place(st, s);
}

static bool is_log_over(const struct stream *s, uint64_t now_ms) {
    return now_ms - s->last_ms > s->rule->ttl_ms;
}

static bool is_over(const struct stream *s, uint64_t now_ms) {
    return now_ms - s->last_ms > s->rule->position_ttl_ms;
}

/* Entries that may be read. */
static uint64_t readable(const struct stream *s, uint64_t now_ms) {
    return is_log_over(s, now_ms) ? 0 : s->count;
}

/* --- streams --- */

static void drop_stream(struct bh_history_store *st, struct stream *s) {
    clear_log(st, s);
    bh_list_unlink(&s->node);
    bh_map_remove(&st->streams, topic_of_stream(s));
    st->bytes -= stream_cost(s);
    bh_free(s);
}

static struct stream *find_stream(struct bh_history_store *st, const struct bh_topic *topic,
                                  uint64_t now_ms) {
    struct stream *s = bh_map_get(&st->streams, bh_topic_name(topic));
    if (s && is_over(s, now_ms)) {
        drop_stream(st, s);
        return NULL;
    }
    return s;
}

static struct stream *add_stream(struct bh_history_store *st, const struct bh_topic *topic,
                                 const struct bh_history_rule *rule, uint64_t now_ms) {
    struct bh_slice name = bh_topic_name(topic);
    struct stream *s = bh_malloc(BH_SIZE_WITH(struct stream, topic, name.n));
    *s = (struct stream){.rule = rule, .last_ms = now_ms, .len = (uint16_t)name.n};
    s->birth = s->epoch = next_epoch();
    memcpy(s->topic, name.p, name.n);
    bh_list_init(&s->node);
    bh_map_put(&st->streams, s);
    st->bytes += stream_cost(s);
    place(st, s);
    return s;
}

static struct stream *first_of(const struct bh_list *list) {
    return bh_list_empty(list) ? NULL : BH_CONTAINER_OF(list->next, struct stream, node);
}

static bool is_full(const struct bh_history_store *st) {
    return st->bytes_max && st->bytes >= st->bytes_max;
}

static struct stream *longest_idle(const struct bh_history_store *st, const struct stream *keep) {
    struct stream *found = NULL;
    for (size_t i = 0; i < st->config->rule_count; i++) {
        struct bh_list *list = &st->idle[i];
        struct stream *s = first_of(list);
        if (s && s == keep)
            s = s->node.next == list ? NULL : BH_CONTAINER_OF(s->node.next, struct stream, node);
        if (s && (!found || s->last_ms < found->last_ms))
            found = s;
    }
    return found;
}

/* Streams without entries go before anything is refused: their positions are a gap then. */
static bool has_room(struct bh_history_store *st, const struct stream *keep) {
    struct stream *s;
    while (is_full(st) && (s = longest_idle(st, keep)) != NULL)
        drop_stream(st, s);
    return !is_full(st);
}

/* --- append --- */

struct append {
    struct bh_message *message, *tombstone, *purge;
    uint64_t replaced; /* its offset; 0: none */
};

static uint64_t find_replaced(const struct bh_history_store *st, const struct stream *s,
                              struct bh_slice collapse, uint64_t now_ms) {
    struct name *key = s && !is_log_over(s, now_ms) ? find_name(&st->keys, s, collapse) : NULL;
    return key ? key->position.offset : 0;
}

static void discard(struct append *a) {
    bh_message_unref(a->message);
    bh_message_unref(a->tombstone);
    bh_message_unref(a->purge);
}

/* All that needs memory, before anything is changed. */
static int prepare(struct append *a, const struct stream *s, const struct bh_message *m,
                   struct bh_position at) {
    char text[24];
    a->message = with_position(m, at);
    if (a->message && a->replaced) {
        const struct bh_message *old = slot_of(s, a->replaced)->message;
        snprintf(text, sizeof text, "%llu", (unsigned long long)a->replaced);
        a->tombstone = of_stream(m->topic, BH_MESSAGE_TOMBSTONE, old->position, old->stored_ms,
                                 bh_slice(NULL, 0));
        a->purge =
            of_stream(m->topic, BH_MESSAGE_PURGE, (struct bh_position){at.epoch, at.offset - 1},
                      a->message->stored_ms, bh_slice_cstr(text));
    }
    if (a->message && (!a->replaced || (a->tombstone && a->purge)))
        return 0;
    discard(a);
    return BH_ENOMEM;
}

static void store(struct bh_history_store *st, struct stream *s, const struct append *a,
                  struct bh_slice collapse, uint64_t now_ms) {
    struct name *key = a->replaced ? slot_of(s, a->replaced)->name : NULL;
    if (a->replaced) {
        slot_of(s, a->replaced)->name = NULL; /* it leads to the new entry */
        set_entry(st, s, slot_of(s, a->replaced), a->tombstone);
    }
    push(st, s, bh_message_ref(a->message));
    if (collapse.n && !key)
        key = add_name(st, &st->keys, s, collapse);
    if (key)
        key->position = position(s, s->top);
    slot_of(s, s->top)->name = key;
    s->last_ms = now_ms;
    remember_id(st, s, a->message->id, now_ms);
    trim(st, s);
    place(st, s);
}

int bh_history_store_append(struct bh_history_store *st, const struct bh_message *m,
                            const struct bh_history_rule *rule, struct bh_slice collapse,
                            uint64_t now_ms, struct bh_appended *out, struct bh_history_news *news,
                            const char **why) {
    struct stream *s = find_stream(st, m->topic, now_ms);
    struct name *id = s ? find_name(&st->ids, s, m->id) : NULL;
    struct append a = {0};
    if (is_known(st, id, now_ms)) {
        *out = (struct bh_appended){.position = id->position, .known = true};
        return 0;
    }
    if (s && s->top + 1 >= BH_POSITION_END) {
        *why = "the offset of this stream has reached 2^53";
        return BH_ETOOBIG;
    }
    if (!has_room(st, s)) {
        *why = "the streams of this instance use all of history.memory_bytes";
        return BH_ENOMEM;
    }
    bool is_new_epoch = !s || s->rule->revision != rule->revision;
    struct bh_position at = {is_new_epoch ? next_epoch() : s->epoch, s ? s->top + 1 : 1};
    a.replaced = find_replaced(st, s, collapse, now_ms);
    if (prepare(&a, s, m, at)) {
        *why = "no memory for a payload of this size";
        return BH_ENOMEM;
    }
    if (!s)
        s = add_stream(st, m->topic, rule, now_ms);
    if (s->count && is_log_over(s, now_ms))
        clear_log(st, s);
    s->epoch = at.epoch;
    s->rule = rule;
    store(st, s, &a, collapse, now_ms);
    bh_message_unref(a.message);
    *out = (struct bh_appended){.position = at, .receivers = 1};
    *news = (struct bh_history_news){a.purge, bh_message_ref(a.message)};
    return 0;
}

/* --- read --- */

/* The entries behind `since`, up to the top, which are all there. */
static struct bh_range *range_behind(const struct stream *s, uint64_t since) {
    size_t count = s->top - since;
    struct bh_message **messages = bh_malloc((count + 1) * sizeof(struct bh_message *));
    for (size_t i = 0; i < count; i++)
        messages[i] = bh_message_ref(slot_of(s, since + 1 + i)->message);
    struct bh_range *r = bh_range_new(count, messages);
    bh_free(messages);
    r->since = position(s, since);
    r->top = position(s, s->top);
    return r;
}

static struct bh_range *range_without(const struct stream *s, enum bh_history_outcome outcome) {
    struct bh_range *r = range_behind(s, s->top);
    r->outcome = outcome;
    return r;
}

static bool fits(const struct stream *s, uint64_t since, uint64_t count, uint64_t most) {
    uint64_t bytes = s->bytes;
    if (bytes <= most)
        return true;
    bytes = 0;
    for (uint64_t i = 0; i < count && bytes <= most; i++)
        bytes += entry_bytes(slot_of(s, since + 1 + i)->message);
    return bytes <= most;
}

/* The entry is the state of the topic: a client that does not have it gets it. */
static uint64_t since_of_latest(const struct stream *s, struct bh_position asked, uint64_t count) {
    bool has_it = asked.epoch == s->epoch && asked.offset == s->top;
    return has_it || count == 0 ? s->top : s->top - 1;
}

static struct bh_range *read_stream(const struct stream *s, struct bh_position since,
                                    uint32_t limit, size_t bytes, uint64_t now_ms) {
    uint64_t from = since.offset > s->floor ? since.offset : s->floor;
    uint64_t there = readable(s, now_ms);
    if (s->rule->latest)
        from = since_of_latest(s, since, there);
    else if (since.epoch == 0)
        return range_without(s, BH_HISTORY_NEW);
    else if (since.epoch != s->epoch || from > s->top)
        return range_without(s, BH_HISTORY_GAP);
    uint64_t count = s->top - from;
    if (count > there || count > limit || !fits(s, from, count, bytes) ||
        (count && slot_of(s, from + 1)->message->position.epoch != s->epoch))
        return range_without(s, BH_HISTORY_GAP);
    return range_behind(s, from);
}

int bh_history_store_read(struct bh_history_store *st, const struct bh_topic *topic,
                          const struct bh_history_rule *rule, struct bh_position since,
                          uint32_t limit, size_t bytes, uint64_t now_ms, struct bh_range **out,
                          const char **why) {
    struct stream *s = find_stream(st, topic, now_ms);
    if (!s && !has_room(st, NULL)) {
        *why = "the streams of this instance use all of history.memory_bytes";
        return BH_EUNAVAIL;
    }
    if (!s)
        s = add_stream(st, topic, rule, now_ms);
    *out = read_stream(s, since, limit, bytes, now_ms);
    return 0;
}

struct bh_position bh_history_store_top(struct bh_history_store *st, const struct bh_topic *topic,
                                        uint64_t now_ms) {
    const struct stream *s = find_stream(st, topic, now_ms);
    return s ? position(s, s->top) : (struct bh_position){0};
}

void bh_history_store_set_top(struct bh_history_store *st, const struct bh_topic *topic,
                              uint64_t top) {
    struct stream *s = bh_map_get(&st->streams, bh_topic_name(topic));
    clear_log(st, s);
    s->top = top;
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
    size_t bytes = entry_bytes(m);
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
static void fill(struct page *p, const struct stream *s, uint64_t from, uint64_t last,
                 uint64_t now_ms) {
    bool up = p->query->ascending;
    for (uint64_t at = from; up ? at <= last : at >= last; up ? at++ : at--) {
        struct bh_message *m = slot_of(s, at)->message;
        if (is_visible(m, now_ms) && !add_to_page(p, m))
            return;
    }
}

static void fill_page(struct page *p, const struct stream *s, uint64_t now_ms, bool *gap) {
    struct bh_position from = p->query->from;
    uint64_t first = s->top - readable(s, now_ms) + 1;
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
    const struct stream *s = find_stream(st, &query->topic, now_ms);
    *gap = !s && query->from.epoch != 0;
    if (s)
        fill_page(&p, s, now_ms, gap);
    struct bh_range *r = bh_range_new(p.count, p.messages);
    r->since = query->from;
    if (s)
        r->top = position(s, s->top);
    bh_free(p.messages);
    *more = p.more;
    return r;
}

/* --- remove --- */

static int64_t remove_all(struct bh_history_store *st, struct stream *s, uint64_t now_ms) {
    int64_t count = 0;
    for (uint64_t i = 0; i < readable(s, now_ms); i++)
        count += slot_at(s, i)->message->kind == BH_MESSAGE_DATA;
    clear_log(st, s);
    s->floor = s->top;
    return count;
}

static int64_t remove_one(struct bh_history_store *st, struct stream *s,
                          const struct bh_topic *topic, struct bh_position at, uint64_t now_ms) {
    if ((at.epoch && at.epoch != s->epoch) || at.offset > s->top ||
        at.offset + readable(s, now_ms) <= s->top)
        return 0;
    struct slot *slot = slot_of(s, at.offset);
    const struct bh_message *m = slot->message;
    if (m->kind != BH_MESSAGE_DATA)
        return 0;
    struct bh_message *tombstone =
        of_stream(topic, BH_MESSAGE_TOMBSTONE, m->position, m->stored_ms, bh_slice(NULL, 0));
    if (!tombstone)
        return 0;
    set_entry(st, s, slot, tombstone);
    return 1;
}

int64_t bh_history_store_remove(struct bh_history_store *st, const struct bh_topic *topic,
                                struct bh_position at, uint64_t now_ms,
                                struct bh_history_news *news) {
    struct stream *s = find_stream(st, topic, now_ms);
    char text[24] = "all";
    if (!s)
        return 0;
    int64_t count = at.offset ? remove_one(st, s, topic, at, now_ms) : remove_all(st, s, now_ms);
    if (at.offset)
        snprintf(text, sizeof text, "%llu", (unsigned long long)at.offset);
    if (count || at.offset == 0)
        news->purge = of_stream(topic, BH_MESSAGE_PURGE, position(s, s->top),
                                (uint64_t)bh_clock_wall_ms(), bh_slice_cstr(text));
    return count;
}

/* --- life --- */

bool bh_history_store_sweep(struct bh_history_store *st, unsigned max, uint64_t now_ms) {
    unsigned done = forget_ids(st, max, now_ms);
    struct stream *s;
    for (size_t i = 0; i < st->config->rule_count; i++) {
        for (; done < max && (s = first_of(&st->fresh[i])) && is_log_over(s, now_ms); done++)
            clear_log(st, s);
        for (; done < max && (s = first_of(&st->idle[i])) && is_over(s, now_ms); done++)
            drop_stream(st, s);
    }
    return done < max;
}

static struct bh_list *new_lists(size_t count) {
    struct bh_list *lists = bh_calloc(count, sizeof *lists);
    for (size_t i = 0; i < count; i++)
        bh_list_init(&lists[i]);
    return lists;
}

void bh_history_store_init(struct bh_history_store *st, const struct bh_history_config *config,
                           uint64_t bytes_max) {
    *st = (struct bh_history_store){.config = config, .bytes_max = bytes_max};
    bh_map_init(&st->streams, topic_of_stream);
    bh_map_init(&st->ids, key_of_name);
    bh_map_init(&st->keys, key_of_name);
    bh_list_init(&st->id_order);
    st->fresh = new_lists(config->rule_count);
    st->idle = new_lists(config->rule_count);
}

void bh_history_store_deinit(struct bh_history_store *st) {
    struct name *id;
    for (size_t i = 0; i < 2 * st->config->rule_count; i++) {
        struct bh_list *list = i % 2 ? &st->idle[i / 2] : &st->fresh[i / 2];
        struct stream *s;
        while ((s = first_of(list)))
            drop_stream(st, s);
    }
    while ((id = oldest_id(st)))
        free_name(st, &st->ids, id);
    bh_map_deinit(&st->streams);
    bh_map_deinit(&st->ids);
    bh_map_deinit(&st->keys);
    bh_free(st->fresh);
    bh_free(st->idle);
}
