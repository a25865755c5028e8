/* history.c - the history of a single instance: the port over history_store.c.
 *
 * Only the bus touches the store. What a worker asks is a request that is mailed to the bus, by the
 * broker's way, so that appends keep their order with the publishes of the worker; there it is done
 * and mailed back. What was appended is brought by the broker before the answer is posted, so it
 * has been dispatched when the publisher is answered.
 *
 * A request may still be in a mailbox when the worker stops or the history is freed. So it has two
 * references, that of its worker, which completes it once, and that of its mail; and each request
 * has one of the history. Fields of a request belong to one side, see there. */
#include "bellhop/backend/memory.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/core/node.h"
#include "broker.h"
#include "history_store.h"

#define SWEEP_MS   1000
#define SWEEP_MAX  1000 /* things freed in one go */
#define SWEEP_SOON 4

static struct bh_metric metrics[] = {
    {"bellhop_memory_history_bytes", NULL, "Memory of all streams", BH_GAUGE, 0},
    {"bellhop_memory_history_streams", NULL, "Streams, also those without messages", BH_GAUGE, 0},
};

void bh_memory_metrics_register(void) {
    bh_metrics_register(metrics, sizeof metrics / sizeof *metrics);
}

struct worker {
    struct bh_mailbox *mailbox;
    struct bh_list open; /* requests that are not completed; the worker's own, like the next */
    bool running;
};

struct history {
    struct bh_history base;
    atomic_uint refs;
    struct bh_broker *broker; /* a reference */
    struct bh_history_config config;
    struct worker workers[BH_WORKERS_MAX];
    /* The bus: */
    struct bh_history_store store;
    struct bh_loop *loop; /* NULL: not started, or stopped */
    struct bh_timer sweep;
    int64_t shown[2]; /* by the metrics */
};

enum kind { APPEND, PAGE, REMOVE };

struct request {
    struct bh_mail mail;
    atomic_uint refs;
    enum kind kind;
    struct history *history;
    unsigned worker;
    /* The worker: */
    struct bh_list node; /* in its open requests; unlinked: completed */
    union {
        bh_appended_cb appended;
        bh_page_cb page;
        bh_removed_cb removed;
    } done;
    void *ud;
    bh_handle handle;
    /* What is asked: written by the worker, read by the bus. */
    struct bh_message *message;
    const struct bh_history_rule *rule;
    struct bh_buf *collapse; /* NULL: none */
    struct bh_page_query query;
    /* The answer: written by the bus, then read by the worker. */
    int error;
    const char *why;
    struct bh_appended appended;
    struct bh_range *range;
    bool gap, more;
    int64_t removed;
};

static struct history *of(struct bh_history *h) {
    return BH_CONTAINER_OF(h, struct history, base);
}

static void show(struct history *h, int64_t bytes, int64_t streams) {
    const int64_t values[] = {bytes, streams};
    for (size_t i = 0; i < 2; i++) {
        bh_metric_add(&metrics[i], values[i] - h->shown[i]);
        h->shown[i] = values[i];
    }
}

static void release(struct bh_history *base) {
    struct history *h = of(base);
    if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
        return;
    show(h, 0, 0);
    bh_history_store_deinit(&h->store);
    h->broker->vt->free(h->broker);
    bh_free(h);
}

/* --- requests --- */

static void drop(struct request *r) {
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    bh_message_unref(r->message);
    bh_buf_unref(r->collapse);
    bh_range_unref(r->range);
    release(&r->history->base);
    bh_free(r);
}

/* On the worker's side. */
static void complete(struct request *r, int error, const char *why) {
    bh_list_unlink(&r->node);
    switch (r->kind) {
    case APPEND:
        r->done.appended(r->ud, r->handle, error, error ? NULL : &r->appended, why);
        break;
    case PAGE:
        r->done.page(r->ud, r->handle, error, error ? NULL : r->range, r->gap, r->more, why);
        break;
    case REMOVE:
        r->done.removed(r->ud, r->handle, error, r->removed, why);
        break;
    }
    drop(r);
}

static void on_answer(struct bh_mail *mail) {
    struct request *r = BH_CONTAINER_OF(mail, struct request, mail);
    if (!bh_list_empty(&r->node))
        complete(r, r->error, r->why);
    drop(r);
}

static void bring(struct history *h, struct bh_message *m) {
    if (m)
        bh_memory_broker_bring(h->broker, m);
    bh_message_unref(m);
}

static void run(struct request *r) {
    struct history *h = r->history;
    uint64_t now_ms = bh_loop_now(h->loop);
    struct bh_history_news news = {0};
    const struct bh_page_query *q = &r->query;
    switch (r->kind) {
    case APPEND:
        r->error =
            bh_history_store_append(&h->store, r->message, r->rule, bh_buf_slice(r->collapse),
                                    now_ms, &r->appended, &news, &r->why);
        break;
    case PAGE:
        r->range = bh_history_store_page(&h->store, q, now_ms, &r->gap, &r->more);
        break;
    case REMOVE:
        r->removed = bh_history_store_remove(&h->store, &q->topic, q->from, now_ms, &news);
        break;
    }
    bring(h, news.purge);
    bring(h, news.message);
}

/* After each change. */
static void changed(struct history *h) {
    show(h, (int64_t)h->store.bytes, (int64_t)h->store.streams.count);
    if (!bh_timer_pending(&h->sweep))
        bh_timer_set(&h->sweep, SWEEP_MS);
}

/* On the bus. */
static void on_request(struct bh_mail *mail) {
    struct request *r = BH_CONTAINER_OF(mail, struct request, mail);
    struct history *h = r->history;
    if (!h->loop) { /* the worker completes it when it stops */
        drop(r);
        return;
    }
    run(r);
    changed(h);
    r->mail.fn = on_answer;
    if (bh_mailbox_post(h->workers[r->worker].mailbox, &r->mail))
        drop(r);
}

static struct request *request_new(struct bh_history *base, unsigned worker, enum kind kind,
                                   void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct request *r = bh_calloc(1, sizeof *r);
    r->mail.fn = on_request;
    r->kind = kind;
    r->history = h;
    r->worker = worker;
    r->ud = ud;
    r->handle = handle;
    atomic_init(&r->refs, 2);
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    bh_list_init(&r->node);
    bh_list_append(&h->workers[worker].open, &r->node);
    return r;
}

static void post(struct request *r) {
    if (r->history->workers[r->worker].running &&
        bh_memory_broker_post(r->history->broker, &r->mail) == 0)
        return;
    complete(r, BH_EUNAVAIL, "this instance is starting or stopping");
    drop(r);
}

/* --- the worker's side --- */

static int worker_start(struct bh_history *base, unsigned worker, struct bh_loop *loop,
                        struct bh_mailbox *mailbox) {
    struct worker *w = &of(base)->workers[worker];
    w->mailbox = mailbox;
    w->running = true;
    return 0;
}

static void worker_stop(struct bh_history *base, unsigned worker) {
    struct bh_list *open = &of(base)->workers[worker].open;
    of(base)->workers[worker].running = false;
    while (!bh_list_empty(open))
        complete(BH_CONTAINER_OF(open->next, struct request, node), BH_EIO,
                 "this instance is stopping");
}

static void append(struct bh_history *base, unsigned worker, struct bh_message *m,
                   const struct bh_history_rule *rule, struct bh_slice collapse,
                   bh_appended_cb done, void *ud, bh_handle handle) {
    struct request *r = request_new(base, worker, APPEND, ud, handle);
    r->done.appended = done;
    r->message = bh_message_ref(m);
    r->rule = rule;
    r->collapse = collapse.n ? bh_buf_copy(collapse) : NULL;
    post(r);
}

static void page(struct bh_history *base, unsigned worker, const struct bh_page_query *query,
                 bh_page_cb done, void *ud, bh_handle handle) {
    struct request *r = request_new(base, worker, PAGE, ud, handle);
    r->done.page = done;
    r->query = *query;
    post(r);
}

static void remove_messages(struct bh_history *base, unsigned worker, const struct bh_topic *topic,
                            struct bh_position position, bh_removed_cb done, void *ud,
                            bh_handle handle) {
    struct request *r = request_new(base, worker, REMOVE, ud, handle);
    r->done.removed = done;
    bh_topic_copy(&r->query.topic, topic);
    r->query.from = position;
    post(r);
}

/* --- the bus' side --- */

static void on_sweep(struct bh_timer *timer) {
    struct history *h = BH_CONTAINER_OF(timer, struct history, sweep);
    bool done = bh_history_store_sweep(&h->store, SWEEP_MAX, bh_loop_now(h->loop));
    show(h, (int64_t)h->store.bytes, (int64_t)h->store.streams.count);
    if (h->store.bytes)
        bh_timer_set(timer, done ? SWEEP_MS : SWEEP_SOON);
}

static int start(struct bh_history *base, struct bh_loop *bus) {
    struct history *h = of(base);
    h->loop = bus;
    bh_timer_init(&h->sweep, bus, on_sweep);
    return 0;
}

static void stop(struct bh_history *base) {
    struct history *h = of(base);
    if (h->loop)
        bh_timer_cancel(&h->sweep);
    h->loop = NULL;
}

static void read_range(struct bh_history *base, const struct bh_topic *topic,
                       const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                       size_t bytes, bh_range_cb done, void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct bh_range *range = NULL;
    const char *why = NULL;
    int error = bh_history_store_read(&h->store, topic, rule, since, limit, bytes,
                                      bh_loop_now(h->loop), &range, &why);
    changed(h);
    done(ud, handle, error, range, why);
    bh_range_unref(range);
}

static void tops(struct bh_history *base, const struct bh_topic *topics, size_t count,
                 bh_tops_cb done, void *ud, bh_handle handle) {
    struct history *h = of(base);
    struct bh_position found[BH_HISTORY_TOPS_MAX];
    for (size_t i = 0; i < count; i++)
        found[i] = bh_history_store_top(&h->store, &topics[i], bh_loop_now(h->loop));
    done(ud, handle, 0, found, count);
}

static const struct bh_history_vt vt = {.start = start,
                                        .stop = stop,
                                        .worker_start = worker_start,
                                        .worker_stop = worker_stop,
                                        .read = read_range,
                                        .tops = tops,
                                        .append = append,
                                        .page = page,
                                        .remove = remove_messages,
                                        .free = release};

struct bh_history *bh_memory_history_new(const struct bh_history_config *config,
                                         struct bh_broker *broker, uint64_t bytes_max) {
    struct history *h = bh_calloc(1, sizeof *h);
    h->base.vt = &vt;
    h->broker = bh_memory_broker_ref(broker);
    h->config = *config;
    atomic_init(&h->refs, 1);
    for (unsigned i = 0; i < BH_WORKERS_MAX; i++)
        bh_list_init(&h->workers[i].open);
    bh_history_store_init(&h->store, &h->config, bytes_max);
    return &h->base;
}
