/* check.c - what `bellhop check` finds: everything that serve would refuse at its start, in one
 * list.
 *
 * The scripts are loaded as serve loads them, and on_init runs in a worker without sockets: its
 * node has the memory broker, and nothing is sent. Where on_init asks Redis or another service, it
 * stays there: a check must not change anything, and may run where neither can be reached. */
#include "app.h"

#include "bellhop/backend/memory.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/script/script.h"

#include <stdio.h>

struct rehearsal {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_history *history; /* NULL: none */
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_redis redis;
    struct bh_fetch fetch;
    const char *asked; /* what on_init waits for, and does not get */
    bool done;
    char *error;
};

/* --- the services that do not answer --- */

static void on_redis_call(struct bh_redis *r, unsigned worker, size_t argc,
                          const struct bh_slice *argv, bh_reply_cb done, void *ud,
                          bh_handle handle) {
    BH_CONTAINER_OF(r, struct rehearsal, redis)->asked = "Redis";
}

static bh_handle on_fetch_call(struct bh_fetch *f, const struct bh_fetch_request *request,
                               bh_fetch_cb done, void *ud, bh_handle handle) {
    BH_CONTAINER_OF(f, struct rehearsal, fetch)->asked = "an HTTP service";
    return 1;
}

static void on_fetch_cancel(struct bh_fetch *f, bh_handle call) {}

static const struct bh_redis_vt redis_vt = {on_redis_call};
static const struct bh_fetch_vt fetch_vt = {on_fetch_call, on_fetch_cancel};

/* --- a worker --- */

static void open_worker(struct rehearsal *r, const struct bh_config *c,
                        const struct bh_history_config *history) {
    const struct bh_node_config node = {.instance = BH_SLICE("check"),
                                        .payload_max = c->payload_bytes,
                                        .seen_max = c->seen_max,
                                        .seen_ms = c->seen_ttl,
                                        .history = *history};
    *r = (struct rehearsal){.redis.vt = &redis_vt, .fetch.vt = &fetch_vt};
    r->loop = bh_loop_new();
    r->mailbox = bh_mailbox_new(r->loop);
    r->broker = bh_memory_broker_new();
    r->tracker = bh_memory_tracker_new(c->tracking_debounce);
    r->node = bh_node_new(&node, r->broker, r->tracker, r->loop, r->mailbox);
    r->worker = bh_node_add_worker(r->node, r->loop, r->mailbox);
    if (history->rule_count) {
        r->history = bh_memory_history_new(history, r->broker, 0);
        bh_node_set_history(r->node, r->history);
        r->history->vt->worker_start(r->history, 0, r->loop, r->mailbox);
    }
    bh_node_start(r->node);
    r->broker->vt->worker_start(r->broker, 0, r->loop);
    r->worker->redis = c->redis_urls.count ? &r->redis : NULL;
    r->worker->fetch = &r->fetch;
}

static void close_worker(struct rehearsal *r) {
    bh_node_stop(r->node);
    bh_loop_tick(r->loop, false);
    bh_mailbox_close(r->mailbox);
    r->broker->vt->worker_stop(r->broker, 0);
    bh_mailbox_free(r->mailbox);
    bh_node_free(r->node);
    if (r->history)
        r->history->vt->free(r->history);
    r->broker->vt->free(r->broker);
    r->tracker->vt->free(r->tracker);
    bh_loop_free(r->loop);
    bh_free(r->error);
}

/* --- scripts --- */

static void on_init_done(void *ud, int error, const char *why) {
    struct rehearsal *r = ud;
    r->done = true;
    if (error)
        r->error = bh_strdup(why);
}

/* The log has the traceback. */
static void report_first_line(struct bh_report *report, const char *error) {
    bh_report_error(report, "%.*s", (int)strcspn(error, "\n"), error);
}

static void run_on_init(struct rehearsal *r, struct bh_script *script, struct bh_report *report) {
    bh_script_start(script, on_init_done, r);
    while (!r->done && !r->asked)
        bh_loop_tick(r->loop, true);
    if (r->error)
        report_first_line(report, r->error);
}

/* One after the other, so that an error in one does not hide those of the next. */
static void check_each(const struct bh_script_config *all, struct bh_report *report) {
    for (size_t i = 0; i < all->file_count; i++) {
        struct bh_script_config one = *all;
        struct bh_script *script = NULL;
        char *error = NULL;
        one.files = &all->files[i];
        one.file_count = 1;
        if (bh_script_new(&one, NULL, 1, &script, &error))
            bh_report_error(report, "%s", error);
        else
            bh_script_free(script);
        bh_free(error);
    }
}

static void check_scripts(const struct bh_config *c, const struct bh_history_config *history,
                          const struct bh_script_config *config, struct rehearsal *r,
                          struct bh_report *report) {
    struct bh_script *script = NULL;
    char *error = NULL;
    size_t before = report->errors.count;
    open_worker(r, c, history);
    if (bh_script_new(config, r->worker, 1, &script, &error) == 0) {
        if (before == 0) /* a wrong configuration would only fail there again */
            run_on_init(r, script, report);
        if (r->history) /* while the script is there, which may wait for an append */
            r->history->vt->worker_stop(r->history, 0);
        bh_script_free(script);
    } else {
        if (config->file_count > 1)
            check_each(config, report);
        if (report->errors.count == before) /* they do not fit together */
            bh_report_error(report, "%s", error);
    }
    bh_free(error);
    close_worker(r);
}

/* --- the command --- */

static void print_good(const char *file, const struct bh_strings *scripts, const char *asked) {
    printf("configuration %s: ok\n", file ? file : "(defaults)");
    for (size_t i = 0; i < scripts->count; i++)
        printf("script %s: ok\n", scripts->items[i]);
    if (asked)
        printf("on_init was run until it asked %s, which a check does not do\n", asked);
}

static void check_all(const struct bh_config *c, const char *file, struct bh_report *report) {
    struct bh_app_settings settings;
    struct bh_script_config scripts;
    struct bh_strings files;
    struct rehearsal r;
    char *lua_dir = bh_app_lua_dir(c);
    bh_app_settings_init(&settings, c, "check", true, report);
    bh_app_script_config(c, lua_dir, &scripts, &files);
    scripts.shared = bh_shared_new((size_t)c->shared_memory);
    check_scripts(c, &settings.history.config, &scripts, &r, report);
    if (report->errors.count == 0)
        print_good(file, &files, r.asked);
    bh_shared_free(scripts.shared);
    bh_strings_free(&files);
    bh_app_settings_free(&settings);
    bh_free(lua_dir);
}

int bh_app_check(const struct bh_config *config, const char *file, struct bh_report *report) {
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    if (config->tree)
        check_all(config, file, report);
    bh_report_print(report);
    return report->errors.count ? 1 : 0;
}
