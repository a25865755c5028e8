/* serve.c - one instance from start to stop.
 *
 * The main thread handles signals and runs the bus: the broker's bus side and the interest map.
 * Each worker is a thread with a script, an edge and its links. With one worker the bus runs in the
 * worker's loop: two threads on one core would only switch for every few messages.
 *
 * Start: one worker after the other - links, script, on_init, and then its listeners, so that no
 * connection is accepted before the policy is ready. A failure in any step ends the process with a
 * message. Stop: see stop.h; at the end the workers' threads end, and everything is freed here,
 * when no other thread runs. */
#include "app.h"

#include "bellhop/backend/memory.h"
#include "bellhop/backend/redis.h"
#include "bellhop/base/budget.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/log_output.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/descriptors.h"
#include "bellhop/io/listener.h"
#include "bellhop/io/signal.h"
#include "crash.h"
#include "memory.h"
#include "server.h"
#include "stop.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define JOIN_SECONDS      5
#define OTHER_DESCRIPTORS 32 /* kept for links, files and requests of scripts */

/* --- start --- */

static void on_worker_up(struct bh_mail *mail);

/* SO_REUSEPORT does not exist for unix sockets: only the first worker serves them. */
static size_t own_addresses(const struct bh_server_worker *w, struct bh_edge_listen *out) {
    const struct bh_app_edge *e = &w->server->settings.edge;
    size_t count = 0;
    for (size_t i = 0; i < e->listen_count; i++)
        if (w->worker->index == 0 || e->listen[i].address.sa.sa_family != AF_UNIX)
            out[count++] = e->listen[i];
    return count;
}

static void listen_now(struct bh_server_worker *w) {
    struct bh_server *s = w->server;
    size_t which = 0;
    char address[BH_ADDR_TEXT_MAX], why[256];
    struct bh_edge_listen *own = bh_calloc(s->settings.edge.listen_count, sizeof *own);
    int error = bh_edge_listen(w->edge, own, own_addresses(w, own), &which);
    bh_addr_format(&own[which].address, address);
    bh_free(own);
    if (error) {
        snprintf(why, sizeof why, "cannot listen on %s: %s", address, bh_app_explain_listen(error));
        bh_app_mail_post(s->mailbox, w, on_worker_up, error, why);
        return;
    }
    bh_app_mail_post(s->mailbox, w, on_worker_up, 0, NULL);
}

static void on_script_ready(void *ud, int error, const char *why) {
    struct bh_server_worker *w = ud;
    if (error)
        bh_app_mail_post(w->server->mailbox, w, on_worker_up, error, why);
    else
        listen_now(w);
}

/* The history may use the links of the broker. */
static int start_links(struct bh_server_worker *w) {
    struct bh_broker *b = w->server->broker;
    struct bh_history *h = w->server->history;
    int error = b->vt->worker_start(b, w->worker->index, w->worker->loop);
    if (!error && h)
        error = h->vt->worker_start(h, w->worker->index, w->worker->loop, w->worker->mailbox);
    return error;
}

static void stop_links(struct bh_server_worker *w) {
    struct bh_broker *b = w->server->broker;
    struct bh_history *h = w->server->history;
    if (h)
        h->vt->worker_stop(h, w->worker->index);
    b->vt->worker_stop(b, w->worker->index);
}

static void on_worker_start(void *ud) {
    struct bh_server_worker *w = ud;
    int error = start_links(w);
    if (error)
        bh_app_mail_post(w->server->mailbox, w, on_worker_up, error,
                         "cannot start the broker's links");
    else
        bh_script_start(w->script, on_script_ready, w);
}

static void start_next(struct bh_server *s) {
    struct bh_server_worker *w = &s->workers[s->started];
    w->started = true;
    if (bh_thread_start(w->thread, on_worker_start, w)) {
        w->started = false;
        bh_app_mail_post(s->mailbox, w, on_worker_up, BH_EIO, "cannot start a thread");
    }
}

static void announce(struct bh_server *s) {
    char address[BH_ADDR_TEXT_MAX];
    s->state = BH_SERVER_SERVING;
    for (size_t i = 0; i < s->settings.edge.listen_count; i++) {
        const struct bh_edge_listen *l = &s->settings.edge.listen[i];
        bh_addr_format(&l->address, address);
        if (l->admin) {
            bh_info("serving health and metrics", bh_kv_str("address", address),
                    bh_kv_bool("tls", l->tls), bh_kv_bool("proxy", l->proxy));
            continue;
        }
        bh_info("listening", bh_kv_str("address", address), bh_kv_bool("tls", l->tls),
                bh_kv_bool("proxy", l->proxy), bh_kv_int("workers", s->worker_count),
                bh_kv_str("broker", s->broker->vt->name));
    }
    if (!s->settings.edge.config.dev)
        return;
    char page[BH_ADDR_TEXT_MAX + 16], curl[BH_ADDR_TEXT_MAX + 80];
    const char *scheme = s->settings.edge.listen[0].tls ? "https" : "http";
    bh_addr_format(&s->settings.edge.listen[0].address, address);
    snprintf(page, sizeof page, "%s://%s/", scheme, address);
    snprintf(curl, sizeof curl, "curl -X POST %s://%s/api/users/42/messages -d hello", scheme,
             address);
    bh_info("development mode, try", bh_kv_str("page", page), bh_kv_str("publish", curl));
}

/* Worker 0 has bound the real ports; the others share them. */
static void fix_ports(struct bh_server *s, struct bh_edge *edge) {
    for (size_t i = 0; i < s->settings.edge.listen_count; i++)
        s->settings.edge.listen[i].address = *bh_edge_address(edge, i);
}

static void on_worker_up(struct bh_mail *mail) {
    struct bh_app_mail m = bh_app_mail_open(mail);
    struct bh_server *s = m.worker->server;
    if (s->state == BH_SERVER_STARTING && m.error) {
        bh_error("start failed", bh_kv_str("why", m.why ? m.why : bh_strerror(m.error)));
        s->status = 1;
        bh_server_stop(s);
    } else if (s->state == BH_SERVER_STARTING) {
        if (s->started == 0)
            fix_ports(s, m.worker->edge);
        if (++s->started < s->worker_count)
            start_next(s);
        else
            announce(s);
    }
    bh_free(m.why);
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
    if (!s->settings.tls)
        return;
    if (bh_app_tls(s->config, s->settings.tls, &tls, &error)) {
        bh_error("certificates not reloaded, keeping the current ones", bh_kv_str("why", error));
        bh_free(error);
        return;
    }
    bh_tls_unref(s->settings.tls);
    s->settings.tls = tls;
    for (unsigned i = 0; i < s->worker_count; i++) {
        struct tls_mail *m = bh_malloc(sizeof *m);
        *m = (struct tls_mail){{.fn = on_tls}, s->workers[i].edge, bh_tls_ref(tls)};
        if (bh_mailbox_post(bh_thread_mailbox(s->workers[i].thread), &m->mail)) {
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
        bh_server_drain(s);
    else
        bh_server_stop(s);
}

/* --- building and taking down --- */

static int fail(const char *what, const char *why) {
    bh_error(what, bh_kv_str("why", why));
    return BH_EINVAL;
}

/* Logs all mistakes. */
static int make_settings(struct bh_server *s) {
    struct bh_report report = {0};
    int error = bh_app_settings_init(&s->settings, s->config, s->instance, false, &report);
    for (size_t i = 0; i < report.errors.count; i++)
        fail("configuration", report.errors.items[i]);
    bh_report_free(&report);
    return error;
}

static void make_broker(struct bh_server *s, unsigned workers) {
    const struct bh_app_redis *redis = &s->settings.redis;
    if (redis->count == 0) {
        s->broker = bh_memory_broker_new();
        s->tracker = bh_memory_tracker_new(redis->tracking.debounce_ms);
    } else {
        s->broker = bh_redis_shards_new(redis->nodes, redis->count, workers);
        s->tracker = bh_redis_tracker_new(&redis->tracking, s->broker);
    }
}

static unsigned count_workers(const struct bh_config *c) {
    cpu_set_t cores;
    if (c->workers)
        return (unsigned)c->workers;
    int n = sched_getaffinity(0, sizeof cores, &cores) ? 1 : CPU_COUNT(&cores);
    return n < BH_WORKERS_MAX ? (unsigned)n : BH_WORKERS_MAX;
}

static int make_worker(struct bh_server *s, struct bh_server_worker *w) {
    char *error = NULL;
    w->worker =
        bh_node_add_worker(s->node, bh_thread_loop(w->thread), bh_thread_mailbox(w->thread));
    if (s->config->redis_urls.count)
        w->worker->redis = bh_redis_broker_commands(s->broker);
    w->worker->fetch = bh_http_fetch_new(&s->settings.fetch.config, w->worker->loop);
    if (bh_script_new(&s->script, w->worker, s->generation, &w->script, &error)) {
        fail("script", error ? error : "cannot be loaded");
        bh_free(error);
        return BH_ESCRIPT;
    }
    s->settings.edge.config.reload = bh_server_ask_reload;
    s->settings.edge.config.reload_ud = s;
    w->edge = bh_edge_new(&s->settings.edge.config, w->worker);
    if (s->settings.tls)
        bh_edge_set_tls(w->edge, s->settings.tls);
    return 0;
}

static void make_threads(struct bh_server *s, unsigned workers) {
    s->workers = bh_calloc(workers, sizeof *s->workers);
    for (; s->worker_count < workers; s->worker_count++) {
        struct bh_server_worker *w = &s->workers[s->worker_count];
        w->server = s;
        w->thread = bh_thread_new("bellhop-worker");
    }
}

static int build(struct bh_server *s) {
    const struct bh_config *c = s->config;
    unsigned workers = count_workers(c);
    if (make_settings(s))
        return BH_EINVAL;
    make_broker(s, workers);
    s->history = bh_app_history_new(&s->settings, s->broker, workers);
    s->settings.edge.config.accepts_per_second = (c->accepts_per_second + workers - 1) / workers;
    s->lua_dir = bh_app_lua_dir(c);
    bh_app_script_config(c, s->lua_dir, &s->script, &s->files);
    s->script.shared = s->shared = bh_shared_new((size_t)c->shared_memory);
    struct bh_node_config node = {
        .instance = bh_slice_cstr(s->instance),
        .linger_ms = c->unsubscribe_linger,
        .payload_max = c->payload_bytes,
        .seen_max = c->seen_max,
        .seen_ms = c->seen_ttl,
        .history = s->settings.history.config,
    };
    bh_strategy_parse(bh_slice_cstr(c->strategy), &node.strategy, NULL);
    make_threads(s, workers);
    bh_server_stop_init(s);
    if (workers == 1)
        s->node = bh_node_new(&node, s->broker, s->tracker, bh_thread_loop(s->workers[0].thread),
                              bh_thread_mailbox(s->workers[0].thread));
    else
        s->node = bh_node_new(&node, s->broker, s->tracker, s->loop, s->mailbox);
    if (s->history)
        bh_node_set_history(s->node, s->history);
    for (unsigned i = 0; i < workers; i++)
        if (make_worker(s, &s->workers[i]))
            return BH_ESCRIPT;
    return 0;
}

/* No thread runs any more. Mails in flight are run while everything that they may touch exists;
 * closed mailboxes accept no new ones, so this ends. */
static void run_last_mails(struct bh_server *s) {
    bh_mailbox_close(s->mailbox);
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_mailbox_close(bh_thread_mailbox(s->workers[i].thread));
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_loop_tick(bh_thread_loop(s->workers[i].thread), false);
    bh_loop_tick(s->loop, false);
}

/* A worker that hangs in its script cannot be joined. */
static void on_stuck(int signo) {
    bh_log_output_last_words("bellhop: a worker hangs in its script and does not stop; exiting\n");
    _exit(1);
}

static void join_all(struct bh_server *s) {
    signal(SIGALRM, on_stuck);
    alarm(JOIN_SECONDS);
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].started)
            bh_thread_join(s->workers[i].thread);
    alarm(0);
}

static void take_down(struct bh_server *s) {
    join_all(s);
    bh_server_reload_stop(s);
    run_last_mails(s);
    for (unsigned i = 0; i < s->worker_count; i++) {
        struct bh_server_worker *w = &s->workers[i];
        if (w->edge)
            bh_edge_abort(w->edge);
        if (w->started)
            stop_links(w);
        if (w->next)
            bh_script_free(w->next);
        if (w->script)
            bh_script_free(w->script);
        if (w->worker)
            bh_http_fetch_free(w->worker->fetch);
    }
    if (s->node)
        bh_node_stop(s->node);
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_loop_tick(bh_thread_loop(s->workers[i].thread), false); /* reaps */
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].edge)
            bh_edge_free(s->workers[i].edge);
    for (size_t i = 0; i < 3; i++)
        if (s->signals[i])
            bh_signal_free(s->signals[i]);
    bh_timer_cancel(&s->ready_timer);
    bh_give_back_stop(s);
    bh_mailbox_free(s->mailbox);
    if (s->node)
        bh_node_free(s->node);
    if (s->history)
        s->history->vt->free(s->history);
    if (s->broker)
        s->broker->vt->free(s->broker);
    if (s->tracker)
        s->tracker->vt->free(s->tracker);
    for (unsigned i = 0; i < s->worker_count; i++)
        bh_thread_free(s->workers[i].thread);
    bh_loop_free(s->loop);
    bh_shared_free(s->shared);
    bh_strings_free(&s->files);
    bh_free(s->lua_dir);
    bh_app_settings_free(&s->settings);
    bh_free(s->workers);
}

static void set_up_process(struct bh_server *s) {
    const struct bh_config *c = s->config;
    enum bh_log_level level = BH_LOG_INFO;
    char unique[BH_UNIQUE_ID_LEN + 1];
    bh_crash_set_up();
    bh_id_unique(unique);
    snprintf(s->instance, sizeof s->instance, "%.128s", *c->instance ? c->instance : unique);
    bh_log_parse_level(c->log_level, &level);
    bh_log_init(level, strcmp(c->log_format, "json") == 0 ? BH_LOG_JSON : BH_LOG_LOGFMT,
                strcmp(c->log_target, "syslog") == 0, s->instance);
    bh_descriptors_init((size_t)count_workers(c) * BH_EDGE_RESERVE_DESCRIPTORS + OTHER_DESCRIPTORS);
    bh_log_metrics_register();
    bh_core_metrics_register();
    bh_loop_metrics_register();
    bh_stream_metrics_register();
    bh_listener_metrics_register();
    bh_tls_metrics_register();
    bh_edge_metrics_register();
    bh_memory_metrics_register();
    bh_redis_metrics_register();
    bh_http_metrics_register();
    bh_script_metrics_register();
}

static void set_up_memory(const struct bh_config *c) {
    bh_heap_set_up();
    bh_budget_set_limit(bh_app_memory_budget(c, ""));
    bh_info("memory", bh_kv_int("budget", (int64_t)bh_budget_limit()),
            bh_kv_int("available", (int64_t)bh_app_memory_available("")));
}

/* It goes on until the exit, which may also be one of a library. */
static int start_log(void) {
    atexit(bh_log_output_stop);
    return bh_log_output_start() ? fail("log", "cannot start a thread") : 0;
}

static void log_warnings(const struct bh_report *report) {
    for (size_t i = 0; i < report->warnings.count; i++)
        bh_warn("configuration", bh_kv_str("why", report->warnings.items[i]));
}

int bh_app_serve(const struct bh_config *config, const struct bh_report *report) {
    static const int signals[3] = {SIGTERM, SIGINT, SIGHUP};
    struct bh_server s = {.config = config, .generation = 1};
    set_up_process(&s);
    log_warnings(report);
    set_up_memory(config);
    s.loop = bh_loop_new();
    s.mailbox = bh_mailbox_new(s.loop);
    bh_timer_init(&s.ready_timer, s.loop, on_ready_timer);
    s.status = 1;
    if (build(&s) == 0 && bh_node_start(s.node) == 0 && start_log() == 0) {
        s.status = 0;
        for (size_t i = 0; i < 3; i++)
            s.signals[i] = bh_signal_new(s.loop, signals[i], on_signal, &s);
        bh_timer_set(&s.ready_timer, 0);
        bh_give_back_start(&s);
        start_next(&s);
        bh_loop_run(s.loop);
    }
    take_down(&s);
    if (s.status == 0)
        bh_info("stopped");
    return s.status;
}
