/* departed.c - what has to be re-sent if Redis loses its data.
 *
 * Connections are announced roughly in the order in which they were opened, so one time stands for
 * all of them, and the few exceptions are listed. Departed users are kept until Redis must have
 * decided on them: their debounce is over, and a later heartbeat has asked who is due. Until then
 * others may have raised their event already. Whether they have is not known here when Redis loses
 * its data, so it is told when the user was due: if no instance had a reply from Redis after that,
 * nobody has (presence.lua). */
#include "tracker/departed.h"

#include "bellhop/base/mem.h"

#define BYTES_MAX     (64u * 1024 * 1024) /* of all parts */
#define CONSUME_BYTES (64 * 1024)
#define LONG_AGO      1
#define REPLY_MS      100 /* a departure was written so long before the reply, or less */

struct departure {
    uint64_t number;
    int64_t opened_at;
    uint64_t at_ms; /* reported, or known to be written */
    int64_t due;    /* when others could decide on the user, ms of Redis' clock */
    uint8_t user_len;
};

/* --- who has been announced --- */

static bool is_unconfirmed(const struct bh_redis_departed *d, uint64_t number) {
    uint64_t listed;
    for (size_t at = 0; at < d->unconfirmed.len; at += sizeof listed) {
        memcpy(&listed, d->unconfirmed.p + at, sizeof listed);
        if (listed == number)
            return true;
    }
    return false;
}

bool bh_redis_was_announced(const struct bh_redis_departed *d, uint64_t number, int64_t opened_at) {
    return opened_at <= d->announced_until && !is_unconfirmed(d, number);
}

void bh_redis_departed_confirmed(struct bh_redis_departed *d, int64_t opened_at) {
    if (opened_at > d->confirmed_until)
        d->confirmed_until = opened_at;
}

void bh_redis_departed_confirmed_all(struct bh_redis_departed *d) {
    if (d->registration->state == BH_TRACKER_LIVE && !d->calm)
        d->announced_until = d->confirmed_until;
}

/* Under an incomplete registration, what was announced was announced by an earlier one. */
void bh_redis_departed_unconfirmed(struct bh_redis_departed *d, uint64_t number,
                                   int64_t opened_at) {
    if (d->registration->complete && bh_redis_was_announced(d, number, opened_at))
        bh_bytes_add(&d->unconfirmed, bh_slice(&number, sizeof number));
}

/* --- who has departed --- */

static struct departure departure_at(const struct bh_redis_departed *d, size_t at,
                                     struct bh_slice *user) {
    struct departure one;
    memcpy(&one, d->queue.p + at, sizeof one);
    *user = bh_slice(d->queue.p + at + sizeof one, one.user_len);
    return one;
}

/* When who departs now is due, by Redis' clock. */
static int64_t redis_due(const struct bh_redis_departed *d) {
    return bh_redis_registration_now(d->registration) + (int64_t)d->registration->debounce_ms;
}

/* Under a registration a connection that is not announced yet may still turn out to be. */
void bh_redis_departed_add(struct bh_redis_departed *d, const struct bh_track *gone, bool written) {
    struct departure one = {.number = gone->number,
                            .opened_at = gone->opened_at,
                            .at_ms = bh_loop_now(d->registration->link.loop),
                            .due = written ? redis_due(d) - REPLY_MS : INT64_MAX,
                            .user_len = (uint8_t)gone->user.n};
    bool useless = !bh_redis_is_writable(d->registration) && gone->opened_at > d->confirmed_until;
    if (useless || d->queue.len > BYTES_MAX / d->registration->parts)
        return;
    bh_bytes_add(&d->queue, bh_slice(&one, sizeof one));
    bh_bytes_add(&d->queue, gone->user);
}

/* Redis decides on those who departed before this registration when its predecessor is reaped. */
static uint64_t due_ms(const struct bh_redis_departed *d, const struct departure *one) {
    uint64_t since = d->live_ms + 3 * bh_redis_heartbeat_ms(d->registration);
    return (one->at_ms > d->live_ms ? one->at_ms : since) + d->registration->debounce_ms;
}

static void trim(struct bh_redis_departed *d, uint64_t decided_ms) {
    struct bh_slice user;
    while (d->head < d->queue.len) {
        struct departure one = departure_at(d, d->head, &user);
        if (due_ms(d, &one) > decided_ms)
            break;
        d->head += sizeof one + user.n;
    }
    if (d->head == d->queue.len) {
        bh_bytes_free(&d->queue);
        d->head = 0;
    } else if (d->head > CONSUME_BYTES) {
        bh_bytes_consume(&d->queue, d->head);
        d->head = 0;
    }
}

void bh_redis_departed_decided(struct bh_redis_departed *d, uint64_t decided_ms) {
    if (d->calm)
        return;
    d->announced_until = d->confirmed_until;
    bh_bytes_free(&d->unconfirmed);
    trim(d, decided_ms);
}

/* From when on others could announce the user as offline. Without a written departure that was not
 * before the registration in which the connection was had ended, so not before the next was LIVE.
 */
static int64_t since(const struct bh_redis_departed *d, const struct departure *one) {
    if (d->registration->previous == BH_PREVIOUS_LATE || one->opened_at > d->announced_until)
        return LONG_AGO;
    return one->at_ms <= d->live_ms && d->live_due < one->due ? d->live_due : one->due;
}

bool bh_redis_departed_next(const struct bh_redis_departed *d, size_t *cursor,
                            struct bh_track *gone, int64_t *due) {
    for (size_t at = *cursor ? *cursor : d->head; at < d->queue.len;) {
        struct departure one = departure_at(d, at, &gone->user);
        at += sizeof one + gone->user.n;
        *cursor = at;
        gone->number = one.number;
        *due = since(d, &one);
        if (one.opened_at <= d->confirmed_until && !is_unconfirmed(d, one.number))
            return true;
    }
    return false;
}

/* --- life --- */

void bh_redis_departed_live(struct bh_redis_departed *d) {
    d->live_ms = bh_loop_now(d->registration->link.loop);
    d->live_due = redis_due(d);
}

void bh_redis_departed_deinit(struct bh_redis_departed *d) {
    bh_bytes_free(&d->queue);
    bh_bytes_free(&d->unconfirmed);
}
