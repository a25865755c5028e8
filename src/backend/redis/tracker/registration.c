/* registration.c - the name of a registration, its calls, and what their replies mean for it.
 *
 * While a slot of a cluster moves key by key, a script finds some of its keys here and some there,
 * so the servers refuse it (TRYAGAIN, ASK) until the last key has moved. That lasts as long as the
 * operator's tool needs; the lease and all entries stand, and nobody else can change them, so
 * nothing is lost by waiting. Then the old server says MOVED. */
#include "tracker/registration.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "cluster/map.h"
#include "link/config.h"
#include "link/errors.h"
#include "link/metrics.h"

#include <stdio.h>

#define LEASE_MIN_MS 1000
#define DELAY_MS     200 /* or up to twice that */

static void on_delay(struct bh_timer *timer);

void bh_redis_registration_init(struct bh_redis_registration *r,
                                const struct bh_redis_config *config,
                                const struct bh_redis_tracker_config *tracker, const char *prefix,
                                unsigned parts) {
    bh_redis_config_copy(&r->config, config);
    r->prefix = bh_slice_cstr(bh_strdup(prefix));
    r->parts = parts;
    bh_list_init(&r->delayed);
    r->lease_ms = tracker->lease_ms > LEASE_MIN_MS ? tracker->lease_ms : LEASE_MIN_MS;
    r->debounce_ms = tracker->debounce_ms;
}

void bh_redis_registration_start(struct bh_redis_registration *r, struct bh_loop *bus) {
    bh_timer_init(&r->delay, bus, on_delay);
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

/* --- sending, until it is executed --- */

struct attempt {
    struct bh_list node; /* in r->delayed, while it waits */
    struct bh_redis_registration *r;
    struct bh_redis_call *call;
    bh_reply_cb done;
    void *ud;
};

static void on_attempt(void *ud, bh_handle number, int error, const struct bh_reply *reply);

static void send_attempt(struct attempt *a) {
    bh_redis_call_send(a->call, &a->r->link, on_attempt, a, a->r->number);
}

static void on_delay(struct bh_timer *timer) {
    struct bh_redis_registration *r = BH_CONTAINER_OF(timer, struct bh_redis_registration, delay);
    struct bh_list delayed, *node;
    bh_list_init(&delayed);
    while ((node = bh_list_shift(&r->delayed)))
        bh_list_append(&delayed, node);
    while ((node = bh_list_shift(&delayed)))
        send_attempt(BH_CONTAINER_OF(node, struct attempt, node));
}

static bool can_wait(const struct bh_redis_registration *r, const struct bh_reply *reply) {
    struct bh_slice e = reply->str;
    return (bh_slice_starts(e, BH_SLICE("TRYAGAIN ")) || bh_slice_starts(e, BH_SLICE("ASK ")) ||
            bh_slice_starts(e, BH_SLICE("CLUSTERDOWN "))) &&
           bh_redis_registration_now(r) < r->name.ends;
}

static void delay_attempt(struct attempt *a) {
    bh_redis_call_keep(a->call);
    bh_list_append(&a->r->delayed, &a->node);
    if (!bh_timer_pending(&a->r->delay))
        bh_timer_set(&a->r->delay, DELAY_MS + bh_random_below(DELAY_MS));
}

/* The link goes down with it, unless it is there already. */
static void follow(struct bh_redis_registration *r, const struct bh_reply *reply) {
    struct bh_redis_redirection to;
    char host[256];
    if (!r->link.locator || !bh_redis_redirection_parse(reply->str, &to) || to.ask ||
        to.host.n >= sizeof host)
        return;
    snprintf(host, sizeof host, "%.*s", BH_SLICE_ARG(to.host));
    if (to.host.n == 0) /* the server's own */
        snprintf(host, sizeof host, "%s", r->link.host);
    bh_redis_link_move(&r->link, host, to.port);
}

static void on_attempt(void *ud, bh_handle number, int error, const struct bh_reply *reply) {
    struct attempt *a = ud, done = *a;
    bool rejected = number == a->r->number && !error && reply->type == BH_REPLY_ERROR;
    if (rejected && can_wait(a->r, reply)) {
        delay_attempt(a);
        return;
    }
    if (rejected)
        follow(a->r, reply);
    bh_free(a);
    done.done(done.ud, number, error, reply);
}

void bh_redis_registration_send(struct bh_redis_registration *r, struct bh_redis_call *call,
                                bh_reply_cb done, void *ud) {
    struct attempt *a = bh_malloc(sizeof *a);
    *a = (struct attempt){.r = r, .call = call, .done = done, .ud = ud};
    bh_list_init(&a->node);
    send_attempt(a);
}

void bh_redis_registration_end(struct bh_redis_registration *r) {
    struct bh_list *node;
    r->number++;
    bh_timer_cancel(&r->delay);
    while ((node = bh_list_shift(&r->delayed))) {
        struct attempt *a = BH_CONTAINER_OF(node, struct attempt, node);
        bh_redis_call_free(a->call);
        bh_free(a);
    }
}

/* --- replies --- */

bool bh_redis_reply_ok(struct bh_redis_registration *r, bh_handle handle, const char *script,
                       int error, const struct bh_reply *reply) {
    if (handle != r->number)
        return false;
    if (!error && reply->type == BH_REPLY_ARRAY)
        return true;
    if (!error && reply->type == BH_REPLY_STATUS && bh_slice_eq(reply->str, BH_SLICE("LOST")))
        r->on_lost(r, "the lease has ended");
    else if (!error && reply->type == BH_REPLY_ERROR)
        r->on_failed(r, script, bh_redis_error_inside(reply->str));
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
