/* changes.c - connections that came or went, written to Redis in batches.
 *
 * The queue holds the changes as the node reported them. A batch is the head of the queue; its
 * entries stay until Redis has confirmed them, and only one batch is in flight, so the changes of
 * one connection are executed in order even if a script must be sent twice. The reply lists the
 * changes that had no effect (a connection reported twice, one that went before it was reported),
 * so that neither the number of connections nor the tenants' counts need a table of connections
 * here.
 *
 * A restore is paced: when many instances restore at once, Redis still has time for other clients.
 */
#include "tracker/changes.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/mem.h"
#include "link/metrics.h"
#include "tracker/calls.h"

#include <stdio.h>

#define BATCH_MAX     128 /* about 2 ms of Redis' time, in which it serves no other client */
#define BATCH_PART    32  /* of one of several parts, which send theirs at the same time */
#define QUEUE_MAX     1000000
#define QUEUE_PART    250000 /* of one of several parts */
#define PACE_MS       3
#define REPLY_HEAD    5 /* elements of track.lua's reply before the lists */
#define CONSUME_BYTES (1024 * 1024)

struct entry {
    uint64_t number;
    int64_t opened_at;
    bool here;
    bool remembered; /* it has gone, and is among the departed already */
    int64_t due;     /* it had gone before Redis lost its data: when its user was due; else 0 */
    uint8_t user_len, tenant_len;
};

struct change {
    struct entry e;
    struct bh_slice user, tenant;
};

/* The entry at *at, which moves on to the next. */
static struct change next_change(const struct bh_redis_changes *c, size_t *at) {
    struct change one;
    const char *p = c->queue.p + *at;
    memcpy(&one.e, p, sizeof one.e);
    one.user = bh_slice(p + sizeof one.e, one.e.user_len);
    one.tenant = bh_slice(one.user.p + one.user.n, one.e.tenant_len);
    *at += sizeof one.e + one.user.n + one.tenant.n;
    return one;
}

static void drop_head(struct bh_redis_changes *c, size_t at, size_t count) {
    c->head = at;
    c->count -= count;
    if (c->count == 0) {
        bh_bytes_free(&c->queue);
        c->head = 0;
    } else if (at > CONSUME_BYTES && at > c->queue.len / 2) {
        bh_bytes_consume(&c->queue, at);
        c->head = 0;
    }
}

/* --- to Redis --- */

/* Redis has announced the user already, unless others have reaped this one's predecessor, or went
 * on without it after data loss: then its users may have been announced as offline. */
static bool is_announced(const struct bh_redis_changes *c, const struct change *one) {
    const struct bh_redis_registration *r = c->registration;
    return r->state == BH_TRACKER_RESTORING &&
           (r->previous == BH_PREVIOUS_STANDS || r->previous == BH_PREVIOUS_FORGOTTEN) &&
           bh_redis_was_announced(c->departed, one->e.number, one->e.opened_at);
}

static void add_change(const struct bh_redis_changes *c, struct bh_redis_call *call,
                       const struct change *one) {
    char id[BH_CONNECTION_ID_LEN + 1], value[24 + BH_ID_MAX], announced[24] = "";
    size_t n = 0;
    bh_connection_id(one->e.number, id);
    if (one->e.due)
        snprintf(announced, sizeof announced, "%lld", (long long)one->e.due);
    if (one->e.here) {
        n = (size_t)snprintf(value, sizeof value, "%lld %.*s", (long long)one->e.opened_at,
                             BH_SLICE_ARG(one->tenant));
        snprintf(announced, sizeof announced, is_announced(c, one) ? "yes" : "");
    }
    bh_redis_track_change(call, one->user, bh_slice_cstr(id), bh_slice(value, n),
                          bh_slice_cstr(announced));
}

static void on_written(void *ud, bh_handle handle, int error, const struct bh_reply *reply);

static void send_batch(struct bh_redis_changes *c) {
    struct bh_redis_registration *r = c->registration;
    size_t at = c->head, most = r->parts > 1 ? BATCH_PART : BATCH_MAX;
    size_t count = c->count < most ? c->count : most;
    struct bh_redis_call *call = bh_redis_track_call(r, bh_tracker_name(&r->name), "live");
    for (size_t i = 0; i < count; i++) {
        struct change one = next_change(c, &at);
        add_change(c, call, &one);
    }
    c->in_flight = count;
    c->sent++;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TRACK_BATCHES]);
    bh_redis_registration_send(r, call, on_written, c);
}

static void on_flush(struct bh_defer *d) {
    send_batch(BH_CONTAINER_OF(d, struct bh_redis_changes, flush));
}

static void on_pace(struct bh_timer *timer) {
    send_batch(BH_CONTAINER_OF(timer, struct bh_redis_changes, pace));
}

/* A restore is complete when everything reported until its end is in Redis, and so are the tenants'
 * counts; only then the predecessor is no longer needed. Changes reported meanwhile wait for that,
 * so that the restore ends. LIVE changes of one tick are sent together. */
void bh_redis_changes_pump(struct bh_redis_changes *c) {
    const struct bh_redis_registration *r = c->registration;
    if (c->in_flight)
        return;
    if (r->state == BH_TRACKER_RESTORING && c->restored && c->restore_left == 0) {
        if (bh_redis_tenants_write(c->tenants))
            return;
        c->on_complete(c);
    }
    if (c->count == 0)
        return;
    if (r->state == BH_TRACKER_LIVE)
        bh_defer(r->link.loop, BH_PHASE_FLUSH, &c->flush);
    else if (!bh_timer_pending(&c->pace))
        bh_timer_set(&c->pace, bh_random_below(PACE_MS));
}

/* --- from Redis --- */

/* The changes without effect are listed in their order, counted from 1. */
static bool is_written(const struct bh_redis_changes *c, const struct bh_reply *reply) {
    const struct bh_reply *e = reply->elements;
    if (reply->count < REPLY_HEAD || !bh_redis_is_int(&e[0]) || !bh_redis_is_int(&e[1]) ||
        !bh_redis_is_int(&e[2]) || !bh_redis_is_int(&e[3]) ||
        !bh_redis_is_count(&e[4], reply->count - REPLY_HEAD))
        return false;
    size_t none = (size_t)e[4].integer;
    int64_t last = 0;
    for (size_t i = 0; i < none; i++) {
        const struct bh_reply *n = &e[REPLY_HEAD + i];
        if (!bh_redis_is_int(n) || n->integer <= last || (uint64_t)n->integer > c->in_flight)
            return false;
        last = n->integer;
    }
    return bh_redis_all_strings(e + REPLY_HEAD + none, reply->count - REPLY_HEAD - none);
}

static void remember_gone(struct bh_redis_changes *c, const struct change *one) {
    struct bh_track gone = {
        .number = one->e.number, .opened_at = one->e.opened_at, .user = one->user};
    if (!one->e.remembered)
        bh_redis_departed_add(c->departed, &gone, true);
}

/* Removes the batch from the queue; returns by how many connections there are more now. `none`: the
 * changes without effect. */
static int64_t take_batch(struct bh_redis_changes *c, const struct bh_reply *none, size_t count) {
    size_t at = c->head, in_flight = c->in_flight, skipped = 0;
    int64_t more = 0;
    for (size_t i = 0; i < in_flight; i++) {
        struct change one = next_change(c, &at);
        if (one.e.here)
            bh_redis_departed_confirmed(c->departed, one.e.opened_at);
        else
            remember_gone(c, &one);
        if (skipped < count && none[skipped].integer == (int64_t)i + 1) {
            skipped++;
            continue;
        }
        more += one.e.here ? 1 : -1;
        if (one.tenant.n)
            bh_redis_tenants_add(c->tenants, one.tenant, one.e.here ? 1 : -1);
    }
    drop_head(c, at, in_flight);
    c->restore_left -= c->restore_left < in_flight ? c->restore_left : in_flight;
    c->in_flight = 0;
    return more;
}

static void on_written(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct bh_redis_changes *c = ud;
    struct bh_redis_registration *r = c->registration;
    if (!bh_redis_reply_ok(r, handle, "track", error, reply))
        return;
    const struct bh_reply *e = reply->elements;
    if (!is_written(c, reply)) {
        r->on_failed(r, "track", BH_SLICE("unexpected answer"));
        return;
    }
    bh_redis_registration_renewed(r, e[0].integer);
    bh_redis_count_skipped("connections:", e[2].integer);
    size_t none = (size_t)e[4].integer;
    int64_t more = take_batch(c, e + REPLY_HEAD, none);
    c->held += more;
    bh_metric_add(&bh_redis_metrics[BH_REDIS_TRACKED], more);
    c->departed->calm = e[3].integer != 0;
    bh_redis_departed_confirmed_all(c->departed);
    bh_redis_events_raise_all(c->events, e + REPLY_HEAD + none, reply->count - REPLY_HEAD - none);
    if (e[1].integer != c->held)
        r->on_lost(r, "the number of connections differs");
    else
        bh_redis_changes_pump(c);
}

/* --- the queue --- */

static void add(struct bh_redis_changes *c, const struct bh_track *change, bool remembered,
                int64_t due) {
    struct entry e = {.number = change->number,
                      .opened_at = change->opened_at,
                      .here = change->here,
                      .remembered = remembered,
                      .due = due,
                      .user_len = (uint8_t)change->user.n,
                      .tenant_len = (uint8_t)change->tenant.n};
    bh_bytes_add(&c->queue, bh_slice(&e, sizeof e));
    bh_bytes_add(&c->queue, change->user);
    bh_bytes_add(&c->queue, change->tenant);
    c->count++;
}

/* Of a LIVE registration, departures are remembered when they are written. */
static void remember(struct bh_redis_changes *c, const struct bh_track *change) {
    if (!change->here && c->registration->state != BH_TRACKER_LIVE)
        bh_redis_departed_add(c->departed, change, false);
    else if (change->here && !bh_redis_is_writable(c->registration))
        bh_redis_departed_unconfirmed(c->departed, change->number, change->opened_at);
}

/* Without a registration nothing is queued: the restore reports every connection that is left. */
void bh_redis_changes_add(struct bh_redis_changes *c, const struct bh_track *changes,
                          size_t count) {
    struct bh_redis_registration *r = c->registration;
    for (size_t i = 0; i < count; i++)
        remember(c, &changes[i]);
    if (!bh_redis_is_writable(r))
        return;
    for (size_t i = 0; i < count; i++)
        add(c, &changes[i], r->state != BH_TRACKER_LIVE, 0);
    if (c->count > (r->parts > 1 ? QUEUE_PART : QUEUE_MAX))
        r->on_failed(r, "track", BH_SLICE("the queue to Redis is full"));
    else
        bh_redis_changes_pump(c);
}

/* Redis has lost its data: it learns of those who were announced and have departed since. */
static void add_departed(struct bh_redis_changes *c) {
    struct bh_track gone = {0};
    int64_t due;
    size_t cursor = 0;
    while (bh_redis_departed_next(c->departed, &cursor, &gone, &due))
        add(c, &gone, true, due);
}

void bh_redis_changes_restored(struct bh_redis_changes *c) {
    if (c->registration->state != BH_TRACKER_RESTORING)
        return;
    c->restored = true;
    if (c->registration->previous >= BH_PREVIOUS_FORGOTTEN)
        add_departed(c);
    c->restore_left = c->count;
    bh_redis_changes_pump(c);
}

/* --- life --- */

/* Changes that are not confirmed may or may not be in Redis. */
void bh_redis_changes_clear(struct bh_redis_changes *c) {
    size_t at = c->head;
    for (size_t i = 0; i < c->count; i++) {
        struct change one = next_change(c, &at);
        if (one.e.here)
            bh_redis_departed_unconfirmed(c->departed, one.e.number, one.e.opened_at);
        else
            remember_gone(c, &one);
    }
    bh_bytes_free(&c->queue);
    c->head = c->count = c->in_flight = c->restore_left = 0;
    c->restored = false;
    bh_defer_cancel(&c->flush);
    bh_timer_cancel(&c->pace);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_TRACKED], -c->held);
    c->held = 0;
}

void bh_redis_changes_init(struct bh_redis_changes *c, struct bh_loop *bus) {
    bh_defer_init(&c->flush, on_flush);
    bh_timer_init(&c->pace, bus, on_pace);
}
