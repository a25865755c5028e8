/* cluster.h - several instances' trackers on one loop, against a real Redis; what their tests
 * share. Each instance has a table of connections in place of a node. */
#ifndef BELLHOP_TESTS_CLUSTER_H
#define BELLHOP_TESTS_CLUSTER_H

#include "redis_server.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"
#include "broker/shards.h"
#include "link/metrics.h"
#include "tracker/tracker.h"

#define INSTANCES 4
#ifndef EVENTS_MAX
#define EVENTS_MAX 65536
#endif
#define LONG_LEASE 600000
#define DEBOUNCE   300
#define TOLD_MAX   500

struct connection {
    bool here;
    uint64_t number;
    int64_t opened_at;
    char user[24], tenant[24];
};

struct instance {
    char id[16];
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_worker worker;
    struct connection *connections;
    size_t count;
    unsigned restores;
};

struct told_event {
    char user[24];
    bool online;
    int64_t at;
};

struct cluster {
    struct test_redis redis;
    struct bh_loop *loop;
    struct bh_redis_config config;
    struct bh_redis_tracker_config tracking;
    struct instance instances[INSTANCES];
    struct told_event *events;
    size_t event_count;
    uint64_t last_number;
};

static struct cluster *cl;

static inline struct bh_redis_tracker *inside(struct instance *in) {
    return BH_CONTAINER_OF(in->tracker, struct bh_redis_tracker, base);
}

static inline struct bh_redis_registration *registration(struct instance *in) {
    return &inside(in)->registration;
}

/* --- the node's part --- */

static inline struct bh_track track_of(const struct connection *c) {
    return (struct bh_track){.here = c->here,
                             .number = c->number,
                             .opened_at = c->opened_at,
                             .user = bh_slice_cstr(c->user),
                             .tenant = bh_slice_cstr(c->tenant)};
}

static inline void tell_from(struct instance *in, size_t from) {
    struct bh_track changes[TOLD_MAX];
    size_t n = 0;
    for (size_t i = from; i < in->count; i++) {
        if (in->connections[i].here)
            changes[n++] = track_of(&in->connections[i]);
        if (n == TOLD_MAX || (n && i + 1 == in->count)) {
            in->tracker->vt->changed(in->tracker, changes, n);
            n = 0;
        }
    }
}

static inline void on_restore(void *ud) {
    struct instance *in = ud;
    in->restores++;
    tell_from(in, 0);
    in->tracker->vt->restored(in->tracker);
}

static inline void on_presence(void *ud, struct bh_slice user, bool online, int64_t at) {
    assert_true(cl->event_count < EVENTS_MAX);
    struct told_event *e = &cl->events[cl->event_count++];
    snprintf(e->user, sizeof e->user, "%.*s", BH_SLICE_ARG(user));
    e->online = online;
    e->at = at;
}

static inline unsigned events(const char *user, bool online) {
    unsigned n = 0;
    for (size_t i = 0; i < cl->event_count; i++)
        n += cl->events[i].online == online && strcmp(cl->events[i].user, user) == 0;
    return n;
}

/* Not told to the tracker. */
static inline size_t add_connection(struct instance *in, const char *user, const char *tenant) {
    if ((in->count & (in->count - 1)) == 0) /* 0, 1, 2, 4, ...: full */
        in->connections =
            bh_realloc(in->connections, (in->count ? in->count * 2 : 1) * sizeof *in->connections);
    struct connection *c = &in->connections[in->count];
    *c = (struct connection){
        .here = true, .number = ++cl->last_number, .opened_at = bh_clock_wall_ms()};
    snprintf(c->user, sizeof c->user, "%.23s", user);
    snprintf(c->tenant, sizeof c->tenant, "%.23s", tenant);
    return in->count++;
}

static inline void tell(struct instance *in, size_t which) {
    struct bh_track change = track_of(&in->connections[which]);
    in->tracker->vt->changed(in->tracker, &change, 1);
}

static inline size_t come(struct instance *in, const char *user, const char *tenant) {
    size_t which = add_connection(in, user, tenant);
    tell(in, which);
    return which;
}

static inline void go(struct instance *in, size_t which) {
    in->connections[which].here = false;
    tell(in, which);
}

/* --- life --- */

static inline bool is_live(struct instance *in) {
    return registration(in)->state == BH_TRACKER_LIVE;
}

/* Everything told is written. */
static inline bool is_idle(struct instance *in) {
    struct bh_redis_tracker *t = inside(in);
    return is_live(in) && t->changes.count == 0 && !bh_timer_pending(&t->tenants.timer) &&
           bh_list_empty(&t->tenants.writing);
}

static inline struct instance *open_instance(unsigned i, const char *id) {
    struct instance *in = &cl->instances[i];
    snprintf(in->id, sizeof in->id, "%s", id);
    cl->config.instance = in->id;
    in->worker = (struct bh_worker){.index = 0, .loop = cl->loop};
    in->broker = bh_redis_broker_new(&cl->config, 1);
    assert_int_equal(in->broker->vt->worker_start(in->broker, 0, cl->loop), 0);
    in->tracker = bh_redis_tracker_new(&cl->config, &cl->tracking, in->broker);
    assert_true(in->tracker->wants_changes);
    struct bh_tracker_sink sink = {on_restore, on_presence, in};
    assert_int_equal(in->tracker->vt->start(in->tracker, cl->loop, &sink), 0);
    return in;
}

static inline struct instance *open_live(unsigned i, const char *id) {
    struct instance *in = open_instance(i, id);
    TICK_UNTIL(cl->loop, is_live(in));
    return in;
}

static inline void close_instance(struct instance *in) {
    if (!in->tracker)
        return;
    in->tracker->vt->stop(in->tracker);
    in->broker->vt->worker_stop(in->broker, 0);
    bh_loop_tick(cl->loop, false);
    in->tracker->vt->free(in->tracker);
    in->broker->vt->free(in->broker);
    bh_free(in->connections);
    *in = (struct instance){0};
}

/* As if the process had died: without a name there is no lease that it could end. */
static inline void crash(struct instance *in) {
    registration(in)->name.len = 0;
    close_instance(in);
}

/* The tracker's link breaks and cannot come back until it is told where Redis is again. */
static inline void cut(struct instance *in) {
    struct bh_redis_tracker *t = inside(in);
    t->registration.config.port = test_free_port();
    bh_redis_link_drop(&t->registration.link, BH_EIO, "cut by the test");
    assert_int_equal(t->registration.state, BH_TRACKER_DOWN);
}

static inline void mend(struct instance *in) {
    registration(in)->config.port = cl->redis.port;
    TICK_UNTIL(cl->loop, is_live(in));
}

static inline int setup(void **state) {
    cl = bh_calloc(1, sizeof *cl);
    cl->events = bh_calloc(EVENTS_MAX, sizeof *cl->events);
    test_redis_start(&cl->redis);
    cl->loop = bh_loop_new();
    cl->config = (struct bh_redis_config){.host = "127.0.0.1",
                                          .port = cl->redis.port,
                                          .connect_timeout_ms = 2000,
                                          .command_timeout_ms = 5000,
                                          .probe_ms = 50,
                                          .backoff_min_ms = 5,
                                          .backoff_max_ms = 50};
    cl->tracking = (struct bh_redis_tracker_config){
        .key_prefix = "ws:", .lease_ms = LONG_LEASE, .debounce_ms = DEBOUNCE};
    return 0;
}

static inline int teardown(void **state) {
    for (unsigned i = 0; i < INSTANCES; i++)
        close_instance(&cl->instances[i]);
    bh_loop_free(cl->loop);
    test_redis_stop(&cl->redis);
    bh_free(cl->events);
    bh_free(cl);
    return 0;
}

/* --- questions --- */

struct answer {
    bool done;
    int error;
    size_t names, count; /* count: of the first name */
    size_t counts[8];
    int64_t as_of;
    struct {
        char instance[16], tenant[24];
        uint64_t number;
        int64_t opened_at;
    } first[8];
};

static inline void on_found(void *ud, bh_handle handle, int error, const struct bh_presence *found,
                            size_t count, int64_t as_of) {
    struct answer *a = ud;
    assert_int_equal(handle, 77);
    assert_false(a->done);
    *a = (struct answer){.done = true, .error = error, .names = count, .as_of = as_of};
    for (size_t i = 0; i < count && i < 8; i++)
        a->counts[i] = found[i].count;
    a->count = count ? found[0].count : 0;
    for (size_t i = 0; count && found[0].connections && i < found[0].count && i < 8; i++) {
        const struct bh_connection_info *c = &found[0].connections[i];
        snprintf(a->first[i].instance, sizeof a->first[i].instance, "%.*s",
                 BH_SLICE_ARG(c->instance));
        snprintf(a->first[i].tenant, sizeof a->first[i].tenant, "%.*s", BH_SLICE_ARG(c->tenant));
        a->first[i].number = c->number;
        a->first[i].opened_at = c->opened_at;
    }
}

static inline struct answer ask_many(struct instance *in, enum bh_lookup what,
                                     const struct bh_slice *names, size_t count) {
    struct answer a = {0};
    TICK_UNTIL(cl->loop,
               bh_redis_link_is_ready(bh_redis_broker_link(inside(in)->broker, in->worker.index)));
    in->tracker->vt->lookup(in->tracker, &in->worker, what, names, count, on_found, &a, 77);
    TICK_UNTIL(cl->loop, a.done);
    return a;
}

static inline struct answer ask(struct instance *in, enum bh_lookup what, const char *name) {
    struct bh_slice names[] = {bh_slice_cstr(name)};
    return ask_many(in, what, names, 1);
}

static inline size_t online(struct instance *in, const char *user) {
    struct answer a = ask(in, BH_LOOKUP_ONLINE, user);
    assert_int_equal(a.error, 0);
    return a.count;
}

static inline size_t in_tenant(struct instance *in, const char *tenant) {
    struct answer a = ask(in, BH_LOOKUP_TENANTS, tenant);
    assert_int_equal(a.error, 0);
    return a.count;
}

/* How many keys the pattern matches. */
static inline size_t keys(const char *pattern) {
    redisContext *c = test_redis_client(&cl->redis);
    redisReply *r = redisCommand(c, "KEYS %s", pattern);
    assert_non_null(r);
    size_t n = r->elements;
    freeReplyObject(r);
    redisFree(c);
    return n;
}

/* Ticks until whatever was due to be raised before has been raised: a user who comes and goes now
 * is the last to be announced. */
static inline void settle(struct instance *in) {
    static unsigned number;
    char user[24];
    snprintf(user, sizeof user, "settle-%u", ++number);
    size_t which = come(in, user, "");
    TICK_UNTIL(cl->loop, events(user, true) == 1);
    go(in, which);
    TICK_UNTIL(cl->loop, events(user, false) == 1);
}

#endif
