/* parts.c - the tracker as 16 parts: changes go to the part of their user.
 *
 * A part that registers needs a restore, in which the node reports all connections, whatever part
 * they belong to. So parts that ask at about the same time share one, and those that ask during a
 * restore share the next. What is reported again is given only to the parts that the restore is
 * for: the others have it. */
#include "tracker/parts.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"
#include "broker/broker.h"
#include "broker/route.h"
#include "broker/shards.h"
#include "tracker/merge.h"

#include <stdio.h>

#define ONE_PREFIX "ws:"
#define GATHER_MS  250 /* more than the jitter before a registration (tracker.c) */
#define SORT_MAX   512 /* changes; the node reports at most 500 at a time */

static struct bh_redis_parts *of(struct bh_tracker *t) {
    return BH_CONTAINER_OF(t, struct bh_redis_parts, base);
}

static struct bh_tracker *tracker_of(struct bh_redis_parts *p, unsigned i) {
    return &p->tracker[i]->base;
}

/* --- the restore --- */

static bool any(const struct bh_redis_parts *p, enum bh_redis_part_restore restore) {
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        if (p->part[i].restore == restore)
            return true;
    return false;
}

/* The node gives up a restore that is for nobody any more when the next one begins. */
static void begin_soon(struct bh_redis_parts *p) {
    if (any(p, BH_PART_ASKS) && !any(p, BH_PART_IN_RESTORE) && !bh_timer_pending(&p->gather))
        bh_timer_set(&p->gather, GATHER_MS);
}

static void on_restore(void *ud) {
    struct bh_redis_part *part = ud;
    part->restore = BH_PART_ASKS;
    begin_soon(part->owner);
}

static void on_gathered(struct bh_timer *timer) {
    struct bh_redis_parts *p = BH_CONTAINER_OF(timer, struct bh_redis_parts, gather);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        if (p->part[i].restore == BH_PART_ASKS)
            p->part[i].restore = BH_PART_IN_RESTORE;
    p->sink.on_restore(p->sink.ud);
}

static void restored(struct bh_tracker *base) {
    struct bh_redis_parts *p = of(base);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        if (p->part[i].restore != BH_PART_IN_RESTORE)
            continue;
        p->part[i].restore = BH_PART_SETTLED;
        tracker_of(p, i)->vt->restored(tracker_of(p, i));
    }
    begin_soon(p);
}

/* --- changes --- */

/* BH_REDIS_PARTS: no part needs it. */
static unsigned receiver_of(const struct bh_redis_parts *p, const struct bh_track *change) {
    unsigned i = bh_redis_part_of(change->user);
    return change->again && p->part[i].restore != BH_PART_IN_RESTORE ? BH_REDIS_PARTS : i;
}

/* Sorted by their parts; those of one part keep their order. */
static void hand_out(struct bh_redis_parts *p, const struct bh_track *changes, size_t count) {
    struct bh_track sorted[SORT_MAX];
    uint8_t receiver[SORT_MAX];
    size_t end[BH_REDIS_PARTS + 1] = {0}, from = 0;
    for (size_t i = 0; i < count; i++)
        end[receiver[i] = (uint8_t)receiver_of(p, &changes[i])]++;
    for (unsigned i = 0, sum = 0; i <= BH_REDIS_PARTS; i++) {
        sum += (unsigned)end[i];
        end[i] = sum - (unsigned)end[i];
    }
    for (size_t i = 0; i < count; i++)
        sorted[end[receiver[i]]++] = changes[i];
    for (unsigned i = 0; i < BH_REDIS_PARTS; from = end[i++])
        if (end[i] > from)
            tracker_of(p, i)->vt->changed(tracker_of(p, i), &sorted[from], end[i] - from);
}

static void changed(struct bh_tracker *base, const struct bh_track *changes, size_t count) {
    for (size_t n; count; changes += n, count -= n) {
        n = count < SORT_MAX ? count : SORT_MAX;
        hand_out(of(base), changes, n);
    }
}

/* --- events --- */

static void on_presence(void *ud, struct bh_slice user, bool online, int64_t at) {
    const struct bh_tracker_sink *sink = &((struct bh_redis_part *)ud)->owner->sink;
    sink->on_presence(sink->ud, user, online, at);
}

static void on_live(struct bh_redis_tracker *t) {
    struct bh_redis_parts *p = t->ud;
    int64_t connections = 0;
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        if (!bh_redis_tracker_is_complete(p->tracker[i]))
            return;
        connections += p->tracker[i]->changes.held;
    }
    bh_info("connections are tracked in Redis", bh_kv_int("parts", BH_REDIS_PARTS),
            bh_kv_int("connections", connections));
}

/* --- the port --- */

static int start(struct bh_tracker *base, struct bh_loop *bus, const struct bh_tracker_sink *sink) {
    struct bh_redis_parts *p = of(base);
    p->sink = *sink;
    bh_timer_init(&p->gather, bus, on_gathered);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        struct bh_tracker_sink own = {on_restore, on_presence, &p->part[i]};
        tracker_of(p, i)->vt->start(tracker_of(p, i), bus, &own);
    }
    return 0;
}

static void stop(struct bh_tracker *base) {
    struct bh_redis_parts *p = of(base);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        tracker_of(p, i)->vt->stop(tracker_of(p, i));
    if (p->gather.loop)
        bh_timer_cancel(&p->gather);
}

static void lookup(struct bh_tracker *base, struct bh_worker *worker, enum bh_lookup what,
                   const struct bh_slice *names, size_t count, bh_tracker_cb done, void *ud,
                   bh_handle handle) {
    bh_redis_parts_lookup(of(base)->tracker, worker->index, what, names, count, done, ud, handle);
}

/* A part registers again whenever its keys get another master: for a moment, at all instances at
 * once, and while messages are delivered. That is no reason to send clients elsewhere. */
static bool is_back_soon(const struct bh_redis_tracker *t) {
    uint64_t left_ms = atomic_load(&t->left_ms);
    return left_ms && bh_clock_ms() - left_ms < BH_REDIS_PART_AWAY_MS;
}

static int ready(const struct bh_tracker *base, const char **why) {
    struct bh_redis_parts *p = of((struct bh_tracker *)base);
    int error = 0;
    for (unsigned i = 0; i < BH_REDIS_PARTS && !error; i++)
        if (!is_back_soon(p->tracker[i]))
            error = tracker_of(p, i)->vt->ready(tracker_of(p, i), why);
    return error;
}

static void free_parts(struct bh_tracker *base) {
    struct bh_redis_parts *p = of(base);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        tracker_of(p, i)->vt->free(tracker_of(p, i));
    bh_free(p);
}

static const struct bh_tracker_vt vt = {.start = start,
                                        .changed = changed,
                                        .restored = restored,
                                        .stop = stop,
                                        .lookup = lookup,
                                        .ready = ready,
                                        .free = free_parts};

/* --- making it --- */

static void name_part(unsigned part, char name[BH_REDIS_PART_NAMES]) {
    snprintf(name, BH_REDIS_PART_NAMES, BH_REDIS_PART_NAME, part);
}

/* A cluster is one node here: the slot of the prefix says where its keys are. */
static unsigned choose_node(struct bh_broker *broker, struct bh_slice part, const unsigned *used) {
    unsigned nodes = bh_redis_broker_nodes(broker), best = nodes;
    if (nodes == 1)
        return 0;
    unsigned most = (BH_REDIS_PARTS + nodes - 1) / nodes;
    uint64_t greatest = 0;
    for (unsigned i = 0; i < nodes; i++) {
        char *name = bh_redis_shard_name(bh_redis_node_config(bh_redis_broker_node(broker, i)));
        uint64_t weight = bh_redis_shard_weight(bh_slice_cstr(name), part);
        bh_free(name);
        if (used[i] == most || (best < nodes && weight <= greatest))
            continue;
        best = i;
        greatest = weight;
    }
    return best;
}

void bh_redis_parts_place(struct bh_broker *broker, unsigned node_of[BH_REDIS_PARTS]) {
    unsigned used[BH_SHARDS_MAX] = {0};
    char name[BH_REDIS_PART_NAMES];
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        name_part(i, name);
        node_of[i] = choose_node(broker, bh_slice_cstr(name), used);
        used[node_of[i]]++;
    }
}

struct bh_tracker *bh_redis_parts_new(const struct bh_redis_tracker_config *tracker,
                                      struct bh_broker *broker) {
    struct bh_redis_parts *p = bh_calloc(1, sizeof *p);
    unsigned node_of[BH_REDIS_PARTS];
    char name[BH_REDIS_PART_NAMES];
    p->base.vt = &vt;
    p->base.wants_changes = true;
    bh_redis_parts_place(broker, node_of);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        name_part(i, name);
        p->part[i].owner = p;
        p->tracker[i] = bh_redis_tracker_part(tracker, bh_redis_broker_node(broker, node_of[i]),
                                              name, BH_REDIS_PARTS);
        p->tracker[i]->on_live = on_live;
        p->tracker[i]->ud = p;
    }
    return &p->base;
}

bool bh_redis_tracker_prefix_ok(const struct bh_redis_config *config, const char *key_prefix) {
    struct bh_slice prefix = bh_slice_cstr(key_prefix ? key_prefix : "");
    return !config->cluster || prefix.n == 0 || bh_redis_hash_tag(prefix).n < prefix.n;
}

struct bh_tracker *bh_redis_tracker_new(const struct bh_redis_tracker_config *tracker,
                                        struct bh_broker *broker) {
    const char *prefix = tracker->key_prefix;
    if (!prefix && (bh_redis_broker_nodes(broker) > 1 || bh_redis_broker_is_cluster(broker)))
        return bh_redis_parts_new(tracker, broker);
    return &bh_redis_tracker_part(tracker, bh_redis_broker_first(broker),
                                  prefix ? prefix : ONE_PREFIX, 1)
                ->base;
}
