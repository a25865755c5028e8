/* interest_map.c - interest, linger and the wait for "live".
 *
 * An entry exists while a worker holds its topic, and for the linger after that; it is in the
 * `lingering` list exactly when its set of workers is empty. One timer serves the list, because
 * every entry lingers equally long. Entries and waiters are unlinked from each other when either is
 * freed. A ticket is reachable only through its waiters: it waits while any of them is in a list.
 * Thread: the bus. */
#include "interest_map.h"

#include "bellhop/base/mem.h"

#include <assert.h>

/* One for each connected user, so it is small. */
struct entry {
    struct bh_list linger; /* in the map's `lingering`, or alone */
    struct bh_interest_waiter *waiters;
    uint64_t workers;
    uint64_t linger_until;
    bool live : 1, pinned : 1;
    uint8_t shard;
    uint16_t len;
    char name[];
};

static struct bh_slice name_of(const struct entry *e) {
    return bh_slice(e->name, e->len);
}

static struct bh_slice key_of(const void *value) {
    return name_of(value);
}

static void add_waiter(struct bh_interest_waiter **list, struct bh_interest_waiter *w) {
    w->next = *list;
    w->link = list;
    if (w->next)
        w->next->link = &w->next;
    *list = w;
}

static void remove_waiter(struct bh_interest_waiter *w) {
    if (!w->link)
        return;
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->link = NULL;
}

static void complete(struct bh_interest_ticket *t) {
    for (unsigned i = 0; i < t->waiter_count; i++)
        remove_waiter(&t->waiters[i]);
    t->on_live(t);
}

/* Ends all waits of the list; a ticket may still wait in other lists. */
static void satisfy(struct bh_interest_waiter **waiters) {
    struct bh_interest_waiter *w;
    while ((w = *waiters)) {
        remove_waiter(w);
        if (--w->ticket->pending == 0)
            complete(w->ticket);
    }
}

static void entry_free(struct bh_interest_map *map, struct entry *e) {
    assert(!e->waiters);
    bh_list_unlink(&e->linger);
    bh_map_remove(&map->entries, name_of(e));
    bh_free(e);
}

/* No worker holds the topic any more, so the connections that wait for it have closed. */
static void release_waiters(struct entry *e) {
    while (e->waiters)
        complete(e->waiters->ticket);
}

static void on_timer(struct bh_timer *timer) {
    struct bh_interest_map *map = BH_CONTAINER_OF(timer, struct bh_interest_map, timer);
    uint64_t now = bh_loop_now(timer->loop);
    while (!bh_list_empty(&map->lingering)) {
        struct entry *e = BH_CONTAINER_OF(map->lingering.next, struct entry, linger);
        if (e->linger_until > now) {
            bh_timer_set(&map->timer, e->linger_until - now);
            return;
        }
        map->broker->vt->unsubscribe(map->broker, name_of(e));
        if (map->observer.gone)
            map->observer.gone(map->observer.ud, name_of(e));
        release_waiters(e);
        entry_free(map, e);
    }
}

void bh_interest_map_init(struct bh_interest_map *map, struct bh_broker *broker,
                          struct bh_loop *bus, uint64_t linger_ms) {
    *map = (struct bh_interest_map){.broker = broker, .linger_ms = linger_ms};
    bh_map_init(&map->entries, key_of);
    bh_list_init(&map->lingering);
    bh_timer_init(&map->timer, bus, on_timer);
}

/* Completes waiters only after the loop: a ticket's callback may change the map. */
static void shards_down(struct bh_interest_map *map, uint32_t shards) {
    struct bh_interest_waiter *waiters = NULL, *w;
    struct entry *e;
    size_t cursor = 0;
    map->up &= ~shards;
    while ((e = bh_map_next(&map->entries, &cursor))) {
        if (!(shards & UINT32_C(1) << e->shard))
            continue;
        e->live = false;
        while ((w = e->waiters)) {
            remove_waiter(w);
            add_waiter(&waiters, w);
        }
    }
    satisfy(&waiters);
}

void bh_interest_map_stop(struct bh_interest_map *map) {
    bh_timer_cancel(&map->timer);
    shards_down(map, UINT32_MAX);
}

void bh_interest_map_deinit(struct bh_interest_map *map) {
    bh_interest_map_stop(map);
    size_t cursor = 0;
    struct entry *e;
    while ((e = bh_map_next(&map->entries, &cursor)))
        bh_free(e);
    bh_map_deinit(&map->entries);
}

static struct entry *find(const struct bh_interest_map *map, struct bh_slice topic) {
    return bh_map_get(&map->entries, topic);
}

static unsigned shard_of(const struct bh_interest_map *map, struct bh_slice topic) {
    const struct bh_broker_vt *vt = map->broker->vt;
    unsigned shard = vt->shard_of ? vt->shard_of(map->broker, topic) : 0;
    assert(shard < BH_SHARDS_MAX);
    return shard;
}

static struct entry *find_or_new(struct bh_interest_map *map, struct bh_slice topic) {
    struct entry *e = find(map, topic);
    if (e) {
        bh_list_unlink(&e->linger);
        return e;
    }
    e = bh_malloc(BH_SIZE_WITH(struct entry, name, topic.n));
    *e = (struct entry){.shard = (uint8_t)shard_of(map, topic), .len = (uint16_t)topic.n};
    memcpy(e->name, topic.p, topic.n);
    bh_list_init(&e->linger);
    bh_map_put(&map->entries, e);
    e->live = map->broker->vt->subscribe(map->broker, name_of(e));
    if (map->observer.added)
        map->observer.added(map->observer.ud, name_of(e), e->live);
    return e;
}

void bh_interest_map_pin(struct bh_interest_map *map, struct bh_slice topic) {
    find_or_new(map, topic)->pinned = true;
}

void bh_interest_map_add(struct bh_interest_map *map, unsigned worker, struct bh_slice topic) {
    find_or_new(map, topic)->workers |= UINT64_C(1) << worker;
}

void bh_interest_map_remove(struct bh_interest_map *map, unsigned worker, struct bh_slice topic) {
    struct entry *e = find(map, topic);
    if (!e)
        return;
    e->workers &= ~(UINT64_C(1) << worker);
    if (e->workers || e->pinned || !bh_list_empty(&e->linger))
        return;
    e->linger_until = bh_loop_now(map->timer.loop) + map->linger_ms;
    bh_list_append(&map->lingering, &e->linger);
    if (!bh_timer_pending(&map->timer))
        bh_timer_set(&map->timer, map->linger_ms);
}

uint64_t bh_interest_map_workers(const struct bh_interest_map *map, struct bh_slice topic) {
    const struct entry *e = find(map, topic);
    return e ? e->workers : 0;
}

bool bh_interest_map_subscribed(const struct bh_interest_map *map, struct bh_slice topic) {
    const struct entry *e = find(map, topic);
    return e && e->live;
}

void bh_interest_map_wait(struct bh_interest_map *map, struct bh_interest_ticket *t,
                          const struct bh_slice *topics, unsigned count) {
    t->waiter_count = count;
    t->pending = 0;
    for (unsigned i = 0; i < count; i++) {
        struct bh_interest_waiter *w = &t->waiters[i];
        w->ticket = t;
        w->link = NULL;
        struct entry *e = find(map, topics[i]);
        if (e && !e->live && map->up & UINT32_C(1) << e->shard) {
            add_waiter(&e->waiters, w);
            t->pending++;
        }
    }
    if (t->pending == 0)
        complete(t);
}

void bh_interest_map_live(struct bh_interest_map *map, struct bh_slice topic) {
    struct entry *e = find(map, topic);
    if (!e)
        return;
    e->live = true;
    satisfy(&e->waiters);
}

void bh_interest_map_lost(struct bh_interest_map *map, struct bh_slice topic) {
    struct entry *e = find(map, topic);
    if (e)
        e->live = false;
}

void bh_interest_map_state(struct bh_interest_map *map, unsigned shard, bool up) {
    assert(shard < BH_SHARDS_MAX);
    if (up)
        map->up |= UINT32_C(1) << shard;
    else
        shards_down(map, UINT32_C(1) << shard);
}
