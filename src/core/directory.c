/* directory.c - interest, linger and the wait for "live".
 *
 * An entry exists while a worker holds its topic, and for the linger after that; it is in the
 * `lingering` list exactly when its set of workers is empty. One timer serves the list, since every
 * entry lingers equally long. Entries and their waiters are unlinked in both directions whenever
 * either goes. Only the waiters know of a ticket: it waits exactly as long as an entry has one.
 * Thread: the bus. */
#include "directory.h"

#include "bellhop/base/mem.h"

#include <assert.h>

/* There is one for each user who is here, so it is small. */
struct entry {
    struct bh_list linger; /* in directory.lingering, or alone */
    struct bh_directory_waiter *waiters;
    uint64_t workers;
    uint64_t linger_until;
    bool live, pinned;
    uint8_t shard;
    uint8_t len;
    char name[];
};

static struct bh_slice name_of(const struct entry *e) {
    return bh_slice(e->name, e->len);
}

static struct bh_slice key_of(const void *value) {
    return name_of(value);
}

static void add_waiter(struct bh_directory_waiter **list, struct bh_directory_waiter *w) {
    w->next = *list;
    w->link = list;
    if (w->next)
        w->next->link = &w->next;
    *list = w;
}

static void remove_waiter(struct bh_directory_waiter *w) {
    if (!w->link)
        return;
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->link = NULL;
}

static void complete(struct bh_directory_ticket *t) {
    for (unsigned i = 0; i < t->waiter_count; i++)
        remove_waiter(&t->waiters[i]);
    t->on_live(t);
}

/* Each waiter of the list no longer waits; its ticket may wait elsewhere. */
static void satisfy(struct bh_directory_waiter **waiters) {
    struct bh_directory_waiter *w;
    while ((w = *waiters)) {
        remove_waiter(w);
        if (--w->ticket->pending == 0)
            complete(w->ticket);
    }
}

static void entry_free(struct bh_directory *d, struct entry *e) {
    assert(!e->waiters);
    bh_list_unlink(&e->linger);
    bh_map_remove(&d->entries, name_of(e));
    bh_free(e);
}

/* Nobody holds the topic any more, so whoever still waits for it has closed: let them go. */
static void release_waiters(struct entry *e) {
    while (e->waiters)
        complete(e->waiters->ticket);
}

static void on_timer(struct bh_timer *timer) {
    struct bh_directory *d = BH_CONTAINER_OF(timer, struct bh_directory, timer);
    uint64_t now = bh_loop_now(timer->loop);
    while (!bh_list_empty(&d->lingering)) {
        struct entry *e = BH_CONTAINER_OF(d->lingering.next, struct entry, linger);
        if (e->linger_until > now) {
            bh_timer_set(&d->timer, e->linger_until - now);
            return;
        }
        d->broker->vt->unsubscribe(d->broker, name_of(e));
        release_waiters(e);
        entry_free(d, e);
    }
}

void bh_directory_init(struct bh_directory *d, struct bh_broker *broker, struct bh_loop *bus,
                       uint64_t linger_ms) {
    *d = (struct bh_directory){.broker = broker, .linger_ms = linger_ms};
    bh_map_init(&d->entries, key_of);
    bh_list_init(&d->lingering);
    bh_timer_init(&d->timer, bus, on_timer);
}

/* Waiters are let go only after the walk, for what a ticket does then must not disturb it. */
static void shards_down(struct bh_directory *d, uint32_t shards) {
    struct bh_directory_waiter *waiters = NULL, *w;
    struct entry *e;
    size_t cursor = 0;
    d->up &= ~shards;
    while ((e = bh_map_next(&d->entries, &cursor))) {
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

void bh_directory_stop(struct bh_directory *d) {
    bh_timer_cancel(&d->timer);
    shards_down(d, UINT32_MAX);
}

void bh_directory_deinit(struct bh_directory *d) {
    bh_directory_stop(d);
    size_t cursor = 0;
    struct entry *e;
    while ((e = bh_map_next(&d->entries, &cursor)))
        bh_free(e);
    bh_map_deinit(&d->entries);
}

static struct entry *find(const struct bh_directory *d, struct bh_slice topic) {
    return bh_map_get(&d->entries, topic);
}

static unsigned shard_of(const struct bh_directory *d, struct bh_slice topic) {
    const struct bh_broker_vt *vt = d->broker->vt;
    unsigned shard = vt->shard_of ? vt->shard_of(d->broker, topic) : 0;
    assert(shard < BH_SHARDS_MAX);
    return shard;
}

static struct entry *find_or_new(struct bh_directory *d, struct bh_slice topic) {
    struct entry *e = find(d, topic);
    if (e) {
        bh_list_unlink(&e->linger);
        return e;
    }
    e = bh_malloc(BH_SIZE_WITH(struct entry, name, topic.n));
    *e = (struct entry){.shard = (uint8_t)shard_of(d, topic), .len = (uint8_t)topic.n};
    memcpy(e->name, topic.p, topic.n);
    bh_list_init(&e->linger);
    bh_map_put(&d->entries, e);
    e->live = d->broker->vt->subscribe(d->broker, name_of(e));
    return e;
}

void bh_directory_pin(struct bh_directory *d, struct bh_slice topic) {
    find_or_new(d, topic)->pinned = true;
}

void bh_directory_add(struct bh_directory *d, unsigned worker, struct bh_slice topic) {
    find_or_new(d, topic)->workers |= UINT64_C(1) << worker;
}

void bh_directory_remove(struct bh_directory *d, unsigned worker, struct bh_slice topic) {
    struct entry *e = find(d, topic);
    if (!e)
        return;
    e->workers &= ~(UINT64_C(1) << worker);
    if (e->workers || e->pinned || !bh_list_empty(&e->linger))
        return;
    e->linger_until = bh_loop_now(d->timer.loop) + d->linger_ms;
    bh_list_append(&d->lingering, &e->linger);
    if (!bh_timer_pending(&d->timer))
        bh_timer_set(&d->timer, d->linger_ms);
}

uint64_t bh_directory_workers(const struct bh_directory *d, struct bh_slice topic) {
    const struct entry *e = find(d, topic);
    return e ? e->workers : 0;
}

bool bh_directory_subscribed(const struct bh_directory *d, struct bh_slice topic) {
    const struct entry *e = find(d, topic);
    return e && e->live;
}

void bh_directory_wait(struct bh_directory *d, struct bh_directory_ticket *t,
                       const struct bh_slice *topics, unsigned count) {
    t->waiter_count = count;
    t->pending = 0;
    for (unsigned i = 0; i < count; i++) {
        struct bh_directory_waiter *w = &t->waiters[i];
        w->ticket = t;
        w->link = NULL;
        struct entry *e = find(d, topics[i]);
        if (e && !e->live && d->up & UINT32_C(1) << e->shard) {
            add_waiter(&e->waiters, w);
            t->pending++;
        }
    }
    if (t->pending == 0)
        complete(t);
}

void bh_directory_live(struct bh_directory *d, struct bh_slice topic) {
    struct entry *e = find(d, topic);
    if (!e)
        return;
    e->live = true;
    satisfy(&e->waiters);
}

void bh_directory_state(struct bh_directory *d, unsigned shard, bool up) {
    assert(shard < BH_SHARDS_MAX);
    if (up)
        d->up |= UINT32_C(1) << shard;
    else
        shards_down(d, UINT32_C(1) << shard);
}
