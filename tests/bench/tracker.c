/* tracker.c - the cost of tracking over Redis: registering, changes, the heartbeat, lookups, and
 * the clean-up after a crash.
 *
 *   bench_tracker [CONNECTIONS]
 *   bench_tracker --parts [CONNECTIONS]
 *
 * The real tracker runs against a redis-server of its own. This program takes the part of the node:
 * it reports connections through the port, 100,000 by default, each of another user. Each row of
 * the table is one phase: the kernel measures the CPU time of this process and of Redis, and Redis
 * reports how many scripts it ran, for how long, and the longest; while a script runs, Redis does
 * nothing else. The heartbeat is measured twice, with few connections and with all, because it
 * should not depend on their number.
 *
 * Instances are ticked one at a time. So an instance crashes by not being ticked any more: its
 * lease ends, and the next instance has to notice.
 *
 * With --parts the cost of 16 parts is compared with that of one tracker, on the same Redis,
 * 1,000,000 connections by default: what the parts cost when nothing is gained by several nodes.
 *
 * Figures are printed and not judged; but when the work was not done (a wrong number of
 * connections, missing events, keys that are left) there is a message and status 1. */
#include "bench.h"
#include "stats.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"
#include "link/metrics.h"
#include "tracker/parts.h"

#define CONNECTIONS   100000
#define MANY          1000000 /* of --parts */
#define FEW           1000
#define TENANTS       1000
#define BATCH         500 /* as the node reports them */
#define CHANGES       10000
#define HEARTBEAT_MS  10000
#define LEASE_MS      1500  /* a heartbeat every 500 ms */
#define LONG_LEASE_MS 60000 /* a heartbeat a second, as it is by default */
#define DEBOUNCE_MS   5000
#define OPENED_AT     1700000000000

struct instance {
    const char *id;
    bool parts;
    struct bh_loop *loop;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_worker worker;
    char name[160]; /* of its registration */
    size_t count;   /* connections that it reports at a restore */
    unsigned restores;
    bool restoring;
    size_t online, offline; /* events */
};

/* --- the node's part --- */

/* Connection `i` has come, or gone. text: holds its names. */
static struct bh_track connection(size_t i, bool here, char text[2][16]) {
    snprintf(text[0], sizeof text[0], "u%07zu", i);
    snprintf(text[1], sizeof text[1], "t%03zu", i % TENANTS);
    return (struct bh_track){.here = here,
                             .number = (i + 1) * 0x9e3779b97f4a7c15,
                             .opened_at = OPENED_AT + (int64_t)i,
                             .user = bh_slice_cstr(text[0]),
                             .tenant = bh_slice_cstr(text[1])};
}

static void report(struct instance *in, size_t from, size_t count, bool here) {
    static char texts[BATCH][2][16];
    struct bh_track changes[BATCH];
    for (size_t i = 0; i < count; i++) {
        changes[i] = connection(from + i, here, texts[i]);
        changes[i].again = in->restoring;
    }
    in->tracker->vt->changed(in->tracker, changes, count);
}

static void on_restore(void *ud) {
    struct instance *in = ud;
    in->restores++;
    in->restoring = true;
    for (size_t i = 0; i < in->count; i += BATCH)
        report(in, i, in->count - i < BATCH ? in->count - i : BATCH, true);
    in->restoring = false;
    in->tracker->vt->restored(in->tracker);
}

static void on_presence(void *ud, struct bh_slice user, bool online, int64_t at) {
    struct instance *in = ud;
    in->online += online;
    in->offline += !online;
}

static void open_as(struct instance *in, const char *id, size_t count, bool parts,
                    uint64_t lease_ms) {
    struct bh_redis_config config = {.host = "127.0.0.1",
                                     .port = bench_server.port,
                                     .channel_prefix = "notification:",
                                     .instance = id};
    struct bh_redis_tracker_config tracking = {
        .key_prefix = "ws:", .lease_ms = lease_ms, .debounce_ms = DEBOUNCE_MS};
    *in = (struct instance){.id = id, .parts = parts, .count = count, .loop = bh_loop_new()};
    in->worker.loop = in->loop;
    in->broker = bh_redis_broker_new(&config, 1);
    in->broker->vt->worker_start(in->broker, 0, in->loop);
    in->tracker = parts ? bh_redis_parts_new(&tracking, in->broker)
                        : bh_redis_tracker_new(&tracking, in->broker);
    struct bh_tracker_sink sink = {on_restore, on_presence, in};
    in->tracker->vt->start(in->tracker, in->loop, &sink);
}

static void open_instance(struct instance *in, const char *id, size_t count) {
    open_as(in, id, count, false, LEASE_MS);
}

static void close_instance(struct instance *in) {
    in->tracker->vt->stop(in->tracker);
    in->broker->vt->worker_stop(in->broker, 0);
    bh_loop_tick(in->loop, false);
    in->tracker->vt->free(in->tracker);
    in->broker->vt->free(in->broker);
    bh_loop_free(in->loop);
}

/* --- whether the work was done --- */

static long long held(const struct instance *in) {
    return stats_do("HLEN ws:instance:%s", in->name);
}

/* Redis has that many connections and users, under the only registration. */
static void must_hold(const struct instance *in, size_t connections, size_t online) {
    bench_must_be("registrations", in->restores, 1);
    bench_must_be("connections of the instance", held(in), (long long)connections);
    bench_must_be("users online", stats_do("HLEN ws:presence"), (long long)connections);
    bench_must_be("events of users who came online", (long long)in->online, (long long)online);
}

/* --- phases --- */

static void find_name(struct instance *in) {
    stats_text(in->name, sizeof in->name, "ZREVRANGE ws:instances 0 0");
    bench_must_be("the instance in ws:instances", strncmp(in->name, in->id, strlen(in->id)), 0);
}

static bool tenants_stand(struct instance *in) {
    if (!*in->name)
        find_name(in);
    return stats_do("SCARD ws:tenants:%s", in->name) == TENANTS;
}

static struct stats bench_register(struct instance *in, const char *id, size_t count) {
    stats_begin();
    open_instance(in, id, count);
    BENCH_WAIT(in->loop, in->online >= count && tenants_stand(in));
    struct stats s = stats_end("register", count);
    must_hold(in, count, count);
    return s;
}

static struct stats bench_heartbeat(struct instance *in) {
    char what[64];
    snprintf(what, sizeof what, "heartbeat with %zu", in->count);
    bench_wait_ms(in->loop, 500);
    stats_begin();
    bench_wait_ms(in->loop, HEARTBEAT_MS);
    struct stats s = stats_end(what, 0);
    must_hold(in, in->count, in->online);
    bench_must_be("whether there were heartbeats", s.calls >= 2, true);
    return s;
}

static void report_in_ticks(struct instance *in, size_t from, size_t each, bool here) {
    for (size_t i = 0; i < CHANGES && bench_goes_on(); i += each) {
        report(in, from + i, each, here);
        bh_loop_tick(in->loop, true);
    }
}

/* More users come and go; `each` of them in one tick. */
static void bench_changes(struct instance *in, size_t each) {
    size_t online = in->online + CHANGES, offline = in->offline + CHANGES;
    char what[64];
    snprintf(what, sizeof what, "come, %zu a tick", each);
    stats_begin();
    report_in_ticks(in, in->count, each, true);
    BENCH_WAIT(in->loop, in->online >= online);
    stats_end(what, CHANGES);
    must_hold(in, in->count + CHANGES, online);
    bench_wait_ms(in->loop, 500);
    snprintf(what, sizeof what, "go, %zu a tick", each);
    stats_begin();
    report_in_ticks(in, in->count, each, false);
    BENCH_WAIT(in->loop, held(in) == (long long)in->count);
    stats_end(what, CHANGES);
    stats_begin();
    BENCH_WAIT(in->loop, in->offline >= offline);
    stats_end("raise offline", CHANGES);
    must_hold(in, in->count, online);
    bench_must_be("events of users who went offline", (long long)in->offline, (long long)offline);
    bench_wait_ms(in->loop, 500);
}

struct answer {
    bool done;
    int error;
    size_t online;
};

static void on_found(void *ud, bh_handle handle, int error, const struct bh_presence *found,
                     size_t count, int64_t as_of) {
    struct answer *a = ud;
    *a = (struct answer){.done = true, .error = error};
    for (size_t i = 0; i < count; i++)
        a->online += found[i].count == 1;
}

static struct stats bench_lookup(struct instance *in, size_t names, size_t times) {
    char(*texts)[2][16] = bh_calloc(names, sizeof *texts), what[64];
    struct bh_slice *users = bh_calloc(names, sizeof *users);
    snprintf(what, sizeof what, "is online? %zu users", names);
    stats_begin();
    for (size_t i = 0; i < times; i++) {
        struct answer a = {0};
        for (size_t j = 0; j < names; j++)
            users[j] = connection((i * names + j) * 7919 % in->count, true, texts[j]).user;
        in->tracker->vt->lookup(in->tracker, &in->worker, BH_LOOKUP_ONLINE, users, names, on_found,
                                &a, 0);
        BENCH_WAIT(in->loop, a.done);
        bench_must_be("errors of a lookup", a.error, 0);
        bench_must_be("users found online", (long long)a.online, (long long)names);
    }
    struct stats s = stats_end(what, times);
    bh_free(users);
    bh_free(texts);
    return s;
}

/* --- the crash --- */

static void must_be_gone(const struct instance *dead) {
    static const char *const patterns[] = {"ws:connections:*", "ws:instance:*", "ws:tenant:*",
                                           "ws:tenants:*",     "ws:reaper:*",   "ws:leaving"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        bench_must_be(patterns[i], stats_do("KEYS %s", patterns[i]), 0);
    bench_must_be("users online", stats_do("HLEN ws:presence"), 0);
    bench_must_be("what is left of the dead", held(dead), 0);
}

/* `dead` is not ticked any more, so that its lease ends. */
static void bench_crash(const struct instance *dead, struct instance *survivor) {
    char ends_at[32];
    stats_text(ends_at, sizeof ends_at, "ZSCORE ws:instances %s", dead->name);
    double ends = atof(ends_at);
    open_instance(survivor, "survivor", 0);
    BENCH_WAIT(survivor->loop, stats_now_ms() >= ends - 20);
    stats_begin();
    BENCH_WAIT(survivor->loop,
               stats_do("EXISTS ws:instance:%s ws:tenants:%s", dead->name, dead->name) == 0 &&
                   stats_do("ZCARD ws:instances") == 1);
    double cleaned = stats_now_ms() - ends;
    stats_end("clean up after a crash", dead->count);
    bench_must_be("connections left", stats_do("KEYS ws:connections:*"), 0);
    stats_begin();
    BENCH_WAIT(survivor->loop, survivor->offline >= dead->count);
    double raised = stats_now_ms() - ends;
    stats_end("raise offline after it", dead->count);
    bench_wait_ms(survivor->loop, 500);
    bench_must_be("events of users offline", (long long)survivor->offline, (long long)dead->count);
    bench_must_be("events of users online", (long long)survivor->online, 0);
    must_be_gone(dead);
    stats_note("after a crash the last connection is gone %.0f ms after the end of the lease, the "
               "last event raised after %.0f ms (debounce %d ms)",
               cleaned, raised, DEBOUNCE_MS);
}

static void run(size_t count) {
    struct instance few, many, survivor;
    bench_register(&few, "few", FEW);
    struct stats before = bench_heartbeat(&few);
    close_instance(&few);
    stats_do("FLUSHALL");
    double memory = bench_register(&many, "many", count).memory;
    stats_note("a connection takes %.0f bytes in Redis", memory / (double)count);
    struct stats after = bench_heartbeat(&many);
    bench_changes(&many, 1);
    bench_changes(&many, 100);
    bench_lookup(&many, 1, 2000);
    bench_lookup(&many, 1000, 100);
    bench_wait_ms(many.loop, 500);
    bench_crash(&many, &survivor);
    stats_note("a heartbeat is %.1f commands in Redis with %d connections, %.1f with %zu; "
               "its time %.0f us and %.0f us (median): a ratio of %.2f",
               before.commands / before.calls, FEW, after.commands / after.calls, count,
               before.median, after.median, after.median / before.median);
    close_instance(&survivor);
    close_instance(&many);
}

/* --- one tracker, and 16 parts --- */

struct costs {
    struct stats heartbeat, come, go, come_many, go_many, one, thousand;
    double memory, registered_ms;
};

static bool is_ready(const struct instance *in) {
    const char *why;
    return in->tracker->vt->ready(in->tracker, &why) == 0;
}

static void must_track(const struct instance *in, size_t connections) {
    bench_must_be("connections tracked", bh_metric_read(&bh_redis_metrics[BH_REDIS_TRACKED]),
                  (long long)connections);
}

static struct stats come(struct instance *in, const char *what, size_t each) {
    size_t online = in->online + CHANGES;
    stats_begin();
    report_in_ticks(in, in->count, each, true);
    BENCH_WAIT(in->loop, in->online >= online);
    struct stats s = stats_end(what, CHANGES);
    must_track(in, in->count + CHANGES);
    return s;
}

static struct stats go(struct instance *in, const char *what, size_t each) {
    size_t offline = in->offline + CHANGES;
    stats_begin();
    report_in_ticks(in, in->count, each, false);
    BENCH_WAIT(in->loop, in->offline >= offline);
    struct stats s = stats_end(what, CHANGES);
    must_track(in, in->count);
    return s;
}

static void must_be_online(struct instance *in) {
    bench_must_be("events of users who came online", (long long)in->online, (long long)in->count);
    must_track(in, in->count);
    bench_must_be("whether it is ready", is_ready(in), true);
}

static struct costs measure(const char *id, size_t count, bool parts) {
    struct instance in;
    struct costs c;
    stats_do("FLUSHALL");
    stats_begin();
    open_as(&in, id, count, parts, LONG_LEASE_MS);
    BENCH_WAIT(in.loop, in.online >= count && is_ready(&in));
    struct stats registered = stats_end("register", count);
    c.memory = registered.memory / (double)count;
    c.registered_ms = registered.wall;
    must_be_online(&in);
    bench_wait_ms(in.loop, 1000);
    stats_begin();
    bench_wait_ms(in.loop, HEARTBEAT_MS);
    c.heartbeat = stats_end("heartbeats for 10 s", 0);
    must_be_online(&in);
    c.come = come(&in, "come, 1 a tick", 1);
    c.go = go(&in, "go, 1 a tick", 1);
    c.come_many = come(&in, "come, 100 a tick", 100);
    c.go_many = go(&in, "go, 100 a tick", 100);
    bench_wait_ms(in.loop, 1000);
    c.one = bench_lookup(&in, 1, 2000);
    c.thousand = bench_lookup(&in, 1000, 100);
    close_instance(&in);
    return c;
}

static void compare(const char *what, const struct stats *one, const struct stats *parts) {
    stats_note("%-24s Redis CPU %.2f, own CPU %.2f", what, parts->redis / one->redis,
               parts->own / one->own);
}

static void run_parts(size_t count) {
    printf("one tracker:\n");
    struct costs one = measure("one", count, false);
    printf("16 parts:\n");
    struct costs parts = measure("parts", count, true);
    stats_note("16 parts in relation to one tracker:");
    compare("heartbeats", &one.heartbeat, &parts.heartbeat);
    compare("come, 1 a tick", &one.come, &parts.come);
    compare("go, 1 a tick", &one.go, &parts.go);
    compare("come, 100 a tick", &one.come_many, &parts.come_many);
    compare("go, 100 a tick", &one.go_many, &parts.go_many);
    compare("lookup of 1 user", &one.one, &parts.one);
    compare("lookup of 1000 users", &one.thousand, &parts.thousand);
    stats_note("registering takes %.1f s and %.1f s, a connection %.0f and %.0f bytes in Redis",
               one.registered_ms / 1000, parts.registered_ms / 1000, one.memory, parts.memory);
    stats_note("a lookup takes %.0f us and %.0f us for 1 user, %.2f ms and %.2f ms for 1000",
               one.one.wall / 2, parts.one.wall / 2, one.thousand.wall / 100,
               parts.thousand.wall / 100);
    stats_note("heartbeats take %.2f ms and %.2f ms of scripts a second",
               one.heartbeat.usec / HEARTBEAT_MS, parts.heartbeat.usec / HEARTBEAT_MS);
}

int main(int argc, char **argv) {
    bool parts = argc > 1 && strcmp(argv[1], "--parts") == 0;
    int at = parts ? 2 : 1;
    long count = argc > at ? atol(argv[at]) : parts ? MANY : CONNECTIONS;
    if (argc > at + 1 || count < FEW || count > MANY) {
        fprintf(stderr, "usage: %s [--parts] [CONNECTIONS], %d to %d\n", argv[0], FEW, MANY);
        return 2;
    }
    bh_redis_metrics_register();
    bench_start();
    stats_open(&bench_server);
    printf("tracker over Redis: %ld connections of as many users, %d tenants, one instance\n",
           count, TENANTS);
    stats_head();
    if (parts)
        run_parts((size_t)count);
    else
        run((size_t)count);
    stats_close();
    return 0;
}
