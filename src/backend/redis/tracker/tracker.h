/* tracker.h - what the parts of the tracker over Redis share. Private to them.
 *
 * A registration is one life of this instance's entries in Redis, under a name of its own. Whatever
 * ends it (`lost`, `failed`, a dead link) forgets all that stood under it here and counts
 * `registration` up, which is the handle of every call: a reply to an earlier one is not looked at.
 * Thread: the bus, but for bh_redis_tracker_lookup. */
#ifndef BELLHOP_BACKEND_REDIS_TRACKER_H
#define BELLHOP_BACKEND_REDIS_TRACKER_H

#include "bellhop/base/id.h"
#include "bellhop/base/map.h"
#include "link/link.h"
#include "link/scripts.h"

#define BH_TRACKER_MARK_LEN    8
#define BH_TRACKER_NAME_MAX    (BH_ID_MAX + 1 + BH_TRACKER_MARK_LEN)
#define BH_TRACKER_DEAD_MAX    10
#define BH_TRACKER_BEAT_MAX_MS 1000

enum bh_redis_tracker_state {
    BH_TRACKER_IDLE,      /* not started, or stopped */
    BH_TRACKER_DOWN,      /* no link */
    BH_TRACKER_WAITING,   /* the pause before a registration */
    BH_TRACKER_BEGINNING, /* the lease is being made */
    BH_TRACKER_RESTORING, /* the node tells of all connections */
    BH_TRACKER_LIVE,
};

/* What became of the last complete registration, as heartbeat.lua tells. */
enum bh_tracker_fate { BH_TRACKER_STANDS, BH_TRACKER_REAPED, BH_TRACKER_FORGOTTEN };

struct bh_tracker_name {
    size_t len; /* 0: none */
    char text[BH_TRACKER_NAME_MAX + 1];
};

static inline struct bh_slice bh_tracker_name(const struct bh_tracker_name *n) {
    return bh_slice(n->text, n->len);
}

struct bh_redis_tracker {
    struct bh_tracker base;
    struct bh_redis_config config; /* a copy */
    struct bh_slice prefix;        /* owned */
    uint64_t lease_ms, debounce_ms;
    struct bh_broker *broker;
    struct bh_tracker_sink sink;
    struct bh_redis_link link;
    enum bh_redis_tracker_state state;
    atomic_bool settled;    /* LIVE, or Redis refuses what it takes: for any thread */
    unsigned failures;      /* registrations in a row that did not last until LIVE */
    bh_handle registration; /* its number */

    struct bh_tracker_name name;      /* of this registration; it is kept until the next begins */
    struct bh_tracker_name previous;  /* the last complete one, until this one is */
    struct bh_tracker_name abandoned; /* one that was not completed; its lease is to be ended */
    bool begun, complete;             /* the registration of that name */
    enum bh_tracker_fate fate;        /* of `previous`, when this registration began */

    struct bh_timer pause;
    struct bh_defer restore; /* sink.on_restore, which no verb may call */
    struct bh_timer beat;
    bool beating;          /* a heartbeat is in flight */
    bool beat_ends;        /* it ends the previous registration's lease */
    uint64_t beat_batches; /* batches sent before it; UINT64_MAX: one was in flight */
    uint64_t beat_ms;      /* when it was sent */
    int64_t living;        /* registrations of the cluster when all was well */
    bool more_due;         /* there were more users due than one heartbeat tells */

    struct {
        struct bh_bytes queue; /* of struct entry, each followed by its names */
        size_t head, count;
        size_t in_flight; /* the first so many entries are in the batch that is being written */
        uint64_t sent;    /* batches */
        struct bh_defer flush;
        struct bh_timer pace;
        bool told_all;     /* the node has called `restored` */
        size_t before_end; /* entries that were queued by then and are not yet confirmed */
    } changes;
    int64_t held; /* connections that Redis has confirmed */

    /* Every user with a connection opened until then (Unix ms) has been announced as online, as of
     * the end of the last restore and in the course of this one; but for the connections (their
     * numbers) that Redis had not confirmed when a registration ended. */
    struct {
        int64_t until, next;
        struct bh_bytes unconfirmed;
    } announced;

    /* Who has gone of late, of those who were announced: should Redis forget them before it has
     * told of it, they are told to it again. */
    struct {
        struct bh_bytes queue; /* of struct bh_departure, each followed by the user */
        size_t head;
        uint64_t live_ms; /* bh_loop_now when the registration became LIVE */
    } departed;

    struct {
        struct bh_map map;              /* struct raised by its text: what is not yet acked */
        struct bh_list waiting, acking; /* the ack is to be sent; is in flight */
        struct bh_defer flush;
    } events;

    struct {
        struct bh_map map;             /* struct tenant by name */
        struct bh_list dirty, writing; /* those to be written; those in the call in flight */
        struct bh_timer timer;
    } tenants;

    struct {
        char asker[BH_UNIQUE_ID_LEN + 1]; /* as whom this process claims */
        struct bh_tracker_name dead[BH_TRACKER_DEAD_MAX];
        size_t count; /* the last of dead is being looked at */
        char cursor[24];
        int64_t removed; /* connections of the one at hand */
    } reap;

    struct {
        struct bh_bytes page; /* connections and their users, to be checked */
        char cursor[24];      /* of the page after it; "": from the beginning */
        bool asks;
    } audit;
};

/* --- tracker.c --- */

/* How often the lease is prolonged; how long nobody's was if Redis was silent; and how long nobody
 * is called dead or away after that, or after it has forgotten: whoever comes back needs a back-off
 * and a few heartbeats. */
static inline uint64_t bh_redis_beat_ms(const struct bh_redis_tracker *t) {
    return t->lease_ms / 3 < BH_TRACKER_BEAT_MAX_MS ? t->lease_ms / 3 : BH_TRACKER_BEAT_MAX_MS;
}
static inline uint64_t bh_redis_gap_ms(const struct bh_redis_tracker *t) {
    return 2 * bh_redis_beat_ms(t);
}
static inline uint64_t bh_redis_calm_ms(const struct bh_redis_tracker *t) {
    return t->config.backoff_max_ms + 3 * bh_redis_beat_ms(t);
}
static inline bool bh_redis_tracker_takes(const struct bh_redis_tracker *t) {
    return t->state == BH_TRACKER_RESTORING || t->state == BH_TRACKER_LIVE;
}
/* Whether a reply is one to look at. If it is no success, it has ended the registration or the link
 * is about to be lost, and there is nothing to be done. LOST ends the registration, too. */
bool bh_redis_tracker_accepts(struct bh_redis_tracker *t, bh_handle handle, const char *what,
                              int error, const struct bh_reply *reply);
/* The same for what does the others' work: no registration ends for it, it is done again by the
 * next heartbeat. */
bool bh_redis_tracker_hears(const char *what, int error, const struct bh_reply *reply);
/* Redis has lost the registration: begin another one. */
void bh_redis_tracker_lost(struct bh_redis_tracker *t, const char *why);
/* Something does not work: begin another one after a pause that grows. */
void bh_redis_tracker_failed(struct bh_redis_tracker *t, const char *what, struct bh_slice why);
/* So many changes were left out because a key of that kind is no hash. */
void bh_redis_tracker_left_out(const char *what, int64_t count);
/* All has been told and written. */
void bh_redis_tracker_completed(struct bh_redis_tracker *t);
void bh_redis_tracker_beat(struct bh_redis_tracker *t);

/* --- tracker_write.c --- */

void bh_redis_changes_init(struct bh_redis_tracker *t, struct bh_loop *bus);
/* Forgets what waits and what is in flight. */
void bh_redis_changes_clear(struct bh_redis_tracker *t);
void bh_redis_changes_add(struct bh_redis_tracker *t, const struct bh_track *changes, size_t count);
/* For a Redis that has forgotten: somebody who was announced has gone. */
void bh_redis_changes_add_departed(struct bh_redis_tracker *t, uint64_t number,
                                   struct bh_slice user);
void bh_redis_changes_told_all(struct bh_redis_tracker *t);
/* Sends the next batch, or completes the restore, if it is time. */
void bh_redis_changes_go_on(struct bh_redis_tracker *t);
/* Begins a call of track.lua that `bh_redis_track_change` adds changes to. */
struct bh_redis_call *bh_redis_track_call(const struct bh_redis_tracker *t, struct bh_slice name,
                                          const char *mode);
void bh_redis_track_change(struct bh_redis_call *call, struct bh_slice user,
                           struct bh_slice connection, struct bh_slice value, bool known);

/* --- tracker_events.c --- */

void bh_redis_events_init(struct bh_redis_tracker *t);
void bh_redis_events_deinit(struct bh_redis_tracker *t);
/* What a script has decided, "<at> +<user>" or "<at> -<user>": to the sink, unless it has been told
 * already; and acked soon. What is none of that is left out. */
void bh_redis_events_raise(struct bh_redis_tracker *t, struct bh_slice text);
/* Takes what has been raised out of Redis; done by itself but for a registration that has begun, or
 * is about to end. */
void bh_redis_events_ack(struct bh_redis_tracker *t);
/* The registration ends. */
void bh_redis_events_not_acked(struct bh_redis_tracker *t);

/* --- tracker_departed.c --- */

/* Whether the user of that connection has been announced as online. */
bool bh_redis_was_announced(const struct bh_redis_tracker *t, uint64_t number, int64_t opened_at);
/* A connection that has come will not be confirmed by this registration. */
void bh_redis_not_confirmed(struct bh_redis_tracker *t, uint64_t number, int64_t opened_at);
void bh_redis_departed_add(struct bh_redis_tracker *t, const struct bh_track *gone);
/* Redis had decided on all who were due at that time: forgets those. */
void bh_redis_departed_trim(struct bh_redis_tracker *t, uint64_t decided_ms);
/* Tells of each by bh_redis_changes_add_departed. */
void bh_redis_departed_tell(struct bh_redis_tracker *t);
void bh_redis_departed_deinit(struct bh_redis_tracker *t);

/* --- tracker_tenants.c --- */

void bh_redis_tenants_init(struct bh_redis_tracker *t, struct bh_loop *bus);
void bh_redis_tenants_clear(struct bh_redis_tracker *t);
/* In a restore they are only counted; bh_redis_tenants_write, at its end, tells whether there is
 * something that is not yet confirmed, and writes it; bh_redis_changes_go_on follows. */
void bh_redis_tenants_add(struct bh_redis_tracker *t, struct bh_slice tenant, int n);
bool bh_redis_tenants_write(struct bh_redis_tracker *t);

/* --- tracker_reap.c --- */

void bh_redis_reap_clear(struct bh_redis_tracker *t);
/* Names whose leases have ended; nothing happens while others are being cleaned up after. */
void bh_redis_reap(struct bh_redis_tracker *t, const struct bh_reply *names, size_t count);

/* --- tracker_audit.c --- */

void bh_redis_audit_clear(struct bh_redis_tracker *t);
/* Checks some more connections; a missing one is bh_redis_tracker_lost. */
void bh_redis_audit(struct bh_redis_tracker *t);

/* --- tracker_read.c --- */

/* As bh_tracker_vt.lookup; on the worker's thread. */
void bh_redis_tracker_lookup(struct bh_tracker *t, struct bh_worker *worker, enum bh_lookup what,
                             const struct bh_slice *names, size_t count, bh_tracker_cb done,
                             void *ud, bh_handle handle);

/* --- replies, which are not believed --- */

static inline bool bh_redis_is_int(const struct bh_reply *r) {
    return r->type == BH_REPLY_INTEGER;
}
static inline bool bh_redis_is_count(const struct bh_reply *r, size_t most) {
    return r->type == BH_REPLY_INTEGER && r->integer >= 0 && (uint64_t)r->integer <= most;
}
static inline bool bh_redis_is_string(const struct bh_reply *r) {
    return r->type == BH_REPLY_STRING;
}
bool bh_redis_all_strings(const struct bh_reply *r, size_t count);

#endif
