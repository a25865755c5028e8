/* events.c - events of presence: raised once, also when a reply is lost.
 *
 * A script that decides an event writes it under the registration's name and returns it. It is
 * raised when the reply arrives, or when a later heartbeat returns it again; in the same tick it is
 * removed from Redis. Until the removal is confirmed the event is remembered here, so that it may
 * be returned again any number of times. Events survive a registration: the next one takes over
 * what is left under the name of the last. */
#include "tracker/events.h"

#include "bellhop/base/mem.h"
#include "link/metrics.h"
#include "link/resp.h"

#define ACK_MAX  500
#define TEXT_MAX (24 + BH_ID_MAX)

struct pending_event {
    struct bh_list node;
    uint8_t len;
    char text[];
};

static struct bh_slice text_of(const void *value) {
    const struct pending_event *one = value;
    return bh_slice(one->text, one->len);
}

static void wake(struct bh_redis_events *e) {
    if (!bh_list_empty(&e->waiting) && bh_list_empty(&e->acking))
        bh_defer(e->registration->link.loop, BH_PHASE_FLUSH, &e->flush);
}

static void remember(struct bh_redis_events *e, struct bh_slice text) {
    struct pending_event *one = bh_malloc(sizeof *one + text.n);
    bh_list_init(&one->node);
    one->len = (uint8_t)text.n;
    memcpy(one->text, text.p, text.n);
    bh_map_put(&e->map, one);
    bh_list_append(&e->waiting, &one->node);
    wake(e);
}

void bh_redis_events_raise(struct bh_redis_events *e, struct bh_slice text) {
    struct bh_slice user = text, when;
    uint64_t at;
    if (text.n > TEXT_MAX || !bh_slice_split(&user, ' ', &when) || user.n == 0 ||
        bh_slice_u64(when, INT64_MAX, &at) != 0 || bh_map_get(&e->map, text))
        return;
    bool online = user.p[0] == '+';
    user = bh_slice(user.p + 1, user.n - 1);
    if (bh_id_stored(BH_ID_USER, user) == BH_ID_INVALID)
        return;
    remember(e, text);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PRESENCE_EVENTS]);
    e->sink->on_presence(e->sink->ud, user, online, (int64_t)at);
}

void bh_redis_events_raise_all(struct bh_redis_events *e, const struct bh_reply *texts,
                               size_t count) {
    for (size_t i = 0; i < count; i++)
        bh_redis_events_raise(e, texts[i].str);
    wake(e);
}

static void keep_waiting(struct bh_redis_events *e) {
    struct bh_list *node;
    while ((node = bh_list_shift(&e->acking)))
        bh_list_append(&e->waiting, node);
}

static void on_acked(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    struct bh_redis_events *e = c->ud;
    struct bh_list *node;
    if (c->handle != e->registration->number || error)
        return; /* sent again by the next registration */
    if (reply->type == BH_REPLY_ERROR) {
        keep_waiting(e); /* until the next heartbeat */
        return;
    }
    while ((node = bh_list_shift(&e->acking))) {
        struct pending_event *one = BH_CONTAINER_OF(node, struct pending_event, node);
        bh_map_remove(&e->map, text_of(one));
        bh_free(one);
    }
    wake(e);
}

/* ZREM events:<name> event... */
void bh_redis_events_ack(struct bh_redis_events *e) {
    static const char kind[] = "events:";
    const struct bh_redis_registration *r = e->registration;
    size_t count = 0, key_len = r->prefix.n + sizeof kind - 1 + r->name.len;
    if (!bh_redis_is_writable(r) || !bh_list_empty(&e->acking))
        return;
    for (struct bh_list *at = e->waiting.next; at != &e->waiting && count < ACK_MAX; at = at->next)
        count++;
    const char *why;
    size_t bound = 64 + BH_RESP_BULK_MAX(key_len) + count * BH_RESP_BULK_MAX(TEXT_MAX);
    char *p = count ? bh_redis_link_begin(&e->registration->link, bound, &why) : NULL;
    if (!p)
        return;
    p = bh_resp_bulk(bh_resp_head(p, '*', count + 2), BH_SLICE("ZREM"));
    p = bh_resp_bytes(bh_resp_head(p, '$', key_len), r->prefix);
    p = bh_resp_bytes(p, bh_slice(kind, sizeof kind - 1));
    p = bh_resp_end(bh_resp_bytes(p, bh_tracker_name(&r->name)));
    while (count--) {
        struct bh_list *node = bh_list_shift(&e->waiting);
        p = bh_resp_bulk(p, text_of(BH_CONTAINER_OF(node, struct pending_event, node)));
        bh_list_append(&e->acking, node);
    }
    struct bh_redis_completion c = {.fire = on_acked, .ud = e, .handle = r->number};
    bh_redis_link_commit(&e->registration->link, p, &c);
}

static void on_flush(struct bh_defer *d) {
    bh_redis_events_ack(BH_CONTAINER_OF(d, struct bh_redis_events, flush));
}

void bh_redis_events_not_acked(struct bh_redis_events *e) {
    keep_waiting(e);
    bh_defer_cancel(&e->flush);
}

void bh_redis_events_init(struct bh_redis_events *e, struct bh_redis_registration *r,
                          const struct bh_tracker_sink *sink) {
    e->registration = r;
    e->sink = sink;
    bh_map_init(&e->map, text_of);
    bh_list_init(&e->waiting);
    bh_list_init(&e->acking);
    bh_defer_init(&e->flush, on_flush);
}

void bh_redis_events_deinit(struct bh_redis_events *e) {
    size_t cursor = 0;
    void *event;
    while ((event = bh_map_next(&e->map, &cursor)))
        bh_free(event);
    bh_map_deinit(&e->map);
}
