/* tracker_reap.c - cleaning up after registrations that have ended: a crash, a long outage, a stop,
 * or an earlier life of this very process.
 *
 * A heartbeat names up to ten. Whoever comes first claims one for a while and takes it apart, a
 * page at a time: a page of its connections, their removal, the next page; then its tenants; then
 * its name, which is the end. The claim is prolonged by each page, so if this process dies, too,
 * another one goes on where it stopped. What cannot be taken apart is left to the next heartbeat,
 * and does not keep the others. Users who have nobody left are put among the leaving, with
 * the debounce before them: they may be on their way to another instance. */
#include "bellhop/base/log.h"
#include "link/metrics.h"
#include "tracker/tracker.h"

#include <stdio.h>

#define CLAIM_MS 10000
#define PAGE     200

enum { NOT_MINE, CONNECTIONS, TENANTS, FINISHED };

static void go_on(struct bh_redis_tracker *t);

static struct bh_slice at_hand(const struct bh_redis_tracker *t) {
    return bh_tracker_name(&t->reap.dead[t->reap.count - 1]);
}

static void next(struct bh_redis_tracker *t) {
    t->reap.count--;
    t->reap.removed = 0;
    snprintf(t->reap.cursor, sizeof t->reap.cursor, "0");
    go_on(t);
}

static void on_removed(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    if (handle != t->registration)
        return;
    if (bh_redis_tracker_hears("track", error, r))
        go_on(t);
    else
        next(t);
}

static void remove_connections(struct bh_redis_tracker *t, const struct bh_reply *pairs,
                               size_t count) {
    struct bh_redis_call *call = bh_redis_track_call(t, at_hand(t), "reap");
    for (size_t i = 0; i + 1 < count; i += 2)
        bh_redis_track_change(call, pairs[i + 1].str, pairs[i].str, BH_SLICE(""), true);
    t->reap.removed += (int64_t)(count / 2);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_REAPED], (int64_t)(count / 2));
    bh_redis_call_send(call, &t->link, on_removed, t, t->registration);
}

static void remove_tenants(struct bh_redis_tracker *t, const struct bh_reply *names, size_t count) {
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_tenants, t->prefix);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "tenants:", at_hand(t));
    bh_redis_call_arg(call, at_hand(t));
    bh_redis_call_arg(call, BH_SLICE("reap"));
    for (size_t i = 0; i < count; i++) {
        bh_redis_call_key(call, "tenant:", names[i].str);
        bh_redis_call_arg(call, names[i].str);
        bh_redis_call_int(call, 0);
    }
    bh_redis_call_send(call, &t->link, on_removed, t, t->registration);
}

static bool is_page(const struct bh_reply *r) {
    return r->count >= 2 && bh_redis_is_int(&r->elements[0]) &&
           bh_redis_all_strings(r->elements + 1, r->count - 1);
}

static void on_page(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    if (handle != t->registration)
        return;
    if (!bh_redis_tracker_hears("reap", error, r) || !is_page(r)) {
        next(t);
        return;
    }
    const struct bh_reply *e = r->elements;
    snprintf(t->reap.cursor, sizeof t->reap.cursor, "%.*s", BH_SLICE_ARG(e[1].str));
    switch (e[0].integer) {
    case CONNECTIONS:
        remove_connections(t, e + 2, r->count - 2);
        break;
    case TENANTS:
        remove_tenants(t, e + 2, r->count - 2);
        break;
    case FINISHED:
        bh_info("cleaned up after an instance", bh_kv_slice("name", at_hand(t)),
                bh_kv_int("connections", t->reap.removed));
        next(t);
        break;
    default:
        next(t);
    }
}

static void go_on(struct bh_redis_tracker *t) {
    if (t->reap.count == 0)
        return;
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_reap, t->prefix);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "instance:", at_hand(t));
    bh_redis_call_key(call, "tenants:", at_hand(t));
    bh_redis_call_key(call, "reaper:", at_hand(t));
    bh_redis_call_key(call, "reaped", BH_SLICE(""));
    bh_redis_call_key(call, "events:", at_hand(t));
    bh_redis_call_key(call, "events:", bh_tracker_name(&t->name));
    bh_redis_call_arg(call, at_hand(t));
    bh_redis_call_arg(call, bh_slice_cstr(t->reap.asker));
    bh_redis_call_int(call, CLAIM_MS);
    bh_redis_call_arg(call, bh_slice_cstr(t->reap.cursor));
    bh_redis_call_int(call, PAGE);
    bh_redis_call_send(call, &t->link, on_page, t, t->registration);
}

void bh_redis_reap(struct bh_redis_tracker *t, const struct bh_reply *names, size_t count) {
    if (t->reap.count)
        return;
    for (size_t i = 0; i < count && t->reap.count < BH_TRACKER_DEAD_MAX; i++) {
        struct bh_tracker_name *name = &t->reap.dead[t->reap.count];
        if (names[i].str.n == 0 || names[i].str.n > BH_TRACKER_NAME_MAX)
            continue;
        name->len = names[i].str.n;
        memcpy(name->text, names[i].str.p, name->len);
        t->reap.count++;
    }
    t->reap.removed = 0;
    snprintf(t->reap.cursor, sizeof t->reap.cursor, "0");
    go_on(t);
}

void bh_redis_reap_clear(struct bh_redis_tracker *t) {
    t->reap.count = 0;
}
