/* registration.h - one life of this instance's entries in Redis; everything else in the tracker
 * works under it. Private to the tracker.
 *
 * A registration has a name and a lease. When Redis loses it, a write fails, or the link goes down,
 * it ends: tracker.c clears everything and increments `number`. The number is the handle of every
 * call, so that a reply to an earlier registration is ignored. Only tracker.c changes the state;
 * the others call on_lost or on_failed when the registration cannot go on.
 *
 * Thread: the bus; the configuration does not change and may be read on any. */
#ifndef BELLHOP_BACKEND_REDIS_REGISTRATION_H
#define BELLHOP_BACKEND_REDIS_REGISTRATION_H

#include "bellhop/base/id.h"
#include "link/link.h"
#include "tracker/scripts.h"

#define BH_TRACKER_MARK_LEN         8
#define BH_TRACKER_NAME_MAX         (BH_ID_MAX + 1 + BH_TRACKER_MARK_LEN)
#define BH_TRACKER_HEARTBEAT_MAX_MS 1000

enum bh_redis_tracker_state {
    BH_TRACKER_IDLE,      /* not started, or stopped */
    BH_TRACKER_DOWN,      /* no link */
    BH_TRACKER_WAITING,   /* the pause before a registration */
    BH_TRACKER_BEGINNING, /* the lease is being created */
    BH_TRACKER_RESTORING, /* the node reports all connections */
    BH_TRACKER_LIVE,
};

/* What became of the last complete registration, as heartbeat.lua returns it. */
enum bh_tracker_previous {
    BH_PREVIOUS_STANDS,
    BH_PREVIOUS_REAPED,
    BH_PREVIOUS_FORGOTTEN, /* Redis has lost data */
    BH_PREVIOUS_LATE,      /* the same, and others may have announced its users as offline */
};

struct bh_tracker_name {
    size_t len;   /* 0: none */
    int64_t ends; /* its lease, as last seen; ms of Redis' clock */
    char text[BH_TRACKER_NAME_MAX + 1];
};

static inline struct bh_slice bh_tracker_name(const struct bh_tracker_name *n) {
    return bh_slice(n->text, n->len);
}

struct bh_redis_registration {
    struct bh_redis_config config; /* a copy */
    struct bh_slice prefix;        /* of all keys; owned */
    unsigned parts;                /* of the tracker; each has a registration of its own */
    uint64_t lease_ms, debounce_ms;
    struct bh_redis_link link;
    enum bh_redis_tracker_state state;
    bh_handle number;
    struct bh_tracker_name name;        /* kept until the next registration begins */
    struct bh_tracker_name predecessor; /* the last complete one, until this one is complete */
    struct bh_tracker_name abandoned;   /* one that was not completed; its lease is to be ended */
    bool begun, complete;
    int64_t epoch;    /* of `presence` in Redis, when this one began; 0: none has */
    int64_t clock_ms; /* from bh_loop_now to Redis' clock, as of the last heartbeat */
    int64_t ended_at; /* when the last LIVE one ended, by Redis' clock */
    enum bh_tracker_previous previous; /* of the predecessor, when this one began */
    struct bh_list delayed;            /* calls that are sent again soon */
    struct bh_timer delay;
    /* Redis has lost the registration. */
    void (*on_lost)(struct bh_redis_registration *r, const char *why);
    /* A script does not work. */
    void (*on_failed)(struct bh_redis_registration *r, const char *script, struct bh_slice why);
};

/* Copies what it needs; the callbacks are the caller's to set. The prefix of the tracker's
 * configuration does not count. */
void bh_redis_registration_init(struct bh_redis_registration *r,
                                const struct bh_redis_config *config,
                                const struct bh_redis_tracker_config *tracker, const char *prefix,
                                unsigned parts);
void bh_redis_registration_start(struct bh_redis_registration *r, struct bh_loop *bus);
void bh_redis_registration_deinit(struct bh_redis_registration *r);
/* Replies to its calls are ignored from now on. */
void bh_redis_registration_end(struct bh_redis_registration *r);
/* A new name for the next registration; a name that was never begun is used again. */
void bh_redis_registration_rename(struct bh_redis_registration *r);

/* --- times --- */

/* How often the lease is renewed. */
static inline uint64_t bh_redis_heartbeat_ms(const struct bh_redis_registration *r) {
    uint64_t third = r->lease_ms / 3;
    return third < BH_TRACKER_HEARTBEAT_MAX_MS ? third : BH_TRACKER_HEARTBEAT_MAX_MS;
}
/* Without any heartbeat for that long, Redis was away. */
static inline uint64_t bh_redis_gap_ms(const struct bh_redis_registration *r) {
    return 2 * bh_redis_heartbeat_ms(r);
}
/* How long, after that or after data loss, no instance is declared dead and no user offline: what
 * an instance needs to return, a back-off and a few heartbeats. */
static inline uint64_t bh_redis_hold_back_ms(const struct bh_redis_registration *r) {
    return r->config.backoff_max_ms + 3 * bh_redis_heartbeat_ms(r);
}

/* --- calls and their replies --- */

static inline bool bh_redis_is_writable(const struct bh_redis_registration *r) {
    return r->state == BH_TRACKER_RESTORING || r->state == BH_TRACKER_LIVE;
}

struct bh_redis_call *bh_redis_registration_call(const struct bh_redis_registration *r,
                                                 const struct bh_redis_script *script);
/* Over its link; the handle of `done` is `number`. A call that a cluster cannot execute now,
 * because a slot has no server or is between two, is sent again until the lease ends; one whose
 * slot is elsewhere moves the link there, which ends the registration. */
void bh_redis_registration_send(struct bh_redis_registration *r, struct bh_redis_call *call,
                                bh_reply_cb done, void *ud);
/* Whether to go on with a reply. False: it belongs to an earlier registration, or on_lost or
 * on_failed has been called, or the link is about to go down. */
bool bh_redis_reply_ok(struct bh_redis_registration *r, bh_handle handle, const char *script,
                       int error, const struct bh_reply *reply);
/* The same for work on behalf of other instances: a failure is logged and ends no registration, the
 * next heartbeat does the work again. */
bool bh_redis_check_reply(const char *script, int error, const struct bh_reply *reply);
/* bh_loop_now by Redis' clock. */
static inline int64_t bh_redis_registration_now(const struct bh_redis_registration *r) {
    return (int64_t)bh_loop_now(r->link.loop) + r->clock_ms;
}

/* The end of the lease in a reply; 0: not changed. */
void bh_redis_registration_renewed(struct bh_redis_registration *r, int64_t ends);
/* Counts and logs changes that a script skipped because their key holds another type. */
void bh_redis_count_skipped(const char *keys, int64_t count);

/* --- the shape of replies, which is always checked --- */

static inline bool bh_redis_is_int(const struct bh_reply *r) {
    return r->type == BH_REPLY_INTEGER;
}
static inline bool bh_redis_is_count(const struct bh_reply *r, size_t most) {
    return r->type == BH_REPLY_INTEGER && r->integer >= 0 && (uint64_t)r->integer <= most;
}
bool bh_redis_all_strings(const struct bh_reply *r, size_t count);

#endif
