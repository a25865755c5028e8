/* page.c - pages and removals: one call each, never repeated after a lost link. */
#include "history/page.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "history/range.h"
#include "link/metrics.h"

static const char lost[] = "the link to Redis was lost before it was answered";
static const char stopping[] = "this instance is shutting down";
static const char unexpected[] = "unexpected answer of the history";

/* Of a reply that is not what it should be. */
static int error_of(const struct bh_redis_function_call *call, int error,
                    const struct bh_reply *reply, const char **why) {
    *why = call->why ? call->why : error ? lost : unexpected;
    if (!error && reply->type == BH_REPLY_ERROR)
        error = bh_redis_functions_error(call->calls->functions, reply->str, why);
    return error ? error : BH_EIO;
}

/* --- pages --- */

struct page {
    struct bh_redis_function_call call;
    struct bh_page_query query;
    bh_page_cb done; /* NULL: it has been called */
    void *ud;
    bh_handle handle;
};

static struct page *page_of(const struct bh_redis_function_call *call) {
    return BH_CONTAINER_OF((struct bh_redis_function_call *)call, struct page, call);
}

static void tell_page(struct page *p, int error, struct bh_range *range, bool gap, bool more,
                      const char *why) {
    bh_page_cb done = p->done;
    p->done = NULL;
    if (done)
        done(p->ud, p->handle, error, range, gap, more, why);
}

static void finish_page(struct page *p, int error, struct bh_range *range, bool gap, bool more,
                        const char *why) {
    bh_redis_function_close(&p->call);
    tell_page(p, error, range, gap, more, why);
    bh_range_unref(range);
    bh_free(p);
}

static size_t page_bound(const struct bh_redis_function_call *call) {
    return BH_RESP_BULK_MAX(4) + 4 * BH_REDIS_NUMBER_MAX;
}

static char *write_page(const struct bh_redis_function_call *call, char *p) {
    const struct bh_page_query *q = &page_of(call)->query;
    p = bh_resp_bulk(p, q->ascending ? BH_SLICE("asc") : BH_SLICE("desc"));
    p = bh_redis_write_number(p, q->from.epoch);
    p = bh_redis_write_number(p, q->from.offset);
    p = bh_redis_write_number(p, q->limit);
    return bh_redis_write_number(p, q->bytes);
}

/* A stream without any key has no messages, and no position. */
static void on_page(struct bh_redis_function_call *call, int error, const struct bh_reply *reply) {
    struct page *p = page_of(call);
    struct bh_redis_range_head head;
    const char *why;
    if (error || !bh_redis_range_head(call->calls->functions, reply, &head)) {
        error = error_of(call, error, reply, &why);
        finish_page(p, error, NULL, false, false, why);
        return;
    }
    bool absent = head.status == BH_REDIS_RANGE_ABSENT;
    struct bh_range *range = bh_redis_range_new(call->calls->functions, &p->query.topic, reply,
                                                head.top, bh_loop_now(call->link->loop));
    finish_page(p, 0, range, absent ? p->query.from.epoch != 0 : head.status == BH_REDIS_RANGE_GAP,
                head.fourth != 0, NULL);
}

static void abort_page(struct bh_redis_function_call *call) {
    tell_page(page_of(call), BH_EIO, NULL, false, false, stopping);
}

static const struct bh_redis_function_vt page_vt = {
    .function = BH_REDIS_FUNCTION_PAGE,
    .args = 5,
    .bound = page_bound,
    .write = write_page,
    .done = on_page,
    .abort = abort_page,
};

void bh_redis_page(struct bh_redis_calls *calls, struct bh_redis_link *link,
                   const struct bh_page_query *query, bh_page_cb done, void *ud, bh_handle handle) {
    struct page *p = bh_malloc(sizeof *p);
    *p = (struct page){.query = *query, .done = done, .ud = ud, .handle = handle};
    bh_redis_function_open(&p->call, calls, &page_vt, &p->query.topic);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_PAGES]);
    const char *why = bh_redis_function_ask(&p->call, link);
    if (why)
        finish_page(p, BH_EUNAVAIL, NULL, false, false, why);
}

/* --- removals --- */

struct removal {
    struct bh_redis_function_call call;
    struct bh_topic topic;
    struct bh_position position;
    bh_removed_cb done; /* NULL: it has been called */
    void *ud;
    bh_handle handle;
};

static struct removal *removal_of(const struct bh_redis_function_call *call) {
    return BH_CONTAINER_OF((struct bh_redis_function_call *)call, struct removal, call);
}

static void tell_removal(struct removal *r, int error, int64_t removed, const char *why) {
    bh_removed_cb done = r->done;
    r->done = NULL;
    if (done)
        done(r->ud, r->handle, error, removed, why);
}

static void finish_removal(struct removal *r, int error, int64_t removed, const char *why) {
    bh_redis_function_close(&r->call);
    tell_removal(r, error, removed, why);
    bh_free(r);
}

static size_t remove_bound(const struct bh_redis_function_call *call) {
    return 2 * BH_REDIS_NUMBER_MAX + BH_REDIS_PUBLISH_MAX;
}

static char *write_remove(const struct bh_redis_function_call *call, char *p) {
    const struct removal *r = removal_of(call);
    p = r->position.offset ? bh_redis_write_number(p, r->position.offset)
                           : bh_resp_bulk(p, BH_SLICE("all"));
    p = bh_redis_write_publish(p, call->calls->functions);
    return bh_redis_write_number(p, r->position.epoch);
}

static void on_removed(struct bh_redis_function_call *call, int error,
                       const struct bh_reply *reply) {
    struct removal *r = removal_of(call);
    const char *why = NULL;
    int64_t removed = 0;
    if (!error && reply->type == BH_REPLY_INTEGER)
        removed = reply->integer;
    else
        error = error_of(call, error, reply, &why);
    bh_metric_add(&bh_redis_metrics[BH_REDIS_HISTORY_REMOVED], removed);
    finish_removal(r, error, removed, why);
}

static void abort_removal(struct bh_redis_function_call *call) {
    tell_removal(removal_of(call), BH_EIO, 0, stopping);
}

static const struct bh_redis_function_vt remove_vt = {
    .function = BH_REDIS_FUNCTION_REMOVE,
    .args = 3,
    .bound = remove_bound,
    .write = write_remove,
    .done = on_removed,
    .abort = abort_removal,
};

void bh_redis_remove(struct bh_redis_calls *calls, struct bh_redis_link *link,
                     const struct bh_topic *topic, struct bh_position position, bh_removed_cb done,
                     void *ud, bh_handle handle) {
    struct removal *r = bh_malloc(sizeof *r);
    *r = (struct removal){

        .position = position, .done = done, .ud = ud, .handle = handle};
    bh_topic_copy(&r->topic, topic);
    bh_redis_function_open(&r->call, calls, &remove_vt, &r->topic);
    const char *why = bh_redis_function_ask(&r->call, link);
    if (why)
        finish_removal(r, BH_EUNAVAIL, 0, why);
}
