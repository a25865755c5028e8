/* fence.c - see the header. A token that Redis has not accepted, or has given to nobody, will not
 * come back; one that is lost on the way is not noticed here. */
#include "broker/fence.h"

#include "broker/outgoing.h"
#include "link/resp.h"

static void finish(struct bh_redis_fence *f, bool proven) {
    void (*done)(void *, bool) = f->done;
    f->done = NULL;
    if (done)
        done(f->ud, proven);
}

static void on_answered(const struct bh_redis_completion *c, int error,
                        const struct bh_reply *reply) {
    if (error || reply->type != BH_REPLY_INTEGER || reply->integer == 0)
        finish(c->ud, false);
}

void bh_redis_fence_begin(struct bh_redis_fence *f, struct bh_redis_link *link,
                          struct bh_slice channel, void (*done)(void *ud, bool proven), void *ud) {
    struct bh_slice head = bh_redis_publish_head(link->config);
    size_t bound = head.n + BH_RESP_BULK_MAX(channel.n) + BH_RESP_BULK_MAX(BH_UNIQUE_ID_LEN);
    const char *why;
    char *out = bh_redis_link_begin(link, bound, &why);
    f->done = done;
    f->ud = ud;
    if (!out) {
        finish(f, false);
        return;
    }
    bh_id_unique(f->token);
    out = bh_resp_bulk(bh_resp_bytes(out, head), channel);
    out = bh_resp_bulk(out, bh_slice_cstr(f->token));
    bh_redis_link_commit(link, out, &(struct bh_redis_completion){.fire = on_answered, .ud = f});
}

bool bh_redis_fence_arrived(struct bh_redis_fence *f, struct bh_slice token) {
    if (!f->done || !bh_slice_eq(token, bh_slice_cstr(f->token)))
        return false;
    finish(f, true);
    return true;
}

void bh_redis_fence_stop(struct bh_redis_fence *f) {
    f->done = NULL;
}
