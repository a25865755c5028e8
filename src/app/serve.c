/* serve.c - one instance from start to end.
 *
 * The main thread runs the signals, and the bus: the broker's bus side and the directory. Each
 * worker is a thread with a script, an edge and its links. A worker that is alone has the bus in
 * its own loop: what one core does, two threads would only take turns at, with a switch for each
 * handful of messages.
 *
 * Start: worker after worker - links, script, on_init, and only then its listeners, so that no
 * connection meets a policy that is not ready. A failure in any step ends the process with a
 * message. Stop: the first SIGTERM or SIGINT drains (workers close their connections, bounded by
 * server.drain_timeout), the second one stops at once; then the workers' threads end, and what
 * belonged to them is freed here, where nothing runs beside it any more. */
#include "app.h"

#include "bellhop/backend/memory.h"
#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/listener.h"
#include "bellhop/io/signal.h"
#include "server.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define JOIN_SECONDS    5
#define DESCRIPTORS_MAX 131072 /* that many at once are reserved: 1 MiB */

/* --- mail between the bus and a worker --- */

void bh_order_post(struct bh_mailbox *to, struct bh_server_lane *lane, void (*fn)(struct bh_mail *),
                   int error, const char *why) {
    struct bh_order *o = bh_malloc(sizeof *o);
    *o = (struct bh_order){{.fn = fn}, lane, error, why ? bh_strdup(why) : NULL};
    if (bh_mailbox_post(to, &o->mail)) {
        bh_free(o->why);
        bh_free(o);
    }
}

struct bh_order bh_order_open(struct bh_mail *mail) {
    struct bh_order *o = BH_CONTAINER_OF(mail, struct bh_order, mail), copy = *o;
    bh_free(o);
    return copy;
}

/* --- start --- */

static void on_lane_up(struct bh_mail *mail);
static void stop(struct bh_server *s);

static const char *explain_listen(int error) {
    switch (error) {
    case BH_EEXIST:
        return "the address is in use";
    case BH_EDENIED:
        return "permission denied";
    default:
        return bh_strerror(error);
    }
}

/* Unix sockets know no SO_REUSEPORT: the first worker serves them for all. */
static size_t own_addresses(const struct bh_server_lane *l, struct bh_edge_listen *out) {
    const struct bh_app_edge *e = &l->server->edge;
    size_t count = 0;
    for (size_t i = 0; i < e->listen_count; i++)
        if (l->worker->index == 0 || e->listen[i].address.sa.sa_family != AF_UNIX)
            out[count++] = e->listen[i];
    return count;
}

static void listen_now(struct bh_server_lane *l) {
    struct bh_server *s = l->server;
    size_t which = 0;
    char address[BH_ADDR_TEXT_MAX], why[256];
    struct bh_edge_listen *own = bh_calloc(s->edge.listen_count, sizeof *own);
    int error = bh_edge_listen(l->edge, own, own_addresses(l, own), &which);
    bh_addr_format(&own[which].address, address);
    bh_free(own);
    if (error) {
        snprintf(why, sizeof why, "cannot listen on %s: %s", address, explain_listen(error));
        bh_order_post(s->mailbox, l, on_lane_up, error, why);
        return;
    }
    bh_order_post(s->mailbox, l, on_lane_up, 0, NULL);
}

static void on_script_ready(void *ud, int error, const char *why) {
    struct bh_server_lane *l = ud;
    if (error)
        bh_order_post(l->server->mailbox, l, on_lane_up, error, why);
    else
        listen_now(l);
}

static void on_lane_start(void *ud) {
    struct bh_server_lane *l = ud;
    struct bh_broker *b = l->server->broker;
    int error = b->vt->worker_start(b, l->worker->index, l->worker->loop);
    if (error)
        bh_order_post(l->server->mailbox, l, on_lane_up, error, "cannot start the broker's links");
    else
        bh_script_start(l->script, on_script_ready, l);
}

static void start_next(struct bh_server *s) {
    struct bh_server_lane *l = &s->lanes[s->started];
    l->started = true;
    if (bh_thread_start(l->thread, on_lane_start, l)) {
        l->started = false;
        bh_order_post(s->mailbox, l, on_lane_up, BH_EIO, "cannot start a thread");
    }
}

static void announce(struct bh_server *s) {
    char address[BH_ADDR_TEXT_MAX];
    s->state = BH_SERVER_SERVING;
    for (size_t i = 0; i < s->edge.listen_count; i++) {
        const struct bh_edge_listen *l = &s->edge.listen[i];
        bh_addr_format(&l->address, address);
        bh_info("listening", bh_kv_str("address", address), bh_kv_bool("tls", l->tls),
                bh_kv_bool("proxy", l->proxy), bh_kv_int("workers", s->lane_count),
                bh_kv_str("broker", s->broker->vt->name));
    }
    if (!s->edge.config.dev)
        return;
    char page[BH_ADDR_TEXT_MAX + 16], curl[BH_ADDR_TEXT_MAX + 80];
    const char *scheme = s->edge.listen[0].tls ? "https" : "http";
    bh_addr_format(&s->edge.listen[0].address, address);
    snprintf(page, sizeof page, "%s://%s/", scheme, address);
    snprintf(curl, sizeof curl, "curl -X POST %s://%s/api/users/42/messages -d hello", scheme,
             address);
    bh_info("development mode: try it", bh_kv_str("page", page), bh_kv_str("publish", curl));
}

/* Worker 0 has bound the real ports; the others share them. */
static void fix_ports(struct bh_server *s, struct bh_edge *edge) {
    for (size_t i = 0; i < s->edge.listen_count; i++)
        s->edge.listen[i].address = *bh_edge_address(edge, i);
}

static void on_lane_up(struct bh_mail *mail) {
    struct bh_order o = bh_order_open(mail);
    struct bh_server *s = o.lane->server;
    if (s->state == BH_SERVER_STARTING && o.error) {
        bh_error("start failed", bh_kv_str("why", o.why ? o.why : bh_strerror(o.error)));
        s->status = 1;
        stop(s);
    } else if (s->state == BH_SERVER_STARTING) {
        if (s->started == 0)
            fix_ports(s, o.lane->edge);
        if (++s->started < s->lane_count)
            start_next(s);
        else
            announce(s);
    }
    bh_free(o.why);
}

static void on_ready_timer(struct bh_timer *t) {
    struct bh_server *s = BH_CONTAINER_OF(t, struct bh_server, ready_timer);
    const char *why = "";
    bool ready = s->state == BH_SERVER_SERVING && bh_node_ready(s->node, &why) == 0;
    if (ready && !s->was_ready)
        bh_info("ready");
    else if (!ready && s->was_ready && s->state == BH_SERVER_SERVING)
        bh_warn("not ready", bh_kv_str("why", why));
    s->was_ready = ready;
    bh_timer_set(t, 100);
}

/* --- stop --- */

static void on_abort(struct bh_mail *mail) {
    struct bh_order o = bh_order_open(mail);
    o.lane->aborted = true;
    bh_edge_abort(o.lane->edge);
    bh_thread_stop(o.lane->thread);
}

static void stop(struct bh_server *s) {
    if (s->state == BH_SERVER_STOPPING)
        return;
    s->state = BH_SERVER_STOPPING;
    bh_timer_cancel(&s->drain_timer);
    for (unsigned i = 0; i < s->lane_count; i++)
        if (s->lanes[i].started)
            bh_order_post(bh_thread_mailbox(s->lanes[i].thread), &s->lanes[i], on_abort, 0, NULL);
    bh_loop_stop(s->loop);
}

static void on_lane_drained(struct bh_mail *mail) {
    struct bh_order o = bh_order_open(mail);
    struct bh_server *s = o.lane->server;
    o.lane->drained = true;
    for (unsigned i = 0; i < s->lane_count; i++)
        if (!s->lanes[i].drained)
            return;
    bh_info("drained");
    stop(s);
}

static void on_drained(void *ud) {
    struct bh_server_lane *l = ud;
    bh_order_post(l->server->mailbox, l, on_lane_drained, 0, NULL);
}

static void on_farewell(void *ud) {
    struct bh_server_lane *l = ud;
    if (!l->aborted)
        bh_edge_drain(l->edge, on_drained, l);
}

static void on_drain(struct bh_mail *mail) {
    struct bh_server_lane *l = bh_order_open(mail).lane;
    bh_script_shutdown(l->script, "stop", l->server->config->drain_timeout, on_farewell, l);
}

static void on_drain_timeout(struct bh_timer *t) {
    struct bh_server *s = BH_CONTAINER_OF(t, struct bh_server, drain_timer);
    bh_warn("drain timeout, dropping what is left",
            bh_kv_int("connections", bh_node_connection_count(s->node)));
    stop(s);
}

static void drain(struct bh_server *s) {
    s->state = BH_SERVER_DRAINING;
    bh_info("draining", bh_kv_int("connections", bh_node_connection_count(s->node)));
    bh_timer_set(&s->drain_timer, s->config->drain_timeout);
    for (unsigned i = 0; i < s->lane_count; i++)
        bh_order_post(bh_thread_mailbox(s->lanes[i].thread), &s->lanes[i], on_drain, 0, NULL);
}

/* --- new certificates --- */

struct tls_mail {
    struct bh_mail mail;
    struct bh_edge *edge;
    struct bh_tls *tls; /* a reference */
};

static void on_tls(struct bh_mail *mail) {
    struct tls_mail *m = BH_CONTAINER_OF(mail, struct tls_mail, mail);
    bh_edge_set_tls(m->edge, m->tls);
    bh_tls_unref(m->tls);
    bh_free(m);
}

static void reload_tls(struct bh_server *s) {
    struct bh_tls *tls = NULL;
    char *error = NULL;
    if (!s->tls)
        return;
    if (bh_app_tls(s->config, s->tls, &tls, &error)) {
        bh_error("certificates not reloaded, those at hand stay", bh_kv_str("why", error));
        bh_free(error);
        return;
    }
    bh_tls_unref(s->tls);
    s->tls = tls;
    for (unsigned i = 0; i < s->lane_count; i++) {
        struct tls_mail *m = bh_malloc(sizeof *m);
        *m = (struct tls_mail){{.fn = on_tls}, s->lanes[i].edge, bh_tls_ref(tls)};
        if (bh_mailbox_post(bh_thread_mailbox(s->lanes[i].thread), &m->mail)) {
            bh_tls_unref(m->tls);
            bh_free(m);
        }
    }
    bh_info("certificates reloaded");
}

static void on_signal(int signo, void *ud) {
    struct bh_server *s = ud;
    bh_info("signal", bh_kv_str("name", signo == SIGTERM  ? "SIGTERM"
                                        : signo == SIGINT ? "SIGINT"
                                                          : "SIGHUP"));
    if (signo == SIGHUP) {
        reload_tls(s);
        bh_server_reload(s, NULL, 0);
    } else if (s->state == BH_SERVER_SERVING)
        drain(s);
    else
        stop(s);
}

/* --- building and taking down --- */

static int fail(const char *what, const char *why) {
    bh_error(what, bh_kv_str("why", why));
    return BH_EINVAL;
}

static int check_addresses(const struct bh_app_edge *e) {
    char address[BH_ADDR_TEXT_MAX], taken[BH_ADDR_TEXT_MAX + 64];
    for (size_t i = 0; i < e->listen_count; i++) {
        if (bh_listener_probe(&e->listen[i].address) == 0)
            continue;
        bh_addr_format(&e->listen[i].address, address);
        snprintf(taken, sizeof taken, "%s: %s", address, explain_listen(BH_EEXIST));
        return fail("cannot listen", taken);
    }
    return 0;
}

/* What the outside sees: addresses, limits, certificates; and what scripts see of it. */
static int make_edge_config(struct bh_server *s) {
    char *error = NULL;
    if (bh_app_edge_config(s->config, &s->edge, &error) ||
        bh_app_tls(s->config, NULL, &s->tls, &error) ||
        bh_app_fetch_config(s->config, &s->fetch, &error)) {
        fail("configuration", error);
        bh_free(error);
        return BH_EINVAL;
    }
    return check_addresses(&s->edge);
}

static int make_broker(struct bh_server *s, unsigned workers) {
    struct bh_app_redis redis;
    char *error = NULL;
    int result = bh_app_redis_config(s->config, s->instance, &redis, &error);
    if (result) {
        fail("configuration", error);
    } else if (redis.count == 0) {
        s->broker = bh_memory_broker_new();
        s->tracker = bh_memory_tracker_new(redis.tracking.debounce_ms);
    } else {
        s->broker = bh_redis_shards_new(redis.nodes, redis.count, workers);
        s->tracker = bh_redis_tracker_new(&redis.nodes[0], &redis.tracking, s->broker);
    }
    bh_free(error);
    bh_app_redis_free(&redis);
    return result;
}

static unsigned count_workers(const struct bh_config *c) {
    cpu_set_t cores;
    if (c->workers)
        return (unsigned)c->workers;
    int n = sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
    return n < BH_WORKERS_MAX ? (unsigned)n : BH_WORKERS_MAX;
}

static int make_lane(struct bh_server *s, struct bh_server_lane *l) {
    char *error = NULL;
    l->worker =
        bh_node_add_worker(s->node, bh_thread_loop(l->thread), bh_thread_mailbox(l->thread));
    if (s->config->redis_urls.count)
        l->worker->redis = bh_redis_broker_commands(s->broker);
    l->worker->fetch = bh_http_fetch_new(&s->fetch.config, l->worker->loop);
    if (bh_script_new(&s->script, l->worker, s->generation, &l->script, &error)) {
        fail("script", error ? error : "cannot be loaded");
        bh_free(error);
        return BH_ESCRIPT;
    }
    s->edge.config.reload = bh_server_ask_reload;
    s->edge.config.reload_ud = s;
    l->edge = bh_edge_new(&s->edge.config, l->worker);
    if (s->tls)
        bh_edge_set_tls(l->edge, s->tls);
    return 0;
}

static void make_threads(struct bh_server *s, unsigned workers) {
    s->lanes = bh_calloc(workers, sizeof *s->lanes);
    for (; s->lane_count < workers; s->lane_count++) {
        struct bh_server_lane *l = &s->lanes[s->lane_count];
        l->server = s;
        l->thread = bh_thread_new("bellhop-worker");
    }
}

static int build(struct bh_server *s) {
    const struct bh_config *c = s->config;
    const char *why = NULL;
    unsigned workers = count_workers(c);
    if (*c->instance && bh_id_check(BH_ID_INSTANCE, bh_slice_cstr(c->instance), &why))
        return fail("server.instance", why);
    if (make_edge_config(s) || make_broker(s, workers))
        return BH_EINVAL;
    s->edge.config.accepts_per_second = (c->accepts_per_second + workers - 1) / workers;
    s->lua_dir = bh_app_lua_dir(c);
    bh_app_script_config(c, s->lua_dir, &s->script, &s->files);
    s->script.shared = s->shared = bh_shared_new((size_t)c->shared_memory);
    struct bh_node_config node = {
        .instance = bh_slice_cstr(s->instance),
        .linger_ms = c->unsubscribe_linger,
        .payload_max = c->payload_bytes,
        .seen_max = c->seen_max,
        .seen_ms = c->seen_ttl,
    };
    bh_strategy_parse(bh_slice_cstr(c->strategy), &node.strategy, NULL);
    make_threads(s, workers);
    if (workers == 1)
        s->node = bh_node_new(&node, s->broker, s->tracker, bh_thread_loop(s->lanes[0].thread),
                              bh_thread_mailbox(s->lanes[0].thread));
    else
        s->node = bh_node_new(&node, s->broker, s->tracker, s->loop, s->mailbox);
    for (unsigned i = 0; i < workers; i++)
        if (make_lane(s, &s->lanes[i]))
            return BH_ESCRIPT;
    return 0;
}

/* No thread runs any more. What is still in a mailbox is run while everything that it may touch is
 * there; closed boxes take nothing new, so this ends. */
static void run_last_mails(struct bh_server *s) {
    bh_mailbox_close(s->mailbox);
    for (unsigned i = 0; i < s->lane_count; i++)
        bh_mailbox_close(bh_thread_mailbox(s->lanes[i].thread));
    for (unsigned i = 0; i < s->lane_count; i++)
        bh_loop_tick(bh_thread_loop(s->lanes[i].thread), false);
    bh_loop_tick(s->loop, false);
}

/* A worker that never comes back from its script cannot be joined. */
static void on_stuck(int signo) {
    static const char line[] = "bellhop: a worker does not stop, its script is stuck; giving up\n";
    ssize_t written = write(STDERR_FILENO, line, sizeof line - 1);
    _exit(written < 0 ? 2 : 1);
}

static void join_all(struct bh_server *s) {
    signal(SIGALRM, on_stuck);
    alarm(JOIN_SECONDS);
    for (unsigned i = 0; i < s->lane_count; i++)
        if (s->lanes[i].started)
            bh_thread_join(s->lanes[i].thread);
    alarm(0);
}

static void take_down(struct bh_server *s) {
    join_all(s);
    bh_server_reload_stop(s);
    run_last_mails(s);
    for (unsigned i = 0; i < s->lane_count; i++) {
        struct bh_server_lane *l = &s->lanes[i];
        if (l->edge)
            bh_edge_abort(l->edge);
        if (l->started)
            s->broker->vt->worker_stop(s->broker, l->worker->index);
        if (l->next)
            bh_script_free(l->next);
        if (l->script)
            bh_script_free(l->script);
        if (l->worker)
            bh_http_fetch_free(l->worker->fetch);
    }
    if (s->node)
        bh_node_stop(s->node);
    for (unsigned i = 0; i < s->lane_count; i++)
        bh_loop_tick(bh_thread_loop(s->lanes[i].thread), false); /* reaps */
    for (unsigned i = 0; i < s->lane_count; i++)
        if (s->lanes[i].edge)
            bh_edge_free(s->lanes[i].edge);
    for (size_t i = 0; i < 3; i++)
        if (s->signals[i])
            bh_signal_free(s->signals[i]);
    bh_timer_cancel(&s->ready_timer);
    bh_mailbox_free(s->mailbox);
    if (s->node)
        bh_node_free(s->node);
    if (s->broker)
        s->broker->vt->free(s->broker);
    if (s->tracker)
        s->tracker->vt->free(s->tracker);
    for (unsigned i = 0; i < s->lane_count; i++)
        bh_thread_free(s->lanes[i].thread);
    bh_loop_free(s->loop);
    bh_shared_free(s->shared);
    bh_strings_free(&s->files);
    bh_free(s->lua_dir);
    bh_tls_unref(s->tls);
    bh_app_edge_free(&s->edge);
    bh_app_fetch_free(&s->fetch);
    bh_free(s->lanes);
}

/* The kernel doubles a process's table of descriptors when it is full, and where there are threads
 * it then waits until no CPU looks at the old one: some ten milliseconds in which the worker that
 * accepts stands still, at 256 connections, 512, 1,024 and so on. So the table grows once, while
 * there is one thread. A place in it takes 8 bytes. */
static void reserve_descriptors(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    rlim_t places = files.rlim_cur < DESCRIPTORS_MAX ? files.rlim_cur : DESCRIPTORS_MAX;
    int any = eventfd(0, EFD_CLOEXEC), last = fcntl(any, F_DUPFD_CLOEXEC, (int)places - 1);
    if (last >= 0)
        close(last);
    if (any >= 0)
        close(any);
}

static void set_up_process(struct bh_server *s) {
    const struct bh_config *c = s->config;
    enum bh_log_level level = BH_LOG_INFO;
    char unique[BH_UNIQUE_ID_LEN + 1];
    signal(SIGPIPE, SIG_IGN);
    bh_id_unique(unique);
    snprintf(s->instance, sizeof s->instance, "%.128s", *c->instance ? c->instance : unique);
    bh_log_parse_level(c->log_level, &level);
    bh_log_init(level, strcmp(c->log_format, "json") == 0 ? BH_LOG_JSON : BH_LOG_LOGFMT,
                strcmp(c->log_target, "syslog") == 0, s->instance);
    reserve_descriptors();
    bh_core_metrics_register();
    bh_loop_metrics_register();
    bh_listener_metrics_register();
    bh_tls_metrics_register();
    bh_edge_metrics_register();
    bh_redis_metrics_register();
    bh_http_metrics_register();
    bh_script_metrics_register();
}

int bh_app_serve(const struct bh_config *config) {
    static const int signals[3] = {SIGTERM, SIGINT, SIGHUP};
    struct bh_server s = {.config = config, .generation = 1};
    set_up_process(&s);
    s.loop = bh_loop_new();
    s.mailbox = bh_mailbox_new(s.loop);
    bh_timer_init(&s.drain_timer, s.loop, on_drain_timeout);
    bh_timer_init(&s.ready_timer, s.loop, on_ready_timer);
    s.status = 1;
    if (build(&s) == 0 && bh_node_start(s.node) == 0) {
        s.status = 0;
        for (size_t i = 0; i < 3; i++)
            s.signals[i] = bh_signal_new(s.loop, signals[i], on_signal, &s);
        bh_timer_set(&s.ready_timer, 0);
        start_next(&s);
        bh_loop_run(s.loop);
    }
    take_down(&s);
    if (s.status == 0)
        bh_info("stopped");
    return s.status;
}
