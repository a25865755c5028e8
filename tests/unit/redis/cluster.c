/* cluster.c - several instances' trackers on one loop, against a real Redis. */
#include "cluster.h"

struct cluster *cl;

struct bh_redis_tracker *inside(struct instance *in) {
    return BH_CONTAINER_OF(in->tracker, struct bh_redis_tracker, base);
}

struct bh_redis_registration *registration(struct instance *in) {
    return &inside(in)->registration;
}

/* --- the node's part --- */

static struct bh_track track_of(const struct connection *c) {
    return (struct bh_track){.here = c->here,
                             .number = c->number,
                             .opened_at = c->opened_at,
                             .user = bh_slice_cstr(c->user),
                             .tenant = bh_slice_cstr(c->tenant)};
}

static void tell_again(struct instance *in, size_t from, bool again) {
    struct bh_track changes[TOLD_MAX];
    size_t n = 0;
    for (size_t i = from; i < in->count; i++) {
        if (in->connections[i].here) {
            changes[n] = track_of(&in->connections[i]);
            changes[n++].again = again;
        }
        if (n == TOLD_MAX || (n && i + 1 == in->count)) {
            in->tracker->vt->changed(in->tracker, changes, n);
            n = 0;
        }
    }
}

void tell_from(struct instance *in, size_t from) {
    tell_again(in, from, false);
}

static void on_restore(void *ud) {
    struct instance *in = ud;
    in->restores++;
    if (!in->holds_restore)
        restore(in);
}

void restore(struct instance *in) {
    tell_again(in, 0, true);
    in->tracker->vt->restored(in->tracker);
}

static void on_presence(void *ud, struct bh_slice user, bool online, int64_t at) {
    assert_true(cl->event_count < EVENTS_MAX);
    struct raised_event *e = &cl->events[cl->event_count++];
    snprintf(e->user, sizeof e->user, "%.*s", BH_SLICE_ARG(user));
    e->online = online;
    e->at = at;
    if (cl->on_event)
        cl->on_event();
}

unsigned events(const char *user, bool online) {
    unsigned n = 0;
    for (size_t i = 0; i < cl->event_count; i++)
        n += cl->events[i].online == online && strcmp(cl->events[i].user, user) == 0;
    return n;
}

size_t add_connection(struct instance *in, const char *user, const char *tenant) {
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

void tell(struct instance *in, size_t which) {
    struct bh_track change = track_of(&in->connections[which]);
    in->tracker->vt->changed(in->tracker, &change, 1);
}

size_t come(struct instance *in, const char *user, const char *tenant) {
    size_t which = add_connection(in, user, tenant);
    tell(in, which);
    return which;
}

void go(struct instance *in, size_t which) {
    in->connections[which].here = false;
    tell(in, which);
}

/* --- life --- */

bool is_live(struct instance *in) {
    return registration(in)->state == BH_TRACKER_LIVE;
}

bool is_idle(struct instance *in) {
    struct bh_redis_tracker *t = inside(in);
    return is_live(in) && t->changes.count == 0 && !bh_timer_pending(&t->tenants.timer) &&
           bh_list_empty(&t->tenants.writing);
}

struct instance *open_instance(unsigned i, const char *id) {
    struct instance *in = &cl->instances[i];
    snprintf(in->id, sizeof in->id, "%s", id);
    cl->config.instance = in->id;
    in->worker = (struct bh_worker){.index = 0, .loop = cl->loop};
    in->broker = bh_redis_broker_new(&cl->config, 1);
    assert_int_equal(in->broker->vt->worker_start(in->broker, 0, cl->loop), 0);
    in->tracker = cl->parts ? bh_redis_parts_new(&cl->tracking, in->broker)
                            : bh_redis_tracker_new(&cl->tracking, in->broker);
    assert_true(in->tracker->wants_changes);
    struct bh_tracker_sink sink = {on_restore, on_presence, in};
    assert_int_equal(in->tracker->vt->start(in->tracker, cl->loop, &sink), 0);
    return in;
}

struct instance *open_live(unsigned i, const char *id) {
    struct instance *in = open_instance(i, id);
    TICK_UNTIL(cl->loop, is_live(in));
    return in;
}

void close_instance(struct instance *in) {
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

void crash(struct instance *in) {
    registration(in)->name.len = 0;
    close_instance(in);
}

void cut(struct instance *in) {
    struct bh_redis_tracker *t = inside(in);
    t->registration.config.port = test_free_port();
    bh_redis_link_drop(&t->registration.link, BH_EIO, "cut by the test");
    assert_int_equal(t->registration.state, BH_TRACKER_DOWN);
}

void mend(struct instance *in) {
    registration(in)->config.port = cl->redis.port;
    TICK_UNTIL(cl->loop, is_live(in));
}

int setup_instances(void **state) {
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

int teardown_instances(void **state) {
    for (unsigned i = 0; i < INSTANCES; i++)
        close_instance(&cl->instances[i]);
    bh_loop_free(cl->loop);
    test_redis_stop(&cl->redis);
    bh_free(cl->events);
    bh_free(cl);
    return 0;
}

/* --- lookups --- */

void on_found(void *ud, bh_handle handle, int error, const struct bh_presence *found, size_t count,
              int64_t as_of) {
    struct answer *a = ud;
    assert_int_equal(handle, 77);
    assert_false(a->done);
    *a = (struct answer){.done = true, .error = error, .names = count, .as_of = as_of};
    for (size_t i = 0; i < count && i < 8; i++)
        a->counts[i] = found[i].count;
    a->count = count ? found[0].count : 0;
    a->uncertain = count && found[0].uncertain;
    for (size_t i = 0; count && found[0].connections && i < found[0].count && i < 8; i++) {
        const struct bh_connection_info *c = &found[0].connections[i];
        snprintf(a->first[i].instance, sizeof a->first[i].instance, "%.*s",
                 BH_SLICE_ARG(c->instance));
        snprintf(a->first[i].tenant, sizeof a->first[i].tenant, "%.*s", BH_SLICE_ARG(c->tenant));
        a->first[i].number = c->number;
        a->first[i].opened_at = c->opened_at;
    }
}

struct answer ask_many(struct instance *in, enum bh_lookup what, const struct bh_slice *names,
                       size_t count) {
    struct answer a = {0};
    TICK_UNTIL(cl->loop, bh_redis_link_is_ready(bh_redis_node_link(in->broker, in->worker.index)));
    in->tracker->vt->lookup(in->tracker, &in->worker, what, names, count, on_found, &a, 77);
    TICK_UNTIL(cl->loop, a.done);
    return a;
}

struct answer ask(struct instance *in, enum bh_lookup what, const char *name) {
    struct bh_slice names[] = {bh_slice_cstr(name)};
    return ask_many(in, what, names, 1);
}

size_t online(struct instance *in, const char *user) {
    struct answer a = ask(in, BH_LOOKUP_ONLINE, user);
    assert_int_equal(a.error, 0);
    return a.count;
}

size_t in_tenant(struct instance *in, const char *tenant) {
    struct answer a = ask(in, BH_LOOKUP_TENANTS, tenant);
    assert_int_equal(a.error, 0);
    return a.count;
}

size_t keys(const char *pattern) {
    redisContext *c = test_redis_client(&cl->redis);
    redisReply *r = redisCommand(c, "KEYS %s", pattern);
    assert_non_null(r);
    size_t n = r->elements;
    freeReplyObject(r);
    redisFree(c);
    return n;
}

void settle(struct instance *in) {
    static unsigned number;
    char user[24];
    snprintf(user, sizeof user, "settle-%u", ++number);
    size_t which = come(in, user, "");
    TICK_UNTIL(cl->loop, events(user, true) == 1);
    go(in, which);
    TICK_UNTIL(cl->loop, events(user, false) == 1);
}
