/* read.c - reads for recovery and healing, and the tops of many streams.
 *
 * A read writes nothing, so it works while Redis rejects writes. Only a stream without any key is
 * begun first, so that a position in it means something; then it is read again. */
#include "history/read.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "history/range.h"
#include "link/metrics.h"

struct reading {
    struct bh_redis_function_call call;
    struct bh_topic topic;
    struct bh_history_rule rule; /* but for its pattern */
    struct bh_position since;
    uint32_t limit;
    size_t bytes;
    bool begun;
    bh_range_cb done;
    void *ud;
    bh_handle handle;
};

static struct reading *of(const struct bh_redis_function_call *call) {
    return BH_CONTAINER_OF((struct bh_redis_function_call *)call, struct reading, call);
}

static void finish(struct reading *r, int error, struct bh_range *range, const char *why) {
    bh_redis_function_close(&r->call);
    if (error)
        bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_READ_ERRORS]);
    r->done(r->ud, r->handle, error, range, why);
    bh_range_unref(range);
    bh_free(r);
}

/* A lost link is that; what Redis answers may be its state, or for an operator to mend. */
static void fail(struct reading *r, int error, const struct bh_reply *reply) {
    const char *why =
        r->call.why ? r->call.why : "the link to Redis was lost before the history was read";
    if (!error && reply->type == BH_REPLY_ERROR)
        error = bh_redis_functions_error(r->call.calls->functions, reply->str, &why);
    else if (!error)
        why = "unexpected answer to a read of the history";
    if (error == BH_ENOMEM)
        error = BH_EUNAVAIL; /* a stream cannot be begun yet */
    finish(r, error ? error : BH_EIO, NULL, why);
}

/* --- begin --- */

static size_t begin_bound(const struct bh_redis_function_call *call) {
    return BH_REDIS_RULE_MAX;
}

static char *write_begin(const struct bh_redis_function_call *call, char *p) {
    struct bh_redis_rule_text text = {.n = 0};
    return bh_redis_write_rule(p, &of(call)->rule, call->calls->functions->ids_ms, &text);
}

static void ask(struct reading *r, const struct bh_redis_function_vt *vt);

static void on_begun(struct bh_redis_function_call *call, int error, const struct bh_reply *reply);

static const struct bh_redis_function_vt begin_vt = {
    .function = BH_REDIS_FUNCTION_BEGIN,
    .args = 1,
    .bound = begin_bound,
    .write = write_begin,
    .done = on_begun,
};

/* --- read --- */

static size_t read_bound(const struct bh_redis_function_call *call) {
    return 4 * BH_REDIS_NUMBER_MAX + BH_RESP_BULK_MAX(sizeof "latest");
}

static char *write_read(const struct bh_redis_function_call *call, char *p) {
    const struct reading *r = of(call);
    p = bh_redis_write_number(p, r->since.epoch);
    p = bh_redis_write_number(p, r->since.offset);
    p = bh_redis_write_number(p, r->limit);
    p = bh_redis_write_number(p, r->bytes);
    return bh_resp_bulk(p, r->rule.latest ? BH_SLICE("latest") : BH_SLICE(""));
}

/* The entries behind since, without a hole up to the top. */
static bool is_whole(const struct bh_range *range) {
    if (range->count != range->top.offset - range->since.offset)
        return false;
    for (size_t i = 0; i < range->count; i++)
        if (range->messages[i]->position.offset != range->since.offset + 1 + i)
            return false;
    return true;
}

static struct bh_range *empty_range(struct bh_position top, enum bh_history_outcome outcome) {
    struct bh_range *range = bh_range_new(0, NULL);
    range->top = range->since = top;
    range->outcome = outcome;
    return range;
}

static struct bh_range *ok_range(const struct reading *r, const struct bh_reply *reply,
                                 const struct bh_redis_range_head *head) {
    struct bh_range *range = bh_redis_range_new(r->call.calls->functions, &r->topic, reply,
                                                head->top, bh_loop_now(r->call.link->loop));
    range->since.offset = head->fourth;
    range->rewound = !r->rule.latest && head->fourth < r->since.offset;
    if (head->fourth <= head->top.offset && is_whole(range))
        return range;
    bh_range_unref(range);
    return empty_range(head->top, BH_HISTORY_GAP);
}

static void on_read(struct bh_redis_function_call *call, int error, const struct bh_reply *reply) {
    struct reading *r = of(call);
    struct bh_redis_range_head head;
    if (error || !bh_redis_range_head(call->calls->functions, reply, &head)) {
        fail(r, error, reply);
    } else if (head.status == BH_REDIS_RANGE_OK) {
        finish(r, 0, ok_range(r, reply, &head), NULL);
    } else if (head.status != BH_REDIS_RANGE_ABSENT) {
        finish(r, 0,
               empty_range(head.top,
                           head.status == BH_REDIS_RANGE_GAP ? BH_HISTORY_GAP : BH_HISTORY_NEW),
               NULL);
    } else if (r->begun) {
        finish(r, BH_EIO, NULL, "the stream was removed from Redis while it was read");
    } else {
        r->begun = true;
        ask(r, &begin_vt);
    }
}

static const struct bh_redis_function_vt read_vt = {
    .function = BH_REDIS_FUNCTION_READ,
    .args = 5,
    .bound = read_bound,
    .write = write_read,
    .done = on_read,
};

static void on_begun(struct bh_redis_function_call *call, int error, const struct bh_reply *reply) {
    struct reading *r = of(call);
    if (error || reply->type != BH_REPLY_ARRAY)
        fail(r, error, reply);
    else
        ask(r, &read_vt);
}

static void ask(struct reading *r, const struct bh_redis_function_vt *vt) {
    r->call.vt = vt;
    const char *why = bh_redis_function_ask(&r->call, r->call.link);
    if (why)
        finish(r, BH_EUNAVAIL, NULL, why);
}

void bh_redis_read(struct bh_redis_calls *calls, struct bh_redis_link *link,
                   const struct bh_topic *topic, const struct bh_history_rule *rule,
                   struct bh_position since, uint32_t limit, size_t bytes, bh_range_cb done,
                   void *ud, bh_handle handle) {
    struct reading *r = bh_malloc(sizeof *r);
    *r = (struct reading){.rule = *rule,
                          .since = since,
                          .limit = limit,
                          .bytes = bytes,
                          .done = done,
                          .ud = ud,
                          .handle = handle};
    bh_topic_copy(&r->topic, topic);
    bh_redis_function_open(&r->call, calls, &read_vt, &r->topic);
    r->call.link = link;
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_READS]);
    ask(r, &read_vt);
}

/* --- tops --- */

struct bh_redis_tops {
    size_t count;
    size_t open; /* replies, and 1 while they are being asked */
    int error;   /* of one that failed */
    bool any;    /* has been answered */
    bh_tops_cb done;
    void *ud;
    bh_handle handle;
    struct bh_position tops[];
};

struct bh_redis_tops *bh_redis_tops_new(size_t count, bh_tops_cb done, void *ud, bh_handle handle) {
    struct bh_redis_tops *t = bh_calloc(1, sizeof *t + count * sizeof t->tops[0]);
    t->count = count;
    t->open = 1;
    t->done = done;
    t->ud = ud;
    t->handle = handle;
    return t;
}

void bh_redis_tops_asked(struct bh_redis_tops *t) {
    if (--t->open)
        return;
    bool failed = t->error && !t->any;
    t->done(t->ud, t->handle, failed ? t->error : 0, t->tops, t->count);
    bh_free(t);
}

static void parse_top(const struct bh_reply *r, struct bh_position *out) {
    uint64_t epoch, offset;
    if (r->elements[0].type != BH_REPLY_STRING || r->elements[1].type != BH_REPLY_STRING ||
        bh_slice_u64(r->elements[0].str, BH_POSITION_END - 1, &epoch) ||
        bh_slice_u64(r->elements[1].str, BH_POSITION_END - 1, &offset))
        return;
    *out = (struct bh_position){.epoch = epoch, .offset = offset};
}

static void note_top(struct bh_redis_tops *t, size_t which, int error,
                     const struct bh_reply *reply) {
    if (error) {
        t->error = error;
    } else if (reply->type == BH_REPLY_ARRAY && reply->count == 2) {
        t->any = true;
        parse_top(reply, &t->tops[which]);
    } else {
        t->error = BH_EDENIED;
    }
    bh_redis_tops_asked(t);
}

/* The key of its position, which is in text. */
static struct bh_slice meta_key(const struct bh_redis_functions *f, const struct bh_topic *topic,
                                char text[BH_CHANNEL_MAX + sizeof "{}:m"]) {
    size_t n = bh_topic_to_channel(topic, f->prefix, text + 1);
    text[0] = '{';
    memcpy(text + 1 + n, "}:m", 3);
    return bh_slice(text, n + 4);
}

static bool send_top(struct bh_redis_link *link, struct bh_slice key,
                     const struct bh_redis_completion *c) {
    struct bh_slice argv[] = {BH_SLICE("HMGET"), key, BH_SLICE("e"), BH_SLICE("t")};
    return bh_redis_link_send(link, 4, argv, c);
}

/* --- over the link of one Redis --- */

static void on_top(const struct bh_redis_completion *c, int error, const struct bh_reply *reply) {
    note_top(c->ud, c->handle, error, reply);
}

static void ask_at(struct bh_redis_tops *t, size_t which, struct bh_redis_link *link,
                   struct bh_slice key) {
    if (send_top(link, key,
                 &(struct bh_redis_completion){.fire = on_top, .ud = t, .handle = which}))
        t->open++;
    else
        t->error = BH_EUNAVAIL;
}

/* --- in a cluster --- */

struct routed_top {
    struct bh_redis_routed routed;
    struct bh_redis_tops *tops;
    struct bh_broker *cluster;
    size_t which;
    size_t key_len;
    char key[];
};

static struct routed_top *routed_of(struct bh_redis_routed *r) {
    return BH_CONTAINER_OF(r, struct routed_top, routed);
}

static void on_routed(const struct bh_redis_completion *c, int error,
                      const struct bh_reply *reply) {
    struct routed_top *r = c->ud;
    if (!error && bh_redis_reroute(r->cluster, BH_REDIS_BUS, &r->routed, reply))
        return;
    note_top(r->tops, r->which, error, reply);
    bh_free(r);
}

static const char *send_routed(struct bh_redis_routed *routed, struct bh_redis_link *link) {
    struct routed_top *r = routed_of(routed);
    bool sent = send_top(link, bh_slice(r->key, r->key_len),
                         &(struct bh_redis_completion){.fire = on_routed, .ud = r});
    return sent ? NULL : "the link to Redis accepts no command";
}

static void on_unsent(struct bh_redis_routed *routed, int error, const char *why) {
    struct routed_top *r = routed_of(routed);
    note_top(r->tops, r->which, error, NULL);
    bh_free(r);
}

static const struct bh_redis_routed_vt routed_vt = {.send = send_routed, .fail = on_unsent};

static void route(struct bh_redis_tops *t, size_t which, struct bh_broker *cluster,
                  struct bh_slice key) {
    struct routed_top *r = bh_malloc(sizeof *r + key.n);
    *r = (struct routed_top){.routed = {.vt = &routed_vt, .bytes = (uint32_t)key.n},
                             .tops = t,
                             .cluster = cluster,
                             .which = which,
                             .key_len = key.n};
    memcpy(r->key, key.p, key.n);
    t->open++;
    bh_redis_route(cluster, BH_REDIS_BUS, &r->routed, bh_slice(r->key, r->key_len));
}

/* --- both ways --- */

void bh_redis_tops_ask(struct bh_redis_tops *t, size_t which, const struct bh_redis_calls *calls,
                       struct bh_redis_link *link, const struct bh_topic *topic) {
    char text[BH_CHANNEL_MAX + sizeof "{}:m"];
    struct bh_slice key = meta_key(calls->functions, topic, text);
    if (calls->broker)
        route(t, which, calls->broker, key);
    else
        ask_at(t, which, link, key);
}
