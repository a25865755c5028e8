/* reap.c - cleaning up after registrations that have ended: after a crash, a long outage, a stop,
 * or after an earlier registration of this process.
 *
 * A heartbeat returns up to ten names. The first instance to ask claims a name for ten seconds and
 * removes what it left, a page at a time: its connections, then its tenants, then its name. Each
 * page renews the claim, so if this process dies too, another one continues where it stopped. After
 * a failure the name is left to the next heartbeat, and the next name is tried. A user without
 * connections becomes `leaving`, with the debounce ahead: they may be reconnecting to another
 * instance. */
#include "tracker/reap.h"

#include "bellhop/base/log.h"
#include "link/metrics.h"
#include "tracker/calls.h"

#include <stdio.h>

#define CLAIM_MS 10000
#define PAGE     200

enum { NOT_MINE, CONNECTIONS, TENANTS, FINISHED }; /* what reap.lua returns */

static void read_page(struct bh_redis_reap *reap);

static struct bh_slice current(const struct bh_redis_reap *reap) {
    return bh_tracker_name(&reap->dead[reap->count - 1]);
}

static void begin_one(struct bh_redis_reap *reap) {
    reap->removed = 0;
    snprintf(reap->cursor, sizeof reap->cursor, "0");
    read_page(reap);
}

static void next(struct bh_redis_reap *reap) {
    reap->count--;
    begin_one(reap);
}

static void on_removed(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_reap *reap = ud;
    if (handle != reap->registration->number)
        return;
    if (bh_redis_check_reply("track", error, r))
        read_page(reap);
    else
        next(reap);
}

static void remove_connections(struct bh_redis_reap *reap, const struct bh_reply *pairs,
                               size_t count) {
    struct bh_redis_call *call = bh_redis_track_call(reap->registration, current(reap), "reap");
    for (size_t i = 0; i + 1 < count; i += 2)
        bh_redis_track_change(call, pairs[i + 1].str, pairs[i].str, BH_SLICE(""),
                              BH_SLICE("maybe"));
    reap->removed += (int64_t)(count / 2);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_REAPED], (int64_t)(count / 2));
    bh_redis_registration_send(reap->registration, call, on_removed, reap);
}

static void remove_tenants(struct bh_redis_reap *reap, const struct bh_reply *names, size_t count) {
    struct bh_redis_call *call = bh_redis_tenants_call(reap->registration, current(reap), "reap");
    for (size_t i = 0; i < count; i++)
        bh_redis_tenants_count(call, names[i].str, 0);
    bh_redis_registration_send(reap->registration, call, on_removed, reap);
}

static bool is_page(const struct bh_reply *r) {
    return r->count >= 2 && bh_redis_is_int(&r->elements[0]) &&
           bh_redis_all_strings(r->elements + 1, r->count - 1);
}

static void on_page(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_reap *reap = ud;
    if (handle != reap->registration->number)
        return;
    if (!bh_redis_check_reply("reap", error, r) || !is_page(r)) {
        next(reap);
        return;
    }
    const struct bh_reply *e = r->elements;
    snprintf(reap->cursor, sizeof reap->cursor, "%.*s", BH_SLICE_ARG(e[1].str));
    switch (e[0].integer) {
    case CONNECTIONS:
        remove_connections(reap, e + 2, r->count - 2);
        break;
    case TENANTS:
        remove_tenants(reap, e + 2, r->count - 2);
        break;
    case FINISHED:
        bh_info("removed the connections of a dead instance", bh_kv_slice("name", current(reap)),
                bh_kv_int("connections", reap->removed));
        next(reap);
        break;
    default:
        next(reap);
    }
}

static void read_page(struct bh_redis_reap *reap) {
    struct bh_redis_registration *r = reap->registration;
    if (reap->count == 0)
        return;
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_reap);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "instance:", current(reap));
    bh_redis_call_key(call, "tenants:", current(reap));
    bh_redis_call_key(call, "reaper:", current(reap));
    bh_redis_call_key(call, "reaped", BH_SLICE(""));
    bh_redis_call_key(call, "events:", current(reap));
    bh_redis_call_key(call, "events:", bh_tracker_name(&r->name));
    bh_redis_call_arg(call, current(reap));
    bh_redis_call_arg(call, bh_slice_cstr(reap->claimant));
    bh_redis_call_int(call, CLAIM_MS);
    bh_redis_call_arg(call, bh_slice_cstr(reap->cursor));
    bh_redis_call_int(call, PAGE);
    bh_redis_registration_send(r, call, on_page, reap);
}

void bh_redis_reap_start(struct bh_redis_reap *reap, const struct bh_reply *names, size_t count) {
    if (reap->count)
        return;
    for (size_t i = 0; i < count && reap->count < BH_REDIS_DEAD_MAX; i++) {
        struct bh_tracker_name *name = &reap->dead[reap->count];
        if (names[i].str.n == 0 || names[i].str.n > BH_TRACKER_NAME_MAX)
            continue;
        name->len = names[i].str.n;
        memcpy(name->text, names[i].str.p, name->len);
        reap->count++;
    }
    begin_one(reap);
}

void bh_redis_reap_init(struct bh_redis_reap *reap, struct bh_redis_registration *r) {
    reap->registration = r;
    bh_id_unique(reap->claimant);
}

void bh_redis_reap_clear(struct bh_redis_reap *reap) {
    reap->count = 0;
}
