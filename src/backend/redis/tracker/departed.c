/* departed.c - what has to be re-sent if Redis loses its data.
 *
 * Connections are announced roughly in the order in which they were opened, so one time stands for
 * all of them, and the few exceptions are listed. Departed users are kept until Redis must have
 * decided on them: their debounce is over, and a later heartbeat has asked who is due. */
#include "tracker/departed.h"

#include "bellhop/base/mem.h"

#define BYTES_MAX     (64u * 1024 * 1024)
#define CONSUME_BYTES (64 * 1024)

struct departure {
    uint64_t number;
    int64_t opened_at;
    uint64_t at_ms;
    uint8_t user_len;
};

/* --- who has been announced --- */

bool bh_redis_was_announced(const struct bh_redis_departed *d, uint64_t number, int64_t opened_at) {
    if (opened_at > d->announced_until)
        return false;
    const char *p = d->unconfirmed.p;
    uint64_t listed;
    for (size_t at = 0; at < d->unconfirmed.len; at += sizeof listed) {
        memcpy(&listed, p + at, sizeof listed);
        if (listed == number)
            return false;
    }
    return true;
}

void bh_redis_departed_confirmed(struct bh_redis_departed *d, int64_t opened_at) {
    if (opened_at > d->announced_next)
        d->announced_next = opened_at;
}

void bh_redis_departed_confirmed_all(struct bh_redis_departed *d) {
    if (d->registration->state == BH_TRACKER_LIVE)
        d->announced_until = d->announced_next;
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

/* Under a registration a connection that is not announced yet may still turn out to be. */
void bh_redis_departed_add(struct bh_redis_departed *d, const struct bh_track *gone) {
    struct departure one = {.number = gone->number,
                            .opened_at = gone->opened_at,
                            .at_ms = bh_loop_now(d->registration->link.loop),
                            .user_len = (uint8_t)gone->user.n};
    bool useless = !bh_redis_is_writable(d->registration) &&
                   !bh_redis_was_announced(d, gone->number, gone->opened_at);
    if (useless || d->queue.len > BYTES_MAX)
        return;
    bh_bytes_add(&d->queue, bh_slice(&one, sizeof one));
    bh_bytes_add(&d->queue, gone->user);
}

/* Redis decides on those who departed before this registration when its predecessor is reaped. */
static uint64_t due_ms(const struct bh_redis_departed *d, const struct departure *one) {
    uint64_t heartbeat_ms = bh_redis_heartbeat_ms(d->registration);
    uint64_t debounce_ms = d->registration->debounce_ms;
    return one->at_ms >= d->live_ms ? one->at_ms + debounce_ms + heartbeat_ms
                                    : d->live_ms + debounce_ms + 3 * heartbeat_ms;
}

void bh_redis_departed_trim(struct bh_redis_departed *d, uint64_t decided_ms) {
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

bool bh_redis_departed_next(const struct bh_redis_departed *d, size_t *cursor, uint64_t *number,
                            struct bh_slice *user) {
    for (size_t at = *cursor ? *cursor : d->head; at < d->queue.len;) {
        struct departure one = departure_at(d, at, user);
        at += sizeof one + user->n;
        *cursor = at;
        *number = one.number;
        if (bh_redis_was_announced(d, one.number, one.opened_at))
            return true;
    }
    return false;
}

/* --- life --- */

void bh_redis_departed_restoring(struct bh_redis_departed *d) {
    d->announced_next = d->announced_until;
}

void bh_redis_departed_live(struct bh_redis_departed *d) {
    d->announced_until = d->announced_next;
    bh_bytes_free(&d->unconfirmed);
    d->live_ms = bh_loop_now(d->registration->link.loop);
}

void bh_redis_departed_deinit(struct bh_redis_departed *d) {
    bh_bytes_free(&d->queue);
    bh_bytes_free(&d->unconfirmed);
}
