/* tracker_departed.c - what must be known of users if Redis forgets them: who of those who are here
 * has been announced, and who has just gone.
 *
 * Connections are announced in the order in which they were opened, nearly; so one time stands for
 * all of them, and the few that it is wrong about are listed. Those who have gone are kept until
 * Redis must have told of it: their debounce is over, and a heartbeat has asked who is due. */
#include "tracker/tracker.h"

#include "bellhop/base/mem.h"

#define WRITTEN_MS    50 /* until Redis has been told, ordinarily */
#define BYTES_MAX     (64u * 1024 * 1024)
#define CONSUME_BYTES (64 * 1024)

struct departure {
    uint64_t number;
    int64_t opened_at;
    uint64_t at_ms;
    uint8_t user_len;
};

bool bh_redis_was_announced(const struct bh_redis_tracker *t, uint64_t number, int64_t opened_at) {
    if (opened_at > t->announced.until)
        return false;
    const char *p = t->announced.unconfirmed.p;
    uint64_t listed;
    for (size_t at = 0; at < t->announced.unconfirmed.len; at += sizeof listed) {
        memcpy(&listed, p + at, sizeof listed);
        if (listed == number)
            return false;
    }
    return true;
}

/* What an incomplete registration was told again has been announced by an earlier one. */
void bh_redis_not_confirmed(struct bh_redis_tracker *t, uint64_t number, int64_t opened_at) {
    if (t->complete && bh_redis_was_announced(t, number, opened_at))
        bh_bytes_add(&t->announced.unconfirmed, bh_slice(&number, sizeof number));
}

static struct departure departure_at(const struct bh_redis_tracker *t, size_t at,
                                     struct bh_slice *user) {
    struct departure d;
    memcpy(&d, t->departed.queue.p + at, sizeof d);
    *user = bh_slice(t->departed.queue.p + at + sizeof d, d.user_len);
    return d;
}

/* While there is a registration it may still turn out that the connection has been announced. */
void bh_redis_departed_add(struct bh_redis_tracker *t, const struct bh_track *gone) {
    struct departure d = {.number = gone->number,
                          .opened_at = gone->opened_at,
                          .at_ms = bh_loop_now(t->link.loop),
                          .user_len = (uint8_t)gone->user.n};
    bool in_vain =
        !bh_redis_tracker_takes(t) && !bh_redis_was_announced(t, gone->number, gone->opened_at);
    if (in_vain || t->departed.queue.len > BYTES_MAX)
        return;
    bh_bytes_add(&t->departed.queue, bh_slice(&d, sizeof d));
    bh_bytes_add(&t->departed.queue, gone->user);
}

/* Of those who went before this registration it is decided when the last one has been taken apart.
 */
static uint64_t due_ms(const struct bh_redis_tracker *t, const struct departure *d) {
    uint64_t beat_ms = bh_redis_beat_ms(t);
    return d->at_ms >= t->departed.live_ms ? d->at_ms + t->debounce_ms + beat_ms
                                           : t->departed.live_ms + t->debounce_ms + 3 * beat_ms;
}

void bh_redis_departed_trim(struct bh_redis_tracker *t, uint64_t decided_ms) {
    struct bh_slice user;
    while (t->departed.head < t->departed.queue.len) {
        struct departure d = departure_at(t, t->departed.head, &user);
        if (due_ms(t, &d) > decided_ms)
            break;
        t->departed.head += sizeof d + user.n;
    }
    if (t->departed.head == t->departed.queue.len) {
        bh_bytes_free(&t->departed.queue);
        t->departed.head = 0;
    } else if (t->departed.head > CONSUME_BYTES) {
        bh_bytes_consume(&t->departed.queue, t->departed.head);
        t->departed.head = 0;
    }
}

void bh_redis_departed_tell(struct bh_redis_tracker *t) {
    struct bh_slice user;
    for (size_t at = t->departed.head; at < t->departed.queue.len;) {
        struct departure d = departure_at(t, at, &user);
        if (bh_redis_was_announced(t, d.number, d.opened_at))
            bh_redis_changes_add_departed(t, d.number, user);
        at += sizeof d + user.n;
    }
}

void bh_redis_departed_deinit(struct bh_redis_tracker *t) {
    bh_bytes_free(&t->departed.queue);
    bh_bytes_free(&t->announced.unconfirmed);
}
