/* tracker_write.c - who came and went, in batches to Redis.
 *
 * The queue holds what the node has told, as it was told. A batch is its head: the entries stay
 * until Redis has confirmed them, and only one batch is in flight, so what is told of one
 * connection is executed in its order even if a script must be sent twice. The reply names the
 * changes that were none (a connection told twice, one that went before it was told of), so neither
 * the number of connections nor those of the tenants need a table of connections here.
 *
 * A restore is paced, so that many instances that begin at once leave Redis time for others. */
#include "tracker/tracker.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/mem.h"
#include "link/metrics.h"

#include <stdio.h>

#define BATCH_MAX     128 /* some 2 ms of Redis' time, in which it serves nobody else */
#define QUEUE_MAX     1000000
#define PACE_MS       3
#define REPLY_HEAD    4 /* elements of track.lua's reply before the lists */
#define CONSUME_BYTES (1024 * 1024)

struct entry {
    uint64_t number;
    int64_t opened_at;
    bool here;
    bool known; /* it has gone, and its user was announced before Redis forgot */
    uint8_t user_len, tenant_len;
};

struct change {
    struct entry e;
    struct bh_slice user, tenant;
};

/* The entry at *at, which moves on to the next. */
static struct change next_change(const struct bh_redis_tracker *t, size_t *at) {
    struct change c;
    const char *p = t->changes.queue.p + *at;
    memcpy(&c.e, p, sizeof c.e);
    c.user = bh_slice(p + sizeof c.e, c.e.user_len);
    c.tenant = bh_slice(c.user.p + c.user.n, c.e.tenant_len);
    *at += sizeof c.e + c.user.n + c.tenant.n;
    return c;
}

static void drop_head(struct bh_redis_tracker *t, size_t at, size_t count) {
    t->changes.head = at;
    t->changes.count -= count;
    if (t->changes.count == 0) {
        bh_bytes_free(&t->changes.queue);
        t->changes.head = 0;
    } else if (at > CONSUME_BYTES && at > t->changes.queue.len / 2) {
        bh_bytes_consume(&t->changes.queue, at);
        t->changes.head = 0;
    }
}

/* --- what goes to Redis --- */

struct bh_redis_call *bh_redis_track_call(const struct bh_redis_tracker *t, struct bh_slice name,
                                          const char *mode) {
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_track, t->prefix);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "instance:", name);
    bh_redis_call_key(call, "presence", BH_SLICE(""));
    bh_redis_call_key(call, "leaving", BH_SLICE(""));
    bh_redis_call_key(call, "events:", name);
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    bh_redis_call_key(call, "arriving", BH_SLICE(""));
    bh_redis_call_arg(call, name);
    bh_redis_call_int(call, (int64_t)t->debounce_ms);
    bh_redis_call_arg(call, bh_slice_cstr(mode));
    return call;
}

void bh_redis_track_change(struct bh_redis_call *call, struct bh_slice user,
                           struct bh_slice connection, struct bh_slice value, bool known) {
    bh_redis_call_key(call, "connections:", user);
    bh_redis_call_arg(call, user);
    bh_redis_call_arg(call, connection);
    bh_redis_call_arg(call, value);
    bh_redis_call_arg(call, known ? BH_SLICE("1") : BH_SLICE(""));
}

/* When others have cleaned up after us, they have said that our users are offline: Redis knows. */
static bool is_no_news(const struct bh_redis_tracker *t, const struct change *c) {
    return t->state == BH_TRACKER_RESTORING && t->fate != BH_TRACKER_REAPED &&
           bh_redis_was_announced(t, c->e.number, c->e.opened_at);
}

static void add_change(const struct bh_redis_tracker *t, struct bh_redis_call *call,
                       const struct change *c) {
    char id[BH_CONNECTION_ID_LEN + 1], value[24 + BH_ID_MAX];
    size_t n = 0;
    bool known = c->e.known;
    bh_connection_id(c->e.number, id);
    if (c->e.here) {
        n = (size_t)snprintf(value, sizeof value, "%lld %.*s", (long long)c->e.opened_at,
                             BH_SLICE_ARG(c->tenant));
        known = is_no_news(t, c);
    }
    bh_redis_track_change(call, c->user, bh_slice_cstr(id), bh_slice(value, n), known);
}

static void on_written(void *ud, bh_handle handle, int error, const struct bh_reply *r);

static void send_batch(struct bh_redis_tracker *t) {
    size_t at = t->changes.head;
    size_t count = t->changes.count < BATCH_MAX ? t->changes.count : BATCH_MAX;
    struct bh_redis_call *call = bh_redis_track_call(t, bh_tracker_name(&t->name), "live");
    for (size_t i = 0; i < count; i++) {
        struct change c = next_change(t, &at);
        add_change(t, call, &c);
    }
    t->changes.in_flight = count;
    t->changes.sent++;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TRACK_BATCHES]);
    bh_redis_call_send(call, &t->link, on_written, t, t->registration);
}

static void on_flush(struct bh_defer *d) {
    send_batch(BH_CONTAINER_OF(d, struct bh_redis_tracker, changes.flush));
}

static void on_pace(struct bh_timer *timer) {
    send_batch(BH_CONTAINER_OF(timer, struct bh_redis_tracker, changes.pace));
}

/* A registration is complete when all that was told until the end of the restore stands in Redis,
 * and the tenants' counts; only then the earlier one is not needed any more. What came meanwhile
 * waits for it, so that it has an end. What is told in one tick goes together. */
void bh_redis_changes_go_on(struct bh_redis_tracker *t) {
    if (t->changes.in_flight)
        return;
    if (t->state == BH_TRACKER_RESTORING && t->changes.told_all && t->changes.before_end == 0) {
        if (bh_redis_tenants_write(t))
            return;
        bh_redis_tracker_completed(t);
    }
    if (t->changes.count == 0)
        return;
    if (t->state == BH_TRACKER_LIVE)
        bh_defer(t->link.loop, BH_PHASE_FLUSH, &t->changes.flush);
    else if (!bh_timer_pending(&t->changes.pace))
        bh_timer_set(&t->changes.pace, bh_random_below(PACE_MS));
}

/* --- what comes back --- */

/* The changes that were none come in their order, counted from 1. */
static bool is_written(const struct bh_redis_tracker *t, const struct bh_reply *r) {
    const struct bh_reply *e = r->elements;
    if (r->count < REPLY_HEAD || !bh_redis_is_int(&e[0]) || !bh_redis_is_int(&e[1]) ||
        !bh_redis_is_int(&e[2]) || !bh_redis_is_count(&e[3], r->count - REPLY_HEAD))
        return false;
    size_t none = (size_t)e[3].integer;
    int64_t last = 0;
    for (size_t i = 0; i < none; i++) {
        const struct bh_reply *n = &e[REPLY_HEAD + i];
        if (!bh_redis_is_int(n) || n->integer <= last ||
            (uint64_t)n->integer > t->changes.in_flight)
            return false;
        last = n->integer;
    }
    return bh_redis_all_strings(e + REPLY_HEAD + none, r->count - REPLY_HEAD - none);
}

/* Takes the batch out of the queue; returns by how many connections there are more now. */
static int64_t take_batch(struct bh_redis_tracker *t, const struct bh_reply *none, size_t count) {
    size_t at = t->changes.head, in_flight = t->changes.in_flight, skipped = 0;
    int64_t more = 0;
    for (size_t i = 0; i < in_flight; i++) {
        struct change c = next_change(t, &at);
        if (c.e.here && c.e.opened_at > t->announced.next)
            t->announced.next = c.e.opened_at;
        if (skipped < count && none[skipped].integer == (int64_t)i + 1) {
            skipped++;
            continue;
        }
        more += c.e.here ? 1 : -1;
        if (c.tenant.n)
            bh_redis_tenants_add(t, c.tenant, c.e.here ? 1 : -1);
    }
    drop_head(t, at, in_flight);
    t->changes.before_end -= t->changes.before_end < in_flight ? t->changes.before_end : in_flight;
    t->changes.in_flight = 0;
    return more;
}

static void on_written(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    if (!bh_redis_tracker_accepts(t, handle, "track", error, r))
        return;
    if (!is_written(t, r)) {
        bh_redis_tracker_failed(t, "track", BH_SLICE("an unexpected answer"));
        return;
    }
    bh_redis_tracker_left_out("connections:", r->elements[2].integer);
    size_t none = (size_t)r->elements[3].integer;
    int64_t more = take_batch(t, r->elements + REPLY_HEAD, none);
    t->held += more;
    bh_metric_add(&bh_redis_metrics[BH_REDIS_TRACKED], more);
    if (t->state == BH_TRACKER_LIVE)
        t->announced.until = t->announced.next;
    for (size_t i = REPLY_HEAD + none; i < r->count; i++)
        bh_redis_events_raise(t, r->elements[i].str);
    if (r->elements[1].integer != t->held)
        bh_redis_tracker_lost(t, "it holds another number of connections");
    else
        bh_redis_changes_go_on(t);
}

/* --- the queue --- */

static void add(struct bh_redis_tracker *t, const struct bh_track *c, bool known) {
    struct entry e = {.number = c->number,
                      .opened_at = c->opened_at,
                      .here = c->here,
                      .known = known,
                      .user_len = (uint8_t)c->user.n,
                      .tenant_len = (uint8_t)c->tenant.n};
    bh_bytes_add(&t->changes.queue, bh_slice(&e, sizeof e));
    bh_bytes_add(&t->changes.queue, c->user);
    bh_bytes_add(&t->changes.queue, c->tenant);
    t->changes.count++;
}

static void remember(struct bh_redis_tracker *t, const struct bh_track *c) {
    if (!c->here)
        bh_redis_departed_add(t, c);
    else if (!bh_redis_tracker_takes(t))
        bh_redis_not_confirmed(t, c->number, c->opened_at);
}

/* Without a registration nothing is queued: the restore tells of whoever is still there. */
void bh_redis_changes_add(struct bh_redis_tracker *t, const struct bh_track *changes,
                          size_t count) {
    for (size_t i = 0; i < count; i++)
        remember(t, &changes[i]);
    if (!bh_redis_tracker_takes(t))
        return;
    for (size_t i = 0; i < count; i++)
        add(t, &changes[i], false);
    if (t->changes.count > QUEUE_MAX)
        bh_redis_tracker_failed(t, "track", BH_SLICE("Redis is too slow: the queue is full"));
    else
        bh_redis_changes_go_on(t);
}

void bh_redis_changes_add_departed(struct bh_redis_tracker *t, uint64_t number,
                                   struct bh_slice user) {
    add(t, &(struct bh_track){.number = number, .user = user}, true);
}

void bh_redis_changes_told_all(struct bh_redis_tracker *t) {
    if (t->state != BH_TRACKER_RESTORING)
        return;
    t->changes.told_all = true;
    if (t->fate == BH_TRACKER_FORGOTTEN)
        bh_redis_departed_tell(t);
    t->changes.before_end = t->changes.count;
    bh_redis_changes_go_on(t);
}

/* Those who have come and are not confirmed may or may not stand in Redis, and be announced. */
void bh_redis_changes_clear(struct bh_redis_tracker *t) {
    size_t at = t->changes.head;
    for (size_t i = 0; i < t->changes.count; i++) {
        struct change c = next_change(t, &at);
        if (c.e.here)
            bh_redis_not_confirmed(t, c.e.number, c.e.opened_at);
    }
    bh_bytes_free(&t->changes.queue);
    t->changes.head = t->changes.count = t->changes.in_flight = t->changes.before_end = 0;
    t->changes.told_all = false;
    bh_defer_cancel(&t->changes.flush);
    bh_timer_cancel(&t->changes.pace);
}

void bh_redis_changes_init(struct bh_redis_tracker *t, struct bh_loop *bus) {
    bh_defer_init(&t->changes.flush, on_flush);
    bh_timer_init(&t->changes.pace, bus, on_pace);
}
