/* tracker.c - the tracker over Redis, or a part of it: registrations, heartbeats, and what works
 * under them.
 *
 * An instance holds its connections in Redis under a name, and the name under a lease. Nothing is
 * stored here that Redis could return: a connection's entry is in Redis or in the queue to it, and
 * what remains is a number, how many Redis has confirmed. Every batch and every heartbeat compares
 * that number. If Redis has another one, or no lease, or the link was down, it is unknown what
 * Redis holds; so the registration ends, and the next one begins under a new name, with a new
 * lease, and with a restore, in which the node reports all connections again. Meanwhile the entries
 * of both names count as one. When the restore is complete the old lease is ended, and its entries
 * are reaped like those of a crash.
 *
 * Events: the hash `presence` holds who has been announced, so no user is announced twice. Redis
 * may lose that too, or go back to an older state. It shows by the last complete registration
 * (heartbeat.lua). Then what Redis has counts as uncertain: users that this instance knows as
 * announced are entered without an event, those who have departed lately are reported again
 * (departed.c), and everybody else who is connected is announced, so that the last event of each
 * user is the truth. How events are raised once: events.c.
 *
 * With its heartbeat each instance asks for ended leases and for users whose debounce is over; the
 * scripts give each of them to only one of those who ask. */
#include "tracker/tracker.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"
#include "broker/route.h"
#include "link/errors.h"
#include "link/metrics.h"
#include "tracker/calls.h"
#include "tracker/heartbeat.h"

#define JITTER_MS     200
#define PAUSE_MIN_MS  250
#define PAUSE_MAX_MS  2000
#define DUE_MAX       100 /* as in heartbeat.lua */
#define NO_COMPARISON UINT64_MAX

static struct bh_redis_tracker *of(struct bh_tracker *t) {
    return BH_CONTAINER_OF(t, struct bh_redis_tracker, base);
}

static struct bh_redis_tracker *of_registration(struct bh_redis_registration *r) {
    return BH_CONTAINER_OF(r, struct bh_redis_tracker, registration);
}

/* --- states --- */

/* The registration ends: what its parts hold is void, and replies to its calls are ignored. */
static void end_registration(struct bh_redis_tracker *t) {
    bh_redis_registration_end(&t->registration);
    bh_timer_cancel(&t->heartbeat_timer);
    bh_defer_cancel(&t->restore);
    t->heartbeat.pending = false;
    t->more_due = false;
    bh_redis_events_not_acked(&t->events);
    bh_redis_changes_clear(&t->changes);
    bh_redis_tenants_clear(&t->tenants);
    bh_redis_reap_clear(&t->reap);
    bh_redis_audit_clear(&t->audit);
    bh_redis_namesakes_clear(&t->namesakes);
}

static uint64_t pause_ms(const struct bh_redis_tracker *t) {
    uint64_t pause = PAUSE_MIN_MS;
    if (t->failures == 0)
        return bh_random_below(JITTER_MS);
    for (unsigned i = 1; i < t->failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    return pause / 2 + bh_random_below((uint32_t)(pause / 2) + 1);
}

static void set_state(struct bh_redis_tracker *t, enum bh_redis_tracker_state state) {
    if (t->registration.state == BH_TRACKER_LIVE) {
        t->registration.ended_at = bh_redis_registration_now(&t->registration);
        atomic_store(&t->left_ms, bh_clock_ms());
    }
    t->registration.state = state;
    switch (state) {
    case BH_TRACKER_IDLE:
    case BH_TRACKER_DOWN:
        end_registration(t);
        bh_timer_cancel(&t->pause);
        break;
    case BH_TRACKER_WAITING:
        end_registration(t);
        bh_timer_set(&t->pause, pause_ms(t));
        break;
    case BH_TRACKER_BEGINNING:
        break;
    case BH_TRACKER_RESTORING:
        bh_defer(t->registration.link.loop, BH_PHASE_FLUSH, &t->restore);
        break;
    case BH_TRACKER_LIVE:
        bh_redis_departed_live(&t->departed);
        t->registration.complete = true;
        t->failures = 0;
        break;
    }
    bool rejected = t->failures > 0 && state != BH_TRACKER_DOWN;
    atomic_store(&t->standing, state == BH_TRACKER_LIVE ? BH_STANDING_COMPLETE
                               : rejected               ? BH_STANDING_REJECTED
                                                        : BH_STANDING_REGISTERING);
}

/* Redis has lost the registration: begin another one. */
static void on_lost(struct bh_redis_registration *r, const char *why) {
    struct bh_redis_tracker *t = of_registration(r);
    bh_warn_limited("Redis lost the connections of this instance; registering them again",
                    bh_kv_slice("name", bh_tracker_name(&r->name)), bh_kv_slice("keys", r->prefix),
                    bh_kv_str("reason", why), bh_kv_int("connections", t->changes.held));
    if (r->state != BH_TRACKER_LIVE)
        t->failures++;
    set_state(t, BH_TRACKER_WAITING);
}

/* A script does not work: begin another registration after a pause that grows. */
static void on_failed(struct bh_redis_registration *r, const char *script, struct bh_slice why) {
    struct bh_redis_tracker *t = of_registration(r);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    t->failures++;
    set_state(t, BH_TRACKER_WAITING);
    bh_warn_limited(
        "cannot track connections in Redis; registering them again", bh_kv_str("script", script),
        bh_kv_slice("keys", r->prefix), bh_kv_slice("reason", why),
        bh_kv_str("hint", bh_redis_classify_error(why)->hint), bh_kv_int("attempt", t->failures),
        bh_kv_int("next_attempt_ms", (int64_t)(t->pause.due_ms - bh_loop_now(r->link.loop))));
}

/* --- users to be decided on --- */

static void send_heartbeat(struct bh_redis_tracker *t);

/* The next heartbeat notices the same. */
static bool is_lost(int error, const struct bh_reply *reply) {
    return !error && reply->type == BH_REPLY_STATUS;
}

static void on_all_decided(struct bh_redis_tracker *t) {
    if (t->more_due)
        send_heartbeat(t);
    else
        bh_redis_departed_decided(&t->departed, t->heartbeat.asked_ms);
}

static void on_decided(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct bh_redis_tracker *t = ud;
    if (handle != t->registration.number || is_lost(error, reply) ||
        !bh_redis_check_reply("presence", error, reply))
        return;
    const struct bh_reply *e = reply->elements;
    if (reply->count == 0 || !bh_redis_is_int(&e[0]) ||
        !bh_redis_all_strings(e + 1, reply->count - 1))
        return;
    bh_redis_registration_renewed(&t->registration, e[0].integer);
    bh_redis_events_raise_all(&t->events, e + 1, reply->count - 1);
    on_all_decided(t);
}

static void decide(struct bh_redis_tracker *t, const struct bh_reply *users, size_t count) {
    struct bh_redis_registration *r = &t->registration;
    t->more_due = count >= DUE_MAX;
    if (count == 0) {
        on_all_decided(t);
        return;
    }
    struct bh_redis_call *call = bh_redis_registration_call(r, &bh_redis_script_presence);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "presence", BH_SLICE(""));
    bh_redis_call_key(call, "leaving", BH_SLICE(""));
    bh_redis_call_key(call, "events:", bh_tracker_name(&r->name));
    bh_redis_call_key(call, "arriving", BH_SLICE(""));
    bh_redis_call_key(call, "departed", BH_SLICE(""));
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    bh_redis_call_arg(call, bh_tracker_name(&r->name));
    for (size_t i = 0; i < count; i++) {
        bh_redis_user_key(call, users[i].str);
        bh_redis_call_arg(call, users[i].str);
    }
    bh_redis_registration_send(r, call, on_decided, t);
}

/* --- the heartbeat --- */

static bool parse(struct bh_redis_tracker *t, bh_handle handle, int error,
                  const struct bh_reply *reply, struct bh_redis_heartbeat *out) {
    struct bh_redis_registration *r = &t->registration;
    if (!bh_redis_reply_ok(r, handle, "heartbeat", error, reply))
        return false;
    if (!bh_redis_heartbeat_parse(reply, out)) {
        r->on_failed(r, "heartbeat", BH_SLICE("unexpected answer"));
        return false;
    }
    t->departed.calm = !out->living;
    bh_redis_registration_renewed(r, out->ends);
    if (out->ends)
        r->clock_ms = out->ends - (int64_t)r->lease_ms - (int64_t)bh_loop_now(r->link.loop);
    return true;
}

/* What one instance of the cluster has to do for all. */
static void do_duties(struct bh_redis_tracker *t, const struct bh_redis_heartbeat *h) {
    if (t->heartbeat.ends_predecessor)
        t->registration.predecessor.len = 0;
    bh_redis_reap_start(&t->reap, h->dead, h->dead_count);
    if (h->living && t->registration.predecessor.len == 0)
        t->living = h->living;
    t->heartbeat.asked_ms = t->heartbeat.sent_ms;
    decide(t, h->due, h->due_count);
    bh_redis_audit_step(&t->audit);
    bh_redis_namesakes_step(&t->namesakes);
}

static void on_heartbeat(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct bh_redis_tracker *t = ud;
    struct bh_redis_heartbeat h;
    if (!parse(t, handle, error, reply, &h))
        return;
    t->heartbeat.pending = false;
    bh_redis_events_raise_all(&t->events, h.events, h.event_count);
    if (!h.ends)
        on_lost(&t->registration,
                h.epoch == t->registration.epoch ? "the lease has ended" : "Redis has lost data");
    else if (t->heartbeat.batches == t->changes.sent && h.held != t->changes.held)
        on_lost(&t->registration, "the number of connections differs");
    else if (t->registration.state == BH_TRACKER_LIVE)
        do_duties(t, &h);
}

static void send_heartbeat(struct bh_redis_tracker *t) {
    struct bh_redis_registration *r = &t->registration;
    if (t->heartbeat.pending)
        return;
    t->heartbeat.pending = true;
    t->heartbeat.batches = t->changes.in_flight ? NO_COMPARISON : t->changes.sent;
    t->heartbeat.ends_predecessor = r->complete;
    t->heartbeat.sent_ms = bh_loop_now(r->link.loop);
    bh_redis_registration_send(r, bh_redis_heartbeat_call(r, "beat", t->living), on_heartbeat, t);
}

static void on_heartbeat_timer(struct bh_timer *timer) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(timer, struct bh_redis_tracker, heartbeat_timer);
    bh_timer_set(timer, bh_redis_heartbeat_ms(&t->registration));
    send_heartbeat(t);
}

/* --- registering --- */

/* Those of several parts are spread over the interval; the gap is never reached. */
static uint64_t first_heartbeat_ms(const struct bh_redis_registration *r) {
    uint64_t interval = bh_redis_heartbeat_ms(r);
    return r->parts == 1 ? interval : interval / 2 + bh_random_below((uint32_t)interval);
}

static void on_begun(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {
    struct bh_redis_tracker *t = ud;
    struct bh_redis_registration *r = &t->registration;
    struct bh_redis_heartbeat h;
    if (!parse(t, handle, error, reply, &h))
        return;
    r->abandoned.len = 0;
    r->begun = true;
    r->previous = h.previous;
    r->epoch = h.epoch;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_REGISTRATIONS]);
    bh_timer_set(&t->heartbeat_timer, first_heartbeat_ms(r));
    set_state(t, BH_TRACKER_RESTORING);
    bh_redis_events_ack(&t->events);
    bh_redis_events_raise_all(&t->events, h.events, h.event_count);
}

static void on_pause(struct bh_timer *timer) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(timer, struct bh_redis_tracker, pause);
    struct bh_redis_registration *r = &t->registration;
    bh_redis_registration_rename(r);
    set_state(t, BH_TRACKER_BEGINNING);
    bh_redis_registration_send(r, bh_redis_heartbeat_call(r, "begin", t->living), on_begun, t);
}

static void on_restore(struct bh_defer *d) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(d, struct bh_redis_tracker, restore);
    t->sink.on_restore(t->sink.ud);
}

static void on_complete(struct bh_redis_changes *c) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(c, struct bh_redis_tracker, changes);
    set_state(t, BH_TRACKER_LIVE);
    if (t->on_live)
        t->on_live(t);
    else
        bh_info("connections are tracked in Redis",
                bh_kv_slice("name", bh_tracker_name(&t->registration.name)),
                bh_kv_int("connections", c->held));
    send_heartbeat(t);
}

static void on_tenants_written(struct bh_redis_tenants *tenants) {
    bh_redis_changes_pump(&BH_CONTAINER_OF(tenants, struct bh_redis_tracker, tenants)->changes);
}

/* The server that rejected the last registrations may be another one now. */
static void on_up(struct bh_redis_link *link) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(link, struct bh_redis_tracker, registration.link);
    t->failures = 0;
    set_state(t, BH_TRACKER_WAITING);
}

static void on_down(struct bh_redis_link *link) {
    set_state(BH_CONTAINER_OF(link, struct bh_redis_tracker, registration.link), BH_TRACKER_DOWN);
}

static const struct bh_redis_link_callbacks link_callbacks = {.on_up = on_up, .on_down = on_down};
static const struct bh_redis_link_callbacks part_callbacks = {
    .on_up = on_up, .on_down = on_down, .quiet = true};

/* --- the port --- */

static int start(struct bh_tracker *base, struct bh_loop *bus, const struct bh_tracker_sink *sink) {
    struct bh_redis_tracker *t = of(base);
    struct bh_redis_registration *r = &t->registration;
    t->sink = *sink;
    bh_timer_init(&t->pause, bus, on_pause);
    bh_timer_init(&t->heartbeat_timer, bus, on_heartbeat_timer);
    bh_defer_init(&t->restore, on_restore);
    bh_redis_changes_init(&t->changes, bus);
    bh_redis_tenants_init(&t->tenants, r, bus, on_tenants_written);
    bh_redis_events_init(&t->events, r, &t->sink);
    bh_redis_registration_start(r, bus);
    r->state = BH_TRACKER_DOWN;
    bh_redis_link_start(&r->link, bus, &r->config, "tracker",
                        r->parts > 1 ? &part_callbacks : &link_callbacks,
                        bh_redis_broker_locator(t->broker, bus, r->prefix));
    return 0;
}

static void changed(struct bh_tracker *base, const struct bh_track *changes, size_t count) {
    bh_redis_changes_add(&of(base)->changes, changes, count);
}

static void restored(struct bh_tracker *base) {
    bh_redis_changes_restored(&of(base)->changes);
}

bool bh_redis_tracker_is_complete(const struct bh_redis_tracker *t) {
    return atomic_load(&t->standing) == BH_STANDING_COMPLETE;
}

void bh_redis_tracker_ask(struct bh_redis_tracker *t, unsigned worker,
                          const struct bh_redis_question *q) {
    bh_redis_lookup(&t->registration, t->broker, worker, q);
}

static void lookup(struct bh_tracker *base, struct bh_worker *worker, enum bh_lookup what,
                   const struct bh_slice *names, size_t count, bh_tracker_cb done, void *ud,
                   bh_handle handle) {
    struct bh_redis_tracker *t = of(base);
    struct bh_redis_question q = {.what = what,
                                  .names = names,
                                  .count = count,
                                  .total = count,
                                  .complete = bh_redis_tracker_is_complete(t),
                                  .done = done,
                                  .ud = ud,
                                  .handle = handle};
    bh_redis_tracker_ask(t, worker->index, &q);
}

static void on_ended(void *ud, bh_handle handle, int error, const struct bh_reply *reply) {}

/* Ends the lease, so that the others need not wait for it. The reply is ignored. */
static void stop(struct bh_tracker *base) {
    struct bh_redis_tracker *t = of(base);
    struct bh_redis_registration *r = &t->registration;
    if (r->state == BH_TRACKER_IDLE)
        return;
    bh_redis_events_ack(&t->events);
    set_state(t, BH_TRACKER_IDLE);
    if (r->name.len && bh_redis_link_is_ready(&r->link))
        bh_redis_registration_send(r, bh_redis_heartbeat_call(r, "end", t->living), on_ended, NULL);
    bh_redis_link_stop(&r->link);
}

/* A Redis that rejects writes still delivers messages: no reason to send clients elsewhere. */
static int ready(const struct bh_tracker *base, const char **why) {
    struct bh_redis_tracker *t = of((struct bh_tracker *)base);
    if (atomic_load(&t->standing) != BH_STANDING_REGISTERING)
        return 0;
    *why = "connections are being registered in Redis";
    return BH_EUNAVAIL;
}

static void free_tracker(struct bh_tracker *base) {
    struct bh_redis_tracker *t = of(base);
    bh_redis_events_deinit(&t->events);
    bh_redis_departed_deinit(&t->departed);
    bh_redis_registration_deinit(&t->registration);
    bh_free(t);
}

static const struct bh_tracker_vt vt = {.start = start,
                                        .changed = changed,
                                        .restored = restored,
                                        .stop = stop,
                                        .lookup = lookup,
                                        .ready = ready,
                                        .free = free_tracker};

static void compose(struct bh_redis_tracker *t) {
    struct bh_redis_registration *r = &t->registration;
    r->on_lost = on_lost;
    r->on_failed = on_failed;
    t->departed.registration = r;
    t->audit.registration = r;
    t->namesakes.registration = r;
    bh_redis_reap_init(&t->reap, r);
    t->changes.registration = r;
    t->changes.departed = &t->departed;
    t->changes.events = &t->events;
    t->changes.tenants = &t->tenants;
    t->changes.on_complete = on_complete;
}

struct bh_redis_tracker *bh_redis_tracker_part(const struct bh_redis_tracker_config *tracker,
                                               struct bh_broker *broker, const char *prefix,
                                               unsigned parts) {
    struct bh_redis_tracker *t = bh_calloc(1, sizeof *t);
    t->base.vt = &vt;
    t->base.wants_changes = true;
    t->broker = broker;
    bh_redis_registration_init(&t->registration,
                               bh_redis_broker_config(broker, bh_slice_cstr(prefix)), tracker,
                               prefix, parts);
    compose(t);
    return t;
}
