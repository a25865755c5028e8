/* registration.c - the name of a registration, its calls, and what their replies mean for it. */
#include "tracker/registration.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "link/config.h"
#include "link/metrics.h"

#include <stdio.h>

#define LEASE_MIN_MS 1000
#define PREFIX       "ws:"

void bh_redis_registration_init(struct bh_redis_registration *r,
                                const struct bh_redis_config *config,
                                const struct bh_redis_tracker_config *tracker) {
    bh_redis_config_copy(&r->config, config);
    r->prefix = bh_slice_cstr(bh_strdup(tracker->key_prefix ? tracker->key_prefix : PREFIX));
    r->lease_ms = tracker->lease_ms > LEASE_MIN_MS ? tracker->lease_ms : LEASE_MIN_MS;
    r->debounce_ms = tracker->debounce_ms;
}

void bh_redis_registration_deinit(struct bh_redis_registration *r) {
    bh_free((char *)r->prefix.p);
    bh_redis_config_free_copy(&r->config);
}

void bh_redis_registration_rename(struct bh_redis_registration *r) {
    unsigned char mark[BH_TRACKER_MARK_LEN * 3 / 4];
    char text[BH_TRACKER_MARK_LEN + 1];
    if (r->name.len && !r->begun)
        return;
    if (!r->complete) {
        r->abandoned = r->name;
    } else {
        r->abandoned = r->predecessor;
        r->predecessor = r->name;
    }
    bh_random(mark, sizeof mark);
    text[bh_base64url_encode(bh_slice(mark, sizeof mark), text)] = '\0';
    int n = snprintf(r->name.text, sizeof r->name.text, "%s~%s", r->config.instance, text);
    r->name.len = (size_t)n;
    r->name.ends = 0;
    r->begun = r->complete = false;
}

struct bh_redis_call *bh_redis_registration_call(const struct bh_redis_registration *r,
                                                 const struct bh_redis_script *script) {
    return bh_redis_call_new(script, r->prefix);
}

void bh_redis_registration_send(struct bh_redis_registration *r, struct bh_redis_call *call,
                                bh_reply_cb done, void *ud) {
    bh_redis_call_send(call, &r->link, done, ud, r->number);
}

bool bh_redis_reply_ok(struct bh_redis_registration *r, bh_handle handle, const char *script,
                       int error, const struct bh_reply *reply) {
    if (handle != r->number)
        return false;
    if (!error && reply->type == BH_REPLY_ARRAY)
        return true;
    if (!error && reply->type == BH_REPLY_STATUS && bh_slice_eq(reply->str, BH_SLICE("LOST")))
        r->on_lost(r, "the lease has ended");
    else if (!error && reply->type == BH_REPLY_ERROR)
        r->on_failed(r, script, reply->str);
    else if (!error)
        r->on_failed(r, script, BH_SLICE("unexpected answer"));
    else if (bh_redis_link_is_ready(&r->link))
        r->on_failed(r, script, bh_slice_cstr(bh_strerror(error)));
    /* else on_down of the link follows */
    return false;
}

bool bh_redis_check_reply(const char *script, int error, const struct bh_reply *reply) {
    if (error || reply->type == BH_REPLY_ARRAY)
        return !error;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS]);
    bh_warn_limited("a script of the tracker failed in Redis", bh_kv_str("script", script),
                    bh_kv_slice("reason", reply->type == BH_REPLY_ERROR
                                              ? reply->str
                                              : BH_SLICE("unexpected answer")));
    return false;
}

void bh_redis_registration_renewed(struct bh_redis_registration *r, int64_t ends) {
    if (ends > 0)
        r->name.ends = ends;
}

void bh_redis_count_skipped(const char *keys, int64_t count) {
    if (count <= 0)
        return;
    bh_metric_add(&bh_redis_metrics[BH_REDIS_TRACK_ERRORS], count);
    bh_warn_limited("connections not tracked: their key in Redis holds another type",
                    bh_kv_str("keys", keys), bh_kv_int("changes", count));
}

bool bh_redis_all_strings(const struct bh_reply *r, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (r[i].type != BH_REPLY_STRING)
            return false;
    return true;
}
