/* publish_queue.c - publishes that wait until Redis is back.
 *
 * All wait equally long, so the head is always the next to expire, and one timer checks it. */
#include "broker/publish_queue.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "link/metrics.h"

#define CHECK_MS 20

struct publish {
    struct bh_list node;
    struct bh_redis_outgoing out; /* with a reference to its message */
    uint64_t until_ms;
};

static struct publish *head_of(const struct bh_redis_publish_queue *q) {
    return bh_list_empty(&q->list) ? NULL : BH_CONTAINER_OF(q->list.next, struct publish, node);
}

/* Removes it from the list; the caller unrefs the message. */
static struct bh_redis_outgoing take_head(struct bh_redis_publish_queue *q) {
    struct publish *one = head_of(q);
    struct bh_redis_outgoing copy = one->out;
    bh_list_unlink(&one->node);
    q->count--;
    q->bytes -= copy.message->payload.n;
    bh_metric_add(&bh_redis_metrics[BH_REDIS_PUBLISHES_WAITING], -1);
    bh_free(one);
    return copy;
}

static void fail_head(struct bh_redis_publish_queue *q, const char *why) {
    struct bh_redis_outgoing one = take_head(q);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISH_ERRORS]);
    one.done(one.ud, one.handle, BH_EUNAVAIL, -1, why);
    bh_message_unref(one.message);
}

static void on_timer(struct bh_timer *t) {
    struct bh_redis_publish_queue *q = BH_CONTAINER_OF(t, struct bh_redis_publish_queue, timer);
    uint64_t now_ms = bh_loop_now(q->loop);
    while (q->count && q->can_send(q)) {
        struct bh_redis_outgoing one = take_head(q);
        q->send(q, &one);
        bh_message_unref(one.message);
    }
    while (q->count && head_of(q)->until_ms <= now_ms)
        fail_head(q, "Redis was not back within redis.publish_wait");
    if (q->count)
        bh_timer_set(&q->timer, CHECK_MS);
}

void bh_redis_publish_queue_start(struct bh_redis_publish_queue *q, struct bh_loop *loop,
                                  const struct bh_redis_config *config) {
    q->loop = loop;
    q->config = config;
    q->count = q->bytes = 0;
    bh_list_init(&q->list);
    bh_timer_init(&q->timer, loop, on_timer);
}

bool bh_redis_publish_queue_add(struct bh_redis_publish_queue *q,
                                const struct bh_redis_outgoing *out) {
    size_t bytes = out->message->payload.n;
    if (!q->loop || (q->count >= q->config->publish_queue && !out->again) ||
        bytes > BH_REDIS_PUBLISH_QUEUE_BYTES_MAX - q->bytes)
        return false;
    struct publish *one = bh_malloc(sizeof *one);
    *one = (struct publish){.out = *out,
                            .until_ms = bh_loop_now(q->loop) + q->config->publish_wait_ms};
    bh_message_ref(out->message);
    bh_list_init(&one->node);
    bh_list_append(&q->list, &one->node);
    q->count++;
    q->bytes += bytes;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISHES_WAITING]);
    if (!bh_timer_pending(&q->timer))
        bh_timer_set(&q->timer, CHECK_MS);
    return true;
}

const struct bh_redis_outgoing *
bh_redis_publish_queue_next(const struct bh_redis_publish_queue *q) {
    const struct publish *one = head_of(q);
    return one ? &one->out : NULL;
}

void bh_redis_publish_queue_stop(struct bh_redis_publish_queue *q) {
    if (!q->loop)
        return;
    bh_timer_cancel(&q->timer);
    q->loop = NULL;
    while (q->count)
        fail_head(q, "this instance is shutting down");
}
