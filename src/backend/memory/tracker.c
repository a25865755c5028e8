/* tracker.c - the tracker of a single instance: lookups go to the hubs of the instance, which have
 * all connections.
 *
 * Only presence needs state: to see when a user comes and goes, the bus counts their connections. A
 * user without connections stays in the table until the debounce is over. Departures wait in a
 * list, in their order, so that one timer serves all. Thread: the bus; `lookup` on the worker that
 * asks. */
#include "bellhop/backend/memory.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"

struct user {
    struct departure *departure; /* when count is 0 */
    uint32_t count;
    uint8_t len;
    char name[];
};

struct departure {
    struct bh_list node; /* in the tracker's list */
    uint64_t left_ms;
    struct user *user;
};

struct tracker {
    struct bh_tracker base;
    struct bh_tracker_sink sink;
    struct bh_loop *bus;
    uint64_t debounce_ms;
    struct bh_map users;
    struct bh_list leaving;
    struct bh_timer timer;
};

static struct tracker *of(struct bh_tracker *t) {
    return BH_CONTAINER_OF(t, struct tracker, base);
}

static struct bh_slice name_of(const void *value) {
    const struct user *u = value;
    return bh_slice(u->name, u->len);
}

static void raise_event(struct tracker *t, const struct user *u, bool online) {
    t->sink.on_presence(t->sink.ud, name_of(u), online, bh_clock_wall_ms());
}

static void cancel_departure(struct user *u) {
    if (!u->departure)
        return;
    bh_list_unlink(&u->departure->node);
    bh_free(u->departure);
    u->departure = NULL;
}

static struct departure *first_departure(struct tracker *t) {
    return BH_CONTAINER_OF(t->leaving.next, struct departure, node);
}

static void forget(struct tracker *t, struct user *u) {
    cancel_departure(u);
    bh_map_remove(&t->users, name_of(u));
    bh_free(u);
}

static void arm(struct tracker *t) {
    if (bh_list_empty(&t->leaving))
        return;
    uint64_t due = first_departure(t)->left_ms + t->debounce_ms, now = bh_loop_now(t->bus);
    bh_timer_set(&t->timer, due > now ? due - now : 0);
}

static void on_timer(struct bh_timer *timer) {
    struct tracker *t = BH_CONTAINER_OF(timer, struct tracker, timer);
    uint64_t now = bh_loop_now(t->bus);
    while (!bh_list_empty(&t->leaving)) {
        struct departure *d = first_departure(t);
        if (d->left_ms + t->debounce_ms > now)
            break;
        raise_event(t, d->user, false);
        forget(t, d->user);
    }
    arm(t);
}

static void come(struct tracker *t, struct bh_slice name) {
    struct user *u = bh_map_get(&t->users, name);
    if (u) {
        u->count++;
        cancel_departure(u);
        return;
    }
    u = bh_malloc(BH_SIZE_WITH(struct user, name, name.n));
    *u = (struct user){.count = 1, .len = (uint8_t)name.n};
    memcpy(u->name, name.p, name.n);
    bh_map_put(&t->users, u);
    raise_event(t, u, true);
}

static void go(struct tracker *t, struct bh_slice name) {
    struct user *u = bh_map_get(&t->users, name);
    if (!u || u->count == 0 || --u->count > 0)
        return;
    u->departure = bh_malloc(sizeof *u->departure);
    *u->departure = (struct departure){.left_ms = bh_loop_now(t->bus), .user = u};
    bh_list_append(&t->leaving, &u->departure->node);
    if (!bh_timer_pending(&t->timer))
        arm(t);
}

static int start(struct bh_tracker *base, struct bh_loop *bus, const struct bh_tracker_sink *sink) {
    struct tracker *t = of(base);
    t->bus = bus;
    t->sink = *sink;
    bh_timer_init(&t->timer, bus, on_timer);
    return 0;
}

static void changed(struct bh_tracker *base, const struct bh_track *changes, size_t count) {
    for (size_t i = 0; i < count; i++)
        (changes[i].here ? come : go)(of(base), changes[i].user);
}

static void restored(struct bh_tracker *base) {}

static void stop(struct bh_tracker *base) {
    struct tracker *t = of(base);
    if (t->bus)
        bh_timer_cancel(&t->timer);
}

static void lookup(struct bh_tracker *base, struct bh_worker *worker, enum bh_lookup what,
                   const struct bh_slice *names, size_t count, bh_tracker_cb done, void *ud,
                   bh_handle handle) {
    bh_node_lookup_local(worker, what, names, count, done, ud, handle);
}

static void free_tracker(struct bh_tracker *base) {
    struct tracker *t = of(base);
    size_t cursor = 0;
    struct user *u;
    while ((u = bh_map_next(&t->users, &cursor))) {
        cancel_departure(u);
        bh_free(u);
    }
    bh_map_deinit(&t->users);
    bh_free(t);
}

static const struct bh_tracker_vt vt = {.start = start,
                                        .changed = changed,
                                        .restored = restored,
                                        .stop = stop,
                                        .lookup = lookup,
                                        .free = free_tracker};

struct bh_tracker *bh_memory_tracker_new(uint64_t debounce_ms) {
    struct tracker *t = bh_calloc(1, sizeof *t);
    t->base.vt = &vt;
    t->base.wants_changes = true;
    t->debounce_ms = debounce_ms;
    bh_map_init(&t->users, name_of);
    bh_list_init(&t->leaving);
    return &t->base;
}
