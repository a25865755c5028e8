/* waiting.c - publishes that wait for Redis to come back.
 *
 * All wait equally long, so the head is always the next to give up, and one timer looks at it. */
#include "broker/publish_queue.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "link/metrics.h"

#define LOOK_MS 20

struct waiting {
    struct bh_list node;
    struct bh_message *message;
    bh_broker_published_cb done;
    void *ud;
    bh_handle handle;
    uint64_t until_ms;
};

static struct waiting *head_of(struct bh_redis_waiting *w) {
    return bh_list_empty(&w->list) ? NULL : BH_CONTAINER_OF(w->list.next, struct waiting, node);
}

/* Out of the list; the message is the caller's to unref. */
static struct waiting take_head(struct bh_redis_waiting *w) {
    struct waiting *one = head_of(w), copy = *one;
    bh_list_unlink(&one->node);
    w->count--;
    w->bytes -= one->message->payload.n;
    bh_metric_add(&bh_redis_metrics[BH_REDIS_PUBLISHES_WAITING], -1);
    bh_free(one);
    return copy;
}

static void give_up(struct bh_redis_waiting *w, const char *why) {
    struct waiting one = take_head(w);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISH_ERRORS]);
    one.done(one.ud, one.handle, BH_EUNAVAIL, -1, why);
    bh_message_unref(one.message);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_waiting *w = BH_CONTAINER_OF(t, struct bh_redis_waiting, timer);
    uint64_t now_ms = bh_loop_now(w->loop);
    while (w->count && w->is_open(w)) {
        struct waiting one = take_head(w);
        w->send(w, one.message, one.done, one.ud, one.handle);
        bh_message_unref(one.message);
    }
    while (w->count && head_of(w)->until_ms <= now_ms)
        give_up(w, "Redis has not come back within redis.publish_wait");
    if (w->count)
        bh_timer_set(&w->timer, LOOK_MS);
}

void bh_redis_waiting_start(struct bh_redis_waiting *w, struct bh_loop *loop,
                            const struct bh_redis_config *config) {
    w->loop = loop;
    w->config = config;
    w->count = w->bytes = 0;
    bh_list_init(&w->list);
    bh_timer_init(&w->timer, loop, on_timer);
}

bool bh_redis_waiting_add(struct bh_redis_waiting *w, struct bh_message *m,
                          bh_broker_published_cb done, void *ud, bh_handle handle) {
    if (w->count >= w->config->publish_queue ||
        m->payload.n > BH_REDIS_WAITING_BYTES_MAX - w->bytes)
        return false;
    struct waiting *one = bh_malloc(sizeof *one);
    *one = (struct waiting){.message = bh_message_ref(m),
                            .done = done,
                            .ud = ud,
                            .handle = handle,
                            .until_ms = bh_loop_now(w->loop) + w->config->publish_wait_ms};
    bh_list_init(&one->node);
    bh_list_append(&w->list, &one->node);
    w->count++;
    w->bytes += m->payload.n;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISHES_WAITING]);
    if (!bh_timer_pending(&w->timer))
        bh_timer_set(&w->timer, LOOK_MS);
    return true;
}

void bh_redis_waiting_stop(struct bh_redis_waiting *w) {
    if (!w->loop)
        return;
    bh_timer_cancel(&w->timer);
    while (w->count)
        give_up(w, "this instance is shutting down");
}
