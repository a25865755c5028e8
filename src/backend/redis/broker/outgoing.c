/* outgoing.c - publishes as commands. */
#include "broker/outgoing.h"

#include "bellhop/base/error.h"
#include "bellhop/core/envelope.h"
#include "link/errors.h"
#include "link/metrics.h"
#include "link/resp.h"

const char bh_redis_queue_full[] = "the queue for Redis is full (redis.publish_queue)";

static char *write_publish(char *p, bool sharded, struct bh_slice prefix,
                           const struct bh_message *m, uint64_t now_ms) {
    char channel[BH_CHANNEL_MAX + 1];
    size_t channel_len = bh_topic_to_channel(m->topic, prefix, channel);
    p = sharded ? bh_resp_bytes(p, BH_SLICE(BH_REDIS_SPUBLISH))
                : bh_resp_bytes(p, BH_SLICE(BH_REDIS_PUBLISH));
    p = bh_resp_bulk(p, bh_slice(channel, channel_len));
    p = bh_resp_head(p, '$', bh_envelope_head_len(m) + m->payload.n);
    p += bh_envelope_head(m, now_ms, p);
    return bh_resp_end(bh_resp_bytes(p, m->payload));
}

char *bh_redis_publish_begin(struct bh_redis_link *link, struct bh_slice prefix,
                             const struct bh_message *m, const char **why) {
    /* No channel is longer than its prefix and three times the name. */
    size_t bound = sizeof BH_REDIS_SPUBLISH + BH_RESP_BULK_MAX(prefix.n + 3u * m->topic->len) +
                   BH_RESP_BULK_MAX(bh_envelope_head_len(m) + m->payload.n);
    char *p = bh_redis_link_begin(link, bound, why);
    if (!p)
        return NULL;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISHES]);
    return write_publish(p, link->config->sharded, prefix, m, bh_loop_now(link->loop));
}

int bh_redis_published(int error, const struct bh_reply *reply, int64_t *receivers,
                       const char **why) {
    const struct bh_redis_error *e =
        !error && reply->type == BH_REPLY_ERROR ? bh_redis_classify_error(reply->str) : NULL;
    *receivers = -1;
    *why = NULL;
    if (error == BH_EUNAVAIL) {
        *why = "the link to Redis was lost before it was sent";
    } else if (error) {
        error = BH_EIO;
        *why = "the link to Redis was lost before it was confirmed";
    } else if (reply->type == BH_REPLY_INTEGER) {
        *receivers = reply->integer;
    } else if (e && (e->reconnect || e->transient)) {
        error = BH_EUNAVAIL;
        *why = e->why;
    } else {
        error = BH_EDENIED;
        *why = e ? reply->str.p : "unexpected answer to PUBLISH";
    }
    if (error)
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISH_ERRORS]);
    return error;
}

void bh_redis_reject(bh_broker_published_cb done, void *ud, bh_handle handle, const char *why) {
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_PUBLISH_ERRORS]);
    done(ud, handle, BH_EUNAVAIL, -1, why);
}
