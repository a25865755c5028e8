/* hooks.c - the port: which hooks there are, the thin verbs of connections, errors counted.
 *
 * The verbs of a connection only describe the job; conn.c decides when it runs. Handshakes and API
 * requests are in hooks_request.c, scripts' own endpoints in hooks_http.c, publish and deliver in
 * hooks_publish.c. */
#include "hooks/hooks_private.h"
#include "run/lua_conn.h"

#include "bellhop/base/metrics.h"

static const struct {
    const char *name;
    unsigned bit; /* enum bh_hook; 0: not of the port */
} hooks[HOOK_COUNT] = {
    [HOOK_INIT] = {"on_init", 0},
    [HOOK_TENANT] = {"on_tenant", 0},
    [HOOK_HANDSHAKE] = {"on_handshake", BH_HOOK_HANDSHAKE},
    [HOOK_API] = {"on_api", BH_HOOK_API},
    [HOOK_OPEN] = {"on_open", BH_HOOK_OPEN},
    [HOOK_MESSAGE] = {"on_message", BH_HOOK_MESSAGE},
    [HOOK_PUBLISH] = {"on_publish", BH_HOOK_PUBLISH},
    [HOOK_DELIVER] = {"on_deliver", BH_HOOK_DELIVER},
    [HOOK_SLOW] = {"on_slow", BH_HOOK_SLOW},
    [HOOK_PRESENCE] = {"on_presence", BH_HOOK_PRESENCE},
    [HOOK_OFFLINE] = {"on_offline", BH_HOOK_OFFLINE},
    [HOOK_SUBSCRIBE] = {"on_subscribe", BH_HOOK_SUBSCRIBE},
    [HOOK_UNSUBSCRIBE] = {"on_unsubscribe", BH_HOOK_UNSUBSCRIBE},
    [HOOK_CLOSE] = {"on_close", BH_HOOK_CLOSE},
    [HOOK_EXPIRE] = {"on_expire", BH_HOOK_EXPIRE},
    [HOOK_SHUTDOWN] = {"on_shutdown", 0},
    [HOOK_TIMER] = {"timers", 0},
    [HOOK_HTTP] = {"http", BH_HOOK_HTTP},
};

#define ERRORS(hook)                                                                               \
    {                                                                                              \
        .name = "bellhop_script_errors_total", .labels = "hook=\"" hook "\"",                      \
        .help = "script functions that failed", .type = BH_COUNTER                                 \
    }

static struct bh_metric errors[HOOK_COUNT + 1] = {
    [HOOK_INIT] = ERRORS("on_init"),
    [HOOK_TENANT] = ERRORS("on_tenant"),
    [HOOK_HANDSHAKE] = ERRORS("on_handshake"),
    [HOOK_API] = ERRORS("on_api"),
    [HOOK_OPEN] = ERRORS("on_open"),
    [HOOK_MESSAGE] = ERRORS("on_message"),
    [HOOK_PUBLISH] = ERRORS("on_publish"),
    [HOOK_DELIVER] = ERRORS("on_deliver"),
    [HOOK_SLOW] = ERRORS("on_slow"),
    [HOOK_PRESENCE] = ERRORS("on_presence"),
    [HOOK_OFFLINE] = ERRORS("on_offline"),
    [HOOK_SUBSCRIBE] = ERRORS("on_subscribe"),
    [HOOK_UNSUBSCRIBE] = ERRORS("on_unsubscribe"),
    [HOOK_CLOSE] = ERRORS("on_close"),
    [HOOK_EXPIRE] = ERRORS("on_expire"),
    [HOOK_SHUTDOWN] = ERRORS("on_shutdown"),
    [HOOK_TIMER] = ERRORS("timers"),
    [HOOK_HTTP] = ERRORS("http"),
    [HOOK_NONE] = ERRORS("task"),
};

static struct bh_metric limits[] = {
    {.name = "bellhop_script_cpu_limit_total",
     .help = "hooks and tasks that were ended because they computed for too long",
     .type = BH_COUNTER},
};

void bh_script_count_limit(void) {
    bh_metric_inc(&limits[0]);
}

void bh_script_metrics_register(void) {
    bh_metrics_register(limits, sizeof limits / sizeof *limits);
    bh_metrics_register(errors, sizeof errors / sizeof *errors);
}

void bh_script_count_error(enum bh_script_hook hook) {
    bh_metric_inc(&errors[hook]);
}

const char *bh_script_hook_name(enum bh_script_hook hook) {
    return hook < HOOK_COUNT ? hooks[hook].name : "task";
}

unsigned bh_script_hook_bit(enum bh_script_hook hook) {
    return hooks[hook].bit;
}

static void hook_open(struct bh_hooks *h, struct bh_subscriber *sub) {
    bh_conn_submit((struct bh_script *)h, sub, &(struct bh_job){.hook = HOOK_OPEN});
}

static void hook_message(struct bh_hooks *h, struct bh_subscriber *sub, enum bh_opcode opcode,
                         struct bh_slice data) {
    bh_conn_submit((struct bh_script *)h, sub,
                   &(struct bh_job){.hook = HOOK_MESSAGE, .opcode = opcode, .data = data});
}

/* The topic's id, without its name space: scripts name topics as they publish to them. */
static struct bh_slice topic_id(struct bh_slice name) {
    struct bh_slice prefix = BH_SLICE("topic:");
    return bh_slice_starts(name, prefix) ? bh_slice(name.p + prefix.n, name.n - prefix.n) : name;
}

static void hook_subscribe(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                           bh_allowed_cb done, void *ud, bh_handle handle) {
    bh_conn_submit((struct bh_script *)h, sub,
                   &(struct bh_job){.hook = HOOK_SUBSCRIBE,
                                    .done = done,
                                    .ud = ud,
                                    .handle = handle,
                                    .data = topic_id(topic)});
}

static void hook_unsubscribe(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                             const char *why) {
    bh_conn_submit((struct bh_script *)h, sub,
                   &(struct bh_job){.hook = HOOK_UNSUBSCRIBE, .why = why, .data = topic_id(topic)});
}

static void hook_close(struct bh_hooks *h, struct bh_subscriber *sub, unsigned code,
                       struct bh_slice reason) {
    bh_conn_end((struct bh_script *)h, sub,
                &(struct bh_job){.hook = HOOK_CLOSE, .code = code, .data = reason});
}

static void hook_expire(struct bh_hooks *h, struct bh_subscriber *sub, bh_expiry_cb done, void *ud,
                        bh_handle handle) {
    bh_conn_submit(
        (struct bh_script *)h, sub,
        &(struct bh_job){.hook = HOOK_EXPIRE, .expired = done, .ud = ud, .handle = handle});
}

static void hook_cancel(struct bh_hooks *h, bh_handle ticket) {
    const struct bh_script *s = (struct bh_script *)h;
    struct bh_task *t = bh_slots_get(&s->lane->slots, ticket);
    if (t && t->ticket == ticket)
        bh_task_cancel(t);
}

const struct bh_hooks_vt bh_script_hooks_vt = {
    .handshake = bh_hook_handshake,
    .cancel = hook_cancel,
    .api = bh_hook_api,
    .open = hook_open,
    .message = hook_message,
    .close = hook_close,
    .expire = hook_expire,
    .subscribe = hook_subscribe,
    .unsubscribe = hook_unsubscribe,
    .publish = bh_hook_publish,
    .deliver = bh_hook_deliver,
    .slow = bh_hook_slow,
    .presence = bh_hook_presence,
    .offline = bh_hook_offline,
    .route = bh_hook_route,
    .http = bh_hook_http,
};
