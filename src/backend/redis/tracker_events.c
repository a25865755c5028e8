/* tracker_events.c - events of presence: raised once, also when a reply is lost.
 *
 * A script that decides an event writes it under the registration's name and returns it. It is
 * raised when the reply comes, or else when a later heartbeat brings it again; heartbeats tell Redis
 * what has been raised, soon after. What is raised and not yet taken out of Redis is known here, so
 * it may come again as often as it likes. It survives registrations: a new one takes over what the
 * last one has left. */
#include "tracker.h"

#include "bellhop/base/mem.h"
#include "metrics.h"

#define ACK_SOON_MS 10
#define ACK_MAX     500
#define TEXT_MAX    (24 + BH_ID_MAX)

struct raised {
    struct bh_list node;
    uint8_t len;
    char text[];
};

static struct bh_slice text_of(const void *value) {
    const struct raised *e = value;
    return bh_slice(e->text, e->len);
}

static void note(struct bh_redis_tracker *t, struct bh_slice text) {
    struct raised *e = bh_malloc(sizeof *e + text.n);
    bh_list_init(&e->node);
    e->len = (uint8_t)text.n;
    memcpy(e->text, text.p, text.n);
    bh_map_put(&t->events.map, e);
    bh_list_append(&t->events.waiting, &e->node);
    if (!bh_timer_pending(&t->events.timer))
        bh_timer_set(&t->events.timer, ACK_SOON_MS);
}

void bh_redis_events_raise(struct bh_redis_tracker *t, struct bh_slice text) {
    struct bh_slice user = text, when;
    uint64_t at;
    if (text.n > TEXT_MAX || !bh_slice_split(&user, ' ', &when) || user.n == 0 ||
        bh_slice_u64(when, INT64_MAX, &at) != 0 || bh_map_get(&t->events.map, text))
        return;
    bool online = user.p[0] == '+';
    user = bh_slice(user.p + 1, user.n - 1);
    if (bh_id_check(BH_ID_USER, user, NULL) != 0)
        return;
    note(t, text);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PRESENCE_EVENTS]);
    t->sink.on_presence(t->sink.ud, user, online, (int64_t)at);
}

void bh_redis_events_ack(struct bh_redis_tracker *t, struct bh_redis_call *call) {
    struct bh_list *node;
    for (int i = 0; i < ACK_MAX && (node = bh_list_shift(&t->events.waiting)); i++) {
        bh_redis_call_arg(call, text_of(BH_CONTAINER_OF(node, struct raised, node)));
        bh_list_append(&t->events.acking, node);
    }
}

void bh_redis_events_acked(struct bh_redis_tracker *t, bool heard) {
    struct bh_list *node;
    while ((node = bh_list_shift(&t->events.acking))) {
        struct raised *e = BH_CONTAINER_OF(node, struct raised, node);
        if (heard) {
            bh_map_remove(&t->events.map, text_of(e));
            bh_free(e);
        } else {
            bh_list_append(&t->events.waiting, node);
        }
    }
    if (!bh_list_empty(&t->events.waiting) && !bh_timer_pending(&t->events.timer))
        bh_timer_set(&t->events.timer, ACK_SOON_MS);
}

/* Without a registration the next one's first heartbeat does it. */
static void on_timer(struct bh_timer *timer) {
    struct bh_redis_tracker *t = BH_CONTAINER_OF(timer, struct bh_redis_tracker, events.timer);
    if (bh_redis_tracker_takes(t) && !bh_list_empty(&t->events.waiting))
        bh_redis_tracker_beat(t);
}

void bh_redis_events_init(struct bh_redis_tracker *t, struct bh_loop *bus) {
    bh_map_init(&t->events.map, text_of);
    bh_list_init(&t->events.waiting);
    bh_list_init(&t->events.acking);
    bh_timer_init(&t->events.timer, bus, on_timer);
}

void bh_redis_events_deinit(struct bh_redis_tracker *t) {
    size_t cursor = 0;
    void *event;
    while ((event = bh_map_next(&t->events.map, &cursor)))
        bh_free(event);
    bh_map_deinit(&t->events.map);
}
