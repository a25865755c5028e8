/* hub.c - topic -> subscribers and back, on one worker.
 *
 * Most topics are a user with one device, so a topic with one subscriber stores it in place and
 * costs one small allocation; larger ones have an array, so that a loop over thousands reads memory
 * in order. A subscriber's link holds its index in that array: leaving moves the last one into its
 * slot, O(1) in the topic and O(own topics) in the subscriber, which stores a few links in place,
 * too. During a loop over a topic, leaving writes NULL instead, and the loop closes these holes
 * when it ends. Thread: the worker's. */
#include "bellhop/core/hub.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/prefetch.h"

#include <assert.h>

#define AHEAD 4 /* subscribers that a loop prefetches */

static struct bh_slice key_of(const void *value) {
    return bh_hub_topic_name(value);
}

static struct bh_subscriber **members(struct bh_hub_topic *t) {
    return t->cap_log2 == 0 ? &t->one : t->many;
}

static struct bh_link *links(struct bh_subscriber *s) {
    return s->link_cap ? s->many : s->few;
}

static struct bh_link *find_link(struct bh_subscriber *s, const struct bh_hub_topic *t) {
    struct bh_link *all = links(s);
    for (unsigned i = 0; i < s->link_count; i++)
        if (all[i].topic == t)
            return &all[i];
    return NULL;
}

void bh_hub_init(struct bh_hub *hub) {
    *hub = (struct bh_hub){0};
    bh_map_init(&hub->topics, key_of);
}

void bh_hub_deinit(struct bh_hub *hub) {
    assert(hub->topics.count == 0);
    bh_map_deinit(&hub->topics);
}

struct bh_hub_topic *bh_hub_find(const struct bh_hub *hub, struct bh_slice topic) {
    return bh_map_get(&hub->topics, topic);
}

static struct bh_hub_topic *topic_new(struct bh_hub *hub, struct bh_slice name) {
    struct bh_hub_topic *t = bh_malloc(BH_SIZE_WITH(struct bh_hub_topic, name, name.n));
    *t = (struct bh_hub_topic){.len = (uint16_t)name.n};
    memcpy(t->name, name.p, name.n);
    bh_map_put(&hub->topics, t);
    return t;
}

static void topic_free(struct bh_hub *hub, struct bh_hub_topic *t) {
    bh_map_remove(&hub->topics, bh_hub_topic_name(t));
    if (t->cap_log2 > 0)
        bh_free(t->many);
    bh_free(t);
}

static void set_capacity(struct bh_hub_topic *t, unsigned cap_log2) {
    size_t cap = (size_t)1 << cap_log2;
    if (cap_log2 == t->cap_log2)
        return;
    if (t->cap_log2 == 0) {
        struct bh_subscriber **many = bh_malloc(cap * sizeof *many);
        many[0] = t->one;
        t->many = many;
    } else if (cap_log2 == 0) {
        struct bh_subscriber *one = t->many[0];
        bh_free(t->many);
        t->one = one;
    } else {
        t->many = bh_realloc(t->many, cap * sizeof *t->many);
    }
    t->cap_log2 = (uint8_t)cap_log2;
}

static void shrink(struct bh_hub_topic *t) {
    if (t->used <= 1)
        set_capacity(t, 0);
    else if (t->cap_log2 > 3 && t->used < bh_hub_topic_capacity(t) / 4)
        set_capacity(t, t->cap_log2 - 1u);
}

static void add_link(struct bh_subscriber *s, struct bh_hub_topic *t, uint32_t index) {
    assert(s->link_count < BH_SUBSCRIBER_TOPICS_MAX); /* link_cap has 16 bits */
    if (s->link_count == (s->link_cap ? s->link_cap : BH_SUBSCRIBER_TOPICS_FEW)) {
        unsigned cap = s->link_count * 2u;
        struct bh_link *many = bh_malloc(cap * sizeof *many);
        memcpy(many, links(s), s->link_count * sizeof *many);
        if (s->link_cap)
            bh_free(s->many);
        s->many = many;
        s->link_cap = (uint16_t)cap;
    }
    links(s)[s->link_count++] = (struct bh_link){t, index};
}

static void remove_link(struct bh_subscriber *s, struct bh_link *link) {
    *link = links(s)[--s->link_count];
    if (s->link_count == 0 && s->link_cap) {
        bh_free(s->many);
        s->link_cap = 0;
    }
}

struct bh_hub_topic *bh_hub_join(struct bh_hub *hub, struct bh_subscriber *s, struct bh_slice topic,
                                 bool *first) {
    struct bh_hub_topic *t = bh_hub_find(hub, topic);
    if (t && find_link(s, t))
        return NULL;
    *first = !t || t->count == 0;
    if (!t)
        t = topic_new(hub, topic);
    if (t->used == bh_hub_topic_capacity(t))
        set_capacity(t, t->cap_log2 + 1u);
    add_link(s, t, t->used);
    members(t)[t->used++] = s;
    t->count++;
    return t;
}

/* Moves the last member into the slot `index`. */
static void close_hole(struct bh_hub_topic *t, uint32_t index) {
    struct bh_subscriber **all = members(t);
    struct bh_subscriber *moved = all[--t->used];
    if (index == t->used)
        return;
    all[index] = moved;
    if (moved)
        find_link(moved, t)->index = index;
}

static void leave(struct bh_hub *hub, struct bh_subscriber *s, struct bh_link *link, bool *last) {
    struct bh_hub_topic *t = link->topic;
    uint32_t index = link->index;
    remove_link(s, link);
    t->count--;
    *last = t->count == 0;
    if (hub->delivering == t) {
        members(t)[index] = NULL;
        hub->holes = true;
        return;
    }
    close_hole(t, index);
    if (t->used == 0)
        topic_free(hub, t);
    else
        shrink(t);
}

int bh_hub_leave(struct bh_hub *hub, struct bh_subscriber *s, struct bh_slice topic, bool *last) {
    struct bh_hub_topic *t = bh_hub_find(hub, topic);
    struct bh_link *link = t ? find_link(s, t) : NULL;
    if (!link)
        return BH_ENOTFOUND;
    leave(hub, s, link, last);
    return 0;
}

void bh_hub_leave_last(struct bh_hub *hub, struct bh_subscriber *s, bool *last) {
    leave(hub, s, &links(s)[s->link_count - 1], last);
}

static void close_holes(struct bh_hub *hub, struct bh_hub_topic *t) {
    hub->holes = false;
    for (uint32_t i = t->used; i-- > 0;)
        if (!members(t)[i])
            close_hole(t, i);
    if (t->used == 0)
        topic_free(hub, t);
    else
        shrink(t);
}

int bh_hub_foreach(struct bh_hub *hub, struct bh_slice topic,
                   void (*fn)(struct bh_subscriber *s, void *ud), void *ud) {
    if (hub->delivering)
        return BH_EAGAIN;
    struct bh_hub_topic *t = bh_hub_find(hub, topic);
    if (!t)
        return 0;
    int visited = 0;
    uint32_t end = t->used;
    hub->delivering = t;
    for (uint32_t i = 0; i < end; i++) {
        struct bh_subscriber *s = members(t)[i];
        if (i + AHEAD < end)
            bh_prefetch(members(t)[i + AHEAD], BH_SUBSCRIBER_HOT_FROM, BH_SUBSCRIBER_HOT_TO);
        if (s) {
            fn(s, ud);
            visited++;
        }
    }
    hub->delivering = NULL;
    if (hub->holes)
        close_holes(hub, t);
    return visited;
}
