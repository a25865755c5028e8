/* tracker.c - the tracker over Redis: its life, its registrations, its heartbeat.
 *
 * An instance holds its connections in Redis under a name, and the name under a lease. Nothing is
 * kept here that Redis could give back: a connection's entry is in Redis or in the queue to it, and
 * what remains is a number, how many Redis has confirmed. That number is what every batch and every
 * heartbeat is compared with. If Redis knows another one, or has no lease, or the link was gone,
 * then nobody knows what it holds; so the registration is left behind and the next one begins under
 * a new name, with a new lease, and with the node telling of all connections again. Entries of both
 * names count as one meanwhile; when all has been told, the old lease is ended, and its entries are
 * cleaned up after like those of a crash.
 *
 * Events: the hash `presence` holds who has been announced, so nobody is announced twice. Redis may
 * lose its memory, of that, too. It shows by the last complete registration: unless it still
 * stands, or is listed as one that others clean up after, Redis has forgotten it. So those whom
 * this instance knows as announced are put in quietly, and those who have gone meanwhile are told
 * again (tracker_departed.c). How events are raised once: tracker_events.c.
 *
 * Each instance asks with its heartbeat for ended leases and for users whose debounce is over; the
 * scripts see to it that only one of those who ask gets each. */
#include "tracker/tracker.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "broker/shards.h"
#include "link/config.h"
#include "link/metrics.h"

#include <stdio.h>

#define LEASE_MIN_MS  1000
#define JITTER_MS     200
#define PAUSE_MIN_MS  250
#define PAUSE_MAX_MS  2000
#define DUE_MAX       100
#define BEAT_HEAD     5 /* elements of heartbeat.lua's reply before the lists */
#define PREFIX        "ws:"
#define NO_COMPARISON UINT64_MAX

static struct bh_redis_tracker *of(struct bh_tracker *t) {
    return BH_CONTAINER_OF(t, struct bh_redis_tracker, base);
}

/* --- states --- */

/* What stood under the registration is of no use any more, and its replies will not be heard. */
static void forget(struct bh_redis_tracker *t) {
    t->registration++;
    bh_timer_cancel(&t->beat);
    bh_defer_cancel(&t->restore);
    t->beating = false;
    t->more_due = false;
    bh_redis_events_not_acked(t);
    bh_redis_changes_clear(t);
    bh_redis_tenants_clear(t);
    bh_redis_reap_clear(t);
    bh_redis_audit_clear(t);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_TRACKED], -t->held);
    t->held = 0;
}

static uint64_t pause_of(const struct bh_redis_tracker *t) {
    uint64_t pause = PAUSE_MIN_MS;
    if (t->failures == 0)
        return bh_random_below(JITTER_MS);
    for (unsigned i = 1; i < t->failures && pause < PAUSE_MAX_MS; i++)
        pause *= 2;
    return pause / 2 + bh_random_below((uint32_t)(pause / 2) + 1);
}

static void set_state(struct bh_redis_tracker *t, enum bh_redis_tracker_state state) {
    t->state = state;
    switch (state) {
    case BH_TRACKER_IDLE:
    case BH_TRACKER_DOWN:
        forget(t);
        bh_timer_cancel(&t->pause);
        break;
    case BH_TRACKER_WAITING:
        forget(t);
        bh_timer_set(&t->pause, pause_of(t));
        break;
    case BH_TRACKER_BEGINNING:
        break;
    case BH_TRACKER_RESTORING:
        t->announced.next = t->announced.until;
        bh_defer(t->link.loop, BH_PHASE_FLUSH, &t->restore);
        break;
    case BH_TRACKER_LIVE:
        t->announced.until = t->announced.next;
        bh_bytes_free(&t->announced.unconfirmed);
        t->departed.live_ms = bh_loop_now(t->link.loop);
        t->complete = true;
        t->failures = 0;
        break;
    }
    bool refused = t->failures > 0 && state != BH_TRACKER_DOWN;
    atomic_store(&t->settled, state == BH_TRACKER_LIVE || refused);
}

void bh_redis_tracker_lost(struct bh_redis_tracker *t, const char *why) {
    bh_warn_limited("Redis has lost this instance's connections; registering them anew",
                    bh_kv_slice("name", bh_tracker_name(&t->name)), bh_kv_str("reason", why),
                    bh_kv_int("connections", t->held));
    if (t->state != BH_TRACKER_LIVE)
        t->failures++;
    set_state(t, BH_TRACKER_WAITING);
}

void bh_redis_tracker_failed(struct bh_redis_tracker *t, const char *what, struct bh_slice why) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    t->failures++;
    set_state(t, BH_TRACKER_WAITING);
    bh_warn_limited(
        "connections cannot be tracked in Redis; registering them anew", bh_kv_str("script", what),
        bh_kv_slice("reason", why), bh_kv_int("attempt", t->failures),
        bh_kv_int("next_attempt_ms", (int64_t)(t->pause.due_ms - bh_loop_now(t->link.loop))));
}

bool bh_redis_tracker_accepts(struct bh_redis_tracker *t, bh_handle handle, const char *what,
                              int error, const struct bh_reply *reply) {
    if (handle != t->registration)
        return false;
    if (!error && reply->type == BH_REPLY_ARRAY)
        return true;
    if (!error && reply->type == BH_REPLY_STATUS && bh_slice_eq(reply->str, BH_SLICE("LOST")))
        bh_redis_tracker_lost(t, "the lease has ended");
    else if (!error && reply->type == BH_REPLY_ERROR)
        bh_redis_tracker_failed(t, what, reply->str);
    else if (!error)
        bh_redis_tracker_failed(t, what, BH_SLICE("an unexpected answer"));
    else if (bh_redis_link_is_ready(&t->link))
        bh_redis_tracker_failed(t, what, bh_slice_cstr(bh_strerror(error)));
    /* else the link is being lost, and on_down follows */
    return false;
}

bool bh_redis_tracker_hears(const char *what, int error, const struct bh_reply *reply) {
    if (error || reply->type == BH_REPLY_ARRAY)
        return !error;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    bh_warn_limited("Redis does not do what the tracker asks of it", bh_kv_str("script", what),
                    bh_kv_slice("reason", reply->type == BH_REPLY_ERROR
                                              ? reply->str
                                              : BH_SLICE("an unexpected answer")));
    return false;
}

void bh_redis_tracker_left_out(const char *what, int64_t count) {
    if (count <= 0)
        return;
    bh_metric_add(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS], count);
    bh_warn_limited("not tracked: somebody keeps another kind of key there in Redis",
                    bh_kv_str("keys", what), bh_kv_int("changes", count));
}

bool bh_redis_all_strings(const struct bh_reply *r, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!bh_redis_is_string(&r[i]))
            return false;
    return true;
}

/* --- users who are to be decided on --- */

/* The next heartbeat finds out by itself. */
static bool is_lost(int error, const struct bh_reply *r) {
    return !error && r->type == BH_REPLY_STATUS;
}

static void on_due(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    if (handle != t->registration || is_lost(error, r) ||
        !bh_redis_tracker_hears("presence", error, r))
        return;
    if (!bh_redis_all_strings(r->elements, r->count))
        return;
    for (size_t i = 0; i < r->count; i++)
        bh_redis_events_raise(t, r->elements[i].str);
    if (t->more_due)
        bh_redis_tracker_beat(t);
}

static void decide(struct bh_redis_tracker *t, const struct bh_reply *users, size_t count) {
    t->more_due = count >= DUE_MAX;
    if (count == 0)
        return;
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_presence, t->prefix);
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "presence", BH_SLICE(""));
    bh_redis_call_key(call, "leaving", BH_SLICE(""));
    bh_redis_call_key(call, "events:", bh_tracker_name(&t->name));
    bh_redis_call_key(call, "arriving", BH_SLICE(""));
    bh_redis_call_arg(call, bh_tracker_name(&t->name));
    for (size_t i = 0; i < count; i++) {
        bh_redis_call_key(call, "connections:", users[i].str);
        bh_redis_call_arg(call, users[i].str);
    }
    bh_redis_call_send(call, &t->link, on_due, t, t->registration);
}

/* --- the heartbeat --- */

/* Of a registration of ours before this one. An empty name is none. */
static void add_earlier(struct bh_redis_call *call, const struct bh_tracker_name *n, bool ended) {
    if (!n->len)
        return;
    bh_redis_call_key(call, "events:", bh_tracker_name(n));
    bh_redis_call_arg(call, bh_tracker_name(n));
    bh_redis_call_arg(call, ended ? BH_SLICE("end") : BH_SLICE("keep"));
}

/* What nobody needs is ended: a complete registration ends its predecessor, and the next attempt
 * the one that was given up. */
static struct bh_redis_call *heartbeat(const struct bh_redis_tracker *t, const char *mode) {
    struct bh_redis_call *call = bh_redis_call_new(&bh_redis_script_heartbeat, t->prefix);
    const struct bh_tracker_name *last = t->complete ? &t->name : &t->previous;
    bool ends = t->complete || strcmp(mode, "end") == 0;
    bh_redis_call_key(call, "instances", BH_SLICE(""));
    bh_redis_call_key(call, "instance:", bh_tracker_name(&t->name));
    bh_redis_call_key(call, "leaving", BH_SLICE(""));
    bh_redis_call_key(call, "reaped", BH_SLICE(""));
    bh_redis_call_key(call, "pulse", BH_SLICE(""));
    bh_redis_call_key(call, "events:", bh_tracker_name(&t->name));
    bh_redis_call_key(call, "arriving", BH_SLICE(""));
    bh_redis_call_key(call, "restoring", BH_SLICE(""));
    bh_redis_call_arg(call, bh_slice_cstr(mode));
    bh_redis_call_arg(call, bh_tracker_name(&t->name));
    bh_redis_call_arg(call, t->complete ? BH_SLICE("1") : BH_SLICE(""));
    bh_redis_call_int(call, (int64_t)t->lease_ms);
    bh_redis_call_int(call, (int64_t)bh_redis_gap_ms(t));
    bh_redis_call_int(call, (int64_t)bh_redis_calm_ms(t));
    bh_redis_call_arg(call, bh_tracker_name(last));
    bh_redis_call_int(call, t->living);
    add_earlier(call, &t->previous, ends);
    add_earlier(call, &t->abandoned, true);
    return call;
}

struct beat {
    bool runs;
    int64_t held;
    enum bh_tracker_fate fate;
    int64_t living; /* registrations; 0: not all may be back */
    const struct bh_reply *dead, *events, *due;
    size_t dead_count, event_count, due_count;
};

static bool parse_beat(const struct bh_reply *r, struct beat *out) {
    if (r->type != BH_REPLY_ARRAY || r->count < BEAT_HEAD + 1)
        return false;
    const struct bh_reply *e = r->elements;
    size_t left = r->count - BEAT_HEAD - 1;
    if (!bh_redis_is_int(&e[0]) || !bh_redis_is_int(&e[1]) || !bh_redis_is_int(&e[2]) ||
        !bh_redis_is_int(&e[3]) || !bh_redis_is_count(&e[4], left) || e[2].integer < 0 ||
        e[2].integer > BH_TRACKER_FORGOTTEN)
        return false;
    size_t dead_count = (size_t)e[4].integer;
    const struct bh_reply *count = &e[BEAT_HEAD + dead_count];
    if (!bh_redis_is_count(count, left - dead_count))
        return false;
    *out = (struct beat){.runs = e[0].integer == 1,
                         .held = e[1].integer,
                         .fate = (enum bh_tracker_fate)e[2].integer,
                         .living = e[3].integer,
                         .dead = e + BEAT_HEAD,
                         .dead_count = dead_count,
                         .events = count + 1,
                         .event_count = (size_t)count->integer};
    out->due = out->events + out->event_count;
    out->due_count = left - dead_count - out->event_count;
    return bh_redis_all_strings(out->dead, dead_count) &&
           bh_redis_all_strings(out->events, left - dead_count);
}

static void raise_events(struct bh_redis_tracker *t, const struct beat *b) {
    for (size_t i = 0; i < b->event_count; i++)
        bh_redis_events_raise(t, b->events[i].str);
}

static void on_beat(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    struct beat b;
    if (!bh_redis_tracker_accepts(t, handle, "heartbeat", error, r))
        return;
    t->beating = false;
    if (!parse_beat(r, &b)) {
        bh_redis_tracker_failed(t, "heartbeat", BH_SLICE("an unexpected answer"));
        return;
    }
    raise_events(t, &b);
    if (!b.runs) {
        bh_redis_tracker_lost(t, "the lease has ended");
    } else if (t->beat_batches == t->changes.sent && b.held != t->held) {
        bh_redis_tracker_lost(t, "it holds another number of connections");
    } else if (t->state == BH_TRACKER_LIVE) {
        if (t->beat_ends)
            t->previous.len = 0;
        bh_redis_reap(t, b.dead, b.dead_count);
        decide(t, b.due, b.due_count);
        if (b.living && t->previous.len == 0)
            t->living = b.living;
        if (b.living && !t->more_due)
            bh_redis_departed_trim(t, t->beat_ms);
        bh_redis_audit(t);
    }
}

void bh_redis_tracker_beat(struct bh_redis_tracker *t) {
    if (t->beating)
        return;
    t->beating = true;
    t->beat_batches = t->changes.in_flight ? NO_COMPARISON : t->changes.sent;
    t->beat_ends = t->complete;
    t->beat_ms = bh_loop_now(t->link.loop);
    bh_redis_call_send(heartbeat(t, "beat"), &t->link, on_beat, t, t->registration);
}

static void on_beat_timer(struct bh_timer *timer) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(timer, struct bh_redis_tracker, beat);
    bh_timer_set(timer, bh_redis_beat_ms(t));
    bh_redis_tracker_beat(t);
}

/* --- registering --- */

/* A name under which nothing can stand yet is used again. */
static void take_name(struct bh_redis_tracker *t) {
    if (t->name.len && !t->begun)
        return;
    if (!t->complete) {
        t->abandoned = t->name;
    } else {
        t->abandoned = t->previous;
        t->previous = t->name;
    }
    unsigned char mark[BH_TRACKER_MARK_LEN * 3 / 4];
    char text[BH_TRACKER_MARK_LEN + 1];
    bh_random(mark, sizeof mark);
    text[bh_base64url_encode(bh_slice(mark, sizeof mark), text)] = '\0';
    int n = snprintf(t->name.text, sizeof t->name.text, "%s~%s", t->config.instance, text);
    t->name.len = (size_t)n;
    t->begun = t->complete = false;
}

static void on_begun(void *ud, bh_handle handle, int error, const struct bh_reply *r) {
    struct bh_redis_tracker *t = ud;
    struct beat b;
    if (!bh_redis_tracker_accepts(t, handle, "heartbeat", error, r))
        return;
    if (!parse_beat(r, &b)) {
        bh_redis_tracker_failed(t, "heartbeat", BH_SLICE("an unexpected answer"));
        return;
    }
    t->abandoned.len = 0;
    t->begun = true;
    t->fate = b.fate;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_REGISTRATIONS]);
    bh_timer_set(&t->beat, bh_redis_beat_ms(t));
    set_state(t, BH_TRACKER_RESTORING);
    bh_redis_events_ack(t);
    raise_events(t, &b);
}

static void on_pause(struct bh_timer *timer) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(timer, struct bh_redis_tracker, pause);
    take_name(t);
    set_state(t, BH_TRACKER_BEGINNING);
    bh_redis_call_send(heartbeat(t, "begin"), &t->link, on_begun, t, t->registration);
}

static void on_restore(struct bh_defer *d) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(d, struct bh_redis_tracker, restore);
    t->sink.on_restore(t->sink.ud);
}

void bh_redis_tracker_completed(struct bh_redis_tracker *t) {
    set_state(t, BH_TRACKER_LIVE);
    bh_info("connections are tracked in Redis", bh_kv_slice("name", bh_tracker_name(&t->name)),
            bh_kv_int("connections", t->held));
    bh_redis_tracker_beat(t);
}

/* A server that refused may be another one now. */
static void on_up(struct bh_redis_link *link) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(link, struct bh_redis_tracker, link);
    t->failures = 0;
    set_state(t, BH_TRACKER_WAITING);
}

static void on_down(struct bh_redis_link *link) {
    set_state(BH_CONTAINER_OF(link, struct bh_redis_tracker, link), BH_TRACKER_DOWN);
}

static const struct bh_redis_link_callbacks link_callbacks = {.on_up = on_up, .on_down = on_down};

/* --- the port --- */

static int start(struct bh_tracker *base, struct bh_loop *bus, const struct bh_tracker_sink *sink) {
    struct bh_redis_tracker *t = of(base);
    t->sink = *sink;
    bh_timer_init(&t->pause, bus, on_pause);
    bh_timer_init(&t->beat, bus, on_beat_timer);
    bh_defer_init(&t->restore, on_restore);
    bh_redis_changes_init(t, bus);
    bh_redis_tenants_init(t, bus);
    bh_redis_events_init(t);
    t->state = BH_TRACKER_DOWN;
    bh_redis_link_start(&t->link, bus, &t->config, "tracker", &link_callbacks,
                        bh_redis_broker_locator(t->broker, bus));
    return 0;
}

static void changed(struct bh_tracker *base, const struct bh_track *changes, size_t count) {
    bh_redis_changes_add(of(base), changes, count);
}

static void restored(struct bh_tracker *base) {
    bh_redis_changes_told_all(of(base));
}

static void on_ended(void *ud, bh_handle handle, int error, const struct bh_reply *r) {}

/* The lease is ended so that the others need not wait for it. Nobody hears the answer. */
static void stop(struct bh_tracker *base) {
    struct bh_redis_tracker *t = of(base);
    if (t->state == BH_TRACKER_IDLE)
        return;
    bh_redis_events_ack(t);
    set_state(t, BH_TRACKER_IDLE);
    if (t->name.len && bh_redis_link_is_ready(&t->link))
        bh_redis_call_send(heartbeat(t, "end"), &t->link, on_ended, NULL, 0);
    bh_redis_link_stop(&t->link);
}

/* A Redis that refuses to be written to still delivers messages: no reason to send clients away. */
static int ready(const struct bh_tracker *base, const char **why) {
    struct bh_redis_tracker *t = of((struct bh_tracker *)base);
    if (atomic_load(&t->settled))
        return 0;
    *why = "connections are being registered in Redis";
    return BH_EUNAVAIL;
}

static void free_tracker(struct bh_tracker *base) {
    struct bh_redis_tracker *t = of(base);
    bh_redis_events_deinit(t);
    bh_redis_departed_deinit(t);
    bh_free((char *)t->prefix.p);
    bh_redis_config_free_copy(&t->config);
    bh_free(t);
}

static const struct bh_tracker_vt vt = {.start = start,
                                        .changed = changed,
                                        .restored = restored,
                                        .stop = stop,
                                        .lookup = bh_redis_tracker_lookup,
                                        .ready = ready,
                                        .free = free_tracker};

struct bh_tracker *bh_redis_tracker_new(const struct bh_redis_config *config,
                                        const struct bh_redis_tracker_config *tracker,
                                        struct bh_broker *broker) {
    struct bh_redis_tracker *t = bh_calloc(1, sizeof *t);
    t->base.vt = &vt;
    t->base.wants_changes = true;
    t->broker = broker;
    bh_redis_config_copy(&t->config, config);
    t->prefix = bh_slice_cstr(bh_strdup(tracker->key_prefix ? tracker->key_prefix : PREFIX));
    t->lease_ms = tracker->lease_ms > LEASE_MIN_MS ? tracker->lease_ms : LEASE_MIN_MS;
    t->debounce_ms = tracker->debounce_ms;
    bh_id_unique(t->reap.asker);
    return &t->base;
}
