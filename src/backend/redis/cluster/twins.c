/* twins.c - a map to find contents and a list in order of age; each entry is in both.
 *
 * Of a content the hash of base/map.h is kept, which is keyed: who publishes cannot choose two that
 * are taken for one. */
#include "cluster/twins.h"

#include "bellhop/base/mem.h"
#include "bellhop/core/topic.h"

/* Of one content. A topic that moves on before it has arrived has three. */
#define LINKS_MAX 4

struct twin_key {
    uint64_t topic, payload, form;
};

struct twin {
    struct bh_list node;
    struct twin_key key;
    uint64_t since_ms;
    unsigned passed;
    struct {
        unsigned link, count; /* count 0: free */
    } links[LINKS_MAX];
};

static struct bh_slice key_of(const void *value) {
    const struct twin *e = value;
    return bh_slice((const char *)&e->key, sizeof e->key);
}

static struct twin_key make_key(const struct bh_message *m) {
    return (struct twin_key){.topic = bh_hash(bh_topic_name(m->topic)),
                             .payload = bh_hash(m->payload),
                             .form = (uint64_t)m->kind << 8 | m->opcode};
}

static struct twin *oldest(struct bh_redis_twins *t) {
    return bh_list_empty(&t->by_age) ? NULL : BH_CONTAINER_OF(t->by_age.next, struct twin, node);
}

static void drop(struct bh_redis_twins *t, struct twin *e) {
    bh_map_remove(&t->known, key_of(e));
    bh_list_unlink(&e->node);
    bh_free(e);
}

/* With the age since the first one, however many follow: the counts of a link that joins late begin
 * with 0. */
static struct twin *find(struct bh_redis_twins *t, const struct twin_key *key, uint64_t now_ms) {
    struct twin *e;
    while ((e = oldest(t)) && now_ms - e->since_ms > BH_REDIS_TWIN_MS)
        drop(t, e);
    return bh_map_get(&t->known, bh_slice((const char *)key, sizeof *key));
}

static struct twin *add(struct bh_redis_twins *t, const struct twin_key *key, uint64_t now_ms) {
    struct twin *e = bh_calloc(1, sizeof *e);
    e->key = *key;
    e->since_ms = now_ms;
    bh_list_init(&e->node);
    bh_list_append(&t->by_age, &e->node);
    bh_map_put(&t->known, e);
    return e;
}

static bool count(struct twin *e, unsigned link) {
    unsigned i = 0;
    while (i < LINKS_MAX && e->links[i].count && e->links[i].link != link)
        i++;
    if (i == LINKS_MAX)
        return true;
    e->links[i].link = link;
    if (++e->links[i].count <= e->passed)
        return false;
    e->passed++;
    return true;
}

bool bh_redis_twins_note(struct bh_redis_twins *t, const struct bh_message *m, unsigned link,
                         uint64_t now_ms) {
    struct twin_key key = make_key(m);
    struct twin *e = find(t, &key, now_ms);
    if (!e && t->known.count >= BH_REDIS_TWINS_MAX)
        return true;
    return count(e ? e : add(t, &key, now_ms), link);
}

bool bh_redis_twins_pass(struct bh_redis_twins *t, const struct bh_message *m, unsigned link,
                         uint64_t now_ms) {
    if (t->known.count == 0)
        return true;
    struct twin_key key = make_key(m);
    struct twin *e = find(t, &key, now_ms);
    return !e || count(e, link);
}

void bh_redis_twins_init(struct bh_redis_twins *t) {
    bh_map_init(&t->known, key_of);
    bh_list_init(&t->by_age);
}

void bh_redis_twins_clear(struct bh_redis_twins *t) {
    struct twin *e;
    while ((e = oldest(t)))
        drop(t, e);
    bh_map_deinit(&t->known);
    bh_redis_twins_init(t);
}
