/* departed.h - what has to be re-sent if Redis loses its data: which connections belong to users
 * who have been announced as online, and which of those users have departed since. Private to the
 * tracker. Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_DEPARTED_H
#define BELLHOP_BACKEND_REDIS_DEPARTED_H

#include "bellhop/core/tracker.h"
#include "tracker/registration.h"

/* All zero but for the registration at first. */
struct bh_redis_departed {
    const struct bh_redis_registration *registration;
    /* Each user with a connection opened until then (Unix ms) has been announced as online.
     * Exceptions are the connections (their numbers) that Redis had not confirmed when a
     * registration ended. */
    int64_t announced_until;
    struct bh_bytes unconfirmed;
    int64_t confirmed_until; /* the last of those that Redis has confirmed */
    bool calm;               /* it holds back decisions: they may not have been announced yet */
    /* Recently departed users, kept so that their offline event can be re-sent. */
    struct bh_bytes queue; /* of struct departure, each followed by the user */
    size_t head;
    uint64_t live_ms; /* when the registration became LIVE */
    int64_t live_due; /* when users who departed before that were due, by Redis' clock */
};

/* The registration becomes LIVE. */
void bh_redis_departed_live(struct bh_redis_departed *d);
void bh_redis_departed_deinit(struct bh_redis_departed *d);

/* Whether the user of that connection has been announced as online. */
bool bh_redis_was_announced(const struct bh_redis_departed *d, uint64_t number, int64_t opened_at);
/* Redis has confirmed a connection that was opened then; _confirmed_all: and the rest of its
 * batch. */
void bh_redis_departed_confirmed(struct bh_redis_departed *d, int64_t opened_at);
void bh_redis_departed_confirmed_all(struct bh_redis_departed *d);
/* This registration will not confirm that connection. */
void bh_redis_departed_unconfirmed(struct bh_redis_departed *d, uint64_t number, int64_t opened_at);

/* A connection has gone. written: Redis has it, or may have it. */
void bh_redis_departed_add(struct bh_redis_departed *d, const struct bh_track *gone, bool written);
/* Redis has decided on every user who was due at that time, and nothing is held back. */
void bh_redis_departed_decided(struct bh_redis_departed *d, uint64_t decided_ms);
/* The next departed user who may have been announced: the number and user of *gone, and since when
 * the user may have been announced as offline, by the clock of the Redis that has lost its data.
 * *cursor begins with 0. */
bool bh_redis_departed_next(const struct bh_redis_departed *d, size_t *cursor,
                            struct bh_track *gone, int64_t *due);

#endif
