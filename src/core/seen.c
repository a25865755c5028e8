/* seen.c - a map to find ids and a list in order of age; each entry is in both. Thread: the bus. */
#include "seen.h"

#include "bellhop/base/mem.h"

struct key {
    size_t len;
    char bytes[BH_TOPIC_NAME_MAX + 1 + 255];
};

/* topic, NUL, id. Neither contains a NUL, so each pair has its own key. */
static struct bh_slice make_key(struct key *k, struct bh_slice topic, struct bh_slice id) {
    memcpy(k->bytes, topic.p, topic.n);
    k->bytes[topic.n] = '\0';
    memcpy(k->bytes + topic.n + 1, id.p, id.n);
    return bh_slice(k->bytes, topic.n + 1 + id.n);
}

static struct bh_slice key_of(const void *value) {
    const struct bh_seen_entry *e = value;
    return bh_slice(e->key, e->len);
}

static void drop(struct bh_seen *s, struct bh_seen_entry *e) {
    bh_map_remove(&s->entries, key_of(e));
    bh_list_unlink(&e->node);
    bh_free(e);
}

static struct bh_seen_entry *oldest(struct bh_seen *s) {
    return bh_list_empty(&s->by_age) ? NULL
                                     : BH_CONTAINER_OF(s->by_age.next, struct bh_seen_entry, node);
}

static void forget(struct bh_seen *s, uint64_t now_ms) {
    struct bh_seen_entry *e;
    while ((e = oldest(s)) && (e->until_ms <= now_ms || s->entries.count > s->max))
        drop(s, e);
}

void bh_seen_init(struct bh_seen *s, size_t max, uint64_t keep_ms) {
    *s = (struct bh_seen){.max = max, .keep_ms = keep_ms};
    bh_map_init(&s->entries, key_of);
    bh_list_init(&s->by_age);
}

void bh_seen_deinit(struct bh_seen *s) {
    struct bh_seen_entry *e;
    while ((e = oldest(s)))
        drop(s, e);
    bh_map_deinit(&s->entries);
}

struct bh_seen_entry *bh_seen_find(struct bh_seen *s, struct bh_slice topic, struct bh_slice id,
                                   uint64_t now_ms) {
    struct key k;
    forget(s, now_ms);
    return bh_map_get(&s->entries, make_key(&k, topic, id));
}

struct bh_seen_entry *bh_seen_note(struct bh_seen *s, struct bh_slice topic, struct bh_slice id,
                                   uint64_t now_ms) {
    struct bh_seen_entry *e = bh_seen_find(s, topic, id, now_ms);
    if (e)
        return e;
    struct key k;
    struct bh_slice key = make_key(&k, topic, id);
    e = bh_malloc(sizeof *e + key.n);
    *e = (struct bh_seen_entry){
        .until_ms = now_ms + s->keep_ms, .status = BH_PUBLISH_PUBLISHED, .len = (uint16_t)key.n};
    memcpy(e->key, key.p, key.n);
    bh_map_put(&s->entries, e);
    bh_list_append(&s->by_age, &e->node);
    forget(s, now_ms); /* never the new one: max is at least 1 */
    return e;
}
