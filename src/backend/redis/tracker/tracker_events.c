/* tracker_events.c - events of presence: raised once, also when a reply is lost.
 *
 * A script that decides an event writes it under the registration's name and returns it. It is
 * raised when the reply comes, or else when a later heartbeat brings it again; and in the same tick
 * it is taken out of Redis. As long as that is not confirmed it is known here, so it may come again
 * as often as it likes. It survives registrations: a new one takes over what the last one has left.
 */
#include "tracker/tracker.h"

#include "bellhop/base/mem.h"
#include "link/metrics.h"
#include "link/resp.h"

#define ACK_MAX  500
#define TEXT_MAX (24 + BH_ID_MAX)

struct raised {
    struct bh_list node;
    uint8_t len;
    char text[];
};

static struct bh_slice text_of(const void *value) {
    const struct raised *e = value;
    return bh_slice(e->text, e->len);
}

static void wake(struct bh_redis_tracker *t) {
    if (!bh_list_empty(&t->events.waiting) && bh_list_empty(&t->events.acking))
        bh_defer(t->link.loop, BH_PHASE_FLUSH, &t->events.flush);
}

static void note(struct bh_redis_tracker *t, struct bh_slice text) {
    struct raised *e = bh_malloc(sizeof *e + text.n);
    bh_list_init(&e->node);
    e->len = (uint8_t)text.n;
    memcpy(e->text, text.p, text.n);
    bh_map_put(&t->events.map, e);
    bh_list_append(&t->events.waiting, &e->node);
    wake(t);
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

static void on_acked(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_tracker *t = c->ud;
    struct bh_list *node;
    if (c->handle != t->registration || error)
        return; /* sent again by the next registration */
    while ((node = bh_list_shift(&t->events.acking))) {
        struct raised *e = BH_CONTAINER_OF(node, struct raised, node);
        bh_map_remove(&t->events.map, text_of(e));
        bh_free(e);
    }
    wake(t);
}

/* ZREM events:<name> event... */
void bh_redis_events_ack(struct bh_redis_tracker *t) {
    static const char kind[] = "events:";
    size_t count = 0, key_len = t->prefix.n + sizeof kind - 1 + t->name.len;
    if (!bh_redis_tracker_takes(t) || !bh_list_empty(&t->events.acking))
        return;
    for (struct bh_list *at = t->events.waiting.next; at != &t->events.waiting && count < ACK_MAX;
         at = at->next)
        count++;
    const char *why;
    size_t bound = 64 + BH_RESP_BULK_MAX(key_len) + count * BH_RESP_BULK_MAX(TEXT_MAX);
    char *p = count ? bh_redis_link_begin(&t->link, bound, &why) : NULL;
    if (!p)
        return;
    p = bh_resp_bulk(bh_resp_head(p, '*', count + 2), BH_SLICE("ZREM"));
    p = bh_resp_bytes(bh_resp_head(p, '$', key_len), t->prefix);
    p = bh_resp_bytes(p, bh_slice(kind, sizeof kind - 1));
    p = bh_resp_end(bh_resp_bytes(p, bh_tracker_name(&t->name)));
    while (count--) {
        struct bh_list *node = bh_list_shift(&t->events.waiting);
        p = bh_resp_bulk(p, text_of(BH_CONTAINER_OF(node, struct raised, node)));
        bh_list_append(&t->events.acking, node);
    }
    struct bh_redis_completion c = {.fire = on_acked, .ud = t, .handle = t->registration};
    bh_redis_link_commit(&t->link, p, &c);
}

static void on_flush(struct bh_defer *d) {
    bh_redis_events_ack(BH_CONTAINER_OF(d, struct bh_redis_tracker, events.flush));
}

void bh_redis_events_not_acked(struct bh_redis_tracker *t) {
    struct bh_list *node;
    while ((node = bh_list_shift(&t->events.acking)))
        bh_list_append(&t->events.waiting, node);
    bh_defer_cancel(&t->events.flush);
}

void bh_redis_events_init(struct bh_redis_tracker *t) {
    bh_map_init(&t->events.map, text_of);
    bh_list_init(&t->events.waiting);
    bh_list_init(&t->events.acking);
    bh_defer_init(&t->events.flush, on_flush);
}

void bh_redis_events_deinit(struct bh_redis_tracker *t) {
    size_t cursor = 0;
    void *event;
    while ((event = bh_map_next(&t->events.map, &cursor)))
        bh_free(event);
    bh_map_deinit(&t->events.map);
}
