/* history_store.c - see the header.
 *
 * A stream is a ring of its entries; the offset of an entry is its place in it, counted from the
 * top. Ids and collapse keys of all streams are in two maps of the store, because most streams have
 * none; the birth of the stream, which no other one has, is a part of their keys.
 *
 * Times of one rule are the same for all its streams, so the streams of a rule in the order of
 * their last appends expire in that order: a sweep looks at the first ones only. */
#include "history_stream.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"

#include <stdio.h>

#define NAME_MAX (sizeof(uint64_t) + 255)
#define RING_MIN 4
#define TRIM_MAX 1000 /* entries in one append, so that a smaller size does not stop the bus */

static struct bh_slice topic_of_stream(const void *value) {
    const struct bh_history_stream *s = value;
    return bh_slice(s->topic, s->len);
}

static struct bh_slice key_of_name(const void *value) {
    const struct bh_history_stream_name *n = value;
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

/* --- entries --- */

static size_t message_cost(const struct bh_message *m) {
    return sizeof *m + bh_topic_size(m->topic) + bh_history_stream_entry_bytes(m);
}

static size_t stream_cost(const struct bh_history_stream *s) {
    return sizeof *s + s->len + 2 * BH_MAP_SLOT_BYTES;
}

static size_t name_cost(const struct bh_history_stream_name *n) {
    return sizeof *n + n->len + 2 * BH_MAP_SLOT_BYTES;
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

static void grow(struct bh_history_store *st, struct bh_history_stream *s) {
    uint32_t cap = s->cap ? s->cap * 2 : RING_MIN;
    struct bh_history_stream_slot *slots = bh_malloc(cap * sizeof *slots);
    for (uint32_t i = 0; i < s->count; i++)
        slots[i] = *bh_history_stream_slot_at(s, i);
    bh_free(s->slots);
    st->bytes += (cap - s->cap) * sizeof *slots;
    s->slots = slots;
    s->cap = cap;
    s->head = 0;
}

/* --- ids and collapse keys --- */

static struct bh_slice make_key(char key[NAME_MAX], const struct bh_history_stream *s,
                                struct bh_slice text) {
    memcpy(key, &s->birth, sizeof s->birth);
    memcpy(key + sizeof s->birth, text.p, text.n);
    return bh_slice(key, sizeof s->birth + text.n);
}

static struct bh_history_stream_name *
find_name(const struct bh_map *map, const struct bh_history_stream *s, struct bh_slice text) {
    char key[NAME_MAX];
    return text.n ? bh_map_get(map, make_key(key, s, text)) : NULL;
}

static struct bh_history_stream_name *add_name(struct bh_history_store *st, struct bh_map *map,
                                               const struct bh_history_stream *s,
                                               struct bh_slice text) {
    char key[NAME_MAX];
    struct bh_slice whole = make_key(key, s, text);
    struct bh_history_stream_name *n =
        bh_malloc(BH_SIZE_WITH(struct bh_history_stream_name, key, whole.n));
    *n = (struct bh_history_stream_name){.len = (uint16_t)whole.n};
    memcpy(n->key, whole.p, whole.n);
    bh_list_init(&n->node);
    bh_map_put(map, n);
    st->bytes += name_cost(n);
    return n;
}

static void free_name(struct bh_history_store *st, struct bh_map *map,
                      struct bh_history_stream_name *n) {
    if (!n)
        return;
    st->bytes -= name_cost(n);
    bh_map_remove(map, key_of_name(n));
    bh_list_unlink(&n->node);
    bh_free(n);
}

static struct bh_history_stream_name *oldest_id(const struct bh_history_store *st) {
    return bh_list_empty(&st->id_order)
               ? NULL
               : BH_CONTAINER_OF(st->id_order.next, struct bh_history_stream_name, node);
}

static bool is_known(const struct bh_history_store *st, const struct bh_history_stream_name *id,
                     uint64_t now_ms) {
    return id && now_ms - id->at_ms < st->config->ids_ms;
}

/* At most `max` that nobody needs any more. */
static unsigned forget_ids(struct bh_history_store *st, unsigned max, uint64_t now_ms) {
    unsigned count = 0;
    struct bh_history_stream_name *id;
    for (; count < max && (id = oldest_id(st)) != NULL; count++) {
        if (is_known(st, id, now_ms) && st->ids.count <= BH_HISTORY_IDS_MAX)
            break;
        free_name(st, &st->ids, id);
    }
    return count;
}

static void remember_id(struct bh_history_store *st, const struct bh_history_stream *s,
                        struct bh_slice text, uint64_t now_ms) {
    if (text.n == 0)
        return;
    free_name(st, &st->ids, find_name(&st->ids, s, text));
    struct bh_history_stream_name *id = add_name(st, &st->ids, s, text);
    id->position = bh_history_stream_position(s, s->top);
    id->at_ms = now_ms;
    bh_list_append(&st->id_order, &id->node);
    forget_ids(st, 2, now_ms);
}

/* --- the log of a stream --- */

static void set_entry(struct bh_history_store *st, struct bh_history_stream *s,
                      struct bh_history_stream_slot *slot, struct bh_message *m) {
    if (slot->message) {
        s->bytes -= bh_history_stream_entry_bytes(slot->message);
        st->bytes -= message_cost(slot->message);
        bh_message_unref(slot->message);
        free_name(st, &st->keys, slot->name);
    }
    *slot = (struct bh_history_stream_slot){m, NULL};
    if (m) {
        s->bytes += bh_history_stream_entry_bytes(m);
        st->bytes += message_cost(m);
    }
}

static void push(struct bh_history_store *st, struct bh_history_stream *s, struct bh_message *m) {
    if (s->count == s->cap)
        grow(st, s);
    struct bh_history_stream_slot *slot = bh_history_stream_slot_at(s, s->count++);
    *slot = (struct bh_history_stream_slot){0};
    set_entry(st, s, slot, m);
    s->top++;
}

static void drop_first(struct bh_history_store *st, struct bh_history_stream *s) {
    set_entry(st, s, bh_history_stream_slot_at(s, 0), NULL);
    s->head = (s->head + 1) & (s->cap - 1);
    s->count--;
}

static void trim(struct bh_history_store *st, struct bh_history_stream *s) {
    for (unsigned left = TRIM_MAX; left > 0 && s->count > 1; left--) {
        if (s->count <= s->rule->size && s->bytes <= s->rule->bytes)
            return;
        drop_first(st, s);
    }
}

static size_t rule_index(const struct bh_history_store *st, const struct bh_history_stream *s) {
    return (size_t)(s->rule - st->config->rules);
}

/* Last in the list that it belongs to. */
static void place(struct bh_history_store *st, struct bh_history_stream *s) {
    bh_list_unlink(&s->node);
    bh_list_append(&(s->count ? st->fresh : st->idle)[rule_index(st, s)], &s->node);
}

static void clear_log(struct bh_history_store *st, struct bh_history_stream *s) {
    while (s->count)
        drop_first(st, s);
    st->bytes -= s->cap * sizeof *s->slots;
    bh_free(s->slots);
    s->slots = NULL;
    s->cap = s->head = 0;
    place(st, s);
}

static bool is_over(const struct bh_history_stream *s, uint64_t now_ms) {
    return now_ms - s->last_ms > s->rule->position_ttl_ms;
}

/* --- streams --- */

static void drop_stream(struct bh_history_store *st, struct bh_history_stream *s) {
    clear_log(st, s);
    bh_list_unlink(&s->node);
    bh_map_remove(&st->streams, topic_of_stream(s));
    st->bytes -= stream_cost(s);
    bh_free(s);
}

struct bh_history_stream *bh_history_stream_find(struct bh_history_store *st,
                                                 const struct bh_topic *topic, uint64_t now_ms) {
    struct bh_history_stream *s = bh_map_get(&st->streams, bh_topic_name(topic));
    if (s && is_over(s, now_ms)) {
        drop_stream(st, s);
        return NULL;
    }
    return s;
}

struct bh_history_stream *bh_history_stream_add(struct bh_history_store *st,
                                                const struct bh_topic *topic,
                                                const struct bh_history_rule *rule,
                                                uint64_t now_ms) {
    struct bh_slice name = bh_topic_name(topic);
    struct bh_history_stream *s = bh_malloc(BH_SIZE_WITH(struct bh_history_stream, topic, name.n));
    *s = (struct bh_history_stream){.rule = rule, .last_ms = now_ms, .len = (uint16_t)name.n};
    s->birth = s->epoch = next_epoch();
    memcpy(s->topic, name.p, name.n);
    bh_list_init(&s->node);
    bh_map_put(&st->streams, s);
    st->bytes += stream_cost(s);
    place(st, s);
    return s;
}

static struct bh_history_stream *first_of(const struct bh_list *list) {
    return bh_list_empty(list) ? NULL : BH_CONTAINER_OF(list->next, struct bh_history_stream, node);
}

static bool is_full(const struct bh_history_store *st) {
    return st->bytes_max && st->bytes >= st->bytes_max;
}

static struct bh_history_stream *longest_idle(const struct bh_history_store *st,
                                              const struct bh_history_stream *keep) {
    struct bh_history_stream *found = NULL;
    for (size_t i = 0; i < st->config->rule_count; i++) {
        struct bh_list *list = &st->idle[i];
        struct bh_history_stream *s = first_of(list);
        if (s && s == keep)
            s = s->node.next == list
                    ? NULL
                    : BH_CONTAINER_OF(s->node.next, struct bh_history_stream, node);
        if (s && (!found || s->last_ms < found->last_ms))
            found = s;
    }
    return found;
}

/* Streams without entries go before anything is refused: their positions are a gap then. */
bool bh_history_stream_has_room(struct bh_history_store *st, const struct bh_history_stream *keep) {
    struct bh_history_stream *s;
    while (is_full(st) && (s = longest_idle(st, keep)) != NULL)
        drop_stream(st, s);
    return !is_full(st);
}

/* --- append --- */

struct append {
    struct bh_message *message, *tombstone, *purge;
    uint64_t replaced; /* its offset; 0: none */
};

static uint64_t find_replaced(const struct bh_history_store *st, const struct bh_history_stream *s,
                              struct bh_slice collapse, uint64_t now_ms) {
    struct bh_history_stream_name *key =
        s && !bh_history_stream_log_is_over(s, now_ms) ? find_name(&st->keys, s, collapse) : NULL;
    return key ? key->position.offset : 0;
}

static void discard(struct append *a) {
    bh_message_unref(a->message);
    bh_message_unref(a->tombstone);
    bh_message_unref(a->purge);
}

/* All that needs memory, before anything is changed. */
static int prepare(struct append *a, const struct bh_history_stream *s, const struct bh_message *m,
                   struct bh_position at) {
    char text[24];
    a->message = bh_message_with_position(m, at, (uint64_t)bh_clock_wall_ms());
    if (a->message && a->replaced) {
        const struct bh_message *old = bh_history_stream_slot_of(s, a->replaced)->message;
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

static void store(struct bh_history_store *st, struct bh_history_stream *s, const struct append *a,
                  struct bh_slice collapse, uint64_t now_ms) {
    struct bh_history_stream_name *key =
        a->replaced ? bh_history_stream_slot_of(s, a->replaced)->name : NULL;
    if (a->replaced) {
        bh_history_stream_slot_of(s, a->replaced)->name = NULL; /* it leads to the new entry */
        set_entry(st, s, bh_history_stream_slot_of(s, a->replaced), a->tombstone);
    }
    push(st, s, bh_message_ref(a->message));
    if (collapse.n && !key)
        key = add_name(st, &st->keys, s, collapse);
    if (key)
        key->position = bh_history_stream_position(s, s->top);
    bh_history_stream_slot_of(s, s->top)->name = key;
    s->last_ms = now_ms;
    remember_id(st, s, a->message->id, now_ms);
    trim(st, s);
    place(st, s);
}

int bh_history_store_append(struct bh_history_store *st, const struct bh_message *m,
                            const struct bh_history_rule *rule, struct bh_slice collapse,
                            uint64_t now_ms, struct bh_appended *out, struct bh_history_news *news,
                            const char **why) {
    struct bh_history_stream *s = bh_history_stream_find(st, m->topic, now_ms);
    struct bh_history_stream_name *id = s ? find_name(&st->ids, s, m->id) : NULL;
    struct append a = {0};
    if (is_known(st, id, now_ms)) {
        *out = (struct bh_appended){.position = id->position, .known = true};
        return 0;
    }
    if (s && s->top + 1 >= BH_POSITION_END) {
        *why = "the offset of this stream has reached 2^53";
        return BH_ETOOBIG;
    }
    if (!bh_history_stream_has_room(st, s)) {
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
        s = bh_history_stream_add(st, m->topic, rule, now_ms);
    if (s->count && bh_history_stream_log_is_over(s, now_ms))
        clear_log(st, s);
    s->epoch = at.epoch;
    s->rule = rule;
    store(st, s, &a, collapse, now_ms);
    bh_message_unref(a.message);
    *out = (struct bh_appended){.position = at, .receivers = 1};
    *news = (struct bh_history_news){a.purge, bh_message_ref(a.message)};
    return 0;
}

void bh_history_store_set_top(struct bh_history_store *st, const struct bh_topic *topic,
                              uint64_t top) {
    struct bh_history_stream *s = bh_map_get(&st->streams, bh_topic_name(topic));
    clear_log(st, s);
    s->top = top;
}

/* --- remove --- */

static int64_t remove_all(struct bh_history_store *st, struct bh_history_stream *s,
                          uint64_t now_ms) {
    int64_t count = 0;
    for (uint64_t i = 0; i < bh_history_stream_readable(s, now_ms); i++)
        count += bh_history_stream_slot_at(s, i)->message->kind == BH_MESSAGE_DATA;
    clear_log(st, s);
    s->floor = s->top;
    return count;
}

static int64_t remove_one(struct bh_history_store *st, struct bh_history_stream *s,
                          const struct bh_topic *topic, struct bh_position at, uint64_t now_ms) {
    if ((at.epoch && at.epoch != s->epoch) || at.offset > s->top ||
        at.offset + bh_history_stream_readable(s, now_ms) <= s->top)
        return 0;
    struct bh_history_stream_slot *slot = bh_history_stream_slot_of(s, at.offset);
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
    struct bh_history_stream *s = bh_history_stream_find(st, topic, now_ms);
    char text[24] = "all";
    if (!s)
        return 0;
    int64_t count = at.offset ? remove_one(st, s, topic, at, now_ms) : remove_all(st, s, now_ms);
    if (at.offset)
        snprintf(text, sizeof text, "%llu", (unsigned long long)at.offset);
    if (count || at.offset == 0)
        news->purge = of_stream(topic, BH_MESSAGE_PURGE, bh_history_stream_position(s, s->top),
                                (uint64_t)bh_clock_wall_ms(), bh_slice_cstr(text));
    return count;
}

/* --- life --- */

bool bh_history_store_sweep(struct bh_history_store *st, unsigned max, uint64_t now_ms) {
    unsigned done = forget_ids(st, max, now_ms);
    struct bh_history_stream *s;
    for (size_t i = 0; i < st->config->rule_count; i++) {
        for (; done < max && (s = first_of(&st->fresh[i])) &&
               bh_history_stream_log_is_over(s, now_ms);
             done++)
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
    struct bh_history_stream_name *id;
    for (size_t i = 0; i < 2 * st->config->rule_count; i++) {
        struct bh_list *list = i % 2 ? &st->idle[i / 2] : &st->fresh[i / 2];
        struct bh_history_stream *s;
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
